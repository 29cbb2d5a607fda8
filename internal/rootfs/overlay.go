// Package rootfs makes root filesystems out of layers: layers unpacked into directories of their own, whiteouts
// as overlayfs wants them, and stacks of such directories mounted as one. What it unpacks is hostile: no link of
// a layer is ever followed, and nothing is written outside the layer's own directory. Mounting needs root.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxLower is how many directories overlayfs stacks (OVL_MAX_STACK).
const MaxLower = 500

// An Overlay is a stack of directories seen as one (overlayfs). All are absolute paths. It is mounted volatile:
// what is written is lost with the machine, and a sync inside costs nothing.
type Overlay struct {
	// Lower are only read, the topmost first. One at least.
	Lower []string
	// Upper receives what is written; Work is an empty directory beside it, on the same file system. Without them
	// the mount is read-only, and Lower needs two directories, or one is bound as it is.
	Upper, Work string
	// IDs is a user namespace: what is in Lower is seen as belonging to whom it maps the owners on disk to, and is
	// copied up as theirs. Upper has the owners that are seen. nil: all is as it is on disk. It wants an Upper, Linux
	// 5.19, and a file system below that can be idmapped.
	IDs *os.File
}

// Mount mounts o on the directory dir. Directories below can be renamed, removed and replaced.
func (o Overlay) Mount(dir string) error {
	if err := o.mount(dir); err != nil {
		return fmt.Errorf("mount %d directories on %s: %w", len(o.Lower), dir, err)
	}
	return nil
}

func (o Overlay) mount(dir string) error {
	switch n := len(o.Lower); {
	case n == 0:
		return errors.New("no directory given")
	case n > MaxLower:
		return fmt.Errorf("the kernel takes %d at most", MaxLower)
	case o.IDs != nil && o.Upper == "":
		return errors.New("owners are mapped below a directory that is written to only")
	case n == 1 && o.Upper == "":
		return bindReadOnly(o.Lower[0], dir)
	}
	for _, p := range append([]string{o.Upper, o.Work}, o.Lower...) {
		if p != "" && !filepath.IsAbs(p) {
			return fmt.Errorf("%s is not absolute", p)
		}
	}
	open := o.open
	if o.IDs != nil {
		open = func() (int, error) { return o.openMapped(dir) }
	}
	fd, err := open()
	if o.IDs == nil && (errors.Is(err, unix.ENOSYS) || errors.Is(err, errOldKernel)) {
		return o.mountOld(dir)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// errOldKernel: no lowerdir+ (before Linux 6.5); a list in one value is short.
var errOldKernel = errors.New("the kernel takes no list of directories")

// open makes the mount, which is attached nowhere yet.
func (o Overlay) open() (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for i, l := range o.Lower {
		if err := unix.FsconfigSetString(fs, "lowerdir+", l); err != nil {
			if i == 0 && errors.Is(err, unix.EINVAL) {
				return -1, errOldKernel
			}
			return -1, said(fs, fmt.Errorf("%s: %w", l, err))
		}
	}
	for _, kv := range o.options() {
		k, v, hasValue := strings.Cut(kv, "=")
		if hasValue {
			err = unix.FsconfigSetString(fs, k, v)
		} else {
			err = unix.FsconfigSetFlag(fs, k)
		}
		if err != nil {
			return -1, said(fs, fmt.Errorf("%s: %w", kv, err))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, said(fs, err)
	}
	attr := unix.MOUNT_ATTR_NODEV
	if o.Upper == "" {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
}

func (o Overlay) options() []string {
	if o.Upper == "" {
		return nil
	}
	return []string{"upperdir=" + escape(o.Upper), "workdir=" + escape(o.Work), "redirect_dir=on", "index=off", "metacopy=off", "volatile"}
}

// escape is for the values in which the kernel takes a backslash for its own.
func escape(path string) string { return strings.ReplaceAll(path, `\`, `\\`) }

// said adds the kernel's own words to an error, where it has left some.
func said(fs int, err error) error {
	buf := make([]byte, 512)
	for {
		n, rerr := unix.Read(fs, buf)
		if rerr != nil || n <= 0 {
			return err
		}
		if text, ok := strings.CutPrefix(string(buf[:n]), "e "); ok {
			return fmt.Errorf("%w (%s)", err, strings.TrimSpace(text))
		}
	}
}

// mountOld is mountHere on a thread that ends with it.
func (o Overlay) mountOld(dir string) error {
	return Apart(func() error { return o.mountHere(dir) })
}

// mountHere is mount(2), whose options are one page: paths are said from the deepest directory that all have in
// common, which becomes the working directory of the calling thread.
func (o Overlay) mountHere(dir string) error {
	all := append([]string{dir}, o.Lower...)
	if o.Upper != "" {
		all = append(all, o.Upper, o.Work)
	}
	base := commonDir(all)
	rel := func(p string) string { return strings.TrimPrefix(strings.TrimPrefix(p, base), "/") }
	short := Overlay{}
	for _, l := range o.Lower {
		short.Lower = append(short.Lower, strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(rel(l)))
	}
	options := []string{"lowerdir=" + strings.Join(short.Lower, ":")}
	flags := uintptr(unix.MS_NODEV)
	if o.Upper == "" {
		flags |= unix.MS_RDONLY
	} else {
		short.Upper, short.Work = strings.ReplaceAll(rel(o.Upper), ",", `\,`), strings.ReplaceAll(rel(o.Work), ",", `\,`)
		options = append(options, short.options()...)
	}
	text := strings.Join(options, ",")
	if len(text) >= os.Getpagesize() {
		return fmt.Errorf("%d directories are more than this kernel takes: its mount options are one page", len(o.Lower))
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Chdir(base); err != nil {
		return err
	}
	return unix.Mount("overlay", rel(dir), "overlay", flags, text)
}

// commonDir is the deepest directory above all paths.
func commonDir(paths []string) string {
	common := filepath.Dir(paths[0])
	for _, p := range paths[1:] {
		for common != "/" && !strings.HasPrefix(p, common+"/") {
			common = filepath.Dir(common)
		}
	}
	return common
}

func bindReadOnly(source, dir string) error {
	if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NODEV, "")
}

// BindShared mounts the directory source on dir such that what is mounted on dir later shows in the containers
// that have dir bound as a slave.
func BindShared(source, dir string) error {
	if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", source, dir, err)
	}
	// First private, so that what is above does not share it.
	for _, how := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", dir, "", how, ""); err != nil {
			return errors.Join(fmt.Errorf("share the mount of %s: %w", dir, err), Unmount(dir))
		}
	}
	return nil
}

// Unmount takes everything off that is mounted on dir. What is in use goes when it is not any more. Nothing being
// mounted there is no error.
func Unmount(dir string) error {
	for {
		mounted, err := unmount(dir)
		if err != nil || !mounted {
			return err
		}
	}
}

// UnmountLast takes off what was mounted on dir last, in the same way.
func UnmountLast(dir string) error {
	_, err := unmount(dir)
	return err
}

func unmount(dir string) (mounted bool, err error) {
	err = unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return false, nil
	}
	return false, fmt.Errorf("unmount %s: %w", dir, err)
}

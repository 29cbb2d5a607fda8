package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits bound what one layer may unpack to.
type Limits struct {
	Bytes   int64
	Entries int64
}

// DefaultLimits are far beyond real base images.
var DefaultLimits = Limits{Bytes: 64 << 30, Entries: 4 << 20}

// What marks a removal in a layer (OCI image-spec, layer.md, "Whiteouts").
const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	// Names that an older storage driver kept for itself.
	whiteoutMeta = ".wh..wh."
)

// unpack applies the tar of one layer to the empty directory dir, as a layer for overlayfs: whiteouts become devices
// 0/0 and opaque directories carry trusted.overlay.opaque. Links in paths are followed inside dir only, as a process
// that has dir for its root would. Entries keep owners, modes, times and extended attributes (security.capability
// and user.*); devices are made as they are said, for a mount with nodev makes them dead.
func unpack(ctx context.Context, r io.Reader, dir string, l Limits) error {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(root)
	u := &unpacker{root: root, parent: -1, limits: l, buf: make([]byte, 256<<10)}
	defer u.leave()
	if err := u.all(ctx, tar.NewReader(r)); err != nil {
		return err
	}
	return u.finish()
}

type unpacker struct {
	root   int
	parent int    // the directory of the entry before, open: entries come by directory
	in     string // its path
	limits Limits
	dirs   []tar.Header // whose times are set when nothing is written to them any more
	buf    []byte

	entries, bytes int64
}

func (u *unpacker) leave() {
	if u.parent >= 0 {
		unix.Close(u.parent)
		u.parent = -1
	}
}

func (u *unpacker) all(ctx context.Context, tr *tar.Reader) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read its tar: %w", err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return fmt.Errorf("it has more than %d entries", u.limits.Entries)
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

// at opens the directory of path inside the root, making what is missing of it.
func (u *unpacker) at(dir string) error {
	if u.parent >= 0 && u.in == dir {
		return nil
	}
	fd, err := u.open(dir)
	if errors.Is(err, unix.ENOENT) {
		if err = u.makeDirs(dir); err == nil {
			fd, err = u.open(dir)
		}
	}
	if err != nil {
		return err
	}
	u.leave()
	u.parent, u.in = fd, dir
	return nil
}

func (u *unpacker) open(dir string) (int, error) {
	return unix.Openat2(u.root, "./"+dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// makeDirs makes a directory that the tar has not named, and those above it, as root's: as with Docker, which unpacks
// layers one by one too, a layer that means to leave a directory of a lower one as it is has to name it.
func (u *unpacker) makeDirs(dir string) error {
	if dir == "" {
		return nil
	}
	up := parentOf(dir)
	fd, err := u.open(up)
	if errors.Is(err, unix.ENOENT) {
		if err := u.makeDirs(up); err != nil {
			return err
		}
		fd, err = u.open(up)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Mkdirat(fd, path.Base(dir), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func parentOf(rel string) string { return strings.TrimPrefix(path.Dir("/"+rel), "/") }

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	rel := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	}
	if strings.ContainsRune(rel, 0) {
		return errors.New("its name holds a zero byte")
	}
	if rel == "" {
		if h.Typeflag != tar.TypeDir {
			return errors.New("is the root and no directory")
		}
		h.Name = ""
		return u.keepDir(h)
	}
	if err := u.at(parentOf(rel)); err != nil {
		return err
	}
	base := path.Base(rel)
	if strings.HasPrefix(base, whiteout) {
		return u.whiteout(base)
	}
	if err := u.clear(base, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	h.Name = rel
	return u.make(base, h, r)
}

func (u *unpacker) whiteout(base string) error {
	if base == whiteoutOpaque {
		return unix.Setxattr(u.procPath(), "trusted.overlay.opaque", []byte("y"), 0)
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil
	}
	name := strings.TrimPrefix(base, whiteout)
	if name == "" || name == "." || name == ".." {
		return errors.New("is a whiteout of nothing")
	}
	if err := u.clear(name, false); err != nil {
		return err
	}
	return unix.Mknodat(u.parent, name, unix.S_IFCHR, 0)
}

// procPath is a path of the parent for calls that take no descriptor.
func (u *unpacker) procPath() string { return fmt.Sprintf("/proc/self/fd/%d", u.parent) }

// clear removes what an earlier entry of the same layer has left under the name; a directory stays one.
func (u *unpacker) clear(base string, dir bool) error {
	var st unix.Stat_t
	if err := unix.Fstatat(u.parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.Unlinkat(u.parent, base, 0)
	}
	if dir {
		return nil
	}
	root, err := os.OpenRoot(u.procPath())
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(base)
}

func (u *unpacker) make(base string, h *tar.Header, r io.Reader) error {
	mode := uint32(h.Mode) & 0o7777
	switch h.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(u.parent, base, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		fd, err := unix.Openat(u.parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := u.attributes(fd, h, mode); err != nil {
			return err
		}
		return u.keepDir(h)
	case tar.TypeReg:
		return u.file(base, h, r, mode)
	case tar.TypeLink:
		return u.link(base, h)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, u.parent, base); err != nil {
			return err
		}
		return u.owned(base, h)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
		if kind == unix.S_IFCHR && h.Devmajor == 0 && h.Devminor == 0 {
			return errors.New("is the device that overlayfs takes for a removal")
		}
		if err := unix.Mknodat(u.parent, base, kind|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))); err != nil {
			return err
		}
		if err := u.owned(base, h); err != nil {
			return err
		}
		return unix.Fchmodat(u.parent, base, mode, 0)
	}
	return fmt.Errorf("is of type %q, which no layer holds", h.Typeflag)
}

func (u *unpacker) file(base string, h *tar.Header, r io.Reader, mode uint32) error {
	if h.Size > u.limits.Bytes-u.bytes {
		return fmt.Errorf("with it the layer is larger than the limit of %d bytes", u.limits.Bytes)
	}
	u.bytes += h.Size
	fd, err := unix.Openat(u.parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, r, u.buf)
	if err == nil {
		err = u.attributes(fd, h, mode)
	}
	if err == nil {
		at := unix.NsecToTimespec(h.ModTime.UnixNano())
		err = unix.UtimesNanoAt(u.parent, base, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	}
	return errors.Join(err, f.Close())
}

// attributes gives an open file its owner, mode and extended attributes, in the order in which one does not undo
// the other.
func (u *unpacker) attributes(fd int, h *tar.Header, mode uint32) error {
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || name != "security.capability" && !strings.HasPrefix(name, "user.") {
			continue
		}
		if err := unix.Fsetxattr(fd, name, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}

func (u *unpacker) owned(base string, h *tar.Header) error {
	if err := unix.Fchownat(u.parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	at := unix.NsecToTimespec(h.ModTime.UnixNano())
	return unix.UtimesNanoAt(u.parent, base, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}

func (u *unpacker) link(base string, h *tar.Header) error {
	to := strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
	fd, err := u.open(parentOf(to))
	if err != nil {
		return fmt.Errorf("is a hard link to %.200q: %w", h.Linkname, err)
	}
	defer unix.Close(fd)
	if err := unix.Linkat(fd, path.Base(to), u.parent, base, 0); err != nil {
		return fmt.Errorf("is a hard link to %.200q: %w", h.Linkname, err)
	}
	return nil
}

func (u *unpacker) keepDir(h *tar.Header) error {
	u.dirs = append(u.dirs, tar.Header{Name: h.Name, Uid: h.Uid, Gid: h.Gid, Mode: h.Mode, ModTime: h.ModTime})
	return nil
}

// finish sets the times of directories, and what the tar says of the root.
func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		d := u.dirs[i]
		fd, err := unix.Openat2(u.root, "./"+d.Name, &unix.OpenHow{
			Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a later entry has replaced it
		}
		if err != nil {
			return err
		}
		if d.Name == "" {
			err = u.attributes(fd, &d, uint32(d.Mode)&0o7777)
		}
		if err == nil {
			tv := unix.NsecToTimeval(d.ModTime.UnixNano())
			err = unix.Futimes(fd, []unix.Timeval{tv, tv})
		}
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("directory %.200q: %w", d.Name, err)
		}
	}
	return nil
}

package rootfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Clone makes a mount of path and of all that is mounted below it, attached nowhere yet. ids is a user namespace: files
// on the mount belong to whom it maps their owners on disk to, and back when they are written (an idmapped mount); nil:
// they belong to their owners. propagation is unix.MS_PRIVATE or unix.MS_SLAVE. The caller closes the descriptor; Attach
// gives the mount a place.
//
// With ids it needs Linux 5.12 and file systems that can do so, which overlayfs itself cannot.
func Clone(path string, ids *os.File, propagation uint64) (fd int, err error) {
	fd, err = unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", path, err)
	}
	attr := unix.MountAttr{Propagation: propagation}
	if ids != nil {
		attr.Attr_set, attr.Userns_fd = unix.MOUNT_ATTR_IDMAP, uint64(ids.Fd())
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("map the owners of %s: %w", path, err)
	}
	return fd, nil
}

// Attach gives a mount that is attached nowhere its place, on the directory or file at path.
func Attach(fd int, path string) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", path, err)
	}
	return nil
}

// openMapped makes the mount of an overlay whose lower directories are idmapped. Overlayfs wants them at places of the
// mount namespace that it is made in (before Linux 6.15), so they get their own places in one that nobody else sees,
// and that ends with this: overlayfs keeps what it needs of them.
func (o Overlay) openMapped(dir string) (fd int, err error) {
	err = Apart(func() (err error) { fd, err = o.openAlone(dir); return err })
	return fd, err
}

func (o Overlay) openAlone(dir string) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return -1, fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return -1, err
	}
	for _, l := range o.Lower {
		fd, err := Clone(l, o.IDs, unix.MS_PRIVATE)
		if err != nil {
			return -1, err
		}
		err = Attach(fd, l)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
	}
	fd, err := o.open()
	if !errors.Is(err, errOldKernel) {
		return fd, err
	}
	if err := o.mountHere(dir); err != nil {
		return -1, err
	}
	return unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
}

package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/rootfs"
)

// A buildDir is the directory of one build below <State>/builds. Its lock is held as long as this process
// lives, so that a directory without a holder is known to be left over.
type buildDir struct {
	path string
	lock *os.File
}

// builds is the parent of all build directories. It is private to the user, because what is inside belongs
// to whoever the build container's user is on this host.
func (m *Machine) builds() string { return filepath.Join(m.State, "builds") }

func (m *Machine) newBuildDir() (*buildDir, error) {
	if err := os.MkdirAll(m.builds(), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of builds: %w", err)
	}
	spread(m.builds())
	for try := 1; ; try++ {
		dir, err := os.MkdirTemp(m.builds(), "")
		if err != nil {
			return nil, fmt.Errorf("make the build's directory: %w", err)
		}
		lock, err := lockDir(dir)
		switch {
		case err == nil:
			return &buildDir{path: dir, lock: lock}, nil
		case try < 10 && (errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist)):
			// Another build's sweep came between making and locking, and removes it.
		default:
			return nil, errors.Join(fmt.Errorf("lock the build's directory: %w", err), os.RemoveAll(dir))
		}
	}
}

// topDir is FS_TOPDIR_FL of Linux's fs.h.
const topDir = 0x20000

// spread marks a directory as the top of hierarchies that have nothing to do with each other (chattr +T). Without
// it ext4 puts every build into the block group that the build before has just left, where finding a free inode
// among those in use and those recently deleted takes several times as long as writing the files. Other file
// systems have no such mark, and no need of it.
func spread(dir string) {
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDir == 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|topDir)
	}
}

// remove deletes the directory; what the collector made is gone already.
func (d *buildDir) remove() error { return errors.Join(os.RemoveAll(d.path), d.lock.Close()) }

// collected are the parts of a build's directory that the collector makes: what runs in the build container, what is
// mounted there, and packaged buildpacks. Where we are not root their files are not ours, so it is the collector that
// removes them.
func collected() []string { return []string{"root", "upper", "work", "buildpacks"} }

func removeCollected(ctx context.Context, c *collectorBox, dir string) error {
	var errs []error
	for _, part := range collected() {
		errs = append(errs, c.Remove(ctx, filepath.Join(dir, part)))
	}
	return errors.Join(errs...)
}

// lockDir takes the lock of a build's directory, or fails at once where somebody holds it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Whoever held it before may have removed the directory.
	if _, err := os.Stat(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sweep removes what builds left behind whose process was killed: containers, and directories whose lock
// nobody holds. A directory that is a moment old may be on its way to being locked.
func (m *Machine) sweep(ctx context.Context, c *collectorBox) error {
	var errs []error
	for _, rt := range m.runtimes() {
		if s, ok := rt.(container.Sweeper); ok {
			_, err := s.Sweep(ctx)
			errs = append(errs, err)
		}
	}
	dirs, err := os.ReadDir(m.builds())
	errs = append(errs, err)
	for _, d := range dirs {
		dir := filepath.Join(m.builds(), d.Name())
		if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
			continue
		}
		lock, err := lockDir(dir)
		if err != nil {
			continue
		}
		if err := unmountLeft(dir); err != nil {
			errs = append(errs, err, lock.Close())
			continue
		}
		errs = append(errs, removeCollected(ctx, c, dir), os.RemoveAll(dir), lock.Close())
	}
	return errors.Join(errs...)
}

// unmountLeft takes off what a build has mounted in its directory.
func unmountLeft(dir string) error {
	if os.Geteuid() != 0 {
		return nil // nor could that build
	}
	return rootfs.Unmount(filepath.Join(dir, "root", layersPath))
}

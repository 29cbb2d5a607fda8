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

// remove deletes the directory; what the collector made is gone already. The lock goes last: as long as there is
// anything, a directory without a holder can be told from this one.
func (d *buildDir) remove() error {
	entries, err := os.ReadDir(d.path)
	errs := []error{err}
	for _, e := range entries {
		if e.Name() != "lock" {
			errs = append(errs, os.RemoveAll(filepath.Join(d.path, e.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, d.lock.Close())
	}
	err = os.RemoveAll(d.path)
	if errors.Is(err, unix.ENOTEMPTY) {
		err = nil // a sweep came between, and removes it
	}
	return errors.Join(err, d.lock.Close())
}

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

// Sweep removes what builds and processes of a Slipway left behind that was killed: containers, mounts, directories.
// What lives is not touched. Every build does the same beside its own work; who runs builds for long calls it when it
// begins, because the next build may be far away.
func (m *Machine) Sweep(ctx context.Context) error {
	err := m.sweepContainers(ctx)
	left, lerr := m.leftBehind()
	if err = errors.Join(err, lerr); len(left) == 0 {
		return err
	}
	c, cerr := m.startCollector(ctx, nil, newHost(nil, m.Store, false))
	if cerr != nil {
		for _, d := range left {
			cerr = errors.Join(cerr, d.lock.Close())
		}
		return errors.Join(err, cerr)
	}
	return errors.Join(err, clearLeft(ctx, c, left), c.Close())
}

// sweep is Sweep with a collector that is there already.
func (m *Machine) sweep(ctx context.Context, c *collectorBox) error {
	err := m.sweepContainers(ctx)
	left, lerr := m.leftBehind()
	return errors.Join(err, lerr, clearLeft(ctx, c, left))
}

func (m *Machine) sweepContainers(ctx context.Context) error {
	var errs []error
	for _, rt := range m.runtimes() {
		if s, ok := rt.(container.Sweeper); ok {
			_, err := s.Sweep(ctx)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// leftBehind takes the directories of builds whose lock nobody holds. One that has no lock yet may be on its way to
// being locked: newBuildDir then makes another.
func (m *Machine) leftBehind() (left []*buildDir, err error) {
	dirs, err := os.ReadDir(m.builds())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // nobody has built anything
	}
	for _, d := range dirs {
		dir := filepath.Join(m.builds(), d.Name())
		if lock, err := lockDir(dir); err == nil {
			left = append(left, &buildDir{path: dir, lock: lock})
		}
	}
	return left, err
}

func clearLeft(ctx context.Context, c *collectorBox, left []*buildDir) error {
	var errs []error
	for _, d := range left {
		if err := unmountLeft(d.path); err != nil {
			errs = append(errs, err, d.lock.Close())
			continue
		}
		errs = append(errs, removeCollected(ctx, c, d.path), d.remove())
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

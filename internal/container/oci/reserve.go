package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/rootfs"
)

var _ container.Reserver = (*Runtime)(nil)

// A reservation is ids whose container does not exist yet. It has a directory among the containers' own, so that Sweep
// finds it.
type reservation struct {
	*users
	r    *Runtime
	dir  string
	once sync.Once
	gone error
}

// Reserve is container.Reserver's.
func (r *Runtime) Reserve(paths ...string) (container.IDs, error) {
	if err := r.cannotMap(); err != nil {
		return nil, err
	}
	u, err := r.reserve()
	if err != nil {
		return nil, r.neverMap(err)
	}
	for _, p := range paths {
		fd, err := rootfs.Clone(p, u.user, unix.MS_PRIVATE)
		if err != nil {
			return nil, errors.Join(err, u.Close())
		}
		unix.Close(fd)
	}
	return u, nil
}

// reserve takes ids, after having tried them on an overlay where containers lie, unless a container had one already.
func (r *Runtime) reserve() (_ *reservation, err error) {
	id := newID()
	u := &reservation{r: r, dir: filepath.Join(r.containers(), id)}
	if err := r.makeDir(id, record{}, 0o700); err != nil {
		return nil, err
	}
	u.users, err = r.makeUsers(u.dir)
	if err == nil && !r.mapped.Load() && !r.triedBefore() {
		if err = u.try(); err == nil {
			r.rememberTry()
		}
	}
	if err != nil {
		return nil, errors.Join(err, u.Close())
	}
	r.mapped.Store(true)
	return u, nil
}

// triedBefore says that another process has tried here since this machine was started, and could. A try takes as long
// as making the namespace itself.
func (r *Runtime) triedBefore() bool {
	b, err := os.ReadFile(r.tried())
	return err == nil && len(b) > 0 && string(b) == bootID()
}

// rememberTry writes down for triedBefore when we tried; where it cannot, each process tries.
func (r *Runtime) rememberTry() { _ = os.WriteFile(r.tried(), []byte(bootID()), 0o600) }

func (r *Runtime) tried() string { return filepath.Join(r.dir, "mapped") }

func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(b)
}

// try mounts and unmounts an overlay.
func (u *reservation) try() error {
	for _, d := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(u.dir, d), 0o755); err != nil {
			return err
		}
	}
	p, err := u.makePlace(u.dir)
	if err != nil {
		return err
	}
	return errors.Join(mapRoot(u.users, []string{filepath.Join(u.dir, "lower")}, u.dir, p.path("rootfs")), clearPlace(u.dir))
}

// First is container.IDs'.
func (u *reservation) First() int { return u.first }

// Namespace is container.IDs'.
func (u *reservation) Namespace() *os.File { return u.user }

// Close is container.IDs'.
func (u *reservation) Close() error {
	u.once.Do(func() {
		if u.users != nil {
			u.gone = u.close()
		}
		if u.gone == nil {
			u.gone = u.r.discard(filepath.Base(u.dir))
		}
	})
	return u.gone
}

// UserNamespaces says why the containers of r have no user namespace of their own; nil: they have, but for one that has
// a mount, or a user, with which it cannot be: Info.Without says so. It tries, unless a container has done so already.
func (r *Runtime) UserNamespaces() error {
	if r.mapped.Load() {
		return nil
	}
	u, err := r.Reserve()
	if err != nil {
		return err
	}
	return u.Close()
}

// UserNamespaces tries whether containers that lie in dir, which is there, can have user namespaces of their own.
func UserNamespaces(binary, dir string) error {
	dir, err := os.MkdirTemp(dir, "try-")
	if err != nil {
		return fmt.Errorf("try a user namespace: %w", err)
	}
	r := &Runtime{dir: dir, binary: binary, owner: container.Self()}
	if err = os.Mkdir(r.containers(), 0o700); err == nil {
		err = r.UserNamespaces()
	}
	return errors.Join(err, os.RemoveAll(dir))
}

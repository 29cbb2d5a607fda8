package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/rootfs"
)

// users is a user namespace: its ids 0 to 65535 are a range of this machine's that nobody else has. On disk nothing of
// that is seen: layers and mounts are idmapped, so that what uid 1000 of a container writes is uid 1000's.
type users struct {
	*ids
	owner     string   // the directory of who has the claim
	user, net *os.File // the namespaces, which live as long as these; net belongs to user
}

// makeUsers makes one for the owner with that directory.
func (r *Runtime) makeUsers(owner string) (u *users, err error) {
	u = &users{owner: owner}
	if u.ids, err = claimIDs(owner); err == nil {
		u.user, u.net, err = makeNamespaces(r.binary, u.first)
	}
	if err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", errors.Join(err, u.close()))
	}
	return u, nil
}

// close lets the namespaces go and gives the ids back.
func (u *users) close() error {
	for _, f := range []*os.File{u.user, u.net} {
		if f != nil {
			f.Close()
		}
	}
	return releaseIDs(u.owner)
}

// mappings is the range as the binary wants to be told, besides the namespace that has it.
func (u *users) mappings() []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(u.first), Size: idsEach}}
}

// makeNamespaces makes a user namespace for the ids from first on and a network namespace that belongs to it, without
// which nobody in there may mount a sysfs. A process of more than one thread cannot go there, so a child does, which
// stops when it has become binary and before binary does anything.
func makeNamespaces(binary string, first int) (user, net *os.File, err error) {
	runtime.LockOSThread() // who is traced knows one thread
	defer runtime.UnlockOSThread()
	all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: first, Size: idsEach}}
	child, err := os.StartProcess(binary, []string{binary}, &os.ProcAttr{Dir: "/", Env: []string{}, Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true,
		Ptrace: true, Pdeathsig: syscall.SIGKILL,
	}})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		_ = child.Kill() // it is there, and ours
		_, werr := child.Wait()
		err = errors.Join(err, werr)
	}()
	of := filepath.Join("/proc", strconv.Itoa(child.Pid), "ns")
	if user, err = os.Open(filepath.Join(of, "user")); err != nil {
		return nil, nil, err
	}
	if net, err = os.Open(filepath.Join(of, "net")); err != nil {
		return nil, nil, errors.Join(err, user.Close())
	}
	return user, net, nil
}

// mapUsers gives the container a user namespace, its root, and its mounts as they are seen there. Any error means that
// it can be had without one only; what was made is gone again then.
func (p *Prepared) mapUsers(lower []string) (err error) {
	if highest := max(p.spec.UID, p.spec.GID); highest >= idsEach {
		return fmt.Errorf("it runs as %d, and the ids of a user namespace end at %d", highest, idsEach-1)
	}
	u, reserved := p.spec.IDs.(*reservation)
	switch {
	case reserved:
		p.users = u.users
	case slices.ContainsFunc(p.spec.Mounts, func(m container.Mount) bool { return m.Own }):
		return errors.New("its files on disk belong to ids of this machine")
	default:
		if p.users, err = p.ownUsers(); err != nil {
			return err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clearPlace(p.path("")), p.closeUsers())
		}
	}()
	if p.place, err = p.users.makePlace(p.path("")); err != nil {
		return err
	}
	if err := p.mapRoot(lower); err != nil {
		return p.r.neverMap(err)
	}
	for i, m := range p.spec.Mounts {
		if m.Slave && !m.Own {
			return fmt.Errorf("what is mounted on %s later would not be idmapped", m.Source)
		}
		if err := p.mapMount(m, strconv.Itoa(i)); err != nil {
			return err
		}
	}
	p.r.mapped.Store(true)
	return nil
}

// ownUsers is a user namespace for this container alone.
func (p *Prepared) ownUsers() (*users, error) {
	if err := p.r.cannotMap(); err != nil {
		return nil, err
	}
	u, err := p.r.makeUsers(p.path(""))
	if err != nil {
		return nil, p.r.neverMap(err)
	}
	return u, nil
}

// closeUsers lets go what of the user namespace is this container's.
func (p *Prepared) closeUsers() (err error) {
	if p.users != nil && p.spec.IDs == nil {
		err = p.users.close()
	}
	p.users = nil
	return err
}

// mapRoot mounts the container's root, in which the files of the image belong to the container's ids.
func (p *Prepared) mapRoot(lower []string) error {
	return mapRoot(p.users, lower, p.path(""), p.place.path("rootfs"))
}

func mapRoot(u *users, lower []string, dir, at string) error {
	o := rootfs.Overlay{Lower: lower, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), IDs: u.user}
	if err := errors.Join(os.Chown(o.Upper, u.first, u.first), os.Mkdir(at, 0o755)); err != nil {
		return err
	}
	return o.Mount(at)
}

// mapMount mounts m's source in the container's place, idmapped unless its files are the container's already, for the
// binary to bind.
func (p *Prepared) mapMount(m container.Mount, name string) error {
	source, at := p.source(m), p.place.path(name)
	fi, err := os.Stat(source)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		err = os.Mkdir(at, 0o755)
	} else {
		err = os.WriteFile(at, nil, 0o600)
	}
	if err != nil {
		return err
	}
	// Never shared: what we unmount here in the end would be unmounted where it comes from.
	propagation := uint64(unix.MS_PRIVATE)
	if m.Slave {
		propagation = unix.MS_SLAVE
	}
	ids := p.users.user
	if m.Own {
		ids = nil
	}
	fd, err := rootfs.Clone(source, ids, propagation)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return rootfs.Attach(fd, at)
}

// without is container.Info's.
func (p *Prepared) without() string {
	if p.bare == nil {
		return ""
	}
	return "a user namespace: " + strings.ReplaceAll(p.bare.Error(), "\n", "; ")
}

// cannotMap says why this machine has no user namespaces for containers, as was found out before.
func (r *Runtime) cannotMap() error {
	if err := r.unmappable.Load(); err != nil {
		return *err
	}
	return nil
}

// neverMap remembers that this machine cannot, so that one container tries and not every one. It is so where the kernel
// refuses; what else goes wrong, such as a full disk, is this container's alone.
func (r *Runtime) neverMap(err error) error {
	for _, no := range []error{unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.EOPNOTSUPP, unix.EUSERS} {
		if errors.Is(err, no) {
			r.unmappable.Store(&err)
			break
		}
	}
	return err
}

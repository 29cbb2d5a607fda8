package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/rootfs"
)

// cleanTimeout bounds kill and removal, which go on after a cancel.
const cleanTimeout = 30 * time.Second

// Prepared is a bundle whose root filesystem is mounted. Its process does not exist yet.
type Prepared struct {
	r      *Runtime
	id     string
	spec   container.Spec
	users  *users   // nil without a user namespace
	place  place    // of its mounts then
	bare   error    // why it has none
	netns  *os.File // nil with the host's network
	net    *network // nil where there is no way out
	unlock func()   // the store's

	ran  atomic.Bool
	once sync.Once
	gone error // of the removal

	mu    sync.Mutex
	pidfd int // of the first process, -1 before it exists
	last  *container.State
	done  chan struct{} // closed when Run has nothing more to do with the container; nil before Run
}

// ID is the container's name for the runtime binary.
func (p *Prepared) ID() string { return p.id }

func (p *Prepared) path(name string) string { return filepath.Join(p.r.containers(), p.id, name) }

func (r *Runtime) prepare(ctx context.Context, s container.Spec) (_ *Prepared, err error) {
	fail := func(err error) (*Prepared, error) {
		return nil, fmt.Errorf("create a container of %s: %w", s.Image, err)
	}
	if ctx.Err() != nil {
		return fail(context.Cause(ctx))
	}
	if err := r.check(s); err != nil {
		return nil, err
	}
	unlock, err := r.store.Lock()
	if err != nil {
		return fail(err)
	}
	image, err := r.store.Image(s.Image)
	if err != nil {
		unlock()
		if errors.Is(err, rootfs.ErrNoImage) {
			err = container.ErrNoImage
		}
		return fail(err)
	}
	p := &Prepared{r: r, id: s.Name, spec: s, unlock: unlock, pidfd: -1}
	if p.id == "" {
		p.id = newID()
	}
	if err := r.makeDir(p.id, record{Labels: s.Labels}, 0o711); err != nil {
		unlock()
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("there is a container named %s already", p.id)
		}
		return fail(err)
	}
	if err := p.build(ctx, image); err != nil {
		return fail(errors.Join(err, p.Close()))
	}
	return p, nil
}

// check refuses what this runtime cannot do before anything is made.
func (r *Runtime) check(s container.Spec) error {
	if err := s.Check(); err != nil {
		return err
	}
	if err := container.CheckMounts(s.Mounts); err != nil {
		return err
	}
	if _, ours := s.IDs.(*reservation); s.IDs != nil && !ours {
		return fmt.Errorf("container: its ids are reserved with another runtime")
	}
	switch s.Network.Mode {
	case "", "bridge", "none", "host":
	default:
		return fmt.Errorf("container: network %q: without Docker there are bridge, none and host", s.Network.Mode)
	}
	for _, m := range s.Mounts {
		if m.Volume {
			continue
		}
		if _, err := os.Stat(m.Source); err != nil {
			return fmt.Errorf("container: mount %s: %w", m.Source, errors.Unwrap(err))
		}
	}
	return nil
}

// build fills the container's directory: the mounted root, the network namespace, the files, config.json.
func (p *Prepared) build(ctx context.Context, image *rootfs.Image) error {
	for _, m := range p.spec.Mounts {
		if m.Volume {
			if err := os.MkdirAll(filepath.Join(p.r.volumes(), m.Source), 0o755); err != nil {
				return err
			}
		}
	}
	if err := p.makeRoot(image.Lower); err != nil {
		return err
	}
	if err := p.makeNetwork(ctx); err != nil {
		return err
	}
	if err := p.writeFiles(); err != nil {
		return err
	}
	user, err := p.user(image.Config.Config)
	if err != nil {
		return err
	}
	spec, err := p.configure(image.Config, user)
	if err != nil {
		return err
	}
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.path("config.json"), b, 0o600); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// makeRoot mounts the root filesystem: of a user namespace of its own where that can be, else as it is on disk.
func (p *Prepared) makeRoot(lower []string) error {
	for _, d := range []string{"rootfs", "upper", "work"} {
		if err := errors.Join(os.Mkdir(p.path(d), 0o755), os.Chmod(p.path(d), 0o755)); err != nil {
			return err
		}
	}
	if p.bare = p.mapUsers(lower); p.bare == nil {
		return nil
	}
	if p.spec.IDs != nil {
		return p.bare // files are its already
	}
	// What an attempt has left there would be the container's to see.
	for _, d := range []string{"upper", "work"} {
		if err := errors.Join(os.RemoveAll(p.path(d)), os.Mkdir(p.path(d), 0o755), os.Chmod(p.path(d), 0o755)); err != nil {
			return err
		}
	}
	return rootfs.Overlay{Lower: lower, Upper: p.path("upper"), Work: p.path("work")}.Mount(p.path("rootfs"))
}

// root is where the root filesystem is mounted.
func (p *Prepared) root() string { return p.shown("rootfs") }

// shown is the path of what the container gets to see of its directory.
func (p *Prepared) shown(name string) string {
	if p.users != nil {
		return p.place.path(name)
	}
	return p.path(name)
}

// source is a mount's on this machine.
func (p *Prepared) source(m container.Mount) string {
	if m.Volume {
		return filepath.Join(p.r.volumes(), m.Source)
	}
	return m.Source
}

// State is container.Prepared's.
func (p *Prepared) State(context.Context) (container.State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil {
		return *p.last, nil
	}
	return container.State{Running: p.pidfd >= 0, OutOfMemory: p.pidfd >= 0 && p.killed()}, nil
}

// Close removes the container, killing what runs in it.
func (p *Prepared) Close() error {
	p.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
		defer cancel()
		p.mu.Lock()
		done := p.done
		p.mu.Unlock()
		if done != nil {
			p.kill(ctx)
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
		p.mu.Lock()
		p.closePidfd()
		p.mu.Unlock()
		wires := make(chan error, 1)
		go func() { wires <- p.net.close() }()
		p.gone = errors.Join(p.r.remove(ctx, p.id, false), <-wires)
		if p.users != nil {
			p.gone = errors.Join(p.gone, p.closeUsers()) // the network's among them
		} else if p.netns != nil {
			p.netns.Close()
		}
		p.unlock()
	})
	return p.gone
}

// kill ends the first process, and with it all others, until its Run is over. Before it exists it is what the binary has
// put into the control group that is killed, and the binary, when it misses that, gives up. It is not asked to delete the
// container meanwhile: runc takes the directory of one that has no state yet away from under the other runc that is about
// to start it, which then waits for it for ever, or leaves it running.
func (p *Prepared) kill(ctx context.Context) {
	for {
		p.mu.Lock()
		fd, done := p.pidfd, p.done
		if fd >= 0 {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // ESRCH: it has ended
		}
		p.mu.Unlock()
		killGroups(p.id)
		if done == nil {
			return
		}
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// groups are a container's control groups, as directories: one for each controller of cgroup v1, and that of v2.
func groups(id string) []string {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + groupOf(id)) // the pattern is a good one
	return append(dirs, "/sys/fs/cgroup"+groupOf(id))
}

// killGroups kills what is in a container's control groups.
func killGroups(id string) {
	for _, g := range groups(id) {
		b, err := os.ReadFile(filepath.Join(g, "cgroup.procs"))
		if err != nil {
			continue
		}
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL) // ESRCH: it has ended
			}
		}
	}
}

// remove takes away everything of a container whose processes are gone, or that a dead Slipway has left running.
func (r *Runtime) remove(ctx context.Context, id string, left bool) error {
	dir := filepath.Join(r.containers(), id)
	var errs []error
	if exists(filepath.Join(r.state(), id)) && (left || !r.forget(id)) {
		if err := r.runc(filepath.Join(dir, "delete.log")).Delete(ctx, id, &runc.DeleteOpts{Force: true}); err != nil && exists(filepath.Join(r.state(), id)) {
			errs = append(errs, fmt.Errorf("remove container %s: %w", id, err))
		}
	}
	if left {
		errs = append(errs, removeLink(dir))
	}
	if root := filepath.Join(dir, "rootfs"); exists(root) {
		errs = append(errs, rootfs.Unmount(root))
	}
	errs = append(errs, clearPlace(dir))
	if err := errors.Join(errs...); err != nil {
		return err // what is still mounted must not be walked into
	}
	if err := releaseIDs(dir); err != nil {
		return err
	}
	return r.discard(id)
}

// forget takes away what runc keeps of a container whose processes are gone, and says whether it could: a directory,
// and the control groups that we have named. runc does the same, but first it has to start, which takes longer than all
// else here.
func (r *Runtime) forget(id string) bool {
	if filepath.Base(r.binary) != "runc" {
		return false
	}
	for _, g := range groups(id) {
		if err := unix.Rmdir(g); err != nil && !errors.Is(err, unix.ENOENT) {
			return false // a process is on its way out, or it has groups of its own
		}
	}
	return os.RemoveAll(filepath.Join(r.state(), id)) == nil
}

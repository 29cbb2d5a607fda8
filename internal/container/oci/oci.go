// Package oci is container.Runtime on an OCI runtime binary (runc, crun, ...), with no daemon: a bundle, one overlay
// of the image's unpacked layers, and network by veth and NAT. It needs root. Images come from a rootfs.Store.
//
// A container has a user namespace where the kernel and the file systems allow it (Linux 5.19), whose ids are a range of
// this machine's that no other has. Nothing on disk is changed for that: the binary finds the root and the mounts, idmapped,
// below /run/slipway, and joins namespaces that are made before it runs, so that it need not know of idmapped mounts.
package oci

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/containerd/go-runc"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/rootfs"
)

// Options say where a Runtime keeps its things and what it drives.
type Options struct {
	// Dir is the runtime's own directory: bundles, state of the binary, volumes. Several processes may share it.
	Dir string
	// Store has the images that Specs name.
	Store *rootfs.Store
	// Binary is the runtime's name or path; empty: the first of Binaries that is there.
	Binary string
	// Allow are networks (CIDR) that builds may reach although they are private, link-local or the like.
	Allow []string
}

// Binaries are the runtimes that New looks for, in this order.
var Binaries = []string{"runc", "crun"}

// An UnavailableError says in one line why there can be no Runtime here, and what to do.
type UnavailableError struct{ Reason string }

func (e *UnavailableError) Error() string { return e.Reason }

// Runtime starts containers with one runtime binary. Safe for concurrent use.
type Runtime struct {
	dir    string
	store  *rootfs.Store
	binary string
	owner  container.Owner
	egress egress
	// crunKeeps says whether the binary is a crun that knows --keep; that of Debian 12 does not, and ends.
	crunKeeps func() bool

	mapped     atomic.Bool           // a container had a user namespace
	unmappable atomic.Pointer[error] // why none can have one

	wg   sync.WaitGroup // removals in the background
	mu   sync.Mutex
	errs []error // of removals in the background, for Close
}

var (
	_ container.Runtime  = (*Runtime)(nil)
	_ container.Preparer = (*Runtime)(nil)
	_ container.Sweeper  = (*Runtime)(nil)
	_ container.Prepared = (*Prepared)(nil)
	_ container.Wirer    = (*Prepared)(nil)
)

// Find looks for the runtime's binary and says in an *UnavailableError what is missing.
func Find(binary string) (string, error) {
	if os.Geteuid() != 0 {
		return "", &UnavailableError{"an OCI runtime without a daemon needs root: run slipway as root, or use Docker"}
	}
	names := Binaries
	if binary != "" {
		names = []string{binary}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
		// Debian puts runc into sbin, which is not on every PATH.
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && !strings.Contains(name, "/") {
				return path, nil
			}
		}
	}
	if binary != "" {
		return "", &UnavailableError{fmt.Sprintf("OCI runtime %q is not there: install it, or name another", binary)}
	}
	return "", &UnavailableError{"no OCI runtime is installed: apt-get install runc"}
}

// New makes a Runtime. Where there can be none the error is an *UnavailableError.
func New(o Options) (*Runtime, error) {
	binary, err := Find(o.Binary)
	if err != nil {
		return nil, err
	}
	e, err := newEgress(o.Allow)
	if err != nil {
		return nil, err
	}
	r := &Runtime{dir: o.Dir, store: o.Store, binary: binary, owner: container.Self(), egress: e}
	r.crunKeeps = sync.OnceValue(func() bool {
		if filepath.Base(binary) != "crun" {
			return false
		}
		help, _ := exec.Command(binary, "run", "--help").Output() // without an answer there is no such flag
		return bytes.Contains(help, []byte("--keep"))
	})
	for _, d := range []string{r.dir, r.containers(), r.volumes(), r.state()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the OCI runtime's directory: %w", err)
		}
	}
	return r, nil
}

func (r *Runtime) containers() string { return filepath.Join(r.dir, "containers") }
func (r *Runtime) volumes() string    { return filepath.Join(r.dir, "volumes") }
func (r *Runtime) state() string      { return filepath.Join(r.dir, "state") }

// Binary is the path of the runtime's binary.
func (r *Runtime) Binary() string { return r.binary }

// runc drives the binary; its words go to the log file of one container.
func (r *Runtime) runc(log string) *runc.Runc {
	return &runc.Runc{Command: r.binary, Root: r.state(), Log: log, LogFormat: runc.JSON, Setpgid: true}
}

// Close waits for removals that still go on. Its error says what could not be removed; a later Sweep will find it.
func (r *Runtime) Close() error {
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	err := errors.Join(r.errs...)
	r.errs = nil
	return err
}

// Run is container.Runtime's.
func (r *Runtime) Run(ctx context.Context, s container.Spec) error {
	p, err := r.prepare(ctx, s)
	if err != nil {
		return err
	}
	err = p.Run(ctx, s.Streams())
	if s.Name != "" || ctx.Err() != nil {
		// The name is free, or the cancelled container gone, when we return.
		return errors.Join(err, p.Close())
	}
	r.wg.Go(func() {
		if err := p.Close(); err != nil {
			r.mu.Lock()
			r.errs = append(r.errs, err)
			r.mu.Unlock()
		}
	})
	return err
}

// Prepare is container.Preparer's.
func (r *Runtime) Prepare(ctx context.Context, s container.Spec) (container.Prepared, error) {
	p, err := r.prepare(ctx, s)
	if err != nil {
		return nil, err // not p: a nil *Prepared would not be a nil interface
	}
	return p, nil
}

// record is what a container's directory says of it, in recordFile, for Sweep.
type record struct {
	Owner  string            `json:"owner"`
	Labels map[string]string `json:"labels,omitempty"`
}

const recordFile = "record.json"

// Sweep is container.Sweeper's.
func (r *Runtime) Sweep(ctx context.Context) ([]string, error) {
	var removed []string
	var errs []error
	err := r.each(func(id string, rec record) {
		o, err := container.ParseOwner(rec.Owner)
		if err != nil || !r.owner.Dead(o) {
			return
		}
		if err := r.remove(ctx, id, true); err != nil {
			errs = append(errs, err)
			return
		}
		removed = append(removed, id)
	})
	return removed, errors.Join(append(errs, err, r.sweepOthers())...)
}

// sweepOthers removes the directories of what was on its way in or out when its Slipway was killed. Nothing is mounted
// there.
func (r *Runtime) sweepOthers() error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), gonePrefix) || r.deadOnArrival(e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(r.dir, e.Name()))) // whoever was at it finds nothing more to do
		}
	}
	return errors.Join(errs...)
}

// deadOnArrival says of a directory's name that it is of a container to be, whose Slipway is dead.
func (r *Runtime) deadOnArrival(name string) bool {
	name, coming := strings.CutPrefix(name, comingPrefix)
	escaped, _, named := strings.Cut(name, "~")
	text, err := url.PathUnescape(escaped)
	if !coming || !named || err != nil {
		return false
	}
	o, err := container.ParseOwner(text)
	return err == nil && r.owner.Dead(o)
}

// comingPrefix begins the names of directories that will be a container's; the owner and something unique follow.
const comingPrefix = "coming-"

// makeDir makes a container's directory with its record. One is never without the other, whenever we are killed: who
// sweeps knows whose it is.
func (r *Runtime) makeDir(id string, rec record, mode fs.FileMode) error {
	rec.Owner = r.owner.String()
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	coming := filepath.Join(r.dir, comingPrefix+url.PathEscape(rec.Owner)+"~"+newID())
	if err = os.Mkdir(coming, mode); err == nil {
		err = os.WriteFile(filepath.Join(coming, recordFile), b, 0o600)
	}
	if err == nil {
		err = os.Rename(coming, filepath.Join(r.containers(), id)) // which fails where there is one: it is not empty
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(coming))
	}
	return nil
}

// discard takes away a container's directory, in which nothing is mounted. It goes from among the containers at once:
// what is half removed is nobody's container any more.
func (r *Runtime) discard(id string) error {
	gone := filepath.Join(r.dir, gonePrefix+newID())
	if err := os.Rename(filepath.Join(r.containers(), id), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(gone)
}

// gonePrefix begins the names of directories that were a container's and are on their way out.
const gonePrefix = "gone-"

// Labelled lists the containers, of any state, that carry a label with that value.
func (r *Runtime) Labelled(key, value string) ([]string, error) {
	var ids []string
	err := r.each(func(id string, rec record) {
		if rec.Labels[key] == value {
			ids = append(ids, id)
		}
	})
	return ids, err
}

func (r *Runtime) each(use func(id string, rec record)) error {
	dirs, err := os.ReadDir(r.containers())
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, d := range dirs {
		b, err := os.ReadFile(filepath.Join(r.containers(), d.Name(), recordFile))
		var rec record
		if err != nil || json.Unmarshal(b, &rec) != nil {
			continue // gone meanwhile
		}
		use(d.Name(), rec)
	}
	return nil
}

// RemoveVolume deletes a named volume; one that is not there is no error.
func (r *Runtime) RemoveVolume(_ context.Context, name string) error {
	if err := (container.Mount{Source: name, Target: "/x", Volume: true}).Check(); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(r.volumes(), name))
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

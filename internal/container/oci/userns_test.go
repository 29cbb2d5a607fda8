package oci_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/containertest"
	"github.com/slipway-build/slipway/internal/container/oci"
	"github.com/slipway-build/slipway/internal/rootfs"
)

// beyond is a user that has no place in a user namespace of ours: it runs without one.
const beyond = 70000

// firstID is the first of this machine's ids that a container in a user namespace has, as it tells itself.
func firstID(t testing.TB, out string) int {
	t.Helper()
	var inside, first, n int
	if _, err := fmt.Sscan(out, &inside, &first, &n); err != nil || inside != 0 || n != 1<<16 || first < 1<<16 {
		t.Fatalf("it has the ids %q (%v)", out, err)
	}
	return first
}

// hostIDs are the real, effective, saved and file system uid of a container's first process as this machine has them.
func hostIDs(t testing.TB, o oci.Options, id string) (uids [4]int) {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(o.Dir, "containers", id, "pid"))
	if err != nil {
		t.Error(err)
		return uids
	}
	status, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "status"))
	if err != nil {
		t.Error(err)
		return uids
	}
	_, after, _ := strings.Cut(string(status), "\nUid:")
	if _, err := fmt.Sscan(after, &uids[0], &uids[1], &uids[2], &uids[3]); err != nil {
		t.Error(err)
	}
	return uids
}

// TestUsers: a container's ids are nobody else's, and files keep on disk the owners that they have in it.
func TestUsers(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	rt := connect(t, o)
	if err := rt.UserNamespaces(); err != nil {
		t.Fatalf("this machine has no user namespaces for containers: %v", err)
	}
	const n = 4
	var mu sync.Mutex
	firsts := map[int]string{}
	var up, all sync.WaitGroup
	up.Add(n)
	for i := range n {
		all.Go(func() {
			r, w := io.Pipe()
			s := guest(id, "cat")
			s.Stdin = r
			s.Started = func(info container.Info) {
				if info.Without != "" {
					t.Errorf("started without %s", info.Without)
				}
				uids := hostIDs(t, o, info.ID)
				mu.Lock()
				defer mu.Unlock()
				if first := uids[0] - 1000; uids[0] != uids[1] || first < 0x7000_0000 || firsts[first] != "" {
					t.Errorf("container %d has uids %v here; others have %v", i, uids, firsts)
				} else {
					firsts[first] = info.ID
				}
				go func() { up.Done(); up.Wait(); w.Close() }() // all run at once
			}
			if err := rt.Run(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var out bytes.Buffer
	s := guest(id, "read", "/proc/self/uid_map")
	s.Stdout = &out
	if err := rt.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	firstID(t, out.String())
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
	ended, err := rt.Labelled("", "")
	if err != nil || len(ended) > 0 {
		t.Errorf("left: %v (%v)", ended, err)
	}
}

// TestSetuid: who becomes root in a container is nobody on this machine.
func TestSetuid(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, _ := place(t)
	id := withSetuid(t, o)
	rt := connect(t, o)
	defer rt.Close()
	s := guest(id, "cat")
	s.Argv[0] = "/setuid"
	s.AllowNewPrivileges = true
	name := make(chan string, 1) // told once
	s.Started = func(info container.Info) { name <- info.ID }
	in, typing := io.Pipe()
	heard, out := io.Pipe()
	s.Stdin, s.Stdout = in, out
	go func() {
		defer typing.Close()
		_, werr := typing.Write([]byte("x"))
		if _, err := heard.Read(make([]byte, 1)); errors.Join(werr, err) != nil {
			t.Error(werr, err)
		}
		// It has answered: it is the program by now, and no more what the binary started it with.
		if uids := hostIDs(t, o, <-name); uids[1] < 0x7000_0000 || uids[0] != uids[1]+1000 {
			t.Errorf("a setuid program of root runs as %v here", uids)
		}
	}()
	if err := rt.Run(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// withSetuid is the suite's image with the guest once more, as a setuid program of root's.
func withSetuid(t *testing.T, o oci.Options) (id string) {
	t.Helper()
	base := containertest.Rootfs(t)
	var more bytes.Buffer
	w := tar.NewWriter(&more)
	for r := tar.NewReader(bytes.NewReader(base)); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != "guest" {
			continue
		}
		h.Name, h.Mode = "setuid", 0o4755
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, r); err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var layers []v1.Layer
	for _, b := range [][]byte{base, more.Bytes()} {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	if id, err = o.Store.Add(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestReserve: files that were made a container's before there was one are its, and what is mounted over them later shows
// in it with the owners that it has.
func TestReserve(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	rt := connect(t, o)
	ids, err := rt.Reserve(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	var errs []error
	for _, name := range []string{"lower", "upper", "work", "seen"} {
		errs = append(errs, os.Mkdir(at(name), 0o700))
	}
	errs = append(errs, os.WriteFile(at("lower/file"), []byte("late"), 0o600), os.Chown(at("lower"), 1000, 1000), os.Chown(at("lower/file"), 1000, 1000),
		os.Chown(at("upper"), ids.First()+1000, ids.First()+1000), rootfs.BindShared(at("upper"), at("seen")))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	with := func(args ...string) container.Spec {
		s := guest(id, args...)
		s.IDs, s.Mounts = ids, []container.Mount{{Source: at("seen"), Target: "/own", Own: true, Slave: true}}
		return s
	}
	if err := rt.Run(t.Context(), with("write", "/own/made", "x")); err != nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(at("upper/made"), &st); err != nil || int(st.Uid) != ids.First()+1000 {
		t.Errorf("what it made is %d's on disk (%v), want %d + 1000", st.Uid, err, ids.First())
	}
	var out bytes.Buffer
	s := with("await", "/own/file")
	s.Stdout = &out
	s.Started = func(container.Info) {
		over := rootfs.Overlay{Lower: []string{at("lower")}, Upper: at("upper"), Work: at("work"), IDs: ids.Namespace()}
		if err := over.Mount(at("seen")); err != nil {
			t.Error(err)
		}
	}
	if err := rt.Run(t.Context(), s); err != nil || strings.TrimSpace(out.String()) != "late" {
		t.Errorf("mounted later: %q, %v", out.String(), err)
	}
	bare := with("exit", "0")
	bare.IDs = nil
	bare.Started = func(i container.Info) {
		if i.Without == "" {
			t.Error("files of reserved ids were given to other ids")
		}
	}
	if err := errors.Join(rt.Run(t.Context(), bare), rt.Close(), rootfs.Unmount(at("seen")), ids.Close(), ids.Close()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(o.Dir, "containers")); err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}

// TestWithout: what cannot be had in a user namespace is had without one, and that is said.
func TestWithout(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	rt := connect(t, o)
	defer rt.Close()
	unmappable := t.TempDir()
	if err := unix.Mount("overlay", unmappable, "overlay", 0, "lowerdir=/usr:/etc"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(unmappable, unix.MNT_DETACH)
	mounted := guest(id, "read", "/proc/self/uid_map")
	mounted.Mounts = []container.Mount{{Source: unmappable, Target: "/x"}}
	far := guest(id, "read", "/proc/self/uid_map")
	far.UID = beyond
	for why, s := range map[string]container.Spec{unmappable: mounted, fmt.Sprint(beyond): far} {
		var out bytes.Buffer
		var without string
		s.Stdout, s.Started = &out, func(i container.Info) { without = i.Without }
		if err := rt.Run(t.Context(), s); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(without, "a user namespace: ") || !strings.Contains(without, why) || strings.Contains(without, "\n") {
			t.Errorf("it says %q, want a line with %q", without, why)
		}
		if f := strings.Fields(out.String()); len(f) != 3 || f[0] != "0" || f[1] != "0" {
			t.Errorf("its ids are %q", f)
		}
	}
}

// BenchmarkRun is create, start, wait and removal of an empty container, with and without a user namespace. What it
// takes of processors says more than time on a machine that does other things too.
func BenchmarkRun(b *testing.B) {
	o, id := place(b)
	rt := connect(b, o)
	for name, uid := range map[string]int{"users": 1000, "bare": beyond} {
		b.Run(name, func(b *testing.B) {
			s := guest(id, "exit", "0")
			s.UID = uid
			s.Mounts = []container.Mount{{Source: b.TempDir(), Target: "/a"}, {Source: b.TempDir(), Target: "/b"}, {Source: b.TempDir(), Target: "/c"}}
			before := cpuTime(b)
			for b.Loop() {
				if err := rt.Run(b.Context(), s); err != nil {
					b.Fatal(err)
				}
			}
			if err := rt.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// BenchmarkPrepare is the part of BenchmarkRun that is ours and not the binary's: creation and removal.
func BenchmarkPrepare(b *testing.B) {
	o, id := place(b)
	rt := connect(b, o)
	for name, uid := range map[string]int{"users": 1000, "bare": beyond} {
		b.Run(name, func(b *testing.B) {
			s := guest(id, "exit", "0")
			s.UID = uid
			s.Mounts = []container.Mount{{Source: b.TempDir(), Target: "/a"}, {Source: b.TempDir(), Target: "/b"}, {Source: b.TempDir(), Target: "/c"}}
			for b.Loop() {
				p, err := rt.Prepare(b.Context(), s)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// cpuTime is what this process and its children have taken of the processors.
func cpuTime(b *testing.B) (used time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		used += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return used
}

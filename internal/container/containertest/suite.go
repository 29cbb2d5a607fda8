// Package containertest is the suite that every container.Runtime passes, with
// real containers of a small static guest program. It is not for users of a
// Runtime: they need no fake, engines are cheap enough.
package containertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/internal/container"
)

// Label is on every container of the suite; its value is the test's name.
const Label = "build.slipway.containertest"

// Subject is a Runtime to be judged.
type Subject struct {
	// New makes a Runtime. The suite closes it.
	New func(t *testing.T) container.Runtime
	// Image is one that New's runtimes have, with the files of Rootfs.
	Image string
	// Left lists the containers, of any state, that carry Label with value.
	Left func(t *testing.T, value string) []string
	// Held lists what the machine has for a container, by its id, at this moment: control groups, mounts, directories,
	// networks. Of a container that runs there is something, of one that is gone nothing may be. Called at any time, by
	// several goroutines.
	Held func(t testing.TB, id string) []string
}

// Guest builds the guest program and returns its path.
func Guest(t testing.TB) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "github.com/slipway-build/slipway/internal/container/containertest/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, b)
	}
	return out
}

// Rootfs is the suite's root filesystem as a tar: /guest, a file that is no
// program, and /tmp.
func Rootfs(t testing.TB) []byte {
	t.Helper()
	program, err := os.ReadFile(Guest(t))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h tar.Header, body []byte) {
		h.Size, h.Format = int64(len(body)), tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil)
	add(tar.Header{Name: "guest", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	add(tar.Header{Name: "text", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("no program\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Run judges s. It needs half a minute and 64 MiB.
func Run(t *testing.T, s Subject) {
	tests := map[string]func(*bench){
		"process":    process,
		"mounts":     mounts,
		"later":      later,
		"privileges": privileges,
		"start":      start,
		"exit":       exit,
		"streams":    streams,
		"volume":     volume,
		"terminal":   terminal,
		"memory":     memory,
		"cpu":        cpu,
		"pids":       pids,
		"time":       wallTime,
		"disk":       disk,
		"tree":       tree,
		"cancel":     cancel,
		"grace":      grace,
		"network":    network,
		"prepare":    prepare,
		"leaks":      leaks,
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		test := tests[name]
		t.Run(name, func(t *testing.T) {
			idle := goleak.IgnoreCurrent()
			b := &bench{T: t, Subject: s, rt: s.New(t)}
			test(b)
			if err := b.rt.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if left := s.Left(t, t.Name()); len(left) > 0 {
				t.Errorf("%d containers left behind: %v", len(left), left)
			}
			if err := goleak.Find(idle); err != nil {
				t.Error(err)
			}
		})
	}
}

// bench is one test and its runtime.
type bench struct {
	*testing.T
	Subject
	rt container.Runtime
}

// spec runs the guest with args as an ordinary user.
func (b *bench) spec(args ...string) container.Spec {
	return container.Spec{
		Image: b.Image, Argv: append([]string{"/guest"}, args...),
		UID: 1000, GID: 1001,
		Network: container.Network{Mode: "none"},
		Labels:  map[string]string{Label: b.Name()},
	}
}

// run runs s for at most a minute and returns what it wrote.
func (b *bench) run(s container.Spec) (stdout, stderr string, err error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	var o, e bytes.Buffer
	if s.Stdout == nil {
		s.Stdout = &o
	}
	if s.Stderr == nil {
		s.Stderr = &e
	}
	err = b.rt.Run(ctx, s)
	return o.String(), e.String(), err
}

// want runs s, which must end well, and compares its output.
func (b *bench) want(what string, s container.Spec, want string) {
	b.Helper()
	got, stderr, err := b.run(s)
	if err != nil {
		b.Errorf("%s: %v\n%s", what, err, stderr)
		return
	}
	if strings.TrimSpace(got) != want {
		b.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// ends runs s, which must end with an ExitError.
func (b *bench) ends(s container.Spec) (*container.ExitError, string) {
	b.Helper()
	stdout, stderr, err := b.run(s)
	e, ok := errors.AsType[*container.ExitError](err)
	if !ok {
		b.Fatalf("got %v, want an exit error\n%s%s", err, stdout, stderr)
	}
	return e, stdout
}

// dir is a directory that the container's user may write to.
func (b *bench) dir() string {
	b.Helper()
	dir := b.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		b.Fatal(err)
	}
	// Its parents are the test's own and closed to others: bind mounts do not care.
	return dir
}

// size is a file's, 0 when absent.
func size(file string) int64 {
	st, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return st.Size()
}

// quiet fails when file still grows: something of the container lives.
func (b *bench) quiet(file string) {
	b.Helper()
	before := size(file)
	if before == 0 {
		b.Error("the daemon never ran")
	}
	time.Sleep(150 * time.Millisecond)
	if after := size(file); after != before {
		b.Errorf("a process of the container still writes (%d -> %d bytes)", before, after)
	}
}

func lines(n int, prefix string) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "%s %d\n", prefix, i)
	}
	return s.String()
}

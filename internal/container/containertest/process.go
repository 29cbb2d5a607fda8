package containertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
)

// process: what the first process finds around it.
func process(b *bench) {
	s := b.spec("env")
	s.Env = []string{"B=two words", "A=", "C=ü=x"}
	out, _, err := b.run(s)
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range []string{"A=", "B=two words", "C=ü=x"} {
		if !slices.Contains(strings.Split(out, "\n"), line) {
			b.Errorf("environment lacks %q:\n%s", line, out)
		}
	}
	s = b.spec("where")
	s.Dir, s.Groups = "/tmp", []int{7, 8}
	// Some runtimes list the first group among the others.
	out, _, err = b.run(s)
	if err != nil {
		b.Fatal(err)
	}
	if out = strings.Replace(out, " 1001]", "]", 1); out != "dir=/tmp uid=1000 gid=1001 groups=[7 8] host=slipway\n" {
		b.Errorf("got %q", out)
	}
	s = b.spec("say", "a b", "", "-c", "$HOME")
	b.want("arguments", s, "a b  -c $HOME")

	s = b.spec("write", "/tmp/x", "x")
	b.want("writable root", s, "")
	s.ReadOnlyRoot = true
	if e, _ := b.ends(s); e.Code != 65 {
		b.Errorf("read-only root: %v", e)
	}
	s.Tmpfs = map[string]int64{"/tmp": 1 << 20}
	b.want("tmpfs", s, "")
}

// mounts: read-only, read-write, files, missing sources, and never the engine.
func mounts(b *bench) {
	rw, ro := b.dir(), b.dir()
	if err := os.WriteFile(filepath.Join(ro, "in:put"), []byte("hello"), 0o644); err != nil {
		b.Fatal(err)
	}
	both := []container.Mount{{Source: rw, Target: "/rw"}, {Source: ro, Target: "/ro/deep", ReadOnly: true},
		{Source: filepath.Join(ro, "in:put"), Target: "/file", ReadOnly: true}}
	mounted := func(args ...string) container.Spec { s := b.spec(args...); s.Mounts = both; return s }

	b.want("read", mounted("read", "/ro/deep/in:put"), "hello")
	b.want("read a file", mounted("read", "/file"), "hello")
	b.want("write", mounted("write", "/rw/out", "bye"), "")
	if got, err := os.ReadFile(filepath.Join(rw, "out")); err != nil || string(got) != "bye" {
		b.Errorf("host sees %q, %v", got, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(rw, "out"), &st); err != nil || st.Uid != 1000 || st.Gid != 1001 {
		b.Errorf("on the host it is %d:%d's (%v), want 1000:1001", st.Uid, st.Gid, err)
	}
	if os.Geteuid() == 0 {
		own := filepath.Join(ro, "own")
		if err := errors.Join(os.WriteFile(own, []byte("mine"), 0o600), os.Chown(own, 1000, 1001)); err != nil {
			b.Fatal(err)
		}
		b.want("read what is its user's on the host", mounted("read", "/ro/deep/own"), "mine")
		if err := os.Chown(own, 1002, 1001); err != nil {
			b.Fatal(err)
		}
		if e, _ := b.ends(mounted("read", "/ro/deep/own")); e.Code != 65 {
			b.Errorf("read what is another user's on the host: %v", e)
		}
	}
	for _, file := range []string{"/ro/deep/out", "/file"} {
		if e, _ := b.ends(mounted("write", file, "x")); e.Code != 65 {
			b.Errorf("write to %s: %v", file, e)
		}
	}
	refused := func(what string, m container.Mount) {
		s := b.spec("exit", "0")
		s.Mounts = []container.Mount{m}
		if _, _, err := b.run(s); err == nil {
			b.Errorf("%s: allowed", what)
		}
	}
	absent := filepath.Join(rw, "absent")
	refused("missing source", container.Mount{Source: absent, Target: "/x"})
	if _, err := os.Stat(absent); err == nil {
		b.Error("a missing mount source was made")
	}
	refused("relative source", container.Mount{Source: "tmp", Target: "/x"})
	refused("target /", container.Mount{Source: rw, Target: "/x/.."})
	refused("/", container.Mount{Source: "/", Target: "/host", ReadOnly: true})
	refused("engine's directory", container.Mount{Source: "/var/run", Target: "/x"})
}

// later: what is mounted on a slave's source while the container runs shows in it, and goes again with the source.
func later(b *bench) {
	if os.Geteuid() != 0 {
		b.Log("an ordinary user mounts nothing")
		return
	}
	what, on := b.dir(), b.dir()
	if err := os.WriteFile(filepath.Join(what, "file"), []byte("late"), 0o644); err != nil {
		b.Fatal(err)
	}
	s := b.spec("await", "/later/file")
	s.Mounts = []container.Mount{{Source: on, Target: "/later", Slave: true}}
	defer func() {
		for range 2 {
			if err := unix.Unmount(on, unix.MNT_DETACH); err != nil {
				b.Error(err)
			}
		}
	}()
	if err := errors.Join(unix.Mount(on, on, "", unix.MS_BIND, ""), unix.Mount("", on, "", unix.MS_PRIVATE, ""), unix.Mount("", on, "", unix.MS_SHARED, "")); err != nil {
		b.Fatal(err)
	}
	s.Started = func(container.Info) {
		if err := unix.Mount(what, on, "", unix.MS_BIND, ""); err != nil {
			b.Error(err)
		}
	}
	b.want("mounted while it runs", s, "late")
}

// volume: a named volume keeps what was written.
func volume(b *bench) {
	name := fmt.Sprintf("slipway-containertest-%d", os.Getpid())
	with := func(args ...string) container.Spec {
		s := b.spec(args...)
		s.UID, s.GID = 0, 0
		s.Mounts = []container.Mount{{Source: name, Target: "/v", Volume: true}}
		return s
	}
	if r, ok := b.rt.(interface {
		RemoveVolume(ctx context.Context, name string) error
	}); ok {
		defer func() {
			_ = b.rt.Close() // the containers are gone, so the volume is free
			if err := r.RemoveVolume(b.Context(), name); err != nil {
				b.Error(err)
			}
		}()
	}
	b.want("write to volume", with("write", "/v/x", "kept"), "")
	b.want("read from volume", with("read", "/v/x"), "kept")
}

// privileges: none, as the kernel tells it.
func privileges(b *bench) {
	for _, uid := range []int{1000, 0} {
		s := b.spec("status")
		s.UID = uid
		out, _, err := b.run(s)
		if err != nil {
			b.Fatal(err)
		}
		facts := map[string]string{}
		for line := range strings.Lines(out) {
			k, v, _ := strings.Cut(line, ":")
			facts[k] = strings.TrimSpace(v)
		}
		want := map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none}
		for k, v := range want {
			if facts[k] != v {
				b.Errorf("uid %d: %s is %q, want %q", uid, k, facts[k], v)
			}
		}
	}
	s := b.spec("read", "/proc/keys")
	s.UID = 0
	b.want("the kernel's keys", s, "") // masked
	s = b.spec("status")
	s.UID, s.Capabilities = 0, []string{"CHOWN"}
	if out, _, err := b.run(s); err != nil || !strings.Contains(out, "CapEff:\t0000000000000001") {
		b.Errorf("root that keeps CHOWN: %v\n%s", err, out)
	}
}

const none = "0000000000000000"

// start: what cannot begin is told apart from what ended badly.
func start(b *bench) {
	for _, argv := range [][]string{{"/absent"}, {"absent"}, {"/text"}, {"/tmp"}} {
		s := b.spec()
		s.Argv = argv
		_, _, err := b.run(s)
		e, ok := errors.AsType[*container.StartError](err)
		if !ok || e.Path != argv[0] || strings.ContainsAny(e.Error(), "\n") || len(e.Reason) > 100 {
			b.Errorf("%s: got %v, want a start error of one short line", argv[0], err)
		}
	}
	s := b.spec("exit", "0")
	s.Image = "sha256:" + strings.Repeat("0", 64)
	if _, _, err := b.run(s); !errors.Is(err, container.ErrNoImage) {
		b.Errorf("absent image: got %v", err)
	}
	s = b.spec("exit", "0")
	s.Network.Mode = "absent-network"
	if _, _, err := b.run(s); err == nil {
		b.Error("absent network: no error")
	}
	s.Network.Mode = "container:x"
	if _, _, err := b.run(s); err == nil {
		b.Error("another container's network: no error")
	}
}

// exit: codes and signals arrive.
func exit(b *bench) {
	for _, code := range []int{1, 3, 127, 255} {
		if e, _ := b.ends(b.spec("exit", fmt.Sprint(code))); e.Code != code || e.Signal != "" || e.OutOfMemory {
			b.Errorf("exit %d: %+v", code, e)
		}
	}
	if e, _ := b.ends(b.spec("segv")); e.Code != 139 || e.Signal != "SIGSEGV" {
		b.Errorf("segmentation fault: %+v", e)
	}
}

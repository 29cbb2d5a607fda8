package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// The test binary plays the helpers too: they own their process, so they need one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case "agent":
			r, w, terr := TakeStdio()
			err = errors.Join(terr, ServeAgent(r, w, os.Getenv("TEST_ROOT"), os.Environ()))
		case "collector":
			r, w, terr := TakeStdio()
			err = errors.Join(terr, ServeCollector(r, w))
		case "export":
			err = exportAlone(os.Stdin, os.Stdout)
		case "crash":
			panic("deliberate")
		case "garbage":
			fmt.Println("hello, I am a shell")
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// proc is an agent in a process of its own.
type proc struct {
	*Agent
	cmd *exec.Cmd
}

// startAgent starts an agent; as pid 1 of a namespace of its own where first is set, as in a container.
func startAgent(t *testing.T, first bool, env ...string) proc {
	t.Helper()
	return startAgentAs(t, first, uint32(os.Getuid()), env...)
}

func startAgentAs(t *testing.T, first bool, uid uint32, env ...string) proc {
	t.Helper()
	cmd := exec.Command(self(t, uid), "agent")
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != uint32(os.Getuid()) {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	if first {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
		if os.Geteuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		}
	}
	w, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a, err := ConnectAgent(t.Context(), r, w)
	if err != nil {
		cmd.Process.Kill()
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); cmd.Process.Kill(); cmd.Wait() })
	return proc{a, cmd}
}

// self is this test's binary at a path that uid can reach.
func self(t *testing.T, uid uint32) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if uid == uint32(os.Getuid()) {
		return exe
	}
	to := filepath.Join(t.TempDir(), "agent.test")
	if err := os.WriteFile(to, readFile(t, exe), 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(to); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// both runs a test with the agent as pid 1 and as an ordinary process.
func both(t *testing.T, f func(t *testing.T, first bool)) {
	t.Run("pid1", func(t *testing.T) { f(t, true) })
	t.Run("child", func(t *testing.T) { f(t, false) })
}

func shell(script string, args ...string) builder.Cmd {
	return builder.Cmd{
		Phase: "build", Buildpack: cnb.Ref{ID: "a/b", Version: "1"}, Path: "/bin/sh",
		Args: append([]string{"-c", script, "sh"}, args...), Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Dir: "/",
	}
}

func runText(t *testing.T, a *Agent, cmd builder.Cmd) (stdout, stderr string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = a.Run(t.Context(), cmd)
	return o.String(), e.String(), err
}

func TestRun(t *testing.T) {
	both(t, func(t *testing.T, first bool) {
		a := startAgent(t, first)
		cmd := shell(`echo "$1 $X $PWD"; echo oops >&2; read line; echo "stdin: $?"`, "arg with space")
		cmd.Env, cmd.Dir = append(cmd.Env, "X=value"), "/usr"
		out, errs, err := runText(t, a.Agent, cmd)
		if out != "arg with space value /usr\nstdin: 1\n" || errs != "oops\n" || err != nil {
			t.Errorf("got %q, %q, %v", out, errs, err)
		}
		_, _, err = runText(t, a.Agent, shell("exit 100"))
		if e, ok := errors.AsType[*builder.ExitError](err); !ok || e.Code != 100 || e.Buildpack.ID != "a/b" || e.Phase != "build" {
			t.Errorf("exit 100: %v", err)
		}
		_, _, err = runText(t, a.Agent, shell("kill -TERM $$"))
		if e, ok := errors.AsType[*builder.ExitError](err); !ok || e.Code != 128+15 || e.Signal != "SIGTERM" {
			t.Errorf("killed by TERM: %v", err)
		}
		var merged bytes.Buffer
		cmd = shell("for i in 1 2 3; do echo out; echo err >&2; done")
		cmd.Stdout, cmd.Stderr = &merged, &merged
		if err := a.Run(t.Context(), cmd); err != nil || merged.String() != strings.Repeat("out\nerr\n", 3) {
			t.Errorf("one writer for both: %q, %v", merged.String(), err)
		}
		took, err := a.RunTimed(t.Context(), shell("sleep 0.1"))
		if err != nil || took < 100*time.Millisecond || took > 5*time.Second {
			t.Errorf("took %v, %v", took, err)
		}
	})
}

// What runs must not find the protocol, nor any other way into the agent. Its user is the agent's, and not root.
func TestProtocolIsOutOfReach(t *testing.T) {
	a := startAgentAs(t, false, ordinaryUser(), "CANARY=in-the-agent-only")
	out, _, err := runText(t, a.Agent, shell(`id -u; for f in /proc/self/fd/*; do readlink $f; done
		for f in environ maps mem fd/10 fd/11; do head -c 1 /proc/$PPID/$f >/dev/null 2>&1 && echo "readable: $f"; done
		ls /proc/$PPID/fd >/dev/null 2>&1 && echo "listed: fd"; true`))
	if err != nil {
		t.Fatal(err)
	}
	pipes := 0
	for i, l := range strings.Split(strings.TrimSpace(out), "\n") {
		switch {
		case i == 0 && l != "0" && l != "": // the user
		case strings.HasPrefix(l, "pipe:"):
			pipes++
		case l != "/dev/null" && !strings.HasPrefix(l, "/proc/") && l != "":
			t.Errorf("a child sees %q", l)
		}
	}
	if pipes != 2 {
		t.Errorf("a child has %d pipes:\n%s", pipes, out)
	}
}

// ordinaryUser is a user that is not root: this process's where it is none.
func ordinaryUser() uint32 {
	if uid := os.Getuid(); uid != 0 {
		return uint32(uid)
	}
	return 65534
}

// A grandchild that left its session and its group must be dead when Run returns.
func TestDaemonIsDead(t *testing.T) {
	both(t, func(t *testing.T, first bool) {
		a := startAgent(t, first)
		dir := t.TempDir()
		beat := filepath.Join(dir, "beat")
		script := `setsid sh -c '(while :; do echo x >> "$1"; sleep 0.01; done) & exit 0' sh "$1" & i=0; until test -s "$1"; do i=$((i + 1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done`
		if _, _, err := runText(t, a.Agent, shell(script, beat)); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(beat)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(80 * time.Millisecond)
		if after, _ := os.ReadFile(beat); len(after) != len(before) {
			t.Errorf("the daemon still writes: %d bytes, then %d", len(before), len(after))
		}
	})
}

// A process that keeps the pipe open must not keep Run from returning, while another run is under way.
func TestHeldPipe(t *testing.T) {
	both(t, func(t *testing.T, first bool) {
		a := startAgent(t, first)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		other := make(chan error, 1)
		started := make(chan struct{})
		long := shell("echo up; exec sleep 60")
		long.Stdout = writerFunc(func(p []byte) (int, error) { close(started); return len(p), nil })
		go func() { other <- a.Run(ctx, long) }()
		<-started
		begin := time.Now()
		out, _, err := runText(t, a.Agent, shell("setsid sleep 60 & echo all of it"))
		if out != "all of it\n" || err != nil || time.Since(begin) > 20*time.Second {
			t.Errorf("got %q, %v after %v", out, err, time.Since(begin))
		}
		cancel()
		if err := <-other; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled run: %v", err)
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestManyRunsSideBySide(t *testing.T) {
	both(t, func(t *testing.T, first bool) {
		a := startAgent(t, first)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				out, _, err := runText(t, a.Agent, shell("echo $1; exit $1", strconv.Itoa(i)))
				e, _ := errors.AsType[*builder.ExitError](err)
				if out != fmt.Sprintln(i) || (i == 0) != (err == nil) || i > 0 && (e == nil || e.Code != i) {
					t.Errorf("run %d: %q, %v", i, out, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestLargeOutput(t *testing.T) {
	a := startAgent(t, true)
	const size = 100 << 20
	var got countingWriter
	cmd := shell("head -c " + strconv.Itoa(size) + " /dev/zero")
	cmd.Stdout = &got
	begin := time.Now()
	if err := a.Run(t.Context(), cmd); err != nil || got != size {
		t.Fatalf("%d bytes, %v", got, err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("100 MiB of output took %v", took)
	}
}

type countingWriter int64

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}

// The program waits for its slow reader, and others do not.
func TestSlowOutputReader(t *testing.T) {
	a := startAgent(t, true)
	release := make(chan struct{})
	slow := shell("head -c 4194304 /dev/zero")
	var n countingWriter
	slow.Stdout = writerFunc(func(p []byte) (int, error) { <-release; return n.Write(p) })
	done := make(chan error, 1)
	go func() { done <- a.Run(t.Context(), slow) }()
	for range 10 {
		if out, _, err := runText(t, a.Agent, shell("echo quick")); out != "quick\n" || err != nil {
			t.Errorf("beside a slow one: %q, %v", out, err)
		}
	}
	select {
	case err := <-done:
		t.Errorf("ended before its output was read: %v", err)
	default:
	}
	close(release)
	if err := <-done; err != nil || n != 4194304 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestCancelKillsAtOnce(t *testing.T) {
	both(t, func(t *testing.T, first bool) {
		a := startAgent(t, first)
		why := errors.New("stopped by the user")
		ctx, cancel := context.WithCancelCause(t.Context())
		cmd := shell("trap '' TERM INT HUP; echo up; while :; do sleep 1; done")
		cmd.Stdout = writerFunc(func(p []byte) (int, error) { cancel(why); return len(p), nil })
		begin := time.Now()
		if err := a.Run(ctx, cmd); err != why {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("cancel took %v", took)
		}
		if out, _, err := runText(t, a.Agent, shell("echo next")); out != "next\n" || err != nil {
			t.Errorf("after a cancelled run: %q, %v", out, err)
		}
	})
}

// The agent, pid 1, outlives every signal that what it runs may send it, and a process that dies of a fork bomb's
// limit ends like any other.
func TestHostileChildren(t *testing.T) {
	a := startAgent(t, true)
	if _, _, err := runText(t, a.Agent, shell("for s in HUP INT QUIT ABRT SEGV BUS FPE ILL TRAP USR1 USR2 PIPE ALRM TERM CHLD CONT STOP KILL TSTP SYS XCPU; do kill -$s 1; done; true")); err != nil {
		t.Errorf("signals: %v", err)
	}
	// 200 processes that fork on, each in a session of its own, until all are killed.
	bomb := `bomb() { setsid sh -c 'while :; do sleep 5 & sleep 5 & wait; done' & }; i=0; while [ $i -lt 200 ]; do bomb; i=$((i+1)); done; exit 3`
	_, _, err := runText(t, a.Agent, shell(bomb))
	if e, ok := errors.AsType[*builder.ExitError](err); !ok || e.Code != 3 {
		t.Errorf("bomb: %v", err)
	}
	if left := descendants(a.cmd.Process.Pid); len(left) > 0 {
		t.Errorf("%d processes are left", len(left))
	}
}

func TestAgentDiesWithItsParent(t *testing.T) {
	both(t, func(t *testing.T, first bool) {
		a := startAgent(t, first)
		beat := filepath.Join(t.TempDir(), "beat")
		up := make(chan struct{})
		cmd := shell(`echo up; setsid sh -c 'while :; do echo x >> "$1"; sleep 0.01; done' sh "$1" & wait`, beat)
		cmd.Stdout = writerFunc(func(p []byte) (int, error) { close(up); return len(p), nil })
		done := make(chan error, 1)
		go func() { done <- a.Run(t.Context(), cmd) }()
		<-up
		a.Close()
		if err := <-done; err == nil || !strings.Contains(err.Error(), "agent in the build container is gone") {
			t.Errorf("run on a closed agent: %v", err)
		}
		a.cmd.Wait()
		before, _ := os.ReadFile(beat)
		time.Sleep(60 * time.Millisecond)
		if after, _ := os.ReadFile(beat); len(after) != len(before) {
			t.Error("a process outlived the agent")
		}
	})
}

func TestAgentKilled(t *testing.T) {
	a := startAgent(t, true)
	cmd := shell("echo up; sleep 60")
	cmd.Stdout = writerFunc(func(p []byte) (int, error) { a.cmd.Process.Kill(); return len(p), nil })
	if err := a.Run(t.Context(), cmd); err == nil || !strings.Contains(err.Error(), "the agent in the build container is gone: it closed the connection") {
		t.Errorf("got %v", err)
	}
}

func TestNotAnAgent(t *testing.T) {
	cmd := exec.Command("/bin/echo", "exec format error")
	r, _ := cmd.StdoutPipe()
	w, _ := cmd.StdinPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	if _, err := ConnectAgent(t.Context(), r, w); err == nil || !strings.Contains(err.Error(), `it says "exec format error\n"`) {
		t.Errorf("got %v", err)
	}
	if _, err := ConnectAgent(t.Context(), strings.NewReader(""), discard{}); err == nil || !strings.Contains(err.Error(), "it closed the connection") {
		t.Errorf("got %v", err)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (discard) Close() error                { return nil }

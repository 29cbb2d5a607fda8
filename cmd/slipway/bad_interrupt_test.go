package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds slipway as make build does, once, where everybody may run it.
func (y *yard) binary(t *testing.T) string {
	t.Helper()
	path, err := y.built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// buildBinary is the work of binary.
func buildBinary(dir string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		at := filepath.Join(dir, "slipway")
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", at, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", &outputError{err, string(out)}
		}
		return at, nil
	})
}

type outputError struct {
	err error
	out string
}

func (e *outputError) Error() string { return e.err.Error() + ": " + e.out }

// syncBuffer is a buffer that one goroutine writes and another reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Ctrl-C ends a build in every phase, and nothing of it stays.
func interruptedBuilds(t *testing.T, y *yard) {
	big := buildpack(t, "big", "", `mkdir "$CNB_LAYERS_DIR/dep"; printf '[types]\nlaunch = true\n' >"$CNB_LAYERS_DIR/dep.toml"
dd if=/dev/urandom of="$CNB_LAYERS_DIR/dep/file" bs=1M count=400 2>/dev/null`)
	for _, c := range []struct {
		name, pack, at string
		signal         syscall.Signal
		code           int
	}{
		{"prepare", fixture(t, "noop"), "===> PREPARING", syscall.SIGINT, 130},
		{"detect", fixture(t, "hostile/detect-hangs"), "===> DETECTING", syscall.SIGINT, 130},
		{"build", buildpack(t, "sleeper", "", "trap '' INT TERM; echo asleep; sleep 1000 & wait"), "asleep", syscall.SIGINT, 130},
		{"terminated", buildpack(t, "sleeper", "", "echo asleep; sleep 1000"), "asleep", syscall.SIGTERM, 143},
		{"fork bomb", fixture(t, "hostile/fork-bomb"), "===> BUILDING", syscall.SIGINT, 130},
		{"export", big, "===> EXPORTING", syscall.SIGINT, 130},
	} {
		t.Run(c.name, func(t *testing.T) { // one after the other: it is measured
			w := y.work(t)
			cmd := exec.Command(y.binary(t), w.args("--buildpack", c.pack, "--pids", "200")...)
			var stdout, stderr syncBuffer
			cmd.Env, cmd.Stdout, cmd.Stderr = w.environ(), &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			for deadline := time.Now().Add(time.Minute); !strings.Contains(stdout.String(), c.at); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%q was not reached:\n%s%s", c.at, stdout.String(), stderr.String())
				}
			}
			time.Sleep(200 * time.Millisecond) // into the phase
			began := time.Now()
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // its exit code is looked at below
			took := time.Since(began)
			t.Logf("ended %v after the signal", took.Round(time.Millisecond))
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d\n%s%s", got, c.code, stdout.String(), stderr.String())
			}
			if took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			t.Log(errorLine(t, stderr.String(), w.home))
			w.nothingLeft()
			w.good()
		})
	}
}

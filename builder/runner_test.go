package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// script makes an executable and the Cmd that runs it.
func script(t *testing.T, body string) Cmd {
	t.Helper()
	dir := t.TempDir()
	p := filepath.Join(dir, "build")
	if err := os.WriteFile(p, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Cmd{Phase: PhaseBuild, Buildpack: cnb.Ref{ID: "a", Version: "1"}, Path: p, Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}}
}

func own() Runner { return ExecRunner(os.Geteuid(), os.Getegid()) }

func TestRunnerOutput(t *testing.T) {
	cmd := script(t, "echo out; echo err >&2; echo out")
	var both, out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := own().Run(t.Context(), cmd); err != nil || both.String() != "out\nerr\nout\n" {
		t.Errorf("%v, output %q", err, both.String())
	}
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := own().Run(t.Context(), cmd); err != nil || out.String() != "out\nout\n" || errs.String() != "err\n" {
		t.Errorf("%v, output %q and %q", err, out.String(), errs.String())
	}
	cmd.Stdout, cmd.Stderr = nil, nil
	if err := own().Run(t.Context(), cmd); err != nil {
		t.Error(err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// A writer that fails neither blocks nor fails the executable.
func TestRunnerWriterFails(t *testing.T) {
	cmd := script(t, "i=0; while [ $i -lt 20000 ]; do echo a line of some length; i=$((i+1)); done")
	cmd.Stdout = brokenWriter{}
	if err := own().Run(t.Context(), cmd); err != nil {
		t.Error(err)
	}
}

func TestRunnerExit(t *testing.T) {
	for body, want := range map[string]ExitError{
		"exit 100":      {Code: 100},
		"kill -TERM $$": {Code: 143, Signal: "SIGTERM"},
	} {
		err := own().Run(t.Context(), script(t, body))
		e, ok := errors.AsType[*ExitError](err)
		want.Phase, want.Buildpack = PhaseBuild, cnb.Ref{ID: "a", Version: "1"}
		if !ok || *e != want {
			t.Errorf("%s: %v, want %+v", body, err, want)
		}
	}
}

func TestRunnerPassesNoFiles(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := script(t, "ls /proc/self/fd | tr '\\n' ' '")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := own().Run(t.Context(), cmd); err != nil || out.String() != "0 1 2 3 " { // 3 is ls's own
		t.Errorf("%v, open files %q", err, out.String())
	}
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) }

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// What an executable leaves running is killed with it, and does not hold up the build.
func TestRunnerKillsWhatIsLeft(t *testing.T) {
	cmd := script(t, "sleep 100 & echo $!")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := own().Run(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if gone(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

// A process that leaves the group keeps the output open; it is waited for a little, then no more.
func TestRunnerDoesNotWaitForever(t *testing.T) {
	cmd := script(t, "setsid sleep 20 & echo done")
	var out bytes.Buffer
	cmd.Stdout = &out
	start := time.Now()
	if err := own().Run(t.Context(), cmd); err != nil || out.String() != "done\n" {
		t.Errorf("%v, output %q", err, out.String())
	}
	if d := time.Since(start); d > 2*drainTime {
		t.Errorf("took %v", d)
	}
}

func TestRunnerCancel(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, errors.New("out of time"))
	defer cancel()
	start := time.Now()
	err := own().Run(ctx, script(t, "trap '' TERM INT; sleep 60; sleep 60"))
	if err == nil || err.Error() != "out of time" {
		t.Errorf("error %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestRunnerStartFailures(t *testing.T) {
	absent := script(t, "")
	absent.Path += ".absent"
	noDir := script(t, "")
	noDir.Dir += "/absent"
	directory := script(t, "")
	directory.Path = directory.Dir
	large := script(t, "")
	large.Env = append(large.Env, "X="+strings.Repeat("x", 1<<20))
	for want, cmd := range map[string]Cmd{
		"it does not exist":                    absent,
		"its working directory ":               noDir,
		"it is a directory, not an executable": directory,
		"its environment is too large":         large,
	} {
		err := own().Run(t.Context(), cmd)
		e, ok := errors.AsType[*StartError](err)
		if !ok || !strings.Contains(e.Reason, want) || ExitCode(err) != 51 {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func FuzzStartReason(f *testing.F) {
	for _, s := range []string{"", "#!", "#!\n", "#!/bin/sh", "#! /bin/sh -e\r\n", "#!\t\t", "#!   \r", "#!env", "#!/usr/bin/env\t\n", "\x7fELF", "#!" + strings.Repeat("a", 300)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := filepath.Join(t.TempDir(), "detect")
		if err := os.WriteFile(p, b, 0o755); err != nil {
			t.Fatal(err)
		}
		if reason := startReason(p) + formatReason(p); strings.Contains(reason, "\n") {
			t.Errorf("reason %q", reason)
		}
	})
}

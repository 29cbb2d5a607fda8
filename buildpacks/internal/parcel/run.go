package parcel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Command is one tool that a buildpack runs: argv only, never a shell.
type Command struct {
	Path string // absolute
	Args []string
	Dir  string
	Env  Env
	Out  io.Writer // nil: nobody reads it
}

// A CommandError is a tool that ended badly, with the last of what it said.
type CommandError struct {
	Name string
	Code int // -1 when it was killed
	Tail string
}

func (e *CommandError) Error() string {
	if e.Code < 0 {
		return e.Name + " was killed"
	}
	return fmt.Sprintf("%s ended with exit code %d", e.Name, e.Code)
}

// Run runs c to its end and gives what it wrote to stdout, capped at 64 MiB; stdout goes to c.Out too. When
// ctx ends, the tool's whole process group is killed.
func (c Command) Run(ctx context.Context) (stdout []byte, err error) {
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Dir, cmd.Env = c.Dir, c.Env.List()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	keep, tail := &ring{max: 64 << 20}, &ring{max: 16 << 10}
	out := []io.Writer{keep, tail}
	errs := []io.Writer{tail}
	if c.Out != nil {
		shared := &locked{w: c.Out}
		out, errs = append(out, shared), append(errs, shared)
	}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(out...), io.MultiWriter(errs...)
	err = cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	name := strings.Join(append([]string{filepath.Base(c.Path)}, c.Args...), " ")
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return keep.last(), &CommandError{Name: name, Code: e.ExitCode(), Tail: string(tail.last())}
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return keep.last(), nil
}

// ring keeps the last max bytes. Two goroutines write to it: stdout and stderr are copied side by side.
type ring struct {
	mu  sync.Mutex
	max int
	b   []byte
}

func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.b = append(r.b, p...); len(r.b) > 2*r.max { // so that a byte is moved once, however much comes
		r.b = append(r.b[:0], r.last()...)
	}
	return len(p), nil
}

// last is what is kept.
func (r *ring) last() []byte { return r.b[max(0, len(r.b)-r.max):] }

// locked lets the two copying goroutines share one writer.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

package oci

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
)

// exit is the binary's word on how the container ended.
type exit struct {
	code int
	err  error
}

// Run is container.Prepared's.
func (p *Prepared) Run(ctx context.Context, s container.Streams) error {
	if !p.ran.CompareAndSwap(false, true) {
		return fmt.Errorf("run container %s: it has run already", p.id)
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.done = done
	p.mu.Unlock()
	return p.run(ctx, s, done)
}

func (p *Prepared) run(ctx context.Context, s container.Streams, done chan struct{}) error {
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ports, err := p.publish()
	if err != nil {
		close(done)
		return err
	}
	defer ports.close()
	st, err := newStream(s, p.spec.Terminal)
	if err != nil {
		close(done)
		return err
	}
	defer st.close()
	exits := make(chan exit, 1) // one value, which nobody may want
	began := make(chan int, 1)
	go func() {
		code, err := p.r.runc(p.path("log.json")).Run(context.WithoutCancel(ctx), p.id, p.path(""), &runc.CreateOpts{
			IO: st, PidFile: p.path("pid"), Started: began, ExtraArgs: p.r.keep(),
		})
		if _, ok := errors.AsType[*runc.ExitError](err); ok {
			err = nil // the container's, or the log says why
		}
		st.childEnds()
		exits <- exit{code, err}
		close(done)
	}()
	runner := <-began // 0 when the binary could not be started
	st.childEnds()
	err = p.awaitStart(run, done)
	if err == nil {
		defer p.spec.Guard(run, stop, s.Resize, p.written, func(_ context.Context, size container.Size) { st.resize(size, runner) })()
		if s.Started != nil {
			s.Started(container.Info{ID: p.id, Ports: ports.bound, Without: p.without()})
		}
		var e exit
		if e, err = p.await(run, stop, st, exits); err == nil {
			return p.verdict(e)
		}
	} else if run.Err() == nil {
		return err
	}
	// Cancelled, or over a limit: nothing of it may stay.
	if ctx.Err() != nil && p.spec.Grace > 0 {
		p.terminate(done)
	}
	clean, cancel := context.WithTimeout(context.Background(), cleanTimeout)
	defer cancel()
	killed := make(chan struct{})
	go func() { defer close(killed); p.kill(clean) }()
	st.lastWords() // a binary that cannot write does not end
	<-killed
	err = fmt.Errorf("container %s: %w", p.id, context.Cause(run))
	if le, ok := errors.AsType[*container.LimitError](context.Cause(run)); ok {
		err = le
	}
	return errors.Join(err, p.Close())
}

// keep are flags by which the binary leaves the control group of an ended container until it is deleted: it has the
// count of the kernel's kills, which is not told without them.
func (r *Runtime) keep() []string {
	if filepath.Base(r.binary) == "runc" || r.crunKeeps() {
		return []string{"--keep"}
	}
	return nil
}

// awaitStart returns when the process has begun, or cannot begin, which the binary's log explains. The binary writes
// the pid when the process runs.
func (p *Prepared) awaitStart(run context.Context, done chan struct{}) error {
	ended := false
	for {
		if b, err := os.ReadFile(p.path("pid")); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				fd, err := unix.PidfdOpen(pid, 0)
				if err != nil { // it has ended
					fd = -1
				}
				p.mu.Lock()
				p.pidfd = fd
				p.mu.Unlock()
				return nil
			}
		}
		if ended {
			return p.startError()
		}
		select {
		case <-done:
			ended = true // one more look: it may have begun and ended
		case <-run.Done():
			return context.Cause(run)
		case <-time.After(5 * time.Millisecond): // who waits for the container's first word has it meanwhile
		}
	}
}

// startError is what the binary said.
func (p *Prepared) startError() error {
	text := lastError(p.path("log.json"))
	if text == "" {
		text = "the OCI runtime " + p.r.binary + " gave no reason"
	}
	return container.NewStartError(p.spec, text)
}

// lastError is the last line of a log that is an error.
func lastError(path string) (text string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		var line struct{ Level, Msg string }
		if json.Unmarshal(sc.Bytes(), &line) == nil && (line.Level == "error" || line.Level == "fatal") {
			text = line.Msg
		}
	}
	return strings.TrimSpace(text)
}

// await returns when the container has ended and its output is written, or run has. Output that cannot be written
// ends run.
func (p *Prepared) await(run context.Context, stop context.CancelCauseFunc, st *stream, exits chan exit) (e exit, err error) {
	out := st.outDone
	for exited, drained := false, false; !exited || !drained; {
		select {
		case e = <-exits:
			exited, exits = true, nil
		case <-out:
			if st.outErr != nil {
				stop(st.outErr)
			}
			drained, out = true, nil
		case <-run.Done():
			return e, context.Cause(run)
		}
	}
	return e, run.Err()
}

// verdict turns an exit code into an error, with what the kernel did.
func (p *Prepared) verdict(e exit) error {
	s := container.State{Code: e.code, OutOfMemory: p.killed()}
	p.mu.Lock()
	p.last = &s
	p.closePidfd()
	p.mu.Unlock()
	switch {
	case e.err != nil:
		return fmt.Errorf("container %s: %w", p.id, e.err)
	case e.code == 0:
		return nil
	}
	return &container.ExitError{Code: e.code, Signal: container.SignalName(e.code), OutOfMemory: s.OutOfMemory, Memory: p.spec.Limits.Memory}
}

func (p *Prepared) closePidfd() {
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

// terminate asks the first process to end and gives it Grace.
func (p *Prepared) terminate(done chan struct{}) {
	p.mu.Lock()
	if p.pidfd >= 0 {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGTERM, nil, 0) // ESRCH: it has ended
	}
	p.mu.Unlock()
	select {
	case <-done:
	case <-time.After(p.spec.Grace):
	}
}

// written is what the container wrote to its own root, in blocks as the file system counts.
func (p *Prepared) written(ctx context.Context) (used int64, err error) {
	err = filepath.WalkDir(p.path("upper"), func(path string, d os.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var st unix.Stat_t
		if err != nil || unix.Lstat(path, &st) != nil {
			return nil // gone meanwhile
		}
		used += st.Blocks * 512
		return nil
	})
	return used, err
}

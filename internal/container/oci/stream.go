package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/container"
)

// stream is the binary's standard streams and their copies. It is a runc.IO.
type stream struct {
	stdin     io.Reader
	in        io.WriteCloser // our ends; nil where there is none
	outs      []io.ReadCloser
	child     [3]*os.File // the binary's ends
	childOnce sync.Once
	tty       console.Console
	outDone   chan struct{} // closed after outErr is set
	outErr    error
	inDone    chan struct{}
	closeOuts sync.Once
	writing   sync.WaitGroup
}

func newStream(s container.Streams, terminal bool) (*stream, error) {
	st := &stream{stdin: s.Stdin, outDone: make(chan struct{}), inDone: make(chan struct{})}
	var err error
	if terminal {
		err = st.openTerminal()
	} else {
		err = st.openPipes()
	}
	if err != nil {
		st.childEnds()
		return nil, fmt.Errorf("make the container's streams: %w", err)
	}
	writers := []io.Writer{s.Stdout, s.Stderr}
	failed := make(chan error, len(st.outs))
	for i, r := range st.outs {
		w := writers[i]
		if w == nil {
			w = io.Discard
		}
		st.writing.Go(func() {
			_, err := io.Copy(struct{ io.Writer }{w}, r)
			if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EIO) { // EIO: a terminal whose last user has gone
				err = nil
			}
			if err != nil {
				st.closeOutputs() // nobody reads any more
			}
			failed <- err
		})
	}
	go func() {
		defer close(st.outDone)
		for range st.outs {
			if err := <-failed; err != nil && st.outErr == nil {
				st.outErr = fmt.Errorf("copy the container's output: %w", err)
			}
		}
	}()
	go func() { defer close(st.inDone); st.input() }()
	return st, nil
}

func (st *stream) openPipes() error {
	for i := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		if i == 0 {
			st.child[0], st.in = r, w
		} else {
			st.child[i] = w
			st.outs = append(st.outs, r)
		}
	}
	return nil
}

// openTerminal gives the binary a terminal, between which and the container's own it copies.
func (st *stream) openTerminal() error {
	master, path, err := console.NewPty()
	if err != nil {
		return err
	}
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return errors.Join(err, master.Close())
	}
	st.tty, st.in, st.outs = master, master, []io.ReadCloser{master}
	st.child = [3]*os.File{slave, slave, slave}
	return nil
}

// input copies until stdin ends, then tells the container so. A terminal's end is a key its user presses.
func (st *stream) input() {
	if st.stdin != nil {
		// Either side's error means nobody reads or nobody writes any more; the container's end is reported by others.
		_, _ = io.Copy(struct{ io.Writer }{st.in}, st.stdin)
	}
	if st.tty == nil {
		st.in.Close()
	}
}

// Set is runc.IO's.
func (st *stream) Set(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = st.child[0], st.child[1], st.child[2]
}

// Stdin is runc.IO's; the copies are ours.
func (st *stream) Stdin() io.WriteCloser { return nil }

// Stdout is runc.IO's.
func (st *stream) Stdout() io.ReadCloser { return nil }

// Stderr is runc.IO's.
func (st *stream) Stderr() io.ReadCloser { return nil }

// Close is runc.IO's.
func (st *stream) Close() error { return nil }

// childEnds closes what the binary has by now.
func (st *stream) childEnds() {
	st.childOnce.Do(func() {
		for i, f := range st.child {
			if f != nil && (i == 0 || st.tty == nil) {
				f.Close()
			}
		}
	})
}

func (st *stream) closeOutputs() {
	st.closeOuts.Do(func() {
		for _, r := range st.outs {
			r.Close()
		}
	})
}

// resize sets the user's terminal size and tells the binary, which passes it on.
func (st *stream) resize(size container.Size, runner int) {
	if st.tty == nil {
		return
	}
	_ = st.tty.Resize(console.WinSize{Height: uint16(max(size.Rows, 0)), Width: uint16(max(size.Columns, 0))})
	_ = syscall.Kill(runner, syscall.SIGWINCH)
}

// lastWords waits a little for what a killed container still wrote. A writer that blocks loses them.
func (st *stream) lastWords() {
	select {
	case <-st.outDone:
	case <-time.After(500 * time.Millisecond):
		st.closeOutputs()
	}
}

// close ends all copies. A reader that cannot be interrupted keeps its goroutine until its Read returns (see
// container.Streams); so does a writer that blocks.
func (st *stream) close() {
	st.childEnds()
	st.lastWords() // the binary's own too, of a container that never began
	st.closeOutputs()
	st.in.Close()
	wait, restore := container.Interrupt(st.stdin)
	defer restore()
	select {
	case <-st.inDone:
	case <-time.After(wait):
	}
}

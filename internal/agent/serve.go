package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent/wire"
)

// ServeAgent is the agent: it introduces itself on w, runs what r asks for, and returns when r ends, after everything
// it started is dead. It owns its process: it reaps all children, kills every other process of its pid namespace where
// it is pid 1 (else every descendant), and can no longer be traced or dumped. env is the image's environment; root is
// where the builder image is, "/" but for tests.
func ServeAgent(r io.Reader, w io.WriteCloser, root string, env []string) error {
	if err := harden(); err != nil {
		return err
	}
	k, err := newKeeper()
	if err != nil {
		return err
	}
	defer k.close()
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	defer unix.Close(null)
	hello, err := encode(readHello(root, env))
	if err != nil {
		return err
	}
	s := &runServer{keeper: k, null: null}
	conn, theirs, err := wire.Open(context.Background(), r, w, hello, wire.Options{
		Limits: helperLimits,
		Handle: map[string]wire.Handler{
			"run":      handler(s.run),
			"identify": handler(func(_ context.Context, _ *wire.Call, path string) (any, error) { return Identify(path) }),
		},
		Encode: encodeError,
	})
	if err != nil {
		return fmt.Errorf("connect to slipway: %w", err)
	}
	defer conn.Close()
	var g greeting
	if err := decode(theirs, &g); err != nil {
		return fmt.Errorf("greeting of slipway: %w", err)
	}
	<-conn.Done()
	k.close()
	if err := conn.Err(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("connection to slipway: %w", err)
	}
	return nil
}

// harden takes this process out of reach of what it will run, which has the same user: without a dump there is no
// ptrace and no way into /proc/1/fd.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make this process undumpable: %w", err)
	}
	return noNewPrivileges()
}

// runServer serves the requests of one connection.
type runServer struct {
	keeper *keeper
	null   int
}

func (s *runServer) run(ctx context.Context, call *wire.Call, req runRequest) (any, error) {
	cmd := req.cmd()
	if !filepath.IsAbs(cmd.Path) {
		return nil, fmt.Errorf("run %q: not an absolute path", cmd.Path)
	}
	if err := builder.CheckStart(cmd); err != nil {
		return failedStart(err)
	}
	out, err := newOutputs(call, req.Merge)
	if err != nil {
		return nil, fmt.Errorf("make pipes for %s: %w", cmd.Path, err)
	}
	defer out.close()
	oom, forks := newWatch(oomKills()), newWatch(notForked())
	exit := make(chan ended, 1)
	begin := time.Now()
	argv := append([]string{cmd.Path}, cmd.Args...)
	files := []uintptr{uintptr(s.null), uintptr(out.writers[0]), uintptr(out.writers[1])}
	pid, err := s.keeper.start(cmd.Path, argv, cmd.Env, cmd.Dir, files, exit)
	if errors.Is(err, errGone) {
		return nil, err
	}
	if err != nil {
		return failedStart(startFailure(cmd, err))
	}
	out.start()
	var end ended
	select {
	case end = <-exit:
	case <-ctx.Done():
		s.keeper.kill(pid)
		end = <-exit
	}
	out.drain()
	r := result(cmd, end, end.at.Sub(begin))
	r.OutOfMemory, r.OutOfProcesses = r.Code != 0 && oom.seen(), r.Code != 0 && forks.seen()
	return r, nil
}

func failedStart(err error) (any, error) {
	if e, ok := errors.AsType[*builder.StartError](err); ok {
		return runResult{Reason: e.Reason}, nil
	}
	return nil, err
}

func result(cmd builder.Cmd, end ended, took time.Duration) runResult {
	r := runResult{Duration: took}
	switch {
	case end.status.Signaled():
		r.Code, r.Signal = 128+int(end.status.Signal()), unix.SignalName(end.status.Signal())
	default:
		r.Code = end.status.ExitStatus()
	}
	if r.Code == 127 {
		r.Reason = missingInterpreter(cmd)
	}
	return r
}

// outputs are the pipes of one execution: 0 is standard output, 1 standard error.
type outputs struct {
	call    *wire.Call
	readers [2]*os.File
	writers [2]int
	n       int // 1: both are one pipe
	wg      sync.WaitGroup
}

// pipeSize is asked for, not needed: fewer switches between a program that writes much and us.
const pipeSize = 256 << 10

func newOutputs(call *wire.Call, merge bool) (*outputs, error) {
	o := &outputs{call: call, writers: [2]int{-1, -1}, n: 2}
	if merge {
		o.n = 1
	}
	for i := range o.n {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			o.close()
			return nil, err
		}
		o.writers[i] = p[1]
		_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, pipeSize)
		if err := unix.SetNonblock(p[0], true); err != nil { // our end only: the poller wakes us
			unix.Close(p[0])
			o.close()
			return nil, err
		}
		o.readers[i] = os.NewFile(uintptr(p[0]), "output")
	}
	if merge {
		o.writers[1] = o.writers[0]
	}
	return o, nil
}

// start closes our copies of the program's ends and copies what it writes to the streams of the call.
func (o *outputs) start() {
	o.closeWriters()
	for i := range o.n {
		o.wg.Go(func() { o.pump(o.readers[i], o.call.Writer(i)) })
	}
}

func (o *outputs) pump(r *os.File, w io.Writer) {
	buf := make([]byte, wire.Chunk)
	for {
		n, err := r.Read(buf)
		if n > 0 && w != nil {
			if _, werr := w.Write(buf[:n]); werr != nil {
				w = nil // nobody listens: let the program go on until it is killed
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			leftover(r, w, buf)
			return
		}
		if err != nil {
			return
		}
	}
}

// drain returns when what the program has written is on its way. A process that outlived it, because another request
// still runs, may hold the pipe open: that is not waited for.
func (o *outputs) drain() {
	for i := range o.n {
		_ = o.readers[i].SetReadDeadline(time.Unix(1, 0))
	}
	o.wg.Wait()
}

// leftover copies what is in the pipe now, and no more.
func leftover(r *os.File, w io.Writer, buf []byte) {
	conn, err := r.SyscallConn()
	if err != nil || w == nil || r.SetReadDeadline(time.Time{}) != nil {
		return
	}
	left := 0
	_ = conn.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	for left > 0 {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			n, _ = unix.Read(int(fd), buf)
			return true
		})
		if err != nil || n <= 0 {
			return
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return
		}
		left -= n
	}
}

func (o *outputs) closeWriters() {
	for i := range o.n {
		if o.writers[i] >= 0 {
			unix.Close(o.writers[i])
		}
	}
	o.writers = [2]int{-1, -1}
}

func (o *outputs) close() {
	o.closeWriters()
	for _, r := range o.readers {
		if r != nil {
			r.Close()
		}
	}
}

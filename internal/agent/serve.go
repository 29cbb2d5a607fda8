package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
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
	spareThreads()
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
			"shell":    handler(s.shell),
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
	pid, err := s.keeper.start(cmd.Path, argv, cmd.Env, cmd.Dir, files, &syscall.SysProcAttr{Setpgid: true}, exit)
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
	r := result(cmd, end, end.at.Sub(begin))
	r.Rest = out.drain()
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

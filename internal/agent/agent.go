// Package agent is the two helper processes of a build and the slipway process's ends of the lines to them.
//
// The agent is pid 1 of the build container and runs one buildpack executable per request (ServeAgent, ConnectAgent).
// The collector is the only process that touches a build's files: it runs the phases of package builder over them and
// asks the parent for everything else (ServeCollector, ConnectCollector, StartCollector). Neither holds a credential.
// The parent's ends take nothing that a helper says on trust: see package wire.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent/wire"
)

// parentLimits is what the slipway process accepts from a helper.
var parentLimits = wire.Limits{Hello: 24 << 20, Call: 4 << 20, Reply: 16 << 20, Calls: 256, Memory: 96 << 20}

// helperLimits is what a helper accepts from the slipway process, which it trusts; they catch mistakes.
var helperLimits = wire.Limits{Hello: 64 << 10, Call: 64 << 20, Reply: 64 << 20, Calls: 256, Memory: 512 << 20}

// maxRuns is how many executables one agent runs side by side; more requests wait their turn.
const maxRuns = 64

// An Agent is the line to the agent in a build container. Safe for concurrent use. It is a builder.Runner.
type Agent struct {
	conn  *wire.Conn
	hello Hello
	slots chan struct{}
}

// ConnectAgent greets the agent behind r (its standard output) and w (its standard input) and returns when it has
// introduced itself. ctx bounds this exchange only. Close the Agent in any case.
func ConnectAgent(ctx context.Context, r io.Reader, w io.WriteCloser) (*Agent, error) {
	mine, err := encode(greeting{Role: "slipway"})
	if err != nil {
		return nil, err
	}
	conn, theirs, err := wire.Open(ctx, r, w, mine, wire.Options{Limits: parentLimits, Decode: decodeError})
	if err != nil {
		return nil, fmt.Errorf("connect to the agent in the build container: %w", lost(err))
	}
	a := &Agent{conn: conn, slots: make(chan struct{}, maxRuns)}
	if err := decodeHello(theirs, &a.hello); err != nil {
		return nil, errors.Join(fmt.Errorf("greeting of the agent in the build container: %w", err), conn.Close())
	}
	return a, nil
}

// Hello is what the agent found in its container.
func (a *Agent) Hello() Hello { return a.hello }

// Done is closed when the connection has ended for any reason.
func (a *Agent) Done() <-chan struct{} { return a.conn.Done() }

// Close ends the connection; the agent then kills everything in its container and exits.
func (a *Agent) Close() error { return a.conn.Close() }

// Run runs cmd in the container and returns when it has ended and its output has been written. With the last of
// several runs every other process in the container is killed before Run returns. A non-zero exit is a
// *builder.ExitError, a program that could not be started a *builder.StartError. When ctx ends the program and its
// process group are killed and the error is ctx's cause. A writer that fails does not stop the program: the rest of
// its output is dropped and the write error is returned where there is no other. A BoundedWriter that is full gets no
// more until the program has ended, and then the end: the rest does not leave the container.
func (a *Agent) Run(ctx context.Context, cmd builder.Cmd) error {
	_, err := a.RunTimed(ctx, cmd)
	return err
}

// RunTimed is Run, and tells how long the program itself ran.
func (a *Agent) RunTimed(ctx context.Context, cmd builder.Cmd) (time.Duration, error) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	body, err := encode(newRunRequest(cmd))
	if err != nil {
		return 0, err
	}
	call, err := a.conn.Start("run", body)
	if err != nil {
		return 0, a.runError(cmd, err)
	}
	pumps := [2]pump{{call: call, w: cmd.Stdout}, {call: call, stream: 1, w: cmd.Stderr}}
	var wg sync.WaitGroup
	for i := range pumps {
		wg.Go(pumps[i].copy)
	}
	reply, err := call.Wait(ctx)
	if ctx.Err() != nil {
		pumps[0].stop.Store(true)
		pumps[1].stop.Store(true)
	}
	wg.Wait()
	var res runResult
	if reply != nil { // also of what was stopped
		bad := decode(reply, &res)
		if bad != nil && err == nil {
			return 0, fmt.Errorf("answer of the agent to %s of %s: %w", cmd.Phase, cmd.Buildpack, bad)
		}
		pumps[0].finish(res.Rest[0])
		pumps[1].finish(res.Rest[1])
	}
	if err != nil {
		return 0, a.runError(cmd, err)
	}
	took := max(0, res.Duration)
	if err := res.err(cmd); err != nil {
		return took, err
	}
	return took, errors.Join(pumps[0].err, pumps[1].err)
}

func (a *Agent) runError(cmd builder.Cmd, err error) error {
	select {
	case <-a.conn.Done():
		return fmt.Errorf("run %s of %s: the agent in the build container is gone: %w", cmd.Phase, cmd.Buildpack, lost(a.conn.Err()))
	default:
		return err
	}
}

// lost explains the end of a connection.
func lost(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("it closed the connection")
	}
	return err
}

// A pump copies one output stream to its writer. It always reads to the end, so that the stream's memory is free. It
// tells the agent when a BoundedWriter has enough.
type pump struct {
	call   *wire.Call
	stream int
	w      io.Writer   // nil: nobody
	stop   atomic.Bool // drop what is left
	enough bool        // the agent was told
	err    error
}

func (p *pump) copy() {
	r, buf := p.call.Reader(p.stream), make([]byte, wire.Chunk)
	for {
		n, err := r.Read(buf)
		if n > 0 && p.w != nil && p.err == nil && !p.stop.Load() {
			p.write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func (p *pump) write(b []byte) {
	if _, err := p.w.Write(b); err != nil {
		p.err = fmt.Errorf("write output: %w", err)
		return
	}
	if w, ok := p.w.(BoundedWriter); ok && !p.enough && w.Full() {
		p.enough = true
		_ = p.call.Writer(p.stream).Close() // a connection that is lost is Wait's to tell
	}
}

// finish writes what the agent kept of the end, where it was asked to.
func (p *pump) finish(r *rest) {
	if w, ok := p.w.(BoundedWriter); ok && p.enough && r != nil && p.err == nil {
		if err := r.write(w); err != nil {
			p.err = fmt.Errorf("write output: %w", err)
		}
	}
}

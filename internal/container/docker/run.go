package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
)

// exit is the engine's word on how the container ended.
type exit struct {
	code int
	err  error
}

// Run is container.Prepared's.
func (p *Prepared) Run(ctx context.Context, s container.Streams) (err error) {
	if !p.ran.CompareAndSwap(false, true) {
		return fmt.Errorf("run container %s: it has run already", short(p.id))
	}
	// From here on every way out removes the container: in the background when
	// it ended by itself, before we return when we ended it.
	defer p.release()
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	st, exits, done, err := p.attach(run, s)
	defer done()
	if err == nil {
		defer p.watchMemory(run)()
		if err = p.start(run); err == nil {
			defer p.spec.Guard(run, stop, s.Resize, p.written, p.resize)()
			if e := p.started(run, s); e != nil {
				stop(e) // it runs: from here on it must be ended
			}
		}
	}
	if err != nil && run.Err() == nil {
		return err
	}
	if err == nil {
		var code int
		if code, err = p.await(run, stop, st, exits); err == nil {
			return p.verdict(run, code)
		}
	}
	// Cancelled, over a limit, or out of our hands: nothing of it may stay.
	if ctx.Err() != nil && p.spec.Grace > 0 {
		p.terminate(exits)
	}
	p.release()
	if st != nil {
		st.lastWords(p.gone)
	}
	closed := p.Close()
	if run.Err() != nil {
		err = fmt.Errorf("container %s: %w", short(p.id), context.Cause(run))
		if le, ok := errors.AsType[*container.LimitError](context.Cause(run)); ok {
			err = le
		}
	}
	return errors.Join(err, closed)
}

// attach opens the streams and the wait for the end: both must stand before
// the start. done ends what attach began, and waits for it.
func (p *Prepared) attach(ctx context.Context, s container.Streams) (st *stream, exits chan exit, done func(), err error) {
	waiting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	exits = make(chan exit, 1) // one value, which nobody may want
	ready := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		res := p.r.api.ContainerWait(waiting, p.id, client.ContainerWaitOptions{Condition: api.WaitConditionNextExit})
		close(ready)
		select { // one of the two comes: cancel makes it an error
		case w := <-res.Result:
			e := exit{code: int(w.StatusCode)}
			if w.Error != nil && w.Error.Message != "" {
				e.err = errors.New(w.Error.Message)
			}
			exits <- e
		case err := <-res.Error:
			exits <- exit{err: err}
		}
	})
	done = func() {
		if st != nil {
			st.close()
		}
		cancel()
		wg.Wait()
	}
	conn, err := p.r.api.ContainerAttach(ctx, p.id, client.ContainerAttachOptions{
		Stream: true, Stdin: true, Stdout: true, Stderr: true,
		// Keys nobody types: detaching is not for builds.
		DetachKeys: "ctrl-^,ctrl-_,ctrl-^,ctrl-_",
	})
	if err != nil {
		return nil, exits, done, fmt.Errorf("attach to container %s: %w", short(p.id), trim(err))
	}
	st = newStream(conn.HijackedResponse, s, p.spec.Terminal)
	select {
	case <-ready:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return st, exits, done, err
}

func (p *Prepared) start(ctx context.Context) error {
	_, err := p.r.api.ContainerStart(ctx, p.id, client.ContainerStartOptions{})
	if err == nil {
		return nil
	}
	return p.startError(err)
}

// startError turns the engine's chain of runtimes' errors into one reason.
func (p *Prepared) startError(err error) error {
	text := trim(err).Error()
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("port is already allocated") || has("address already in use"):
		return fmt.Errorf("publish ports %s of a container: taken by another program on this machine; choose other host ports", hostPorts(p.spec.Ports))
	case has("network") && has("not found"):
		return fmt.Errorf("start a container on network %q: there is no such network; `docker network ls` lists them", p.spec.Network.Mode)
	}
	return container.NewStartError(p.spec, text)
}

func hostPorts(ports []container.Port) string {
	var s []string
	for _, p := range ports {
		s = append(s, strconv.Itoa(p.Host))
	}
	return strings.Join(s, ", ")
}

// started reports the ports the engine chose.
func (p *Prepared) started(ctx context.Context, s container.Streams) error {
	if s.Started == nil {
		return nil
	}
	info := container.Info{ID: p.id}
	if len(p.spec.Ports) > 0 && p.spec.Network.Mode != "host" {
		res, err := p.r.api.ContainerInspect(ctx, p.id, client.ContainerInspectOptions{})
		if err != nil {
			return fmt.Errorf("ask for the ports of container %s: %w", short(p.id), trim(err))
		}
		info.Ports = bound(p.spec.Ports, res.Container.NetworkSettings)
	}
	if p.spec.Network.Mode == "host" { // nothing is mapped
		for _, port := range p.spec.Ports {
			port.Host = port.Container
			info.Ports = append(info.Ports, port)
		}
	}
	s.Started(info)
	return nil
}

// bound fills in the host ports; one the engine does not list stays as asked.
func bound(ports []container.Port, n *api.NetworkSettings) []container.Port {
	out := append([]container.Port(nil), ports...)
	if n == nil {
		return out
	}
	for i, p := range out {
		ep, err := enginePort(p)
		if err != nil {
			continue
		}
		for _, b := range n.Ports[ep] {
			host, _ := strconv.Atoi(b.HostPort)
			if p.Host == 0 || p.Host == host {
				out[i].Host, out[i].HostIP = host, b.HostIP.String()
			}
		}
	}
	return out
}

// await returns when the container has ended and its output is written, or run
// has. Output that cannot be written ends run.
func (p *Prepared) await(run context.Context, stop context.CancelCauseFunc, st *stream, exits chan exit) (code int, err error) {
	out := st.outDone
	var ended, drained bool
	for !ended || !drained {
		select {
		case e := <-exits:
			if e.err != nil {
				return 0, fmt.Errorf("wait for container %s: %w", short(p.id), trim(e.err))
			}
			code, ended, exits = e.code, true, nil
			st.exited()
		case <-out:
			if st.outErr != nil {
				stop(st.outErr)
			}
			drained, out = true, nil // also when pid 1 has closed its output and goes on
		case <-run.Done():
			return 0, context.Cause(run)
		}
	}
	return code, run.Err()
}

// verdict turns an exit code into an error, with what the kernel did.
func (p *Prepared) verdict(ctx context.Context, code int) error {
	if code == 0 {
		p.remember(container.State{})
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	e := &container.ExitError{Code: code, Signal: container.SignalName(code), Memory: p.spec.Limits.Memory}
	// On a busy machine the event of a kill at the limit, where we have not seen
	// the kill ourselves, comes after that of the end; it is waited for longest
	// where it is likeliest.
	late := 150 * time.Millisecond
	if e.Signal == "SIGKILL" {
		late = time.Second
	}
	for began := time.Now(); ; time.Sleep(30 * time.Millisecond) {
		s, err := p.State(ctx)
		e.OutOfMemory = s.OutOfMemory || p.killed.Load()
		if e.OutOfMemory || err != nil || e.Memory == 0 || time.Since(began) > late {
			break
		}
	}
	p.remember(container.State{OutOfMemory: e.OutOfMemory, Code: code})
	return e
}

func (p *Prepared) remember(s container.State) {
	p.mu.Lock()
	p.last = &s
	p.mu.Unlock()
}

// terminate asks pid 1 to end and gives it Grace.
func (p *Prepared) terminate(exits chan exit) {
	ctx, cancel := context.WithTimeout(context.Background(), p.spec.Grace)
	defer cancel()
	if _, err := p.r.api.ContainerKill(ctx, p.id, client.ContainerKillOptions{Signal: "SIGTERM"}); err != nil {
		return // ended, or about to be killed
	}
	select {
	case <-exits:
	case <-ctx.Done():
	}
}

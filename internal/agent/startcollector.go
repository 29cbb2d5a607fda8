package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/child"
)

// StartCollector starts binary (the command agent) as a collector beside this process, which must be root: a child
// without environment, network and working directory, which ends with its Close or with this process. host serves its
// calls. ctx bounds the start only: a cancelled build still has its directory to remove.
func StartCollector(ctx context.Context, binary string, host Host) (*Collector, error) {
	p := &helper{exited: make(chan struct{})}
	stdin, stdout, err := p.start(binary)
	if err != nil {
		return nil, fmt.Errorf("start the collector %s: %w", binary, err)
	}
	c, err := ConnectCollector(ctx, stdout, stdin, host)
	if err != nil {
		p.end(time.Second)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if why := p.failure(); why != nil {
			err = why
		}
		return nil, fmt.Errorf("start the collector %s: %w", binary, err)
	}
	c.explain = p.explain
	c.release = func() error {
		p.end(2 * time.Second)
		return nil
	}
	return c, nil
}

// helper is a child process of ours.
type helper struct {
	cmd    *exec.Cmd
	stderr crashText
	exited chan struct{} // closed after err is set
	err    error
}

// start starts the child and waits for it in the background.
func (p *helper) start(binary string) (stdin io.WriteCloser, stdout io.ReadCloser, err error) {
	childIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	ourIn, childOut, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, childIn.Close(), ourOut.Close())
	}
	p.cmd = exec.Command(binary, "collector")
	p.cmd.Env, p.cmd.Dir = []string{}, "/"
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = childIn, childOut, &p.stderr
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC}
	err = child.Start(p.cmd)
	_ = childIn.Close()
	_ = childOut.Close()
	if err != nil {
		close(p.exited)
		return nil, nil, errors.Join(err, ourIn.Close(), ourOut.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return ourOut, ourIn, nil
}

// end returns when the child has: by itself, as it does when its input ends, or after patience by force.
func (p *helper) end(patience time.Duration) {
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// failure says how the child ended and what it said last; nil for a good end.
func (p *helper) failure() error {
	if p.err == nil {
		return nil
	}
	if text := p.stderr.text(); text != "" {
		return fmt.Errorf("%w: %s", p.err, text)
	}
	return p.err
}

// explain adds the child's end to the end of its connection.
func (p *helper) explain(err error) error {
	select {
	case <-p.exited:
	case <-time.After(time.Second):
		return lost(err)
	}
	if f := p.failure(); f != nil {
		return f
	}
	return lost(err)
}

// crashText keeps the beginning of what a crashing process says, which names the crash; the rest is stacks.
type crashText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const crashSize = 4 << 10

func (t *crashText) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := crashSize - t.buf.Len(); room > 0 {
		t.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// text is the first two lines that say something.
func (t *crashText) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for l := range strings.Lines(t.buf.String()) {
		if l = strings.TrimSpace(l); l != "" && len(lines) < 2 {
			lines = append(lines, line(l))
		}
	}
	return strings.Join(lines, ": ")
}

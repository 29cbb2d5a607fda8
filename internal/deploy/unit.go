package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/store"
)

// A unit is the process of one local deployment. Until it has answered once, its end is the end of it; from then on it is
// started again whenever it ends.
type unit struct {
	h       *Host
	by      build.Deployer
	app     build.App
	release build.Release
	row     build.Deployment
	began   io.Writer // hears too what is printed until it has answered; it may be io.Discard

	stop  context.CancelFunc
	ready chan struct{} // closed when it has answered for the first time
	done  chan struct{} // closed when nothing of it runs, and nothing will
	why   error         // why it never answered, when done
	live  atomic.Bool
	at    atomic.Pointer[string]
}

// start runs the unit until its end. live tells that it has answered before, in an earlier process.
func (u *unit) start(ctx context.Context, live bool) {
	u.ready, u.done = make(chan struct{}), make(chan struct{})
	u.live.Store(live)
	ctx, u.stop = context.WithCancel(ctx)
	go func() {
		defer close(u.done)
		u.run(ctx)
	}()
}

// end stops it and returns when nothing of it runs.
func (u *unit) end() {
	u.stop()
	<-u.done
}

// address is where it answers, "" while it does not.
func (u *unit) address() string {
	if p := u.at.Load(); p != nil {
		return *p
	}
	return ""
}

func (u *unit) run(ctx context.Context) {
	for pause := u.h.o.Backoff; ; pause = min(2*pause, maxBackoff) {
		began := time.Now()
		err := u.once(ctx)
		u.at.Store(nil)
		if ctx.Err() != nil {
			return
		}
		if !u.live.Load() {
			u.why = err
			return
		}
		if time.Since(began) > maxBackoff {
			pause = u.h.o.Backoff
		}
		u.h.record(ctx, u.row.ID, func(d *build.Deployment) {
			d.State, d.Failure, d.Restarts = build.DeployStarting, err.Error(), d.Restarts+1
		})
		u.say("%s: it is started again in %s", err, pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// say writes a line of ours into the app's log.
func (u *unit) say(format string, args ...any) {
	if l, err := u.h.log(u.app.ID, true); err == nil {
		fmt.Fprintf(l, "slipway: "+format+"\n", args...)
	}
}

// once runs the process one time, and returns why it has ended.
func (u *unit) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, out, err := u.process(ctx)
	if err != nil {
		return err
	}
	m, err := u.h.o.Machine(ctx, u.release)
	if err != nil {
		return err
	}
	started, ended := make(chan container.Info, 1), make(chan error, 1)
	p.Started = func(i container.Info) { started <- i }
	go func() {
		err := platform.RunProcess(ctx, m, p)
		out.close()
		ended <- err
	}()
	var info container.Info
	select {
	case err := <-ended:
		return fmt.Errorf("%s before it answered%s", ending(err), out.lastWords())
	case info = <-started:
	}
	checked := make(chan error, 1)
	go func() { checked <- u.check(ctx, platform.AppURL(info.Ports)) }()
	select {
	case err := <-ended:
		cancel()
		<-checked
		return fmt.Errorf("%s before it answered%s", ending(err), out.lastWords())
	case err := <-checked:
		if err != nil {
			words := out.lastWords() // not those with which it ends
			cancel()
			<-ended
			return fmt.Errorf("%w%s", err, words)
		}
	}
	address := strings.TrimPrefix(platform.AppURL(info.Ports), "http://")
	u.at.Store(&address)
	out.settled()
	if !u.live.Swap(true) {
		close(u.ready)
	} else {
		u.h.record(ctx, u.row.ID, func(d *build.Deployment) { d.State, d.Failure = build.DeployRunning, "" })
	}
	return fmt.Errorf("%s%s", ending(<-ended), out.lastWords())
}

// process is what to run. What it prints goes to the app's log, without the values of config vars.
func (u *unit) process(ctx context.Context) (p platform.Process, out *output, err error) {
	if !slices.ContainsFunc(u.release.Processes, func(p build.Process) bool { return p.Type == webProcess }) {
		return p, nil, fmt.Errorf("the image of v%d has no process %s: its buildpacks name one", u.release.Version, webProcess)
	}
	env, err := u.h.o.Store.Secrets(ctx, u.app.ID, store.SecretVar)
	if err != nil {
		return p, nil, err
	}
	l, err := u.h.log(u.app.ID, true)
	if err != nil {
		return p, nil, err
	}
	out = newOutput(logs.NewMasker(slices.Collect(maps.Values(env))...), l, u.began)
	limits := u.h.o.Limits(u.app)
	return platform.Process{
		Image: u.release.Repository + "@" + u.release.Digest, Type: webProcess, Env: env, Serve: true, Public: true, Grace: u.h.o.Grace, Output: out,
		Limits: platform.Limits{Memory: limits.Memory, CPUs: limits.CPUs, PIDs: limits.PIDs, Disk: limits.Disk},
		Labels: map[string]string{Label: string(u.row.ID)},
	}, out, nil
}

// webProcess is the type of the process that runs here.
const webProcess = "web"

// Label is on the containers of local deployments, with the id of the deployment.
const Label = "build.slipway.deployment"

// check returns when the process answers, or says why it does not.
func (u *unit) check(ctx context.Context, url string) error {
	wait := u.by.DeployTime()
	if u.by.Path == "" {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		for !steady(ctx, strings.TrimPrefix(url, "http://")) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("nothing listens on the port that PORT names after %s", wait)
			case <-time.After(50 * time.Millisecond):
			}
		}
		return nil
	}
	status, err := platform.Answer(ctx, url+u.by.Path, wait, nil, func(status int) bool { return status < 400 })
	if err == nil {
		return nil
	}
	if status == "" {
		return fmt.Errorf("it does not answer GET %s within %s", u.by.Path, wait)
	}
	return fmt.Errorf("it answers GET %s with %s after %s", u.by.Path, line(status), wait)
}

// steadyTime is how long a connection that nobody takes up may look like one: what publishes a port accepts first, and
// finds out then that nobody listens behind it.
const steadyTime = 300 * time.Millisecond

// steady tells whether a connection is made, and lives.
func steady(ctx context.Context, address string) bool {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	_ = c.SetReadDeadline(time.Now().Add(steadyTime))
	n, err := c.Read(make([]byte, 1))
	return n > 0 || errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil
}

// ending says in one line how a process has ended.
func ending(err error) string {
	if e, ok := errors.AsType[*container.ExitError](err); ok && e.OutOfMemory {
		return "the process was killed: it used more memory than it may"
	} else if ok && e.Signal != "" {
		return "the process was killed by " + e.Signal
	} else if ok {
		return fmt.Sprintf("the process ended with exit code %d", e.Code)
	}
	if err == nil {
		return "the process ended by itself, with exit code 0"
	}
	return line(err.Error())
}

// line makes what others have said fit into a line.
func line(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, s)), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:197]) + "..."
	}
	return s
}

// An output is what a process prints, on its way to logs. Writing never fails.
type output struct {
	mu    sync.Mutex
	mask  *logs.MaskWriter
	to    io.Writer
	began io.Writer
	last  []byte // the line that is being printed, or its beginning
	whole []byte // the last line that was printed and is not empty
	quiet bool   // began hears no more
}

const maxLastLine = 400

func newOutput(m *logs.Masker, to, began io.Writer) *output {
	o := &output{to: to, began: began}
	o.mask = m.Writer((*masked)(o))
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.mask.Write(p)
	return len(p), nil
}

func (o *output) settled() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.quiet = true
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mask.Close()
}

// lastWords are the last line that was printed, behind a colon.
func (o *output) lastWords() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if words := line(string(o.last)); words != "" {
		return ": " + words
	}
	if words := line(string(o.whole)); words != "" {
		return ": " + words
	}
	return ""
}

// masked is an output behind its masker; its caller has locked it.
type masked output

func (o *masked) Write(p []byte) (int, error) {
	_, _ = o.to.Write(p)
	if !o.quiet {
		_, _ = o.began.Write(p)
	}
	for _, c := range p {
		switch {
		case c == '\n' && len(o.last) > 0:
			o.whole, o.last = o.last, nil
		case c != '\n' && len(o.last) < maxLastLine:
			o.last = append(o.last, c)
		}
	}
	return len(p), nil
}

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// errEnded says that there will be no answer.
var errEnded = errors.New("the app ended before it answered by HTTP")

// A server is a started app as people and programs are told of it.
type server struct {
	Type      string `json:"type"` // "running"
	Image     string `json:"image"`
	Container string `json:"container"`
	URL       string `json:"url,omitempty"`
	Status    string `json:"status,omitempty"` // "200 OK"
}

// attach runs the app in the foreground until it ends or ctx does.
func (a *app) attach(ctx context.Context, m *platform.Machine, arg string, spec container.Spec, o runOptions) error {
	var out sync.Mutex
	clock := a.clock()
	stream := func(to io.Writer) *transcript.LineWriter {
		return &transcript.LineWriter{Emit: func(line string) {
			out.Lock()
			defer out.Unlock()
			fmt.Fprintf(to, "%s%s\n", clock(), transcript.Clean(line, a.isTerminal(to)))
		}}
	}
	stdout, stderr := stream(a.logTo()), stream(a.stderr)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var waiting sync.WaitGroup
	spec.Stdout, spec.Stderr = stdout, stderr
	spec.Started = func(in container.Info) {
		waiting.Go(func() {
			s := server{Type: "running", Image: arg, Container: short(in.ID), URL: platform.AppURL(in.Ports)}
			if s.URL == "" || o.wait <= 0 {
				return
			}
			status, err := platform.Answer(ctx, s.URL+"/", o.wait, nil, nil)
			out.Lock()
			defer out.Unlock()
			switch {
			case ctx.Err() != nil:
			case err != nil && o.check:
				cancel(&checked{fmt.Errorf("the app does not answer by HTTP on %s within %s", s.URL, o.wait)})
			case err != nil:
				a.warn("%s does not answer by HTTP on %s yet", arg, s.URL)
			default:
				s.Status = status
				a.announce(s)
				if o.check {
					cancel(&checked{goodAnswer(status)})
				}
			}
		})
	}
	err := m.Runtime.Run(ctx, spec)
	cause := context.Cause(ctx)
	cancel(nil)
	waiting.Wait()
	_, _ = stdout.Flush(), stderr.Flush()
	if _, ok := errors.AsType[*interrupted](cause); ok {
		return &statusError{code: 130, quiet: true}
	}
	if c, ok := errors.AsType[*checked](cause); ok {
		return c.err
	}
	return appExit(err)
}

// checked is the cause with which --check ends an app: err is its verdict, nil for a good answer.
type checked struct{ err error }

func (c *checked) Error() string { return "the app was checked" }

// goodAnswer tells a page from an error.
func goodAnswer(status string) error {
	if status < "4" {
		return nil
	}
	return fmt.Errorf("the app answered HTTP %s", status)
}

// logTo is where an app's log goes: stdout, unless that is for JSON or for the URL alone.
func (a *app) logTo() io.Writer {
	if a.json() || a.quiet {
		return a.stderr
	}
	return a.stdout
}

// announce prints the URL.
func (a *app) announce(s server) {
	switch {
	case a.json():
		(&jsonView{w: a.stdout}).write(s)
	case a.quiet:
		fmt.Fprintln(a.stdout, s.URL)
	default:
		paint := a.paint(a.stdout)
		fmt.Fprintf(a.stdout, "%s %s (HTTP %s)\n", paint.good.Render("Running at"), s.URL, s.Status)
	}
}

// leave starts the app and returns when it answers; the app goes on.
func (a *app) leave(ctx context.Context, m *platform.Machine, arg string, spec container.Spec, o runOptions) error {
	if spec.Name == "" {
		spec.Name = containerName(arg)
	}
	app, err := m.Docker.Detach(ctx, spec)
	if err != nil {
		return appExit(err)
	}
	s := server{Type: "running", Image: arg, Container: app.Name, URL: platform.AppURL(app.Ports)}
	if s.URL == "" && len(spec.Ports) > 0 && o.wait > 0 {
		return errors.Join(errEnded, app.Remove(ctx))
	}
	if s.URL != "" && o.wait > 0 {
		if s.Status, err = a.firstAnswer(ctx, app, s.URL, o.wait); err != nil {
			return errors.Join(err, app.Remove(ctx))
		}
	}
	if s.URL != "" {
		a.announce(s)
	}
	if !a.hidesOutput() {
		fmt.Fprintf(a.stdout, "It goes on as container %s: docker logs -f %s, docker rm -f %s\n", s.Container, s.Container, s.Container)
	}
	return nil
}

// containerName makes a container's name of an image's, that no other container has.
func containerName(arg string) string {
	base := strings.Map(func(r rune) rune {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return '-'
	}, arg[strings.LastIndexByte(arg, '/')+1:])
	return strings.Trim("slipway-"+strings.Trim(base, "-"), "-") + "-" + strings.ToLower(rand.Text()[:6])
}

// firstAnswer waits for an app that is left running, and shows its log where no answer comes.
func (a *app) firstAnswer(ctx context.Context, app *docker.Detached, url string, wait time.Duration) (string, error) {
	var log tail
	logs, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_ = app.Logs(logs, &transcript.LineWriter{Emit: log.add})
		// The log ends with the container: no use in waiting on.
		if logs.Err() == nil {
			stop()
		}
	}()
	status, err := platform.Answer(logs, url+"/", wait, func() bool { return app.Running(ctx) }, nil)
	if err == nil || ctx.Err() != nil {
		return status, err
	}
	err = fmt.Errorf("the app does not answer by HTTP on %s", url)
	if logs.Err() != nil {
		err = errEnded
	}
	return "", &platform.BuildError{Err: err, Last: log.all()}
}

// tail is the last lines of a log.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 10 {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, line)
}

func (t *tail) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.lines...)
}

func short(id string) string { return id[:min(12, len(id))] }

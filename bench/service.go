package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/child"
	"github.com/slipway-build/slipway/internal/client"
)

// A service is a `slipway serve` of its own process on an empty data directory, with the yard's builder, and a client of
// its administrator.
type service struct {
	*client.Client
	cmd   *exec.Cmd
	url   string
	token string
	apps  int
}

var (
	servingAt  = regexp.MustCompile(` serving (http\S+),`)
	firstToken = regexp.MustCompile(`(?m)^\s+(slw_\S+)$`)
)

// serve starts a service that builds so many at once; the caller stops it.
func (y *yard) serve(ctx context.Context, slots int) (*service, error) {
	if !y.withOCI {
		return nil, errors.New("the service's builds need an OCI runtime here, such as runc, and root")
	}
	dir, err := os.MkdirTemp(y.dir, "service-")
	if err != nil {
		return nil, err
	}
	out, err1 := os.Create(filepath.Join(dir, "out"))
	said, err2 := os.Create(filepath.Join(dir, "err"))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	defer out.Close()
	defer said.Close()
	s := &service{cmd: exec.Command(y.slipway, "serve", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0",
		"--builder", y.builder, "--runtime", "oci", "--pull-policy", "never", "--slots", strconv.Itoa(slots), "--drain", "1s")}
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = y.environ, out, said
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(s.cmd); err != nil {
		return nil, err
	}
	if err := s.greet(ctx, dir); err != nil {
		text, _ := os.ReadFile(said.Name())
		return nil, errors.Join(fmt.Errorf("the service did not start: %w: %s", err, text), s.stop())
	}
	s.Client, err = client.New(client.Options{URL: s.url, Token: s.token, UserAgent: "bench"})
	return s, err
}

// greet waits until the service says where it is, and takes its token.
func (s *service) greet(ctx context.Context, dir string) error {
	for range 600 {
		out, err1 := os.ReadFile(filepath.Join(dir, "out"))
		said, err2 := os.ReadFile(filepath.Join(dir, "err"))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		at, token := servingAt.FindSubmatch(said), firstToken.FindSubmatch(out)
		if at != nil && token != nil {
			s.url, s.token = string(at[1]), string(token[1])
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("it says nothing")
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// stop ends the service gently; builds that still run are stopped.
func (s *service) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the service: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("the service ended: %w", err)
		}
		return nil
	case <-time.After(time.Minute):
		_ = s.cmd.Process.Kill()
		<-ended
		return errors.New("the service did not stop within a minute")
	}
}

// app makes an app.
func (s *service) app(ctx context.Context) (string, error) {
	s.apps++
	name := fmt.Sprintf("bench-%d", s.apps)
	_, err := s.CreateApp(ctx, client.AppChange{Name: &name})
	return name, err
}

// source uploads the source of a build that runs a script.
func (s *service) source(ctx context.Context, app, script string) (r client.BuildRequest, err error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "build.sh", Mode: 0o644, Size: int64(len(script))}); err != nil {
		return r, err
	}
	if _, err := io.WriteString(w, script); err != nil {
		return r, err
	}
	if err := w.Close(); err != nil {
		return r, err
	}
	place, err := s.CreateSource(ctx, app)
	if err != nil {
		return r, err
	}
	up, err := s.Upload(ctx, place, &archive, int64(archive.Len()), nil)
	r.Source.URL, r.Source.Checksum = place.Blob.GetURL, up.Checksum
	return r, err
}

// start queues a build of a new app that runs a script.
func (s *service) start(ctx context.Context, script string) (client.Build, error) {
	app, err := s.app(ctx)
	if err != nil {
		return client.Build{}, err
	}
	r, err := s.source(ctx, app, script)
	if err != nil {
		return client.Build{}, err
	}
	return s.CreateBuild(ctx, app, r)
}

// wait follows a build to its end, which has to be a good one.
func (s *service) wait(ctx context.Context, b client.Build, log io.Writer) error {
	state, err := s.Follow(ctx, client.BuildLog(b.App.Name, b.ID), 0, log)
	if err == nil && state != build.Succeeded {
		var said bytes.Buffer
		_, err = s.Log(ctx, client.BuildLog(b.App.Name, b.ID), 0, &said)
		err = errors.Join(err, fmt.Errorf("build %d of %s %s: %.2000s", b.Number, b.App.Name, state, &said))
	}
	return err
}

// timed runs a script in a build of its own and tells how long that took, from its request to the end of its log.
func (s *service) timed(ctx context.Context, script string, log io.Writer) (time.Duration, error) {
	began := time.Now()
	b, err := s.start(ctx, script)
	if err == nil {
		err = s.wait(ctx, b, log)
	}
	return time.Since(began), err
}

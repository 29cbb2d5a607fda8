package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// What row S4 is about.
const (
	pushes  = 50
	waiting = 1000
)

// queued has many repositories pushed at once, and an app with many builds wait beside one with one.
func queued(ctx context.Context, y *yard) (figures []figure, err error) {
	s, err := y.serve(ctx, 2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	alone, err := y.pushAll(ctx, s, 1)
	if err != nil {
		return nil, err
	}
	all, err := y.pushAll(ctx, s, pushes)
	if err != nil {
		return nil, err
	}
	before, err := y.overtaken(ctx)
	return []figure{
		{what: "one repository pushed", Value: alone.Seconds(), Unit: "s"},
		{what: fmt.Sprintf("%d pushed at once, two builds at a time, all accepted", pushes), Value: all.Seconds(), Unit: "s"},
		{what: "for each of them", Value: all.Seconds() / pushes, Unit: "s"},
		{what: fmt.Sprintf("builds of an app with %d before the one of another, one at a time", waiting), Value: float64(before), Unit: "builds", AtMost: 1},
	}, err
}

// pushAll pushes a new repository to each of so many new apps at the same time, and tells how long it took until all of
// them were released: git says of each that its ref moved.
func (y *yard) pushAll(ctx context.Context, s *service, n int) (time.Duration, error) {
	var dirs []string
	for range n {
		app, err := s.app(ctx)
		if err != nil {
			return 0, err
		}
		dir, err := y.oneFile("pushed-"+app, "build.sh", "echo "+app)
		if err != nil {
			return 0, err
		}
		to, err := url.Parse(s.GitURL(app))
		if err != nil {
			return 0, err
		}
		to.User = url.UserPassword("x", s.token)
		for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "m"}, {"remote", "add", "slipway", to.String()}} {
			if err := git(ctx, dir, args...); err != nil {
				return 0, err
			}
		}
		dirs = append(dirs, dir)
	}
	began := time.Now()
	errs := make([]error, n)
	var group sync.WaitGroup
	for i, dir := range dirs {
		group.Go(func() { errs[i] = git(ctx, dir, "push", "-q", "slipway", "main") })
	}
	group.Wait()
	return time.Since(began), errors.Join(errs...)
}

func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "user.name=n", "-c", "user.email=e@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(dir), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %.2000s", args[0], err, out)
	}
	return nil
}

// overtaken queues many builds of one app and then one of another, in a service that runs one at a time, and tells how
// many of the first app began before the other's did.
func (y *yard) overtaken(ctx context.Context) (before int, err error) {
	s, err := y.serve(ctx, 1)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	app, err := s.app(ctx)
	if err != nil {
		return 0, err
	}
	many, err := s.source(ctx, app, "sleep 1\n")
	if err != nil {
		return 0, err
	}
	for range waiting {
		if _, err := s.CreateBuild(ctx, app, many); err != nil {
			return 0, err
		}
	}
	other, err := s.app(ctx)
	if err != nil {
		return 0, err
	}
	one, err := s.source(ctx, other, "sleep 10\n")
	if err != nil {
		return 0, err
	}
	first, err := s.Status(ctx)
	if err != nil {
		return 0, err
	}
	b, err := s.CreateBuild(ctx, other, one)
	for err == nil && b.State == build.Queued {
		if err = pause(ctx, 20*time.Millisecond); err == nil {
			b, err = s.Build(ctx, other, b.ID)
		}
	}
	if err != nil {
		return 0, err
	}
	now, err := s.Status(ctx)
	return first.Queued - now.Queued, err
}

package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/store"
)

// ReleaseProcess is the type of the process that is a release's command: it runs once, after the build, and only when it
// has succeeded does the release get the app's name.
const ReleaseProcess = "release"

// maxCommands is how many release commands run at once; of one app it is one.
const maxCommands = 8

// hasCommand tells whether a release command has to run.
func (s *Service) hasCommand(processes []build.Process) bool {
	return s.config.Release != nil && slices.ContainsFunc(processes, func(p build.Process) bool { return p.Type == ReleaseProcess })
}

// commands starts the release commands that wait, as far as they may run now, and wakes Run when one has ended.
func (s *Service) commands(ctx context.Context) error {
	unfinished, err := s.store.Unfinished(ctx)
	if err != nil {
		return fmt.Errorf("look for release commands: %w", err)
	}
	return s.start(ctx, unfinished)
}

// start starts the commands of those of some releases that wait for one still: the list may be older than the end of a
// command, and none may run twice.
func (s *Service) start(ctx context.Context, releases []build.Release) error {
	var errs []error
	for _, r := range releases {
		if r.State != build.ReleasePending || !s.takeCommand(r.App) {
			continue
		}
		now, err := s.store.ReleaseByID(ctx, r.ID) // read while no command of its app can end
		if err != nil || now.State != build.ReleasePending {
			s.leaveCommand(r.App)
			if !errors.Is(err, build.ErrNotFound) { // else its app is gone
				errs = append(errs, err)
			}
			continue
		}
		s.commanding.Go(func() {
			s.command(ctx, now)
			s.leaveCommand(now.App)
			s.released()
		})
	}
	return errors.Join(errs...)
}

// takeCommand says whether a command of an app may start now.
func (s *Service) takeCommand(app build.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.executing[app] || len(s.executing) >= maxCommands {
		return false
	}
	s.executing[app] = true
	return true
}

func (s *Service) leaveCommand(app build.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.executing, app)
}

// released has Run look for release commands.
func (s *Service) released() {
	select {
	case s.pending <- struct{}{}:
	default:
	}
}

// command runs a release command, and records how it ended.
func (s *Service) command(ctx context.Context, r build.Release) {
	killpoint.Here(killpoint.CommandStarts)
	err := s.execute(ctx, r)
	killpoint.Here(killpoint.CommandRan)
	if ctx.Err() != nil {
		err = errors.New(interruptedCommand)
	}
	state, failure := build.ReleaseSucceeded, ""
	if err != nil {
		state, failure = build.ReleaseFailed, commandFailure(err)
	}
	record := context.WithoutCancel(ctx)
	if err := s.store.EndRelease(record, r.ID, state, failure); err != nil {
		s.fault(fmt.Errorf("release %s: %w", r.ID, err))
		return
	}
	killpoint.Here(killpoint.CommandRecorded)
	if r.State = state; state == build.ReleaseSucceeded {
		if err := s.publish(record, r); err != nil {
			s.fault(err) // Run does it again
		}
	}
}

const interruptedCommand = "the service stopped while the release command ran: how far it came is not known"

// execute runs the command with the app's config vars, and writes its log, whose id is the release's.
func (s *Service) execute(ctx context.Context, r build.Release) (err error) {
	app, err := s.store.AppByID(ctx, r.App)
	if err != nil {
		return err
	}
	env, err := s.store.Secrets(ctx, r.App, store.SecretVar)
	if err != nil {
		return err
	}
	limits := within(app.Limits, s.config.Limits)
	w, err := s.logs.Create(r.ID, logs.Options{Masker: logs.NewMasker(slices.Collect(maps.Values(env))...), Limit: limits.Log})
	if err != nil {
		return err
	}
	defer func() {
		state := build.Succeeded
		if err != nil {
			fmt.Fprintf(w, "ERROR: %s\n", commandFailure(err))
			state = build.Failed
		}
		if cerr := w.Close(state); cerr != nil {
			s.fault(fmt.Errorf("log of release %s: %w", r.ID, cerr))
		}
	}()
	fmt.Fprintf(w, "Running the release command of v%d\n", r.Version)
	return s.config.Release(ctx, r, env, limits, w)
}

// commandFailure is why a release command failed, in one line.
func commandFailure(err error) string {
	if e, ok := errors.AsType[*container.ExitError](err); ok && e.OutOfMemory {
		return "the release command used more memory than it may"
	} else if ok {
		return fmt.Sprintf("the release command ended with exit code %d", e.Code)
	}
	if e, ok := errors.AsType[*container.LimitError](err); ok {
		return "the release command: " + e.Error()
	}
	return err.Error()
}

// endCommands fails the releases whose command an earlier process ran: nobody knows how far it came.
func (s *Service) endCommands(ctx context.Context) error {
	unfinished, err := s.store.Unfinished(ctx)
	for _, r := range unfinished {
		if r.State == build.ReleasePending {
			err = errors.Join(err, s.store.EndRelease(ctx, r.ID, build.ReleaseFailed, interruptedCommand))
		}
	}
	return err
}

// A ReleaseFunc runs the release process of a release's image with config vars, within limits, and writes what it prints.
type ReleaseFunc func(ctx context.Context, r build.Release, env map[string]string, l build.Limits, log io.Writer) error

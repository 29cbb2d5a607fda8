// Package service is the build service behind its doors: it takes builds in, gives them to workers and hears from
// them (work.Service), writes their logs, and gives what they made its names. Its truth is the store; what it keeps in
// memory is only about what happens right now, and a crash loses nothing that was acknowledged. It speaks no HTTP and
// no git: those are web and gitserver, which call it.
package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/work"
)

// Config is what an operator decides.
type Config struct {
	Builder  string        // of apps that name none
	Registry string        // host that images go to, where an app names no repository
	Lease    time.Duration // of a claim
	Limits   build.Limits  // of apps that set none; no app goes beyond them

	// Release, if not nil, runs release commands.
	Release ReleaseFunc
	// Credential, if not nil, opens a repository to a claim and to nobody else; nil for one that is not ours to open.
	Credential func(repository string, c work.Claim) *work.Credential
}

// A Tagger gives manifests of repositories their names, with the credentials that the repository's app has.
type Tagger interface {
	// Tag moves a tag to a manifest that is there. Doing it twice is no error.
	Tag(ctx context.Context, credentials []work.Credential, repository, tag, digest string) error
	// Has tells whether a repository has a manifest; an error is that it cannot be told.
	Has(ctx context.Context, credentials []work.Credential, repository, digest string) (bool, error)
}

// A Service is safe for concurrent use.
type Service struct {
	config Config
	store  *store.Store
	logs   *logs.Dir
	tags   Tagger
	fault  func(error)

	naming     sync.Mutex     // held while names move
	pending    chan struct{}  // a release command may be to run
	commanding sync.WaitGroup // of release commands

	mu       sync.Mutex
	wake     []func()
	ended    []func(build.Build)
	running  map[build.ID]*attempt
	waiting  map[build.ID]*Session
	watchers map[build.ID][]chan struct{}

	executing map[build.ID]bool // apps whose release command runs
}

// An attempt is a claim that is alive in this process.
type attempt struct {
	fence int64
	log   *logs.Writer
}

// New makes a Service. fault hears of what goes wrong with nobody there to be told.
func New(c Config, s *store.Store, l *logs.Dir, t Tagger, fault func(error)) *Service {
	return &Service{
		config: c, store: s, logs: l, tags: t, fault: fault,
		running: map[build.ID]*attempt{}, waiting: map[build.ID]*Session{}, watchers: map[build.ID][]chan struct{}{},
		pending: make(chan struct{}, 1), executing: map[build.ID]bool{},
	}
}

// OnQueued adds a function that is called when a build waits: a worker's Wake. It must not block.
func (s *Service) OnQueued(wake func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = append(s.wake, wake)
}

// OnEnded adds a function that is called with every build that has ended, once, when all that belongs to its end is done.
// It must not block.
func (s *Service) OnEnded(f func(build.Build)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, f)
}

func (s *Service) queued() {
	s.mu.Lock()
	wake := s.wake
	s.mu.Unlock()
	for _, f := range wake {
		f()
	}
}

// Recover puts right what an earlier process left: it takes every running build from workers that cannot be alive, ends
// builds whose push is gone, and closes their logs. It is called once, before anything else; what waits for a registry is
// Run's.
func (s *Service) Recover(ctx context.Context) error {
	if _, err := s.store.Reap(ctx, true); err != nil {
		return fmt.Errorf("take back builds of an earlier run: %w", err)
	}
	killpoint.Here(killpoint.Reaped)
	gone, err := s.store.EndSessions(ctx)
	if err != nil {
		return fmt.Errorf("end builds of pushes of an earlier run: %w", err)
	}
	for _, b := range gone { // a crash between a build's record and its log left none
		if err := s.logs.Ensure(b.ID); err != nil {
			return fmt.Errorf("log of build %s: %w", b.ID, err)
		}
	}
	if err := s.endCommands(ctx); err != nil {
		return fmt.Errorf("end release commands of an earlier run: %w", err)
	}
	err = s.logs.Recover(ctx, func(id build.ID) build.State {
		b, err := s.store.BuildByID(ctx, id)
		if errors.Is(err, build.ErrNotFound) {
			if d, err := s.store.DeploymentByID(ctx, id); err == nil && d.State == build.DeployPending {
				return build.Queued // it is done again
			}
			return build.Failed // its app was deleted: the log is removed in time
		}
		if err != nil {
			return build.Queued
		}
		return b.State
	})
	if err != nil {
		return fmt.Errorf("close logs of an earlier run: %w", err)
	}
	killpoint.Here(killpoint.LogsClosed)
	return nil
}

// Run takes builds back from workers that went silent, runs release commands, and gives releases the names that they
// could not get at once, until ctx ends: release commands that run then fail, before it returns.
func (s *Service) Run(ctx context.Context) error {
	defer s.commanding.Wait()
	look := time.NewTicker(s.config.Lease / 2)
	defer look.Stop()
	err := s.look(ctx)
	for {
		if err = errors.Join(err, s.commands(ctx)); err != nil && ctx.Err() == nil {
			s.fault(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.pending:
			err = nil
		case <-look.C:
			err = s.look(ctx)
		}
	}
}

func (s *Service) look(ctx context.Context) error {
	lost, err := s.store.Reap(ctx, false)
	if err != nil {
		err = fmt.Errorf("look for lost builds: %w", err)
	}
	for _, b := range lost {
		s.left(b, "The worker that ran this build went away.")
	}
	return errors.Join(err, s.publishAll(ctx))
}

// Submit takes a build in. When it returns the build is durable and its log can be followed.
func (s *Service) Submit(ctx context.Context, b build.Build) (build.Build, error) {
	return s.submit(ctx, b, nil)
}

func (s *Service) submit(ctx context.Context, b build.Build, session *Session) (build.Build, error) {
	b, superseded, err := s.store.CreateBuild(ctx, b)
	if err != nil {
		return b, err
	}
	if session != nil {
		s.mu.Lock()
		s.waiting[b.ID] = session
		s.mu.Unlock()
	}
	killpoint.Here(killpoint.BuildRecorded)
	s.accepted(b, superseded)
	return b, nil
}

// accepted does what belongs to a build that was just recorded.
func (s *Service) accepted(b build.Build, superseded []build.Build) {
	if err := s.logs.Ensure(b.ID); err != nil {
		s.fault(fmt.Errorf("log of build %s: %w", b.ID, err)) // it is made with the first claim then
	}
	killpoint.Here(killpoint.LogMade)
	for _, old := range superseded {
		s.left(old, "This build was "+old.CancelReason+".")
	}
	s.queued()
}

// Cancel ends a waiting build, and has the worker of a running one stop it, which its next heartbeat hears of.
func (s *Service) Cancel(ctx context.Context, id build.ID, reason string) (build.Build, error) {
	b, err := s.store.Cancel(ctx, id, reason)
	killpoint.Here(killpoint.CancelRecorded)
	if err == nil && b.State.Terminal() {
		s.left(b, "This build was cancelled: "+reason+".")
	}
	return b, err
}

// DeleteApp removes an app from the record; store.ErrBusy tells that a build of it is running. Who follows a build that
// waited sees it end.
func (s *Service) DeleteApp(ctx context.Context, id build.ID) error {
	waited, err := s.store.DeleteApp(ctx, id)
	killpoint.Here(killpoint.AppDeleted)
	for _, b := range waited {
		s.left(b, "This build was cancelled: its app was deleted.")
	}
	return err
}

// left closes the log of a build that no worker has any more, with a last line, and tells who watches it.
func (s *Service) left(b build.Build, line string) {
	s.mu.Lock()
	a := s.running[b.ID]
	delete(s.running, b.ID)
	s.mu.Unlock()
	var err error
	if a == nil {
		a = &attempt{}
		a.log, err = s.logs.Create(b.ID, logs.Options{Volatile: b.Attempt == 0})
	}
	if err == nil {
		_, _ = a.log.Write([]byte(line + "\n"))
		err = a.log.Close(b.State)
	}
	if err != nil && !errors.Is(err, logs.ErrEnded) {
		s.fault(fmt.Errorf("log of build %s: %w", b.ID, err))
	}
	s.changed(b)
}

// Watch returns a channel that is closed when the build next changes its state. Look at the build after having called it.
func (s *Service) Watch(id build.ID) <-chan struct{} {
	c := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[id] = append(s.watchers[id], c)
	return c
}

func (s *Service) changed(b build.Build) {
	s.mu.Lock()
	watchers := s.watchers[b.ID]
	delete(s.watchers, b.ID)
	var ended []func(build.Build)
	if b.State.Terminal() {
		delete(s.waiting, b.ID)
		ended = s.ended
	}
	s.mu.Unlock()
	for _, f := range ended {
		f(b)
	}
	for _, c := range watchers {
		close(c)
	}
	if b.State != build.Running {
		s.queued() // the app's next build may run, or this one again
	}
}

var _ work.Service = (*Service)(nil)

package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/platform"
)

// A Worker claims builds and runs them, Slots at once. Fields are set before Run and not changed after.
type Worker struct {
	Name    string // how the service calls it; unique among its workers
	Service Service
	Slots   int           // builds at once
	Lease   time.Duration // how long the service lets a claim live without a heartbeat
	Beat    time.Duration // between heartbeats, which bring cancels too; well below Lease
	Poll    time.Duration // between claims when nothing waited and nobody woke the worker
	Drain   time.Duration // how long builds may go on when the worker stops; then they are given back as lost

	// Machine is what builds stand on. Registry makes it anew for the credentials of a job.
	Machine  *platform.Machine
	Registry func(credentials []Credential) (*platform.Machine, error)
	// Sources makes a job's source a file or directory that platform.Options.Source can name; done removes what was
	// made for it. An error is a *SourceError where it is not the platform's fault.
	Sources func(ctx context.Context, j *Job, say func(string)) (path string, done func(), err error)
	// Options are what all builds of this worker have in common: trust, proxies, network, pull policy.
	Options platform.Options
	// Temp is a directory of the worker's own for secrets that a build gets as files.
	Temp string
	// Fault hears of what went wrong between worker and service; nil: nobody.
	Fault func(error)

	wake chan struct{}
	once sync.Once
}

// Wake has an idle worker look for a build now.
func (w *Worker) Wake() {
	w.init()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Worker) init() {
	w.once.Do(func() { w.wake = make(chan struct{}, 1) })
}

// Run works until ctx ends. Then it claims nothing more, lets builds that run go on for Drain, stops what is left, and
// returns when nothing of it runs any more.
func (w *Worker) Run(ctx context.Context) error {
	w.init()
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	slots := make(chan struct{}, w.Slots)
	var running sync.WaitGroup
	for w.slot(ctx, slots) {
		j, err := w.Service.Claim(ctx, w.Name)
		if err != nil && ctx.Err() == nil {
			w.fault(fmt.Errorf("claim a build: %w", err))
		}
		if j == nil {
			<-slots
			w.idle(ctx)
			continue
		}
		running.Go(func() {
			defer func() { <-slots; w.Wake() }()
			w.attempt(work, j)
		})
	}
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(w.Drain):
		stop(errStopping)
		<-ended
	}
	return nil
}

// slot waits for a free one; false when ctx has ended.
func (w *Worker) slot(ctx context.Context, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (w *Worker) idle(ctx context.Context) {
	select {
	case <-w.wake:
	case <-time.After(w.Poll):
	case <-ctx.Done():
	}
}

func (w *Worker) fault(err error) {
	if w.Fault != nil {
		w.Fault(err)
	}
}

// attempt runs one claim to its end and reports it.
func (w *Worker) attempt(ctx context.Context, j *Job) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	report := context.WithoutCancel(ctx) // what ends the build does not end the telling
	log := newLogPipe(report, func(ctx context.Context, p Piece) (bool, error) {
		ctx, done := context.WithTimeout(ctx, w.Lease)
		defer done()
		full, err := w.Service.Log(ctx, j.Claim, p)
		if err != nil && !errors.Is(err, ErrStale) {
			w.fault(fmt.Errorf("log of %s: %w", j.Claim, err))
		}
		return full, err
	})
	s := &screen{log: log}
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		w.beat(ctx, j.Claim, s, cancel)
	}()
	o := w.run(ctx, j, s)
	stale := errors.Is(context.Cause(ctx), ErrStale)
	cancel(nil)
	<-beats
	s.flush()
	log.close()
	if stale {
		return
	}
	if err := w.finish(report, j.Claim, o); err != nil {
		w.fault(fmt.Errorf("report the end of %s: %w", j.Claim, err))
	}
}

// finish tells the service until it has heard, for as long as the claim may live.
func (w *Worker) finish(ctx context.Context, c Claim, o Outcome) (err error) {
	ctx, done := context.WithTimeout(ctx, w.Lease)
	defer done()
	for {
		if err = w.Service.Finish(ctx, c, o); err == nil || errors.Is(err, ErrStale) {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(w.Beat):
		}
	}
}

// beat keeps the claim alive and ends the build where the service says so, or cannot be reached.
func (w *Worker) beat(ctx context.Context, c Claim, s *screen, cancel context.CancelCauseFunc) {
	heard := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(w.Beat):
		}
		at := time.Now()
		order, err := w.Service.Heartbeat(ctx, c, s.progress())
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrStale):
			cancel(ErrStale)
			return
		case err != nil && time.Since(heard) > w.Lease:
			cancel(errLeaseLost)
			return
		case err != nil:
			w.fault(fmt.Errorf("heartbeat of %s: %w", c, err))
			continue
		case order.Cancel:
			cancel(&cancelled{order.Reason})
			return
		}
		heard = at
	}
}

// run builds, and says how it ended. The log's last lines are for whoever watches it.
func (w *Worker) run(ctx context.Context, j *Job, s *screen) Outcome {
	res, err := w.build(ctx, j, s)
	if err == nil {
		killpoint.Here(killpoint.ImagePushed)
	}
	s.flush()
	o := verdict(ctx, err)
	if o.Failure != nil {
		if res != nil {
			o.Failure.Phases, o.Failure.Buildpacks = timings(res), group(res)
		}
		s.ending(o)
		return o
	}
	o.Result = result(res, j)
	s.line(fmt.Sprintf("Built %s@%s", o.Result.Repository, o.Result.Digest))
	return o
}

// ending tells a failure: where, why, what to do.
func (s *screen) ending(o Outcome) {
	f := o.Failure
	switch {
	case o.State == build.Cancelled:
		s.line("The build was " + f.Reason + ".")
		return
	case f.Blame == build.BlamePlatform:
		s.line("ERROR: this is not the app's fault: " + f.Reason)
	default:
		s.line("ERROR: " + f.Reason)
	}
	for _, r := range f.Reasons {
		s.line("  " + r)
	}
	if f.Next != "" {
		s.line("What to do: " + f.Next)
	}
}

package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/logs"
)

// A Run is a Once that somebody asked for and does not wait for. It is not in the record: a service that stops ends it, and
// one that starts does not know of it.
type Run struct {
	ID        build.ID // its log has it too
	App       build.ID
	Release   build.Release
	Command   []string
	Script    string
	State     build.State // running, succeeded, failed or cancelled
	Exit      int         // where it has ended by itself
	Failure   string      // one line
	CreatedAt time.Time
	EndedAt   time.Time

	cancel context.CancelCauseFunc
	over   chan struct{}
}

// How many runs there may be at once, and how many that have ended are known still.
const (
	maxRuns    = 8
	maxAppRuns = 4
	keptRuns   = 200
)

// ErrBusy tells that no more commands can run at once.
var ErrBusy = errors.New("as many commands run as may at once: wait until one has ended")

var errCancelled = errors.New("it was cancelled")

// Start begins a run of a release. o.Output is not looked at: what is printed goes to the log of the run.
func (h *Host) Start(ctx context.Context, o Once) (Run, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	r := &Run{
		ID: build.NewID(), App: o.Release.App, Release: o.Release, Command: o.Command, Script: o.Script, State: build.Running, CreatedAt: time.Now(),
		cancel: cancel, over: make(chan struct{}),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	all, own := 0, 0
	for _, other := range h.runs {
		if other.State == build.Running {
			all++
			if other.App == r.App {
				own++
			}
		}
	}
	if all >= maxRuns || own >= maxAppRuns || h.closed {
		cancel(nil)
		return Run{}, ErrBusy
	}
	log, err := h.o.Logs.Create(r.ID, logs.Options{Limit: maxLog})
	if err != nil {
		cancel(nil)
		return Run{}, err
	}
	o.Output = log
	h.runs = append(h.runs, r)
	if len(h.runs) > keptRuns {
		i := slices.IndexFunc(h.runs, func(r *Run) bool { return r.State != build.Running })
		h.runs = slices.Delete(h.runs, i, i+1)
	}
	h.running.Go(func() {
		defer close(r.over)
		defer cancel(nil)
		h.finish(r, log, h.Once(ctx, o), context.Cause(ctx))
	})
	return *r, nil
}

// finish says how a run has ended.
func (h *Host) finish(r *Run, log *logs.Writer, err, cause error) {
	state, failure, exit := build.Succeeded, "", 0
	if e, ok := errors.AsType[*container.ExitError](err); ok {
		exit = e.Code
	}
	switch {
	case cause != nil:
		state, failure = build.Cancelled, line(cause.Error())
	case err != nil:
		state, failure = build.Failed, ending(err)
	}
	if failure != "" {
		fmt.Fprintf(log, "slipway: %s\n", failure)
	}
	h.mu.Lock()
	r.State, r.Failure, r.Exit, r.EndedAt = state, failure, exit, time.Now()
	h.mu.Unlock()
	if err := log.Close(state); err != nil { // who has followed it to its end finds the run ended
		h.o.Fault(fmt.Errorf("log of run %s: %w", r.ID, err))
	}
}

// FindRun is a run of an app; ErrNotFound where there is none, or none any more.
func (h *Host) FindRun(app, id build.ID) (Run, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.runs {
		if r.ID == id && r.App == app {
			return *r, nil
		}
	}
	return Run{}, fmt.Errorf("run %.80q: %w", id, build.ErrNotFound)
}

// CancelRun ends a run, and returns when nothing of it runs.
func (h *Host) CancelRun(ctx context.Context, app, id build.ID) (Run, error) {
	r, err := h.FindRun(app, id)
	if err != nil {
		return r, err
	}
	r.cancel(errCancelled)
	select {
	case <-r.over:
	case <-ctx.Done():
		return r, context.Cause(ctx)
	}
	return h.FindRun(app, id)
}

// endRuns ends the runs of an app, or with "" all, and returns when nothing of them runs.
func (h *Host) endRuns(app build.ID, why error) {
	h.mu.Lock()
	var all []*Run
	for _, r := range h.runs {
		if app == "" || r.App == app {
			r.cancel(why)
			all = append(all, r)
		}
	}
	h.mu.Unlock()
	for _, r := range all {
		<-r.over
	}
}

package setups

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/killpoint"
)

// A drive is a setup that is under way in this process. Only its own goroutine changes v.
type drive struct {
	s    *Setups
	v    build.Setup
	in   input
	app  build.ID
	stop context.CancelCauseFunc
}

// A stopped is why a drive was ended from outside, in a line; a service that stops is none, for it goes on later.
type stopped struct{ why string }

func (e *stopped) Error() string { return e.why }

// A refused is a failure that belongs to the template or what was given: the findings are lines of all that is wrong.
type refused struct {
	text     string
	findings []string
}

func (e *refused) Error() string { return e.text }

// A skipped says in a line why there was nothing to do in a step.
type skipped struct{ note string }

func (e *skipped) Error() string { return e.note }

// errUnrecorded is wrapped when the record did not take a change: the drive ends, and another one goes on later.
var errUnrecorded = errors.New("the setup could not be recorded")

const (
	appGone     = "its app was deleted"
	interrupted = "the service stopped while postdeploy ran: how far it came is not known"
)

// Run drives setups, until ctx ends: then it returns when nothing of them runs any more, and the next Run goes on.
func (s *Setups) Run(ctx context.Context) error {
	defer s.running.Wait()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		open, err := s.o.Store.OpenSetups(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Fault(fmt.Errorf("look for setups: %w", err))
		}
		for _, v := range open {
			s.begin(ctx, v)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-look.C:
		}
	}
}

// begin drives a setup, if nobody does.
func (s *Setups) begin(ctx context.Context, v build.Setup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drives[v.ID] != nil || ctx.Err() != nil {
		return
	}
	ctx, stop := context.WithCancelCause(ctx)
	d := &drive{s: s, v: v, app: v.App, stop: stop}
	s.drives[v.ID] = d
	s.running.Go(func() {
		defer stop(nil)
		if err := d.run(ctx); err != nil && ctx.Err() == nil {
			s.o.Fault(fmt.Errorf("setup %s: %w", d.v.ID, err))
		}
		s.mu.Lock()
		delete(s.drives, d.v.ID)
		s.mu.Unlock()
	})
}

// run goes from where the record says that the setup is to its end. An error is that it has not ended, and why.
func (d *drive) run(ctx context.Context) error {
	v, err := d.s.o.Store.SetupByID(ctx, d.v.ID) // it may have been cancelled, or have ended, since it was listed
	if err != nil || !v.EndedAt.IsZero() {
		return err
	}
	d.v = v
	text, err := d.s.o.Store.SetupInput(ctx, v.ID)
	if err == nil {
		d.in, err = unseal(text)
	}
	if err != nil {
		return err
	}
	if v.Failure == "" && v.CancelAsked != "" {
		d.stop(cancelledBy(v.CancelAsked))
	}
	if v.Failure == "" {
		err := d.steps(ctx)
		if errors.Is(err, errUnrecorded) {
			return err
		}
		if err == nil {
			err = d.succeed(ctx)
			if d.v.State == build.SetupSucceeded || errors.Is(err, errUnrecorded) {
				return err
			}
		}
		if _, ended := errors.AsType[*stopped](context.Cause(ctx)); ended {
			err = context.Cause(ctx)
		} else if ctx.Err() != nil && !errors.Is(err, errInterrupted) {
			return ctx.Err() // the service stops
		}
		if err := d.fail(ctx, err); err != nil {
			return err
		}
	}
	return d.remove(ctx)
}

// succeed records that all is done, unless somebody has cancelled it before.
func (d *drive) succeed(ctx context.Context) error {
	err := d.change(ctx, func(v *build.Setup) {
		if v.CancelAsked == "" {
			v.State = build.SetupSucceeded
		}
	})
	if err == nil && d.v.State != build.SetupSucceeded {
		err = cancelledBy(d.v.CancelAsked)
	}
	return err
}

func cancelledBy(who string) error { return &stopped{"it was cancelled: " + who + " asked for it"} }

// change changes the record. It is done also when ctx has ended.
func (d *drive) change(ctx context.Context, f func(*build.Setup)) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer done()
	v, err := d.s.update(ctx, d.v.ID, f)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnrecorded, err)
	}
	d.v = v
	return nil
}

const recordTime = 10 * time.Second

// A doing does a step, and says in a line what came of it. It may be done again, unless it says otherwise.
type doing func(*drive, context.Context) (note string, err error)

// steps does what is not done yet, in order. A panic, which the next start would run into again, is a failure.
func (d *drive) steps(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d.s.o.Fault(fmt.Errorf("setup %s: panic: %v", d.v.ID, p))
			err = errors.New("something went wrong on our side: tell the operator")
		}
	}()
	all := map[build.StepName]doing{
		build.StepCreate: (*drive).create, build.StepConfigure: (*drive).configure, build.StepAddons: (*drive).addons, build.StepBuild: (*drive).build,
		build.StepRelease: (*drive).release, build.StepPostdeploy: (*drive).postdeploy, build.StepDeploy: (*drive).deploy,
	}
	for _, step := range d.v.Steps {
		if step.State == build.StepSucceeded || step.State == build.StepSkipped {
			continue
		}
		if err := d.undrained(ctx); err != nil {
			return err
		}
		if err := d.step(ctx, step, all[step.Name]); err != nil {
			return err
		}
	}
	return nil
}

// step does a step, and records that before and after.
func (d *drive) step(ctx context.Context, step build.SetupStep, do doing) error {
	if step.Name == build.StepPostdeploy && step.State == build.StepRunning {
		do = (*drive).resume
	}
	if err := d.mark(ctx, step.Name, build.StepRunning, ""); err != nil {
		return err
	}
	note, err := do(d, ctx)
	state := build.StepSucceeded
	if e, ok := errors.AsType[*skipped](err); ok {
		state, note, err = build.StepSkipped, e.note, nil
	}
	if err != nil {
		return err
	}
	return d.mark(ctx, step.Name, state, note)
}

// undrained waits for the end when the service is about to stop: nothing is begun that would be cut off.
func (d *drive) undrained(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	select {
	case <-d.s.o.Draining:
		<-ctx.Done()
		return context.Cause(ctx)
	default:
		return nil
	}
}

// mark records where a step stands. A step that is done again begins when it did at first.
func (d *drive) mark(ctx context.Context, name build.StepName, state build.StepState, note string) error {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return d.change(ctx, func(v *build.Setup) {
		step := v.Step(name)
		step.State, step.Note = state, note
		if step.StartedAt.IsZero() {
			step.StartedAt = now
		}
		if state != build.StepRunning {
			step.EndedAt = now
		}
	})
}

// fail records why a setup has failed: from then on only its app is to be removed.
func (d *drive) fail(ctx context.Context, why error) error {
	text := short(why.Error())
	if errors.Is(why, build.ErrNotFound) {
		if _, err := d.s.o.Store.AppByID(context.WithoutCancel(ctx), d.v.App); errors.Is(err, build.ErrNotFound) {
			text = appGone
		}
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	err := d.change(ctx, func(v *build.Setup) {
		v.Failure = text
		if e, ok := errors.AsType[*refused](why); ok {
			v.Findings = e.findings
		}
		for i := range v.Steps {
			if v.Steps[i].State == build.StepRunning {
				v.Steps[i].State, v.Steps[i].Note, v.Steps[i].EndedAt = build.StepFailed, text, now
			}
		}
	})
	killpoint.Here(killpoint.SetupFailing)
	return err
}

// removeTime is how long the removal of an app may take, until it is tried again.
const removeTime = 2 * time.Minute

// remove takes the app of a setup that has failed away, with what runs of it, and ends the setup.
func (d *drive) remove(ctx context.Context) error {
	own, done := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer done()
	o := d.s.o
	app, err := o.Store.AppByID(own, d.v.App)
	if err != nil && !errors.Is(err, build.ErrNotFound) {
		return err
	}
	if err == nil {
		if err := d.deleteApp(own); err != nil {
			return fmt.Errorf("remove its app: %w", err)
		}
		if err := o.Deleted(own, app); err != nil {
			o.Fault(fmt.Errorf("setup %s: remove what its app %s had: %w", d.v.ID, app.Name, err)) // the next start does
		}
	}
	killpoint.Here(killpoint.SetupRemoved)
	return d.change(ctx, func(v *build.Setup) { v.State = build.SetupFailed })
}

// deleteApp removes the app from the record, and ends its builds before where they run.
func (d *drive) deleteApp(ctx context.Context) error {
	o := d.s.o
	for {
		err := o.Service.DeleteApp(ctx, d.v.App)
		if err == nil || errors.Is(err, build.ErrNotFound) {
			return d.noteBuild(ctx)
		}
		if !errors.Is(err, build.ErrConflict) {
			return err
		}
		running, err := o.Store.RunningBuild(ctx, d.v.App)
		if errors.Is(err, build.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		ended := o.Service.Watch(running.ID)
		if _, err := o.Service.Cancel(ctx, running.ID, "its app's setup has failed"); err != nil && !errors.Is(err, build.ErrConflict) {
			return err
		}
		select {
		case <-ended:
		case <-time.After(time.Second): // it ended before it was watched
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := d.noteBuild(ctx); err != nil {
			return err
		}
	}
}

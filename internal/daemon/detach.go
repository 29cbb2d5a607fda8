package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/killpoint"
)

// A detached push does not wait for its build, and its ref moves at once. Between the record of the build and the move
// of the ref is git, which can die, and we with it: so what was pushed is kept for the build until its ref has moved, and
// that it is kept is what says that the ref has still to move.

// A detachedPush is an update that git is about to make for a detached push.
type detachedPush struct {
	app build.ID
	u   gitserver.Update
}

// detach submits a build that goes on without its push.
func (r *receiver) detach(ctx context.Context, p *gitserver.Push, u gitserver.Update, b build.Build) (err error) {
	id := build.NewID()
	if err := p.Keep(ctx, id, u.New); err != nil {
		return err
	}
	push := detachedPush{p.App.ID, u}
	r.detached.Store(push, id)
	b.ID = id
	if b, err = r.service.Submit(ctx, b); err != nil {
		r.detached.Delete(push)
		return errors.Join(err, r.repos.Release(context.WithoutCancel(ctx), p.App.ID, id))
	}
	killpoint.Here(killpoint.Detached)
	heading(p.Out, "Build %d is queued, and goes on without this push", b.Number)
	r.whereLogs(p.Out, p.App, b)
	return nil
}

// detachedMoved is called when git has moved the ref of a push, or could not: then we do.
func (r *receiver) detachedMoved(ctx context.Context, app build.ID, u gitserver.Update, err error) {
	id, ok := r.detached.LoadAndDelete(detachedPush{app, u})
	if !ok {
		return
	}
	if err == nil {
		err = r.repos.Release(ctx, app, id.(build.ID))
	} else {
		err = r.moveDetached(ctx, app, id.(build.ID), u)
	}
	if err != nil {
		r.host.Fault(err) // the next start does it
	}
}

// moveDetached moves the ref of a detached push that git has not moved, unless it has gone elsewhere meanwhile.
func (d *Daemon) moveDetached(ctx context.Context, app, id build.ID, u gitserver.Update) error {
	err := d.repos.MoveRef(ctx, app, u)
	if err != nil && !errors.Is(err, build.ErrConflict) && !isGone(err) {
		return fmt.Errorf("move %s of app %s for build %s: %w", u.Ref, app, id, err)
	}
	return d.repos.Release(ctx, app, id)
}

// keptForDetached is the build for which a detached push keeps something; ok is false for any other id.
func (d *Daemon) keptForDetached(ctx context.Context, kept build.ID) (b build.Build, ok bool) {
	b, err := d.store.BuildByID(ctx, kept)
	return b, err == nil && b.Trigger.Kind == build.TriggerPush && !b.Trigger.Session
}

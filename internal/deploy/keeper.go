package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
)

// A keeper does the deployments of one app, one after the other, and has what runs of it. It lives while there is either.
type keeper struct {
	h     *Host
	app   build.ID
	stop  context.CancelFunc
	over  chan struct{}
	nudge chan struct{} // the record has something new, perhaps

	front *front // of what is local
	live  *unit  // what runs
}

func (k *keeper) wake() {
	select {
	case k.nudge <- struct{}{}:
	default:
	}
}

func (k *keeper) run(ctx context.Context) {
	defer k.leave()
	for {
		more, err := k.step(ctx)
		if err != nil && ctx.Err() == nil {
			k.h.o.Fault(fmt.Errorf("deployments of app %s: %w", k.app, err))
		}
		if !more && err == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-k.nudge:
		}
	}
}

// leave ends what runs. The record says still that it is to.
func (k *keeper) leave() {
	if k.live != nil {
		k.live.end()
		k.live = nil
	}
	k.front.close()
	k.front = nil
}

// step makes things what the record says, and tells whether there is something to keep.
func (k *keeper) step(ctx context.Context) (more bool, err error) {
	by, err := k.h.o.Store.Deployer(ctx, k.app)
	if errors.Is(err, build.ErrNotFound) {
		by, err = build.Deployer{App: k.app, Kind: build.DeployNone}, nil
	}
	if err != nil {
		return false, err
	}
	all, err := k.h.o.Store.OpenDeployments(ctx)
	if err != nil {
		return false, err
	}
	var local, commands []build.Deployment
	for _, d := range all {
		if d.App == k.app && d.Kind == build.DeployLocal {
			local = append(local, d)
		} else if d.App == k.app && d.Kind == build.DeployCommand && d.State == build.DeployPending {
			commands = append(commands, d)
		}
	}
	if by.Kind != build.DeployLocal {
		k.leave()
		for _, d := range local {
			k.h.end(ctx, d.ID, build.DeployStopped, "")
		}
	}
	switch by.Kind {
	case build.DeployCommand:
		for _, d := range commands {
			k.command(ctx, by, d)
		}
	case build.DeployLocal:
		return k.run1(ctx, by, local)
	}
	return false, ctx.Err()
}

// run1 has the newest of an app's local deployments run. What was live in an earlier process is started first, so that
// there is something while the newest is not ready.
func (k *keeper) run1(ctx context.Context, by build.Deployer, all []build.Deployment) (more bool, err error) {
	var newest *build.Deployment
	for i := len(all) - 1; i >= 0; i-- {
		d := all[i]
		switch {
		case k.live != nil && k.live.row.ID == d.ID:
		case d.Live && k.live == nil:
			if err := k.restore(ctx, by, d); err != nil {
				return true, err
			}
		case d.Live:
			k.h.end(ctx, d.ID, build.DeployStopped, "")
		case newest == nil:
			newest = &all[i]
		default:
			k.h.end(ctx, d.ID, build.DeployStopped, "a newer one came first")
		}
	}
	if newest != nil {
		k.replace(ctx, by, *newest)
	}
	if k.live == nil {
		k.front.close()
		k.front = nil
	}
	return k.live != nil, ctx.Err()
}

// restore starts what ran in an earlier process.
func (k *keeper) restore(ctx context.Context, by build.Deployer, d build.Deployment) error {
	u, err := k.unit(ctx, by, d)
	if err == nil {
		err = k.openFront(ctx, by)
	}
	if err != nil {
		k.h.record(ctx, d.ID, func(d *build.Deployment) { d.State, d.Failure = build.DeployStarting, line(err.Error()) })
		return err // it is tried again
	}
	k.live = u
	k.front.to.Store(u)
	k.h.record(ctx, d.ID, func(r *build.Deployment) { r.State, r.URL = build.DeployStarting, k.url(u.app) })
	u.start(ctx, true)
	return nil
}

// unit is the process of a deployment, not started.
func (k *keeper) unit(ctx context.Context, by build.Deployer, d build.Deployment) (*unit, error) {
	app, v, err := k.h.release(ctx, d)
	if err != nil {
		return nil, err
	}
	return &unit{h: k.h, by: by, app: app, release: v, row: d, began: io.Discard}, nil
}

func (k *keeper) openFront(ctx context.Context, by build.Deployer) (err error) {
	if k.front == nil {
		k.front, err = takePort(ctx, k.h.o.Store, by, k.h.o.Listen)
	}
	return err
}

// replace starts a deployment, and when that answers ends what ran before. If it does not, that goes on.
func (k *keeper) replace(ctx context.Context, by build.Deployer, d build.Deployment) {
	u, err := k.unit(ctx, by, d)
	if err == nil {
		err = k.openFront(ctx, by)
	}
	log, end := k.h.begin(d)
	if err != nil {
		if ctx.Err() == nil {
			k.h.end(ctx, d.ID, build.DeployFailed, line(err.Error()))
			end(errors.New(line(err.Error())))
		}
		return
	}
	k.h.record(ctx, d.ID, func(d *build.Deployment) { d.State = build.DeployStarting })
	fmt.Fprintf(log, "Starting v%d\n", d.Version)
	u.say("starting v%d", d.Version)
	u.began = log
	u.start(ctx, false)
	for {
		select {
		case <-u.ready:
			k.take(ctx, u)
			fmt.Fprintf(log, "It answers: %s\n", k.url(u.app))
			end(nil)
			return
		case <-u.done:
			err := u.why
			if ctx.Err() != nil {
				err = errors.New("the service stopped: it is started again with that")
			} else {
				k.h.end(ctx, d.ID, build.DeployFailed, err.Error())
				u.say("v%d did not come up: %s", d.Version, err)
			}
			end(err)
			return
		case <-k.nudge:
			if !k.superseded(ctx, d) {
				continue
			}
			u.end()
			k.h.end(ctx, d.ID, build.DeployStopped, "a newer one came first")
			end(errors.New("a newer one came first"))
			k.wake()
			return
		}
	}
}

// take puts a unit in the place of the one before.
func (k *keeper) take(ctx context.Context, u *unit) {
	old := k.live
	k.live = u
	k.front.to.Store(u)
	k.h.record(ctx, u.row.ID, func(d *build.Deployment) {
		d.State, d.Live, d.Failure, d.URL = build.DeployRunning, true, "", k.url(u.app)
	})
	u.say("v%d answers", u.release.Version)
	if old != nil {
		old.end()
		k.h.end(ctx, old.row.ID, build.DeployStopped, "")
	}
}

// superseded tells whether there is something newer than a deployment, or its app has another deployer now.
func (k *keeper) superseded(ctx context.Context, d build.Deployment) bool {
	by, err := k.h.o.Store.Deployer(ctx, k.app)
	if errors.Is(err, build.ErrNotFound) || err == nil && by.Kind != d.Kind {
		return true
	}
	all, err := k.h.o.Store.OpenDeployments(ctx)
	if err != nil {
		return false
	}
	for _, o := range all {
		if o.App == k.app && o.Kind == d.Kind && o.Number > d.Number {
			return true
		}
	}
	return false
}

// url is how people reach an app.
func (k *keeper) url(app build.App) string {
	port := strconv.Itoa(k.front.port())
	if t := k.h.o.URL; t != "" {
		return strings.NewReplacer("{app}", string(app.Name), "{port}", port).Replace(t)
	}
	host := k.front.hosted
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// begin opens the log of a deployment; end closes it with how that ended. One that has ended, with an earlier process, is
// not written any more.
func (h *Host) begin(d build.Deployment, secrets ...string) (w io.Writer, end func(error)) {
	l, err := h.o.Logs.Create(d.ID, logs.Options{Masker: logs.NewMasker(secrets...), Limit: maxLog})
	if err != nil {
		if !errors.Is(err, logs.ErrEnded) {
			h.o.Fault(fmt.Errorf("log of deployment %s: %w", d.ID, err))
		}
		return io.Discard, func(error) {}
	}
	return l, func(err error) {
		state := build.Succeeded
		if err != nil {
			fmt.Fprintf(l, "ERROR: %s\n", err)
			state = build.Failed
		}
		if err := l.Close(state); err != nil {
			h.o.Fault(fmt.Errorf("log of deployment %s: %w", d.ID, err))
		}
	}
}

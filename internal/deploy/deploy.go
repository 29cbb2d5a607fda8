// Package deploy does what is to happen after a release, as the app's deployer says: nothing, a command of the operator's,
// a webhook (which store and outbox send: it only hears of the end), or local: the release's web process runs on this
// machine. What is to be done is in the store, written with the release that it follows from; a crash loses none of it.
//
// It is not an orchestrator. Of an app one web process runs, in one container, on one machine; there is no scaling, no
// second machine, no routing by name and no TLS. Somebody's reverse proxy stands before the port, or their orchestrator
// is what a command or a webhook tells.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/store"
)

// Options are what New needs. All fields must be set, but for those that say what they are else.
type Options struct {
	Store *store.Store
	Logs  *logs.Dir // a deployment's log has the deployment's id
	Dir   string    // the logs of what runs here
	// Machine is what runs a release's image, with the credentials for it.
	Machine func(ctx context.Context, v build.Release) (*platform.Machine, error)
	// Limits are an app's, as builds of it have them. Time is not looked at.
	Limits func(build.App) build.Limits
	// Listen is the address that local apps are reached at; "" is 127.0.0.1.
	Listen string
	// URL is how people reach one, with {app} and {port} in it; "" is http:// with Listen and the port.
	URL string
	// Environ is the environment of commands, besides what tells of the release.
	Environ []string
	Fault   func(error) // hears of what goes wrong on our side
	// Grace is how long a process may take to end when it is asked to; 0 is 10 s.
	Grace time.Duration
	// Backoff is how long a process that has ended waits until it is started again, the first time: 0 is a second.
	Backoff time.Duration
}

const (
	maxBackoff = time.Minute
	// lookEvery is how often the record is looked at, though nobody has said that there is something new.
	lookEvery = 30 * time.Second
	// maxLog is how much the log of one deployment has, and how much is kept of what a local app prints.
	maxLog = 1 << 20
	// maxCommands is how many commands run at once; of one app it is one.
	maxCommands = 4
)

// A Host does the deployments of a service. It is safe for concurrent use.
type Host struct {
	o        Options
	commands chan struct{} // holds one for each command that runs

	mu      sync.Mutex
	keepers map[build.ID]*keeper
	logs    map[build.ID]*runLog
	runs    []*Run // the oldest first
	closed  bool
	running sync.WaitGroup // keepers and runs
}

// New makes a Host. It starts nothing.
func New(o Options) (*Host, error) {
	if o.Store == nil || o.Logs == nil || o.Dir == "" || o.Machine == nil || o.Limits == nil || o.Fault == nil {
		return nil, errors.New("deploy: something is missing in the options")
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1"
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.Backoff == 0 {
		o.Backoff = time.Second
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of the logs of apps: %w", err)
	}
	return &Host{o: o, commands: make(chan struct{}, maxCommands), keepers: map[build.ID]*keeper{}, logs: map[build.ID]*runLog{}}, nil
}

const interrupted = "the service stopped while the command ran: how far it came is not known"

// Recover puts right in the record what an earlier process left. It is called once, before Run.
func (h *Host) Recover(ctx context.Context) error {
	if err := h.o.Store.RecoverDeployments(ctx, interrupted); err != nil {
		return fmt.Errorf("deployments of an earlier run: %w", err)
	}
	return nil
}

// Run does what is to be deployed and keeps running what runs, until ctx ends: then nothing runs any more when it returns,
// and the record says what is to be started again.
func (h *Host) Run(ctx context.Context) error {
	defer h.running.Wait()
	defer h.close()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		if err := h.look(ctx); err != nil && ctx.Err() == nil {
			h.o.Fault(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.o.Store.Deploys():
		case <-look.C:
		}
	}
}

func (h *Host) close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.endRuns("", errors.New("the service stopped"))
}

// look gives work to the keepers of apps that have some, and has the others look whether they are still to run.
func (h *Host) look(ctx context.Context) error {
	if err := h.o.Store.EndUntold(ctx); err != nil {
		return fmt.Errorf("look at deployments: %w", err)
	}
	open, err := h.o.Store.OpenDeployments(ctx)
	if err != nil {
		return fmt.Errorf("look at deployments: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range open {
		if h.keepers[d.App] == nil && d.Kind != build.DeployWebhook && !h.closed {
			h.keep(ctx, d.App)
		}
	}
	for _, k := range h.keepers {
		k.wake()
	}
	return nil
}

// keep starts the keeper of an app; the caller has locked h.
func (h *Host) keep(ctx context.Context, app build.ID) {
	own, stop := context.WithCancel(ctx)
	k := &keeper{h: h, app: app, stop: stop, over: make(chan struct{}), nudge: make(chan struct{}, 1)}
	h.keepers[app] = k
	h.running.Go(func() {
		defer close(k.over)
		defer stop()
		k.run(own)
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.keepers, app)
		if len(k.nudge) > 0 && own.Err() == nil && !h.closed {
			h.keep(ctx, app) // there is something new, of which this one has not heard
		}
	})
}

// End stops what runs of an app that was deleted, and forgets its log. It returns when nothing of it runs.
func (h *Host) End(app build.ID) error {
	h.mu.Lock()
	k := h.keepers[app]
	h.mu.Unlock()
	if k != nil {
		k.stop()
		<-k.over
	}
	h.endRuns(app, errors.New("its app was deleted"))
	h.mu.Lock()
	l := h.logs[app]
	delete(h.logs, app)
	h.mu.Unlock()
	if l != nil {
		l.close()
	}
	return removeLog(h.o.Dir, app)
}

// release is what a deployment is of.
func (h *Host) release(ctx context.Context, d build.Deployment) (build.App, build.Release, error) {
	app, err := h.o.Store.AppByID(ctx, d.App)
	if err != nil {
		return app, build.Release{}, err
	}
	v, err := h.o.Store.ReleaseByID(ctx, d.Release)
	return app, v, err
}

// record changes what the record says of a deployment, also when ctx is done. An app that is gone has no record.
func (h *Host) record(ctx context.Context, id build.ID, f func(*build.Deployment)) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	if _, err := h.o.Store.UpdateDeployment(ctx, id, f); err != nil && !errors.Is(err, build.ErrNotFound) {
		h.o.Fault(err)
	}
}

// end records the end of a deployment.
func (h *Host) end(ctx context.Context, id build.ID, state build.DeploymentState, failure string) {
	h.record(ctx, id, func(d *build.Deployment) { d.State, d.Failure, d.Live = state, failure, false })
}

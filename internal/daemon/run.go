package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/web"
)

// listen takes the addresses. Until Run serves them, clients wait.
func (d *Daemon) listen(context.Context) (err error) {
	if d.front, err = net.Listen("tcp", d.config.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	d.config.Listen = d.front.Addr().String() // where the port was 0
	if d.config.SSH != "" {
		if d.gate, err = net.Listen("tcp", d.config.SSH); err != nil {
			return fmt.Errorf("ssh: %w", err)
		}
		d.config.SSH = d.gate.Addr().String()
	}
	if d.config.Ops == "" {
		return nil
	}
	if d.back, err = net.Listen("tcp", d.config.Ops); err != nil {
		return fmt.Errorf("ops: %w", err)
	}
	d.config.Ops = d.back.Addr().String()
	return nil
}

// URL is how clients reach the service, without a slash at its end.
func (d *Daemon) URL() string { return d.base().String() }

// Ops is the address of metrics and profiles; "" where there are none.
func (d *Daemon) Ops() string { return d.config.Ops }

// SSH is the address at which git is served by SSH, and the line by which clients know the service there (sshd(8),
// "SSH_KNOWN_HOSTS FILE FORMAT", without the host); "" where there is none.
func (d *Daemon) SSH() (address, hostKey string) {
	if d.gate == nil {
		return "", ""
	}
	return d.config.SSH, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(d.ssh.HostKey.PublicKey())))
}

// Run serves until ctx ends; it is called once. Then no build is begun any more; those that run go on for the drain time, with whoever
// watches them, and it returns when nothing runs.
func (d *Daemon) Run(ctx context.Context) error {
	api, err := d.api()
	if err != nil {
		return err
	}
	pages, err := d.console()
	if err != nil {
		return err
	}
	front, bounded, err := d.frontServer(d.handler(api, pages))
	if err != nil {
		return err
	}
	servers, listeners := []*http.Server{front}, []net.Listener{bounded}
	if d.back != nil {
		servers, listeners = append(servers, d.server(d.opsHandler(api))), append(listeners, d.back)
	}
	// Everything but the workers outlives ctx: who watches a build that is drained sees its end.
	all, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, all := errgroup.WithContext(all)
	for i, s := range servers {
		g.Go(func() error {
			if err := s.Serve(listeners[i]); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", listeners[i].Addr(), err)
			}
			return nil
		})
	}
	if d.gate != nil {
		g.Go(func() error { return d.ssh.Serve(all, d.gate) })
	}
	g.Go(func() error { return d.service.Run(all) })
	g.Go(func() error { return d.sender.Run(all) })
	g.Go(func() error { return d.setups.Run(all) })
	g.Go(func() error { return d.upkeep(all) })
	g.Go(func() error { d.scrub(all, scrubPause); return nil })
	g.Go(func() error { d.syncIndexes(all); return nil })
	g.Go(func() error { d.checkHealth(all); return nil })
	g.Go(func() error {
		if err := d.machine.Sweep(all); err != nil && all.Err() == nil {
			d.host.Fault(fmt.Errorf("remove what an earlier run left: %w", err))
		}
		return d.deploys.Run(all) // when what ran of apps before is gone
	})
	g.Go(func() error {
		working, end := context.WithCancel(ctx)
		defer end()
		defer context.AfterFunc(all, end)() // what fails beside us ends us too
		d.ready.Store(true)
		defer context.AfterFunc(working, func() { d.ready.Store(false); close(d.draining) })()
		err := d.worker.Run(working)
		d.ready.Store(false)
		stop()
		return errors.Join(err, d.leave(servers))
	})
	return g.Wait()
}

// When nothing is built any more, pushes and fetches may take settleTime to end by themselves, and then clients leaveTime
// to go.
const (
	settleTime = 10 * time.Second
	leaveTime  = 5 * time.Second
)

// leave ends what clients are doing.
func (d *Daemon) leave(servers []*http.Server) error {
	settling, settled := context.WithTimeout(context.Background(), settleTime)
	defer settled()
	_ = d.git.Drain(settling) // who stays is stopped
	ctx, done := context.WithTimeout(context.Background(), leaveTime)
	defer done()
	err := d.git.Stop(ctx)
	if d.gate != nil {
		_ = d.gate.Close() // who is connected is cut off when Run ends
	}
	for _, s := range servers {
		if s.Shutdown(ctx) != nil {
			err = errors.Join(err, s.Close()) // a follower of a waiting build would stay for ever
		}
	}
	return err
}

func (d *Daemon) api() (http.Handler, error) {
	if d.images != nil {
		d.imagesHandler = d.images.Handler()
	}
	key := sha256.Sum256([]byte(d.sign("web")))
	return web.New(web.Options{
		Store: d.store, Service: d.service, Logs: d.logs, Sources: d.sources, Apps: apps{d},
		Resolve: d.resolve, Preflight: d.preflight, Offers: d.offers, Ready: d.readiness, Workers: func() int { return d.config.Worker.Slots },
		Deploys: d.deploys, LocalApps: d.config.Deploy.Apps, Setups: d.setups, Template: d.template, Registrar: d.registrar, PrivateIndex: d.config.Index.Private, Health: d.health,
		Fault: d.host.Fault, BaseURL: d.config.URL, Registry: d.repository(""), Version: d.host.Version, Key: key[:],
		SourceLimit: int64(d.config.Upload.Source), PlainHTTP: d.config.Fetch.HTTP,
	})
}

// readiness tells in one line why the service cannot do its work.
func (d *Daemon) readiness(ctx context.Context) error {
	if !d.ready.Load() {
		return errors.New("the service is starting or stopping")
	}
	if err := d.store.Ping(ctx); err != nil {
		return fmt.Errorf("the record does not answer: %w", err)
	}
	return d.machine.NoRuntime
}

// resolve tells which commit a ref is at.
func (d *Daemon) resolve(ctx context.Context, app build.App, repository fetch.GitURL, ref fetch.Ref) (fetch.Commit, error) {
	credentials, _, err := d.gitCredentials(ctx, repository.Host(), app.ID)
	if err != nil {
		return "", err
	}
	return d.fetcher.Resolve(ctx, fetch.GitRequest{URL: repository, Ref: ref, Credentials: credentials})
}

// apps keeps what apps have outside of the record.
type apps struct{ *Daemon }

// Created implements web.Apps.
func (a apps) Created(ctx context.Context, app build.App) error {
	killpoint.Here(killpoint.AppRecorded)
	return a.repos.Create(ctx, app.ID, app.Branch)
}

// Changed implements web.Apps.
func (a apps) Changed(ctx context.Context, before, after build.App) error {
	if before.Branch == after.Branch {
		return nil
	}
	killpoint.Here(killpoint.AppChanged)
	return a.repos.Create(ctx, after.ID, after.Branch)
}

// Deleted implements web.Apps: matchApps does what fails here.
func (a apps) Deleted(ctx context.Context, app build.App) error {
	a.setups.Ended(app.ID)
	err := errors.Join(a.deploys.End(app.ID), a.repos.Delete(ctx, app.ID))
	if a.images != nil {
		err = errors.Join(err, a.images.DeleteRepo(ctx, string(app.Name)))
	}
	return err
}

var (
	_ web.Apps           = apps{}
	_ gitserver.Receiver = (*receiver)(nil)
)

// Package daemon is the build service as one process: it opens the data directory, puts right what an earlier process
// left, and runs the API, git, the registry and the workers until it is told to stop. It holds no law of its own: it
// joins those who do (service, gitserver, registry, work, web), which do not know each other.
//
// # The data directory
//
//	lock          held while the service runs: one process at a time
//	key           the age key that opens the secrets in the record
//	slipway.db    the record and the queue
//	logs/         the log of every build
//	sources/      what is to be built, by content
//	git/          a bare repository for every app, and one for the buildpack registry index
//	registry/     the images, unless they go elsewhere
//	apps/         what apps that run here have printed last
//	fetch/, temp/ what lives as long as a build
//
// Builders, build caches and builds in progress are the engine's, in the directory that the command line of the same
// user has too: Host.Settings.State.
package daemon

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/crypto/ssh"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/deploy"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/outbox"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/registrar"
	"github.com/slipway-build/slipway/internal/registry"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/setups"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/work"
)

// Host is what the process brings with it, besides the configuration.
type Host struct {
	Settings platform.Settings // the configuration's runtime, networks and registries are added
	Options  platform.Options  // what all builds have in common: trust, proxies
	CAFile   string            // PEM of what this host trusts, for fetches; "" is the system's
	Version  string
	Getenv   func(string) string // of OTEL_* variables
	// Fault tells the operator what goes wrong on our side.
	Fault func(error)
}

// A Daemon is an open data directory and all that serves it.
type Daemon struct {
	config Config
	host   Host
	lock   *os.File

	seal    []byte // key of signatures that we alone check
	store   *store.Store
	logs    *logs.Dir
	sources *fetch.Sources
	fetcher *fetch.Fetcher
	repos   *gitserver.Repos
	images  *registry.Registry // nil where images go elsewhere
	machine *platform.Machine
	service *service.Service
	worker  *work.Worker
	sender  *outbox.Sender
	git     *gitserver.Handler

	deploys   *deploy.Host
	setups    *setups.Setups
	registrar *registrar.Registrar
	ssh       *gitserver.SSH // of git

	front, back   net.Listener // back is nil where operators are served nothing
	gate          net.Listener // SSH's; nil where there is none
	imagesHandler http.Handler
	metrics       *metrics
	traces        *sdk.TracerProvider // nil: nobody asked for traces
	ready         atomic.Bool
	detached      sync.Map      // detachedPush -> build.ID, until the ref has moved
	draining      chan struct{} // closed when no build is begun any more
}

// lease is how long a worker may be silent, beat how often it speaks: a cancel reaches it with the next beat.
const (
	lease = 30 * time.Second
	beat  = time.Second
)

// Open opens a data directory, alone: what an earlier process left is put right when it returns. Close it in the end.
func Open(ctx context.Context, c Config, h Host) (d *Daemon, err error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	d = &Daemon{config: c, host: h, draining: make(chan struct{})}
	half := d
	defer func() {
		if err != nil {
			d, err = nil, errors.Join(err, half.Close())
		}
	}()
	if err := d.take(); err != nil {
		return nil, err
	}
	for _, open := range []func(context.Context) error{d.listen, d.openRecord, d.openFiles, d.openEngine} {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	if d.traces, err = tracing(ctx, h.Getenv, h.Version); err != nil {
		return nil, err
	}
	if err := d.join(); err != nil {
		return nil, err
	}
	if err := d.deploys.Recover(ctx); err != nil {
		return nil, err
	}
	if err := d.service.Recover(ctx); err != nil {
		return nil, err
	}
	if err := d.matchApps(ctx); err != nil {
		return nil, err
	}
	if err := d.recoverRefs(ctx); err != nil {
		return nil, err
	}
	return d, d.registrar.Open(ctx)
}

func (d *Daemon) path(name string) string { return filepath.Join(d.config.Data, name) }

// take makes the directory and locks it.
func (d *Daemon) take() (err error) {
	if err := os.MkdirAll(d.config.Data, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	d.lock, err = os.OpenFile(d.path("lock"), os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("data directory %s: another process is using it: stop that first, or name another with --data", d.config.Data)
	} else if err != nil {
		return fmt.Errorf("lock the data directory: %w", err)
	}
	return nil
}

func (d *Daemon) openRecord(ctx context.Context) error {
	box, err := secret.Open(d.path("key"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(d.path("key"))
	if err != nil {
		return err
	}
	if d.seal, err = hkdf.Key(sha256.New, key, nil, "slipway signatures", 32); err != nil {
		return err
	}
	d.store, err = store.Open(ctx, d.path("slipway.db"), box)
	return err
}

func (d *Daemon) openFiles(ctx context.Context) (err error) {
	for _, dir := range []string{"temp", "fetch"} { // nothing in them outlives a process
		if err := errors.Join(os.RemoveAll(d.path(dir)), os.Mkdir(d.path(dir), 0o700)); err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
	}
	if d.logs, err = logs.Open(d.path("logs")); err != nil {
		return err
	}
	if d.sources, err = fetch.OpenSources(d.path("sources")); err != nil {
		return err
	}
	if d.repos, err = gitserver.OpenRepos(d.path("git"), "git"); err != nil {
		return err
	}
	allow, err := prefixes(fetch.AllowSetting, d.config.Fetch.Allow)
	if err != nil {
		return err
	}
	d.fetcher = &fetch.Fetcher{
		Dialer: fetch.Dialer{Allow: allow}, HTTP: d.config.Fetch.HTTP, NeedSum: d.config.Fetch.NeedChecksum,
		CAFile: d.host.CAFile, KnownHosts: d.config.Fetch.KnownHosts, Dir: d.path("fetch"),
	}
	if d.config.Registry == "" {
		d.images, err = registry.Open(ctx, registry.Options{Dir: d.path("registry"), Authorize: d.authorizeImage})
	}
	return err
}

func (d *Daemon) openEngine(ctx context.Context) (err error) {
	s := d.host.Settings
	s.Runtime, s.Allow = d.config.Runtime, append(s.Allow, d.config.AllowNetworks...)
	s.Registry.Insecure = append(s.Registry.Insecure, d.config.InsecureRegistries...)
	if u := d.base(); u.Scheme == "http" {
		s.Registry.Insecure = append(s.Registry.Insecure, u.Host)
	}
	s.Fetch = &fetch.Fetcher{Dialer: d.fetcher.Dialer, CAFile: d.fetcher.CAFile}
	d.host.Settings = s
	d.machine, err = platform.Open(ctx, s)
	return err
}

// join makes those who work together know each other.
func (d *Daemon) join() error {
	d.service = service.New(service.Config{
		Builder: d.config.Builder, Registry: d.repository(""), Lease: lease, Limits: d.config.Limits.limits(),
		Credential: d.credential, Release: d.runRelease,
	}, d.store, d.logs, tagger{d}, d.host.Fault)
	o := d.host.Options
	o.Pull, _ = image.ParsePolicy(d.config.PullPolicy) // looked at by Check
	d.worker = &work.Worker{
		Name: fmt.Sprintf("local-%d", os.Getpid()), Service: d.service, Slots: d.config.Worker.Slots,
		Lease: lease, Beat: beat, Poll: time.Minute, Drain: time.Duration(d.config.Worker.Drain),
		Machine: d.machine, Registry: d.machineFor, Sources: d.source, Options: o, Temp: d.path("temp"), Fault: d.host.Fault,
	}
	d.service.OnQueued(d.worker.Wake)
	d.metrics = newMetrics(func(ctx context.Context) (int, int, error) {
		c, err := d.store.Counts(ctx)
		return c.Queued, c.Running, err
	})
	d.service.OnEnded(d.metrics.ended)
	if d.traces != nil {
		tracer := d.traces.Tracer("github.com/slipway-build/slipway")
		d.service.OnEnded(func(b build.Build) { traceBuild(tracer, b) })
	}
	d.registrar = &registrar.Registrar{
		Store: d.store, Repos: d.repos, Look: d.lookPackage, Elsewhere: d.elsewhere, AdminsOnly: d.config.Index.AdminsOnly, Fault: d.host.Fault,
	}
	d.machine.OwnIndexName, d.machine.OwnIndex = registrar.Name, func() (*index.Index, error) { return d.registrar.Index(), nil }
	d.git = &gitserver.Handler{
		Repos: d.repos, Receiver: &receiver{d}, Fault: d.host.Fault,
		Limits: gitserver.Limits{Pack: int64(d.config.Upload.Push), Source: int64(d.config.Limits.Source)},
	}
	var err error
	if d.deploys, err = d.deployHost(); err != nil {
		return err
	}
	if d.setups, err = d.newSetups(); err != nil {
		return err
	}
	transport, err := d.fetcher.Transport(time.Minute) // an attempt ends earlier
	if err != nil {
		return err
	}
	d.sender = &outbox.Sender{Store: d.store, Transport: transport, URL: d.base().String(), Version: d.host.Version, Fault: d.host.Fault}
	key, err := d.hostKey()
	if err != nil {
		return err
	}
	d.ssh = &gitserver.SSH{Handler: d.git, HostKey: key, Known: func(ctx context.Context, key gitserver.PublicKey) error {
		return d.store.KnowsKey(ctx, string(key))
	}}
	return nil
}

// hostKey is by which SSH clients know the service. It follows from the service's own key, so that it stays as long as
// that does, also in a backup.
func (d *Daemon) hostKey() (ssh.Signer, error) {
	seed, err := hkdf.Expand(sha256.New, d.seal, "ssh host key", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
}

// First makes the first user, and returns the token that is shown once; "" where there are users.
func (d *Daemon) First(ctx context.Context) (string, error) { return d.store.First(ctx, firstUser) }

// recoverRefs moves the refs of builds that were recorded when an earlier process died.
func (d *Daemon) recoverRefs(ctx context.Context) error {
	unfinished, err := d.store.Unfinished(ctx)
	if err != nil {
		return err
	}
	needed := map[build.ID]bool{}
	for _, r := range unfinished {
		if !r.RefMoved {
			needed[r.Build] = true
		}
	}
	var detached []build.Build
	err = d.repos.Recover(ctx, func(_, kept build.ID) bool {
		b, ok := d.keptForDetached(ctx, kept)
		if ok {
			detached = append(detached, b)
		}
		return ok || needed[kept]
	})
	if err != nil {
		return err
	}
	for _, b := range detached {
		u, err := update(b.Trigger.Ref, b.Trigger.Old, b.Trigger.New)
		if err == nil {
			err = d.moveDetached(ctx, b.App, b.ID, u)
		}
		if err != nil {
			d.host.Fault(fmt.Errorf("move the ref of build %s: %w", b.ID, err))
		}
	}
	for _, r := range unfinished {
		if !r.RefMoved {
			d.moveRef(ctx, r)
		}
	}
	return nil
}

// Close lets go of everything. It is called after Run has returned.
func (d *Daemon) Close() error {
	var errs []error
	for _, l := range []net.Listener{d.front, d.back, d.gate} {
		if l != nil {
			_ = l.Close() // Run has closed it, where it ran
		}
	}
	if d.traces != nil {
		ctx, done := context.WithTimeout(context.Background(), leaveTime)
		defer done()
		errs = append(errs, d.traces.Shutdown(ctx))
	}
	if d.machine != nil {
		errs = append(errs, d.machine.Close())
	}
	if d.images != nil {
		errs = append(errs, d.images.Close())
	}
	if d.logs != nil {
		errs = append(errs, d.logs.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	if d.lock != nil {
		// A process that is being started has a copy of the descriptor for a moment, and with it the lock.
		errs = append(errs, syscall.Flock(int(d.lock.Fd()), syscall.LOCK_UN), d.lock.Close())
	}
	return errors.Join(errs...)
}

// isGone tells that something is not there any more.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, build.ErrNotFound)
}

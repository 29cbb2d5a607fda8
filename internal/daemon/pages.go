package daemon

import (
	"context"
	"crypto/sha256"
	"fmt"
	"syscall"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/console"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/limit"
)

// console is what browsers are shown.
func (d *Daemon) console() (*console.Console, error) {
	proxies, err := prefixes("trusted-proxies", d.config.TrustedProxies)
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256([]byte(d.sign("console")))
	templates := console.Templates{
		Hosts: d.config.Fetch.Templates, Fetcher: d.fetcher,
		Credentials: func(ctx context.Context, user build.ID, host string) (fetch.Credentials, bool, error) {
			c, owner, err := d.gitCredentials(ctx, host, user)
			return c, owner == user, err
		},
	}
	return console.New(console.Options{
		Templates: templates, Setups: d.setups,
		Store: d.store, Service: d.service, Logs: d.logs, Sources: d.sources, Tries: limit.NewTries(d.config.Rates.Failures, proxies),
		Registrar: d.registrar, Builtin: d.builtin, Preflight: d.preflight, Created: apps{d}.Created, Cache: d.cache, Disk: d.disk,
		Ready: d.readiness, Fault: d.host.Fault,
		BaseURL: d.config.URL, Builder: d.config.Builder, Registry: d.repository(""), Version: d.host.Version,
		Workers: d.config.Worker.Slots, Limits: d.config.Limits.limits(), Key: key[:],
	})
}

// builtin implements console.Options.Builtin.
func (d *Daemon) builtin(ctx context.Context) (all []console.Buildpack, err error) {
	offers, err := d.builderOffers(ctx)
	for _, o := range offers {
		all = append(all, console.Buildpack{ID: o.ID, Version: o.Version, Description: o.Description, Homepage: o.Homepage})
	}
	return all, err
}

// cache implements console.Options.Cache.
func (d *Daemon) cache(a build.App) (console.Cache, bool) {
	c, ok := d.machine.Store.CacheInfo(layerstore.CacheKey(fmt.Sprintf("%s/%d", a.ID, a.CacheEpoch)))
	return console.Cache{Bytes: c.Bytes, Layers: c.Layers, Used: c.Used}, ok
}

// disk implements console.Options.Disk.
func (d *Daemon) disk() (console.Disk, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.config.Data, &s); err != nil {
		return console.Disk{}, fmt.Errorf("look at the disk: %w", err)
	}
	return console.Disk{Total: int64(s.Blocks) * s.Bsize, Free: int64(s.Bavail) * s.Bsize}, nil
}

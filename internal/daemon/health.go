package daemon

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/internal/health"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/registrar"
)

// healthEvery is after how long an image that an index names is looked for again.
const healthEvery = 24 * time.Hour

// healthBounds are those of a service that has all day: the public index takes it two hours, at the pace of one user.
var healthBounds = health.Options{Jobs: 4, PerHost: 2, Rate: 2}

// checkHealth looks for the images of the service's own index and of those that were synced, until ctx ends.
func (d *Daemon) checkHealth(ctx context.Context) {
	for wait := time.Minute + rand.N(10*time.Minute); ; wait = time.Hour {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := d.CheckHealth(ctx, healthEvery); err != nil && ctx.Err() == nil {
			d.host.Fault(fmt.Errorf("health of buildpack indexes: %w", err))
		}
	}
}

// A healthIndex is an index and the directory where its last report is.
type healthIndex struct {
	*index.Index
	dir string
	set *index.Set
}

// healthIndexes are the service's own index, which may be empty, and those that were synced.
func (d *Daemon) healthIndexes() ([]healthIndex, error) {
	state := filepath.Join(d.machine.State, platform.IndexDir)
	set, err := index.OpenSet(state)
	if err != nil {
		return nil, err
	}
	all := []healthIndex{{d.registrar.Index(), d.path("index"), set}}
	for _, src := range set.Registries {
		if x, err := set.Index(src.Name); err == nil && src.Name != registrar.Name {
			all = append(all, healthIndex{x, filepath.Join(state, src.Name), set})
		}
	}
	return all, nil
}

// CheckHealth looks once for the images that were not looked for in the time older, and keeps what it finds: when ctx ends,
// what it has by then.
func (d *Daemon) CheckHealth(ctx context.Context, older time.Duration) error {
	all, err := d.healthIndexes()
	if err != nil {
		return err
	}
	o := d.host.Settings.Registry
	o.Auth = d.selfAuth()
	g, err := image.NewRegistry(o)
	if err != nil {
		return err
	}
	var errs []error
	for _, x := range all {
		errs = append(errs, x.check(ctx, g, time.Now().Add(-older)))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return errors.Join(errs...)
}

func (x healthIndex) check(ctx context.Context, g *image.Registry, before time.Time) error {
	last, err := health.Read(x.dir)
	if err != nil {
		last = &health.Report{} // it is made anew
	}
	due, err := last.Due(x.Index, before)
	if err != nil || len(due) == 0 {
		return err
	}
	o := healthBounds
	o.Address = x.set.Mirrored
	fresh := health.Check(ctx, g, due, o)
	r, err := last.Merge(x.Index, fresh)
	if err == nil {
		err = os.MkdirAll(x.dir, 0o755)
	}
	if err != nil {
		return err
	}
	return r.Write(x.dir)
}

// health is web.Options.Health: the last reports, of what the indexes have now.
func (d *Daemon) health(context.Context) ([]*health.Report, error) {
	all, err := d.healthIndexes()
	if err != nil {
		return nil, err
	}
	var out []*health.Report
	for _, x := range all {
		last, err := health.Read(x.dir)
		if err != nil {
			return nil, err
		}
		if last, err = last.Merge(x.Index, nil); err != nil {
			return nil, err
		}
		out = append(out, last)
	}
	return out, nil
}

// selfAuth are the credentials with which the service reads its own registry.
func (d *Daemon) selfAuth() map[string]string {
	return map[string]string{d.base().Host: "Basic " + base64.StdEncoding.EncodeToString([]byte(selfUser+":"+d.sign("self")))}
}

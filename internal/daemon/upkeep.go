package daemon

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/store"
)

// upkeepEvery is how often what nobody needs any more is removed.
const upkeepEvery = time.Hour

// upkeep removes what nobody needs any more, until ctx ends: of logs, sources, images, caches and repositories.
func (d *Daemon) upkeep(ctx context.Context) error {
	for wait := time.Minute; ; wait = upkeepEvery {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if err := d.tidy(ctx); err != nil && ctx.Err() == nil {
			d.host.Fault(fmt.Errorf("upkeep: %w", err))
		}
	}
}

// sourceAge is how long a source that nobody names may lie: longer than it takes to record it.
const sourceAge = time.Hour

// tidy does all of upkeep once.
func (d *Daemon) tidy(ctx context.Context) error {
	kept, err := d.store.KeptSources(ctx, time.Duration(d.config.Keep.Sources))
	if err == nil {
		_, _, err = d.sources.Prune(ctx, kept, sourceAge)
	}
	killpoint.Here(killpoint.SourcesPruned)
	_, lerr := d.logs.Prune(time.Now().Add(-time.Duration(d.config.Keep.Logs)))
	errs := []error{err, lerr, d.collect(ctx)}
	if _, err := d.machine.Store.DropCaches(time.Duration(d.config.Keep.Caches), -1); err != nil {
		errs = append(errs, err)
	}
	if _, err := d.machine.Prune(ctx, upkeepEvery); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, d.dropOrphans(ctx))
	apps, err := d.store.AllApps(ctx)
	errs = append(errs, err)
	if _, err := d.repos.Maintain(ctx, build.IndexID); err != nil {
		errs = append(errs, fmt.Errorf("repository of the index: %w", err))
	}
	for _, a := range apps {
		if _, err := d.repos.Maintain(ctx, a.ID); err != nil {
			errs = append(errs, fmt.Errorf("repository of app %s: %w", a.Name, err))
		}
	}
	return errors.Join(errs...)
}

// collect removes from our own registry what no release of the last ones names.
func (d *Daemon) collect(ctx context.Context) error {
	if d.images == nil {
		return nil
	}
	apps, err := d.store.AllApps(ctx)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, a := range apps {
		releases, err := d.store.Releases(ctx, a.ID, store.Page{Max: d.config.Keep.Releases, Desc: true})
		if err != nil {
			return err
		}
		for _, r := range releases {
			keep[r.Digest] = true // whatever the service was called when it was made
		}
	}
	open, err := d.store.OpenDeployments(ctx)
	if err != nil {
		return err
	}
	for _, o := range open { // what runs is started again, however many have come after it
		r, err := d.store.ReleaseByID(ctx, o.Release)
		if err != nil && !errors.Is(err, build.ErrNotFound) {
			return err
		}
		keep[r.Digest] = true
	}
	_, err = d.images.GC(ctx, func(repo, digest string) bool { return shared(repo) || keep[digest] })
	return err
}

// matchApps makes repositories what the record says of apps, where an earlier process died between the one and the other.
func (d *Daemon) matchApps(ctx context.Context) error {
	apps, err := d.store.AllApps(ctx)
	if err != nil {
		return err
	}
	for _, a := range apps {
		if err := d.repos.Create(ctx, a.ID, a.Branch); err != nil {
			return err
		}
	}
	return d.dropOrphans(ctx)
}

// dropOrphans removes the repositories of apps that are deleted: the next app of that name would have what they hold.
func (d *Daemon) dropOrphans(ctx context.Context) error {
	gits, err := d.repos.Apps() // before the record is asked, so that no app is missed that is made meanwhile
	if err != nil {
		return err
	}
	var images []string
	if d.images != nil {
		if images, err = d.images.Repositories(ctx); err != nil {
			return err
		}
	}
	apps, err := d.store.AllApps(ctx)
	if err != nil {
		return err
	}
	known, named := map[build.ID]bool{build.IndexID: true}, map[string]bool{}
	for _, a := range apps {
		known[a.ID], named[string(a.Name)], named[path.Base(a.Image)] = true, true, true
	}
	var errs []error
	for _, id := range gits {
		if !known[id] {
			errs = append(errs, d.repos.Delete(ctx, id))
		}
	}
	for _, name := range images {
		if !shared(name) && !named[name] {
			errs = append(errs, d.images.DeleteRepo(ctx, name))
		}
	}
	return errors.Join(errs...)
}

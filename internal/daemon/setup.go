package daemon

import (
	"context"
	"errors"
	"slices"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/button"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/setups"
)

// newSetups makes apps of templates.
func (d *Daemon) newSetups() (*setups.Setups, error) {
	return setups.New(setups.Options{
		Store: d.store, Service: d.service, Logs: d.logs, Sources: d.sources, Fetcher: d.fetcher, Created: apps{d}.Created, Deleted: apps{d}.Deleted,
		Preflight: d.preflight, Builtin: d.builtinIDs, Deploys: d.deploys, LocalApps: d.config.Deploy.Apps, Deployer: build.DeployerKind(d.config.Deploy.Setups),
		ArchiveLimit: int64(d.config.Upload.Source), Draining: d.draining, Fault: d.host.Fault,
	})
}

// builtinIDs are the ids of the default builder's buildpacks.
func (d *Daemon) builtinIDs(ctx context.Context) (ids []string, err error) {
	offers, err := d.builderOffers(ctx)
	for _, o := range offers {
		ids = append(ids, o.ID)
	}
	return ids, err
}

// template implements web.Options.Template. A private one is read with the user's own credentials for its host, which its
// app keeps, or the service's, with which its build is fetched too: whoever may make apps has them do that.
func (d *Daemon) template(ctx context.Context, who build.Actor, text string) (p button.Pinned, err error) {
	t, err := button.Parse(text, func(host string) bool { return slices.Contains(d.config.Fetch.Templates, host) })
	if err != nil {
		return p, err
	}
	p, err = button.Read(ctx, d.fetcher, t, fetch.Credentials{}, fetch.Limits{})
	if !errors.Is(err, fetch.ErrDenied) || who.SetsUp() != "" {
		return p, err
	}
	with, owner, cerr := d.gitCredentials(ctx, t.Repository.Host(), who.User.ID)
	if cerr != nil || with.Password == "" {
		return p, errors.Join(err, cerr)
	}
	if p, err = button.Read(ctx, d.fetcher, t, with, fetch.Limits{}); owner != "" {
		p.Credentials = with
	}
	return p, err
}

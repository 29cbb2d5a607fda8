package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/web"
)

// offers are what apps can choose from: the buildpacks of the default builder, and behind them those of the index that
// the builder lacks, for what it has is what their ids mean. A private index is not told to everybody.
func (d *Daemon) offers(ctx context.Context) ([]web.Offer, error) {
	all, err := d.builderOffers(ctx)
	if err != nil || d.config.Index.Private {
		return all, err
	}
	builtin := map[string]bool{}
	for _, o := range all {
		builtin[o.ID] = true
	}
	images, err := d.store.AllBuildpackImages(ctx)
	if err != nil {
		return nil, err
	}
	said := map[string]build.BuildpackImage{}
	for _, b := range images {
		said[b.Buildpack+"@"+b.Version+" "+b.Address] = b
	}
	x := d.registrar.Index()
	for id := range x.Names() {
		n, err := index.ParseName(id)
		if err != nil || builtin[id] {
			continue
		}
		b, _, err := x.Get(n)
		if err != nil {
			return nil, err
		}
		for _, v := range b.Newest() {
			known := said[id+"@"+v.Version+" "+v.Address]
			f := known.Facts
			all = append(all, web.Offer{ID: id, Version: v.Version, Description: cmp.Or(f.Description, f.Name), Homepage: f.Homepage, Licenses: f.Licenses, Yanked: v.Yanked, CreatedAt: known.CreatedAt})
		}
	}
	return all, nil
}

// builderOffers are the buildpacks of the default builder, where it is on this machine already.
func (d *Daemon) builderOffers(ctx context.Context) ([]web.Offer, error) {
	r := &image.Resolver{Images: d.machine.Images, Registry: d.machine.Registry, Engine: d.machine.Engine, Policy: image.PullNever}
	img, err := r.Resolve(ctx, d.config.Builder)
	if err != nil {
		return nil, err
	}
	var meta cnb.BuilderMetadata
	if err := json.Unmarshal([]byte(img.Label(cnb.LabelBuilderMetadata)), &meta); err != nil {
		return nil, fmt.Errorf("builder %s: label %s: %w", d.config.Builder, cnb.LabelBuilderMetadata, err)
	}
	var all []web.Offer
	for _, m := range meta.Buildpacks {
		o := web.Offer{ID: string(m.ID), Version: m.Version, Description: m.Description, Homepage: m.Homepage}
		if o.Description == "" {
			o.Description = m.Name
		}
		for _, l := range m.Licenses {
			o.Licenses = append(o.Licenses, l.Type)
		}
		all = append(all, o)
	}
	return all, nil
}

package daemon

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/web"
)

// offers are the buildpacks of the default builder, which apps can choose from, where it is on this machine already.
func (d *Daemon) offers(ctx context.Context) ([]web.Offer, error) {
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

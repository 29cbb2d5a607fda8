package main

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/image"
)

// save puts the image together, writes it under all its names and reports it.
func (c *command) save(ctx context.Context, x *exportation, in builder.ExportInput) error {
	img, err := builder.Compose(builder.ComposeInput{
		Run: x.run, RunReference: x.runReference, RunImage: x.runName, Extended: x.extended, Exported: x.out, Created: c.sourceDate(c.log),
		Layer: func(id string) (v1.Layer, error) { return c.layer(x, id) },
	})
	if err != nil {
		return err
	}
	report, err := c.write(ctx, img, append([]string{c.Image}, c.Tags...), x.run, x.previous)
	if err != nil {
		return err
	}
	if !c.API.AtLeast(0, 9) {
		report.Build.BOM = in.Built.BuildBOM
	}
	if c.Daemon && c.LaunchCache != "" {
		c.fillLaunchCache(ctx, x)
	}
	text, err := cnb.EncodeReport(report)
	return write("report", c.Report, text, err)
}

// write writes an image to where this phase's images are and says under which names. from are the images that may
// have layers of it already; those may be nil.
func (c *command) write(ctx context.Context, img v1.Image, names []string, from ...*image.Image) (report cnb.Report, err error) {
	var known []*image.Image
	for _, f := range from {
		if f != nil {
			known = append(known, f)
		}
	}
	if c.Layout {
		return c.writeLayouts(ctx, img, names)
	}
	var refs []image.Ref
	for _, n := range names {
		ref, err := image.ParseRef(n)
		if err != nil {
			return report, err
		}
		refs = append(refs, ref)
	}
	c.log.infof("Saving %s...", names[0])
	if c.Daemon {
		return c.writeEngine(ctx, img, names, refs, known)
	}
	w, err := c.images.registry.Push(ctx, refs, img, image.PushOptions{From: known})
	if err != nil {
		return report, fmt.Errorf("saving image: %w", err)
	}
	c.saved(w.Digest.String(), names)
	c.log.debugf("\n*** Digest: %s", w.Digest)
	c.log.debugf("\n*** Manifest Size: %d", w.ManifestSize)
	return cnb.Report{Image: cnb.ImageReport{Tags: names, Digest: w.Digest.String(), ManifestSize: w.ManifestSize}}, nil
}

func (c *command) writeEngine(ctx context.Context, img v1.Image, names []string, refs []image.Ref, known []*image.Image) (report cnb.Report, err error) {
	var o image.LoadOptions
	for _, k := range known {
		o.Known = append(o.Known, k.EngineID)
	}
	w, err := image.LoadEngine(ctx, c.images.engine, refs, img, o)
	if err != nil {
		return report, fmt.Errorf("saving image: %w", err)
	}
	id := strings.TrimPrefix(w.EngineID, "sha256:")
	c.saved(id[:min(len(id), 12)], names)
	c.log.debugf("\n*** Image ID: %s", id)
	return cnb.Report{Image: cnb.ImageReport{Tags: names, ImageID: id}}, nil
}

func (c *command) writeLayouts(ctx context.Context, img v1.Image, names []string) (report cnb.Report, err error) {
	var w image.Written
	for i, n := range names {
		dir, err := c.images.layoutPath(n)
		if err != nil {
			return report, err
		}
		named, err := image.ParseRef(n)
		if err != nil {
			return report, err
		}
		ref, err := layoutRef(dir, named.Tag())
		if err != nil {
			return report, err
		}
		if i == 0 {
			c.log.infof("Using app image: %s", dir)
			c.log.infof("Saving %s...", dir)
		}
		if w, err = image.WriteLayout(ctx, ref, nil, img, nil); err != nil {
			return report, fmt.Errorf("saving image: %w", err)
		}
		report.Image.Tags = append(report.Image.Tags, dir)
	}
	c.saved(w.Digest.String(), report.Image.Tags)
	report.Image.ManifestSize = w.ManifestSize
	return report, nil
}

func (c *command) saved(id string, names []string) {
	c.log.infof("*** Images (%s):", id)
	for _, n := range names {
		c.log.infof("      %s", n)
	}
}

// fillLaunchCache keeps the layers of the image, so that the next build need not read them out of the engine. Without
// them it only takes longer.
func (c *command) fillLaunchCache(ctx context.Context, x *exportation) {
	v, err := cache.OpenVolume(c.LaunchCache)
	if err == nil {
		var ids []string
		for _, l := range x.out.Layers {
			ids = append(ids, l.DiffID)
		}
		err = v.ReplaceLayers(ctx, ids, func(id string) (v1.Layer, error) { return c.layer(x, id) })
	}
	if err != nil {
		c.log.warnf("Failed to fill the launch cache: %v", oneLine(err))
	}
}

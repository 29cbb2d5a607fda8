package main

import (
	"context"
	"io"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/image"
)

func (c *command) restoreArgs(ctx context.Context, args []string) error {
	if len(args) > 0 {
		return badArguments("received unexpected Args")
	}
	c.warnNoCache()
	c.bases = c.baseNames()
	return c.privileges(ctx, c.named(), []string{c.Layers, c.CacheDir, c.Kaniko})
}

func (c *command) warnNoCache() {
	if c.CacheImage == "" && c.CacheDir == "" {
		c.log.warnf("No cached data will be used, no cache specified.")
	}
}

func (c *command) restorePhase(ctx context.Context) error {
	group, err := c.readGroup()
	if err != nil {
		return err
	}
	a, err := c.readAnalyzed()
	if err != nil {
		c.log.warnf("Not using analyzed data, usable file not found: %s", oneLine(err))
		a = cnb.Analyzed{}
	} else {
		if a, err = c.baseImages(ctx, group, a); err != nil {
			return err
		}
		if err := c.writeAnalyzed(a); err != nil {
			return fail(err, exitFailed, "write analyzed metadata")
		}
	}
	store, err := c.cacheStore(ctx)
	if err != nil {
		return err
	}
	return c.restore(ctx, builder.RestoreInput{Group: group, Previous: a.Metadata, SBOMTree: true}, store)
}

// restore puts back what the cache and the previous image have for the group.
func (c *command) restore(ctx context.Context, in builder.RestoreInput, store cache.Cache) (err error) {
	in.PlatformAPI, in.SkipLayers, in.Emit = c.API, c.SkipLayers, c.log.restored
	if in.Dirs, err = c.dirs(); err != nil {
		return err
	}
	if c.SkipLayers {
		c.log.infof("Skipping buildpack layer analysis")
	}
	if store != nil {
		if !store.Exists() {
			c.log.infof("Layer cache not found")
		}
		in.Cache = store
		if !c.SkipLayers && c.API.AtLeast(0, 8) && store.Metadata().BOM.SHA != "" {
			c.log.infof("Restoring data for SBOM from cache")
		}
	}
	err = builder.Restore(ctx, in)
	c.cacheWarnings(store)
	return fail(err, exitRestore, "restore")
}

func (c *command) cacheWarnings(store cache.Cache) {
	if store == nil {
		return
	}
	for _, w := range store.Warnings() {
		c.log.warnf("%s", w)
	}
}

// sbomOf reads the SBOM layer of the previous image, for a restore in the same process as the analysis.
func (c *command) sbomOf(a cnb.Analyzed, previous *image.Image) func(context.Context) (io.ReadCloser, error) {
	if a.Metadata.BOM == nil {
		return nil
	}
	return func(context.Context) (io.ReadCloser, error) {
		c.log.infof("Restoring data for SBOM from previous image")
		return openPreviousLayer(previous, a.Metadata.BOM.SHA)
	}
}

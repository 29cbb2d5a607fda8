package main

import (
	"context"
	"errors"

	"github.com/slipway-build/slipway/builder"
)

func (c *command) createArgs(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return badArguments("received %d arguments, but expected 1", len(args))
	}
	if c.DeprecatedRunImage != "" {
		if c.RunImage != c.env["CNB_RUN_IMAGE"] {
			return fail(errors.New("supply only one of -run-image or (deprecated) -image"), exitArguments, "resolve inputs")
		}
		c.RunImage = c.DeprecatedRunImage
	}
	if err := c.outputImage(ctx, args[0]); err != nil {
		return fail(err, exitArguments, "resolve inputs")
	}
	c.warnNoCache()
	if err := c.layoutAllowed(); err != nil {
		return err
	}
	if err := c.privileges(ctx, c.named(), []string{c.CacheDir, c.LaunchCache, c.Layers}); err != nil {
		return err
	}
	c.env = homeOf(c.UID, c.env)
	return nil
}

// create is all phases in one process. What one phase finds out the next one gets as a value; files are written for
// the platform and the buildpacks, and are not read back.
func (c *command) create(ctx context.Context) error {
	store, err := c.cacheStore(ctx)
	if err != nil {
		return err
	}
	c.log.phase("ANALYZING")
	a, previous, err := c.analyzed(ctx)
	if err != nil {
		return err
	}
	if err := c.writeAnalyzed(a); err != nil {
		return err
	}
	c.log.phase("DETECTING")
	found, err := c.detect(ctx, a)
	if err != nil {
		return err
	}
	if hasExtensions(found.Group) {
		return &failure{action: "detect", code: exitDetect, err: errors.New("detected order contains extensions which is not supported by the creator")}
	}
	if !c.SkipLayers || c.API.AtLeast(0, 10) {
		c.log.phase("RESTORING")
		in := builder.RestoreInput{Group: found.Group, Previous: a.Metadata}
		if previous != nil {
			in.SBOM = c.sbomOf(a, previous)
		}
		if err := c.restore(ctx, in, store); err != nil {
			return err
		}
	}
	c.log.phase("BUILDING")
	built, err := c.build(ctx, found.Group, found.Plan, a)
	if err != nil {
		return err
	}
	c.log.phase("EXPORTING")
	return c.export(ctx, builder.ExportInput{Group: found.Group, Built: built}, a, store)
}

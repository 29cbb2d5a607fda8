package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// exitRebase is rebaser's exit status where no error of the engine tells more.
const exitRebase = 72

func (c *command) rebaseArgs(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return badArguments("at least one image argument is required")
	}
	c.Image, c.Tags = args[0], args[1:]
	if err := c.rebaseImages(); err != nil {
		return fail(err, exitArguments, "resolve inputs")
	}
	if !c.Daemon {
		// Which run image credentials are needed for is told by the app image: so the registry is opened twice.
		probe := command{Inputs: c.Inputs, log: c.log}
		if err := probe.open(ctx, c.Image, c.PreviousImage); err != nil {
			return err
		}
		defer probe.close()
		if _, err := probe.appImage(ctx); err != nil {
			return err
		}
		c.RunImage = probe.RunImage
	}
	return c.privileges(ctx, c.named(), nil)
}

// rebaseImages settles the names that the platform gives.
func (c *command) rebaseImages() error {
	if c.Image == "" {
		return errors.New("image argument is required")
	}
	if c.DeprecatedRunImage != "" {
		if c.RunImage != c.env["CNB_RUN_IMAGE"] {
			return errors.New("supply only one of -run-image or (deprecated) -image")
		}
		c.RunImage = c.DeprecatedRunImage
	}
	return c.checkNames()
}

// appImage finds the image to rebase, and in it what its run image is called where the platform does not say.
func (c *command) appImage(ctx context.Context) (*image.Image, error) {
	name := c.Image
	if c.PreviousImage != "" {
		name = c.PreviousImage
	}
	img, err := c.images.find(ctx, name)
	if err != nil {
		return nil, fail(fmt.Errorf("access image to rebase: %w", err), exitRebase, "set app image")
	}
	if c.RunImage != "" {
		return img, nil
	}
	run, err := runImageOf(img)
	if err == nil {
		c.RunImage, err = c.images.bestRunImage(ctx, name, run)
	}
	return img, fail(err, exitRebase, "set app image")
}

// runImageOf is what an app image calls its run image.
func runImageOf(img *image.Image) (cnb.RunImageName, error) {
	var run cnb.RunImageName
	if label := img.Label(cnb.LabelLifecycleMetadata); label != "" {
		var err error
		if run, err = cnb.DecodeRunImage(label); err != nil {
			return run, err
		}
	}
	if run.Image == "" {
		return run, errors.New("-run-image is required when there is no run image metadata available")
	}
	return run, nil
}

func (c *command) rebase(ctx context.Context) error {
	app, err := c.appImage(ctx)
	if err != nil {
		return err
	}
	run, err := c.images.find(ctx, c.RunImage)
	if err != nil {
		return fail(err, exitFailed, "access run image")
	}
	img, err := builder.Rebase(builder.RebaseInput{
		PlatformAPI: c.API, App: app, Run: run, RunReference: c.images.identity(run), RunName: c.RunImage, Force: c.Force,
		Emit: func(e builder.Event) { c.log.warnf("%s", e.Text) },
	})
	if err != nil {
		return fail(err, exitRebase, "rebase")
	}
	report, err := c.write(ctx, img, append([]string{c.Image}, c.Tags...), run, app)
	if err != nil {
		return fail(err, exitRebase, "rebase")
	}
	text, err := cnb.EncodeReport(report)
	return fail(write("report", c.Report, text, err), exitRebase, "write rebase report")
}

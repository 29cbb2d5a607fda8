package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// exitGenerate is the status of generate where no error of the engine tells more.
const exitGenerate = 92

// extensionOrder reads the order of image extensions, which is empty in most builders.
func (c *command) extensionOrder() (cnb.Order, error) {
	o, err := read("order", c.Order, cnb.DecodeOrderExtensions)
	if err != nil {
		return nil, fmt.Errorf("reading order: %w", err)
	}
	return o, nil
}

// extensionsAllowed asks for CNB_EXPERIMENTAL_MODE where a Platform API has image extensions as an experiment.
func (c *command) extensionsAllowed(has bool) error {
	if !has || c.API.AtLeast(0, 13) {
		return nil
	}
	return c.experimental(c.log, "Dockerfiles")
}

func hasExtensions(g cnb.Group) bool {
	for _, e := range g.Elements {
		if e.Extension {
			return true
		}
	}
	return false
}

// generate runs the extensions of the group and writes what they change in analyzed.toml and plan.toml.
func (c *command) generate(ctx context.Context, a cnb.Analyzed, found *builder.Detected) error {
	dirs, err := c.dirs()
	if err != nil {
		return err
	}
	runs, err := readIfThere("run", c.Run, cnb.DecodeRun, c.log.infof, "No run metadata found at path %q")
	if err != nil {
		return fail(err, exitFailed, "initialize generator")
	}
	out, err := builder.Generate(ctx, builder.GenerateInput{
		PlatformAPI: c.API, Dirs: dirs, Group: found.Group, Plan: found.Plan, Analyzed: a, RunImages: runs,
		Target: c.target(a), StackID: c.env["CNB_STACK_ID"], ExecEnv: c.ExecEnv, Env: c.env.environ(),
		Catalog: builder.DirExtensions(c.Extensions), Runner: builder.ExecRunner(dirs.UID, dirs.GID), Emit: c.log.generated,
		Stdio: func(cnb.Ref) (stdout, stderr io.Writer) { return c.stdout, c.stderr },
	})
	if err != nil {
		return fail(phrased(err), exitGenerate, "build")
	}
	if err := c.writeAnalyzed(out.Analyzed); err != nil {
		return err
	}
	text, err := cnb.EncodePlan(out.Plan)
	return write("plan", c.Plan, text, err)
}

// generated says what Generate's events are about.
func (l *logger) generated(e builder.Event) {
	switch e.Kind {
	case builder.EventGenerateStart:
		l.debugf("Running generate for extension %s", e.Buildpack)
	case builder.EventGenerateDone:
		l.debugf("Finished running generate for extension %s", e.Buildpack)
	case builder.EventWarning:
		l.warnf("%s", e.Text)
	}
}

// baseNames are the images that restorer needs from a registry for an extender, whatever -daemon and -layout say.
func (c *command) baseNames() []string {
	names := []string{c.BuildImage}
	if a, err := read("analyzed", c.Analyzed, cnb.DecodeAnalyzed); err == nil && a.RunImage != nil {
		names = append(names, a.RunImage.Image, a.RunImage.Reference)
	}
	return names
}

// baseImages finds out what an extender and the exporter have to know of the base images (platform, "restorer").
func (c *command) baseImages(ctx context.Context, group cnb.Group, a cnb.Analyzed) (cnb.Analyzed, error) {
	needs := builder.NeededBases(c.API, group, a, c.BuildImage)
	if needs.Build {
		c.log.debugf("Pulling builder image metadata for %s...", c.BuildImage)
		img, err := c.sparse(ctx, c.BuildImage)
		if err != nil {
			return a, fail(err, exitFailed, "pull builder image "+c.BuildImage)
		}
		a.BuildImage = &cnb.ImageRef{Reference: img.Reference}
	}
	if a.RunImage == nil {
		return a, nil
	}
	name := a.RunImage.Image
	if err := c.runImageReadable(ctx, name); err != nil {
		return a, err
	}
	if name == "" {
		name = a.RunImage.Reference
	}
	var err error
	switch {
	case needs.Run && !c.Layout:
		c.log.debugf("Pulling run image metadata for %s...", name)
		img, err := c.sparse(ctx, name)
		if err != nil {
			return a, fail(err, exitFailed, "pull run image "+name)
		}
		a, err = builder.WithRunImage(c.API, a, img.Reference, img)
		return a, fail(err, exitFailed, "update analyzed metadata")
	case needs.Look:
		c.log.debugf("Updating run image info in analyzed metadata...")
		img, err := c.images.find(ctx, name)
		if err != nil {
			return a, fail(err, exitFailed, "get run image "+name)
		}
		a, err = builder.WithRunImage(c.API, a, c.images.identity(img), img)
		return a, fail(err, exitFailed, "update analyzed metadata")
	}
	return a, err
}

// runImageReadable makes sure that the run image of the analysis can still be read, where run.toml names it.
func (c *command) runImageReadable(ctx context.Context, name string) error {
	if !c.API.AtLeast(0, 14) || name == "" {
		return nil
	}
	runs, err := readIfThere("run", c.Run, cnb.DecodeRun, c.log.infof, "No run metadata found at path %q")
	if err != nil {
		return err
	}
	for _, r := range runs {
		if !builder.NamesRunImage(r, name) {
			continue
		}
		if err := c.images.readable(ctx, name); err != nil {
			return fmt.Errorf("selected run image '%s' is not accessible: %w", name, err)
		}
		return nil
	}
	return nil
}

// sparse keeps manifest and config of an image where an extender looks for its base images.
func (c *command) sparse(ctx context.Context, name string) (*image.Image, error) {
	ref, err := image.ParseRef(name)
	if err != nil {
		return nil, err
	}
	img, err := c.images.registry.Image(ctx, ref, v1.Platform{})
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.Kaniko, "cache", "base", img.ManifestDigest.String())
	c.log.debugf("Saving image metadata to %s...", dir)
	return img, image.WriteSparseLayout(ctx, dir, img)
}

// extended takes the layers and the config of the extended run image into an export.
func (c *command) extended(x *exportation, in *builder.ExportInput, a cnb.Analyzed) error {
	if !c.API.AtLeast(0, 12) || c.Layout || a.RunImage == nil || !a.RunImage.Extend {
		return nil
	}
	found, err := image.ReadExtended(filepath.Join(c.Extended, "run"))
	if err != nil {
		return err
	}
	if found == nil {
		return errors.New("missing extended run image")
	}
	c.log.debugf("Using config from extensions...")
	x.extended = &found.Config.Config
	for _, l := range found.Layers {
		in.Extended = append(in.Extended, builder.ExtendedLayer{Index: l.Index, CreatedBy: l.History.CreatedBy, Open: l.Open})
	}
	return nil
}

// hasExtended tells whether an extender left anything.
func (c *command) hasExtended() bool {
	entries, err := os.ReadDir(filepath.Join(c.Extended, "run"))
	return err == nil && len(entries) > 0
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/image"
)

// Exit statuses of the phases where no error of the engine tells more.
const (
	exitAnalyze = 32
	exitRestore = 42
	exitBuild   = 52
	exitExport  = 62
)

func (c *command) analyzeArgs(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return badArguments("received %d arguments, but expected 1", len(args))
	}
	if err := c.outputImage(ctx, args[0]); err != nil {
		return fail(err, exitArguments, "resolve inputs")
	}
	if err := c.layoutAllowed(); err != nil {
		return err
	}
	return c.privileges(ctx, c.named(), []string{c.Layers, c.LaunchCache})
}

// outputImage settles what the analysis and creation of an image are about: the image, the previous one and the run
// image.
func (c *command) outputImage(ctx context.Context, name string) error {
	c.Image = name
	if name == "" {
		return errors.New("image argument is required")
	}
	if c.PreviousImage == "" {
		c.PreviousImage = name
	}
	if err := c.checkNames(); err != nil {
		return err
	}
	if !c.Daemon && c.LaunchCache != "" {
		c.log.warnf("Ignoring -launch-cache, only intended for use with -daemon")
	}
	if c.Parallel && c.CacheImage == "" && c.CacheDir == "" {
		c.log.warnf("Parallel export has been enabled, but it has not taken effect because no cache has been specified.")
	}
	if c.RunImage != "" {
		return nil
	}
	return c.chooseRunImage(ctx)
}

// chooseRunImage takes the first run image that the platform names, or one of its mirrors.
func (c *command) chooseRunImage(ctx context.Context) error {
	runs, err := c.runImages()
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		if !c.API.AtLeast(0, 12) {
			return errors.New("missing run image metadata (-run-image)")
		}
		return errors.New("-run-image is required when there is no run metadata available")
	}
	// The registry is asked before the process knows which credentials it needs: so it is opened twice.
	probe := command{Inputs: c.Inputs, log: c.log}
	if err := probe.open(ctx); err != nil {
		return err
	}
	defer probe.close()
	c.RunImage, err = probe.images.bestRunImage(ctx, c.Image, runs[0])
	return err
}

// checkNames makes sure that every image is named well and that all that is written goes to one registry.
func (c *command) checkNames() error {
	var host string
	for i, n := range append([]string{c.Image}, c.Tags...) {
		ref, err := image.ParseRef(n)
		if err != nil {
			return err
		}
		if i > 0 && ref.Host() != host && !c.Daemon {
			return errors.New("writing to multiple registries is unsupported")
		}
		host = ref.Host()
	}
	for _, n := range []string{c.PreviousImage, c.BuildImage, c.RunImage, c.DeprecatedRunImage, c.CacheImage} {
		if n == "" {
			continue
		}
		if _, err := image.ParseRef(n); err != nil {
			return err
		}
	}
	return nil
}

// named is every image that this phase may read or write.
func (c *command) named() []string {
	return append([]string{c.Image, c.PreviousImage, c.RunImage, c.BuildImage}, c.Tags...)
}

func (c *command) layoutAllowed() error {
	if !c.Layout {
		return nil
	}
	return c.experimental(c.log, "export to OCI layout format")
}

func (c *command) analyze(ctx context.Context) error {
	a, previous, err := c.analyzed(ctx)
	if err != nil {
		return err
	}
	if err := c.restoreSBOM(ctx, a, previous); err != nil {
		return fail(err, exitAnalyze, "analyze")
	}
	return c.writeAnalyzed(a)
}

// analyzed looks at the previous image, which is nil where there is none, and at the run image.
func (c *command) analyzed(ctx context.Context) (a cnb.Analyzed, previous *image.Image, err error) {
	if err := c.checkAccess(ctx); err != nil {
		return a, nil, fail(err, exitAnalyze, "initialize analyzer")
	}
	in := builder.AnalyzeInput{PlatformAPI: c.API, ExecEnv: c.ExecEnv, RunName: c.RunImage, Emit: c.log.restored}
	if previous, err = c.previous(ctx, c.PreviousImage); err != nil {
		return a, nil, fail(fmt.Errorf("getting previous image: %w", err), exitAnalyze, "initialize analyzer")
	}
	if previous != nil {
		in.Previous, in.PreviousReference = previous, c.images.identity(previous)
		c.log.debugf("Found image with identifier %q", in.PreviousReference)
	}
	if c.RunImage != "" {
		run, err := c.images.find(ctx, c.RunImage)
		switch {
		case errors.Is(err, errNoImage):
			c.log.infof("Image with name %q not found", c.RunImage)
		case err != nil:
			return a, nil, fail(fmt.Errorf("getting run image: %w", err), exitAnalyze, "initialize analyzer")
		default:
			in.Run, in.RunReference = run, c.images.identity(run)
			if c.Layout {
				in.RunName, _ = c.images.layoutPath(c.RunImage)
			}
		}
	}
	if a, err = builder.Analyze(in); err != nil {
		return a, nil, fail(err, exitAnalyze, "analyze")
	}
	if a.RunImage == nil {
		if a.RunImage, err = c.noRunImage(); err != nil {
			return a, nil, fail(err, exitAnalyze, "analyze")
		}
	}
	if !c.API.AtLeast(0, 12) {
		a.RunImage.Image = ""
	}
	if a.Image == nil {
		a.Image, previous = &cnb.ImageRef{}, nil
	}
	return a, previous, nil
}

// noRunImage is what is known of a run image that is not there. In a Docker engine it may still come, by whoever runs
// the phases; a registry or a layout has it now or not at all.
func (c *command) noRunImage() (*cnb.RunImage, error) {
	if c.RunImage != "" && !c.Daemon && c.API.AtLeast(0, 12) {
		return nil, fmt.Errorf("run image %q not found", c.RunImage)
	}
	run := &cnb.RunImage{Image: c.RunImage}
	if c.API.AtLeast(0, 12) {
		run.Target = &cnb.Target{OS: "linux", Arch: goarch}
	}
	return run, nil
}

// checkAccess makes sure, before anything is built, that registries let us read what is read and write what is written.
func (c *command) checkAccess(ctx context.Context) error {
	var write []string
	if c.CacheImage != "" {
		write = append(write, c.CacheImage)
	}
	if !c.Daemon && !c.Layout {
		for _, n := range []string{c.PreviousImage, c.RunImage} {
			if n == "" {
				continue
			}
			if err := c.images.readable(ctx, n); err != nil && !absent(err) {
				return fmt.Errorf("validating registry read access: ensure registry read access to %s: %w", n, err)
			}
		}
		write = append(append(write, c.Image), c.Tags...)
	}
	for _, n := range write {
		ref, err := image.ParseRef(n)
		if err == nil {
			err = c.images.registry.CheckWrite(ctx, ref)
		}
		if err != nil {
			return fmt.Errorf("validating registry write access: ensure registry read/write access to %s: %w", n, err)
		}
	}
	return nil
}

// previous finds the previous image; nil is none.
func (c *command) previous(ctx context.Context, name string) (*image.Image, error) {
	if name == "" {
		return nil, nil
	}
	img, err := c.images.find(ctx, name)
	if errors.Is(err, errNoImage) {
		c.log.infof("Image with name %q not found", name)
		return nil, nil
	}
	return img, err
}

// restoreSBOM leaves the SBOM files of the previous image where restorer finds them.
func (c *command) restoreSBOM(ctx context.Context, a cnb.Analyzed, previous *image.Image) error {
	if previous == nil || a.Metadata.BOM == nil || c.SkipLayers || !c.API.AtLeast(0, 8) {
		return nil
	}
	c.log.infof("Restoring data for SBOM from previous image")
	layer, err := openPreviousLayer(previous, a.Metadata.BOM.SHA)
	if err != nil {
		return fmt.Errorf("retrieving launch SBOM layer: %w", err)
	}
	defer layer.Close()
	dirs, err := c.dirs()
	if err != nil {
		return err
	}
	return builder.ExtractSBOM(ctx, dirs, builder.Limits{}, a.Metadata.BOM.SHA, layer)
}

// openPreviousLayer reads a layer of the previous image.
func openPreviousLayer(previous *image.Image, diffID string) (io.ReadCloser, error) {
	h, err := v1.NewHash(diffID)
	if err != nil {
		return nil, err
	}
	l, err := previous.LayerByDiffID(h)
	if err != nil {
		return nil, err
	}
	return l.Uncompressed()
}

// An engine's images have their layers from the launch cache, where there is one: reading them out of the engine means
// reading the whole image.

// errNoLaunchCache says that a layer is not in the launch cache, or that there is none.
var errNoLaunchCache = errors.New("not in the launch cache")

// launchLayer is a layer of the launch cache.
func (c *command) launchLayer(diffID string) (v1.Layer, error) {
	if !c.Daemon || c.LaunchCache == "" {
		return nil, errNoLaunchCache
	}
	v, err := cache.OpenVolume(c.LaunchCache)
	if err != nil {
		return nil, err
	}
	if !v.HasLayer(diffID) {
		return nil, errNoLaunchCache
	}
	return v.Layer(diffID)
}

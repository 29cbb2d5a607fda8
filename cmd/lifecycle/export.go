package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/image"
)

func (c *command) exportArgs(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return badArguments("at least one image argument is required")
	}
	c.Image, c.Tags = args[0], args[1:]
	if err := c.exportImages(); err != nil {
		return fail(err, exitArguments, "resolve inputs")
	}
	if err := c.layoutAllowed(); err != nil {
		return err
	}
	return c.privileges(ctx, c.named(), []string{c.CacheDir, c.LaunchCache})
}

// exportImages settles the images of an export: the run image and the previous one are those of the analysis.
func (c *command) exportImages() error {
	if c.Image == "" {
		return errors.New("image argument is required")
	}
	if c.RunImage != "" && c.RunImage != c.env["CNB_RUN_IMAGE"] {
		return errors.New("-run-image is unsupported")
	}
	if c.DeprecatedRunImage != "" {
		return errors.New("-image is unsupported")
	}
	a, err := c.readAnalyzed()
	if err != nil {
		return err
	}
	if a.RunImage == nil || a.RunImage.Reference == "" {
		return errors.New("run image not found in analyzed metadata")
	}
	c.RunImage, c.PreviousImage = "", ""
	if !c.Layout {
		c.RunImage = a.RunImage.Reference
		if a.Image != nil {
			c.PreviousImage = a.Image.Reference
		}
	}
	c.warnNoCache()
	if !c.Daemon && c.LaunchCache != "" {
		c.log.warnf("Ignoring -launch-cache, only intended for use with -daemon")
	}
	return c.checkNames()
}

func (c *command) exportPhase(ctx context.Context) error {
	group, err := c.readGroup()
	if err != nil {
		return err
	}
	a, err := c.readAnalyzed()
	if err != nil {
		return err
	}
	if err := c.extensionsAllowed(c.hasExtended()); err != nil {
		return err
	}
	store, err := c.cacheStore(ctx)
	if err != nil {
		return err
	}
	dirs, err := c.dirs()
	if err != nil {
		return err
	}
	md, err := read("build metadata", filepath.Join(c.Layers, "config", "metadata.toml"), cnb.DecodeMetadata)
	if err != nil {
		return fail(err, exitExport, "export")
	}
	built, err := builder.ReadBuilt(dirs, group, md)
	if err != nil {
		return fail(err, exitExport, "export")
	}
	c.verifyCache = true
	return c.export(ctx, builder.ExportInput{Group: group, Built: built, SBOMTree: true}, a, store)
}

// export makes the image and the cache of what was built.
func (c *command) export(ctx context.Context, in builder.ExportInput, a cnb.Analyzed, store cache.Cache) error {
	x, err := c.newExportation(ctx, a)
	if err != nil {
		return fail(err, exitExport, "export")
	}
	if in.Dirs, err = c.dirs(); err != nil {
		return err
	}
	log := &exportLog{logger: c.log}
	in.PlatformAPI, in.Previous, in.Emit = c.API, a.Metadata, log.event
	in.ProcessType, in.ExecEnv = cnb.ProcessType(c.ProcessType), c.ExecEnv
	if in.Project, err = readIfThere("project metadata", c.ProjectMetadata, cnb.DecodeProjectMetadata, c.log.debugf, "No project metadata found at path %q, project metadata will not be exported"); err != nil {
		return err
	}
	if in.Launcher, err = c.launcher(); err != nil {
		return fail(err, exitExport, "export")
	}
	if store != nil {
		in.Cache, in.PreviousCache = true, store.Metadata()
	}
	if err := c.extended(x, &in, a); err != nil {
		return fail(err, exitFailed, "get extended image config")
	}
	if x.sink, err = c.sink(x); err != nil {
		return err
	}
	if x.out, err = builder.Export(ctx, in, x.sink); err != nil {
		return fail(err, exitExport, "export")
	}
	log.app()
	c.exportedLog(x.out, in.Built.Metadata)
	if c.Parallel && store != nil {
		beside := store
		store = nil
		var wg sync.WaitGroup
		wg.Go(func() { c.saveCache(ctx, x, beside) })
		defer wg.Wait()
	}
	if err := c.save(ctx, x, in); err != nil {
		return fail(err, exitExport, "export")
	}
	if store != nil {
		c.saveCache(ctx, x, store)
	}
	return nil
}

// exportedLog says what the image's configuration holds.
func (c *command) exportedLog(out *builder.Exported, md cnb.Metadata) {
	c.log.infof("Adding label '%s'", cnb.LabelLifecycleMetadata)
	for _, l := range out.Labels {
		c.log.infof("Adding label '%s'", l.Key)
	}
	if entry := out.Entrypoint[0]; strings.HasPrefix(entry, "/cnb/process/") {
		c.log.infof("Setting default process type '%s'", filepath.Base(entry))
	} else {
		c.log.infof("no default process type")
	}
}

// launcher is the launcher with its SBOMs and ours.
func (c *command) launcher() (builder.Launcher, error) {
	l := builder.Launcher{Path: c.Launcher, Metadata: cnb.LauncherMetadata{Version: version}}
	l.Metadata.Source.Git.Repository, l.Metadata.Source.Git.Commit = repository, commit
	if !c.API.AtLeast(0, 11) {
		return l, nil
	}
	var err error
	if l.LifecycleSBOM, err = c.ownSBOMs("lifecycle", "build/buildpacksio_lifecycle"); err != nil {
		return l, err
	}
	if c.LauncherSBOM == "" || c.LauncherSBOM == lifecycleDir {
		l.SBOM, err = c.ownSBOMs("launcher", "launch/buildpacksio_lifecycle/launcher")
		return l, err
	}
	l.SBOM, err = sbomsIn(c.LauncherSBOM)
	return l, err
}

// ownSBOMs reads <component>.sbom.<format> beside the lifecycle; one that is not there is a warning.
func (c *command) ownSBOMs(component, to string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, ext := range cnb.SBOMExtensions() {
		name := component + ".sbom." + ext
		b, err := readFile(filepath.Join(lifecycleDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			c.log.warnf("Did not find SBOM %s in %s", name, lifecycleDir)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read SBOM %s: %w", name, err)
		}
		c.log.debugf("Copying SBOM %s to %s", name, filepath.Join(c.Layers, "sbom", to, "sbom."+ext))
		out[ext] = b
	}
	return out, nil
}

// sbomsIn reads the SBOM files in a directory that the platform names.
func sbomsIn(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the launcher's SBOMs: %w", err)
	}
	out := map[string][]byte{}
	for _, e := range entries {
		for _, ext := range cnb.SBOMExtensions() {
			if strings.HasSuffix(e.Name(), "sbom."+ext) {
				if out[ext], err = readFile(filepath.Join(dir, e.Name())); err != nil {
					return nil, fmt.Errorf("read the launcher's SBOMs: %w", err)
				}
			}
		}
	}
	return out, nil
}

// exportation is one export under way: where it stands on, and what has become of it.
type exportation struct {
	run, previous *image.Image // previous may be nil
	runReference  string
	runName       cnb.RunImageName
	extended      *v1.Config // of the extended run image, nil where there is none
	sink          *builder.DirSink
	out           *builder.Exported
}

// newExportation finds the run image and the previous image of the analysis.
func (c *command) newExportation(ctx context.Context, a cnb.Analyzed) (*exportation, error) {
	x := &exportation{}
	var err error
	if x.runName, err = c.runImageForExport(a); err != nil {
		return nil, err
	}
	if a.RunImage == nil || a.RunImage.Reference == "" {
		return nil, errors.New("run image not found in analyzed metadata")
	}
	if x.run, err = c.images.find(ctx, a.RunImage.Reference); err != nil {
		return nil, fmt.Errorf("access run image: %w", err)
	}
	x.runReference = c.images.identity(x.run)
	if a.Image == nil || a.Image.Reference == "" {
		return x, nil
	}
	switch {
	case c.Daemon:
		c.log.debugf("Reusing layers from image with id '%s'", a.Image.Reference)
	case c.Layout:
		dir, _, _ := strings.Cut(a.Image.Reference, "@")
		c.log.infof("Reusing layers from image '%s'", dir)
	default:
		c.log.infof("Reusing layers from image '%s'", a.Image.Reference)
	}
	x.previous, err = c.images.find(ctx, a.Image.Reference)
	if errors.Is(err, errNoImage) {
		c.log.warnf("previous image %s is gone: its layers are made anew", a.Image.Reference)
		return x, nil
	}
	if err != nil {
		return nil, fmt.Errorf("access previous image: %w", err)
	}
	return x, nil
}

// runImageForExport is the run image with its mirrors, as a later rebase may use it: that of run.toml which names the
// run image of the analysis, else the first (platform, "exporter").
func (c *command) runImageForExport(a cnb.Analyzed) (cnb.RunImageName, error) {
	runs, err := c.runImages()
	if err != nil || len(runs) == 0 {
		return cnb.RunImageName{}, err
	}
	if a.RunImage != nil && c.API.AtLeast(0, 12) {
		for _, r := range runs {
			if builder.NamesRunImage(r, a.RunImage.Image) {
				return r, nil
			}
		}
	}
	return runs[0], nil
}

// sink keeps new layers in a directory; those of the previous image are found there.
func (c *command) sink(x *exportation) (*builder.DirSink, error) {
	dir, err := c.tempDir()
	if err != nil {
		return nil, err
	}
	had := map[string]bool{}
	if x.previous != nil {
		for _, d := range x.previous.Config.RootFS.DiffIDs {
			had[d.String()] = true
		}
	}
	return builder.NewDirSink(dir, func(diffID string) bool { return had[diffID] }), nil
}

// layer finds a layer of the new image or cache by diffID.
func (c *command) layer(x *exportation, diffID string) (v1.Layer, error) {
	if l, err := x.sink.Get(diffID); err == nil {
		return l, nil
	}
	h, err := v1.NewHash(diffID)
	if err != nil {
		return nil, err
	}
	if x.previous == nil {
		return nil, fmt.Errorf("layer %s: %w", diffID, fs.ErrNotExist)
	}
	return x.previous.LayerByDiffID(h)
}

// verifyReused reads the layers of a volume that stay in it, in an exporter that is a process of its own: nobody has
// since they were written, for a buildpack may not have asked for them. Creator's restore has read them just now.
func (c *command) verifyReused(ctx context.Context, x *exportation, store cache.Cache) {
	v, ok := store.(*cache.Volume)
	if !ok || !c.verifyCache {
		return
	}
	for _, l := range x.out.CacheLayers {
		if !l.Reused {
			continue
		}
		if err := v.Verify(ctx, l.DiffID); err != nil {
			c.log.warnf("Skipping reuse for layer %s: %s", l.ID, oneLine(err))
			c.log.infof("Adding cache layer '%s'", l.ID)
		}
	}
}

// saveCache writes the cache. That it cannot be written is a warning: the image is what was asked for.
func (c *command) saveCache(ctx context.Context, x *exportation, store cache.Cache) {
	if !store.Exists() {
		c.log.infof("Layer cache not found")
	}
	if x.out.Cache == nil {
		return
	}
	c.verifyReused(ctx, x, store)
	err := store.Replace(ctx, *x.out.Cache, func(id string) (v1.Layer, error) { return c.layer(x, id) })
	if err != nil {
		c.log.warnf("Failed to export cache: %v", oneLine(err))
	}
	c.cacheWarnings(store)
}

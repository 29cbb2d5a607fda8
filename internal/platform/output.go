package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// findPrevious looks for the previous image where the result will go. That there is none is the normal
// start of an app's life.
func (j *job) findPrevious(ctx context.Context) error {
	ref := j.dest.refs[0]
	if j.o.PreviousImage != "" {
		var err error
		if ref, err = image.ParseRef(j.o.PreviousImage); err != nil {
			return fmt.Errorf("previous image: %w", err)
		}
	}
	img, err := j.dest.find(ctx, ref, j.o.PreviousImage != "")
	switch {
	case err == nil:
		j.previous = img
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case j.o.PreviousImage != "" && !missing(err):
		return fmt.Errorf("previous image: %w", err)
	case !missing(err):
		j.warn("previous image %s cannot be read, layers are made anew: %v", ref, err)
	}
	return nil
}

// missing says that there simply is no such image.
func missing(err error) bool {
	if errors.Is(err, image.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return true
	}
	re, ok := errors.AsType[*image.RegistryError](err)
	return ok && re.Reason == image.ReasonNotFound
}

// export collects the layers, composes the image and writes it to its destination and the cache.
func (j *job) export(ctx context.Context) (err error) {
	unchanged := j.unchangedLayers(ctx)
	// Nothing of a buildpack runs any more, and the container may go while layers are made. But where an engine ends one,
	// overlayfs first brings to disk all that was written and is not there yet, in the whole file system: so where layers
	// are new, the container goes after their files.
	gone := make(chan error, 1)
	endBox := sync.OnceFunc(func() { go func() { gone <- j.box.Close() }() })
	if !j.hasNewLayers(unchanged) {
		endBox()
	}
	defer func() {
		endBox()
		err = errors.Join(err, <-gone)
	}()

	sending, err := j.sendAhead(ctx)
	defer sending.end()
	if err != nil {
		return err
	}
	if err := j.collect(ctx, unchanged, false); err != nil {
		return err
	}
	if j.o.SBOMDir != "" {
		if err := j.collector.CopyOut(ctx, j.dirs, j.dirs.Layers+"/sbom", j.o.SBOMDir); err != nil {
			return err
		}
	}
	// All that counts is in layers now: the build's files go while the image is written.
	j.clearing = inBackground(ctx, func(ctx context.Context) error {
		defer endBox()
		if err := j.stack.close(); err != nil {
			return err
		}
		return removeCollected(ctx, j.collector, j.dir.path)
	})
	if j.image, err = builder.Compose(builder.ComposeInput{
		Run: j.run, RunReference: j.runReference(), RunImage: j.runName, Exported: j.exported,
		Layer: j.layer, Created: j.o.Created,
	}); err != nil {
		return err
	}
	if j.written, err = j.dest.write(ctx, j.image, j.run, j.previous); err != nil {
		return err
	}
	if err := j.saveCache(ctx); err != nil {
		return err
	}
	return j.dest.report(j.o.ReportDir, j.image, j.written)
}

// collect makes layers of what the buildpacks left; layersOnly leaves out what is for an image alone.
func (j *job) collect(ctx context.Context, unchanged map[string]string, layersOnly bool) (err error) {
	j.exported, err = j.collector.Export(ctx, builder.ExportInput{
		PlatformAPI: platformAPI, Dirs: j.dirs, Group: j.detected.Group, Built: j.built,
		Previous: j.analyzed.Metadata, Cache: true, PreviousCache: j.cache.metadata, Unchanged: unchanged,
		Launcher: builder.Launcher{
			Path:     j.m.Tools.Launcher,
			Metadata: cnb.LauncherMetadata{Version: j.m.Version},
		},
		ProcessType: cnb.ProcessType(j.o.DefaultProcess), ExecEnv: j.o.ExecEnv, Project: j.o.Project, LayersOnly: layersOnly,
	}, j.o.Compression)
	return err
}

// hasNewLayers says whether a buildpack left a layer that is not one of unchanged.
func (j *job) hasNewLayers(unchanged map[string]string) bool {
	for _, bp := range j.built.Buildpacks {
		for _, l := range bp.Layers {
			if l.Contents && unchanged[bp.LayerID(l)] == "" {
				return true
			}
		}
	}
	return false
}

// runReference is what the result says it stands on. An image in Docker has a manifest only once it was read out
// of there: its name is said, and the manifest's digest is found with the rest. So the first build says what the
// next ones do, which find the manifest in the local store.
func (j *job) runReference() string {
	if j.run.Kind == image.KindEngine && j.run.Ref.IsName() {
		return j.run.Ref.Name()
	}
	return j.run.Reference
}

// layer finds a layer of the result: made or restored now, or as the previous image has it.
func (j *job) layer(diffID string) (v1.Layer, error) {
	if l, ok := j.store.Layer(diffID); ok {
		return l, nil
	}
	if j.previous == nil {
		return nil, fmt.Errorf("layer %s: %w", diffID, fs.ErrNotExist)
	}
	h, err := v1.NewHash(diffID)
	if err != nil {
		return nil, err
	}
	return j.previous.LayerByDiffID(h)
}

package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// Where a result was written, as Result.Where says it. An OCI directory is "oci:" and its path.
const (
	WhereDocker   = "docker"
	WhereStore    = "store"
	WhereRegistry = "registry"
)

// checkOutput chooses the destination and finds out before the build whether it can be written.
func (j *job) checkOutput(ctx context.Context) error {
	out := j.o.Output
	if n := count(out.Publish, out.OCI != "", out.Store); n > 1 {
		return errors.New("more than one output given: choose one of --publish and --output")
	}
	switch {
	case out.Publish:
		j.where = WhereRegistry
		for _, r := range append([]image.Ref{j.target}, j.tags...) {
			if err := j.m.Registry.CheckWrite(ctx, r); err != nil {
				return err
			}
		}
	case out.OCI != "":
		j.where = "oci:" + out.OCI
	case out.Store || j.m.Engine == nil:
		j.where = WhereStore
	default:
		j.where = WhereDocker
	}
	return nil
}

func count(bs ...bool) (n int) {
	for _, b := range bs {
		if b {
			n++
		}
	}
	return n
}

// findPrevious looks for the previous image where the result will go. That there is none is the normal
// start of an app's life.
func (j *job) findPrevious(ctx context.Context) error {
	ref := j.target
	if j.o.PreviousImage != "" {
		var err error
		if ref, err = image.ParseRef(j.o.PreviousImage); err != nil {
			return fmt.Errorf("previous image: %w", err)
		}
	}
	img, err := j.previousAt(ctx, ref)
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

func (j *job) previousAt(ctx context.Context, ref image.Ref) (*image.Image, error) {
	r := image.Resolver{Policy: image.PullIfNotPresent}
	switch {
	case ref.IsLayout():
	case j.where == WhereRegistry:
		r.Registry = j.m.Registry
		r.Policy = image.PullAlways
	case j.where == WhereDocker:
		r.Engine, r.Images, r.Policy = j.m.Engine, j.m.Images, image.PullNever
		return r.InEngine(ctx, ref)
	case j.where == WhereStore:
		r.Images = j.m.Images
	default:
		if j.o.PreviousImage != "" {
			r.Images, r.Engine, r.Registry = j.m.Images, j.m.Engine, j.m.Registry
			break
		}
		layout, err := image.ParseRef("oci:" + j.o.Output.OCI)
		if err != nil {
			return nil, err
		}
		ref = layout
	}
	return r.ResolveRef(ctx, ref)
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
	// Nothing of a buildpack runs any more; the container goes while layers are made.
	gone := make(chan error, 1)
	go func() { gone <- j.box.Close() }()
	defer func() { err = errors.Join(err, <-gone) }()

	j.exported, err = j.collector.Export(ctx, builder.ExportInput{
		PlatformAPI: platformAPI, Dirs: j.dirs, Group: j.detected.Group, Built: j.built,
		Previous: j.analyzed.Metadata, Cache: true, PreviousCache: j.cache.metadata,
		Launcher: builder.Launcher{
			Path:     j.m.Tools.Launcher,
			Metadata: cnb.LauncherMetadata{Version: j.m.Version},
		},
		ProcessType: cnb.ProcessType(j.o.DefaultProcess), ExecEnv: j.o.ExecEnv, Project: j.o.Project,
	})
	if err != nil {
		return err
	}
	if j.o.SBOMDir != "" {
		if err := j.collector.CopyOut(ctx, j.dirs, j.dirs.Layers+"/sbom", j.o.SBOMDir); err != nil {
			return err
		}
	}
	// All that counts is in layers now: the build's files go while the image is written.
	j.clearing = inBackground(ctx, func(ctx context.Context) error {
		<-j.box.ended
		return j.collector.Remove(ctx, j.dirs.Root)
	})
	if j.image, err = builder.Compose(builder.ComposeInput{
		Run: j.run, RunReference: j.runReference(), RunImage: j.runName, Exported: j.exported,
		Layer: j.layer, Created: j.o.Created,
	}); err != nil {
		return err
	}
	if j.written, err = j.write(ctx); err != nil {
		return err
	}
	if err := j.saveCache(ctx); err != nil {
		return err
	}
	return j.reports()
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
	if l, ok := j.m.Store.Layer(diffID); ok {
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

// write puts the image to its destination.
func (j *job) write(ctx context.Context) (image.Written, error) {
	refs := append([]image.Ref{j.target}, j.tags...)
	switch j.where {
	case WhereRegistry:
		from := []*image.Image{j.run}
		if j.previous != nil {
			from = append(from, j.previous)
		}
		return j.m.Registry.Push(ctx, refs, j.image, image.PushOptions{From: from})
	case WhereStore:
		return j.m.Images.Put(ctx, refs, j.image, nil)
	case WhereDocker:
		known := []string{j.run.ID.String()}
		if j.previous != nil {
			known = append(known, j.previous.ID.String())
		}
		if err := j.agree(ctx, refs); err != nil {
			return image.Written{}, err
		}
		return image.LoadEngine(ctx, j.m.Engine, refs, j.image, image.LoadOptions{Known: known, Store: j.m.Store})
	}
	layout, err := image.ParseRef("oci:" + j.o.Output.OCI)
	if err != nil {
		return image.Written{}, err
	}
	return image.WriteLayout(ctx, layout, refs, j.image, nil)
}

// agree makes names that the local store has too mean the new image: it is asked before Docker, and would
// answer with an older build.
func (j *job) agree(ctx context.Context, refs []image.Ref) error {
	var have []image.Ref
	for _, r := range refs {
		if _, err := j.m.Images.Get(ctx, r, v1.Platform{}); err == nil {
			have = append(have, r)
		}
	}
	if len(have) == 0 {
		return nil
	}
	_, err := j.m.Images.Put(ctx, have, j.image, nil)
	return err
}

// reports writes report.toml where it was asked for.
func (j *job) reports() error {
	if j.o.ReportDir == "" {
		return nil
	}
	names := []string{j.target.Familiar()}
	for _, t := range j.tags {
		names = append(names, t.Familiar())
	}
	report, err := builder.MakeReport(j.image, names)
	if err != nil {
		return err
	}
	if j.where == WhereDocker {
		report.Image.Digest, report.Image.ManifestSize, report.Image.ImageID = "", 0, j.written.ID.String()
	}
	b, err := cnb.EncodeReport(report)
	if err != nil {
		return fmt.Errorf("encode report.toml: %w", err)
	}
	if err := os.MkdirAll(j.o.ReportDir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(j.o.ReportDir, "report.toml"), b, 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

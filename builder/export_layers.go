package builder

import (
	"archive/tar"
	"context"
	"fmt"
	"path"
	"runtime"
	"slices"
	"sync"

	"github.com/slipway-build/slipway/builder/cnb"
)

// History entries and layer names are the reference's, because the first are part of the image's identity and
// the second are what people look for in logs.
const (
	createdByBuildpack = "Layer: '%s', Created by buildpack: %s"
	createdBySlice     = "Application Slice: %d"
	createdByApp       = "Application Layer"
	createdBySBOM      = "Software Bill-of-Materials"
	createdByLauncher  = "Buildpacks Application Launcher"
	createdByConfig    = "Buildpacks Launcher Config"
	createdByProcesses = "Buildpacks Process Types"

	engineLayer = "buildpacksio/lifecycle:"
)

// CacheSBOMLayer is the Layer.ID of the SBOMs that are for the cache alone.
const CacheSBOMLayer = engineLayer + "cache.sbom"

// exporter is the state of one Export.
type exporter struct {
	ExportInput
	emit  func(Event)
	image []*layerJob // in the order of the image
	cache []*layerJob // in the order of the cache's metadata; some are in image too
}

// A layerJob is one layer on its way to the sink.
type layerJob struct {
	layer     Layer
	buildpack cnb.Ref
	name      string // the buildpack's name for it
	data      cnb.LayerMetadataFile
	previous  string // diffID in the previous image
	cached    string // diffID in the cache
	unchanged string // diffID where the contents are those that were restored
	forImage  bool
	kept      bool // no contents: previous is the layer
	app       bool

	done     chan struct{}
	result   LayerResult
	warnings []string
	err      error
}

// plan lists the layers of the image and of the cache in order (platform, "exporter"; buildpack, "Phase #4").
func (e *exporter) plan(ctx context.Context, sbom sbomKinds) error {
	e.planExtended()
	for _, el := range e.Group.Elements {
		if el.Extension {
			continue
		}
		bp, ok := e.built(el.Ref)
		if !ok {
			return fmt.Errorf("export: buildpack %s has not been built", el.Ref)
		}
		if err := e.planBuildpack(bp); err != nil {
			return err
		}
	}
	if sbom.launch {
		e.image = append(e.image, e.sbomJob("launch"))
	}
	if sbom.cache && e.Cache {
		job := e.sbomJob("cache")
		job.forImage, job.cached = false, e.PreviousCache.BOM.SHA
		e.cache = append(e.cache, job)
	}
	if e.LayersOnly {
		return nil
	}
	if err := e.planApp(ctx); err != nil {
		return err
	}
	return e.planLauncher()
}

func (e *exporter) built(ref cnb.Ref) (BuiltBuildpack, bool) {
	for _, b := range e.Built.Buildpacks {
		if b.Ref == ref {
			return b, true
		}
	}
	return BuiltBuildpack{}, false
}

func (e *exporter) planBuildpack(bp BuiltBuildpack) error {
	previous := layersOf(e.Previous.Buildpacks, bp.ID)
	cached := layersOf(e.PreviousCache.Buildpacks, bp.ID)
	for _, l := range bp.Layers {
		id := bp.LayerID(l)
		job := e.newJob(Layer{
			ID:        id,
			CreatedBy: fmt.Sprintf(createdByBuildpack, l.Name, string(bp.ID)+"@"+bp.Version),
			parts:     layerTree(e.Dirs, bp.ID.Dir(), string(l.Name)),
		})
		job.buildpack, job.name = bp.Ref, string(l.Name)
		job.data = cnb.LayerMetadataFile{Build: l.Types.Build, Launch: l.Types.Launch, Cache: l.Types.Cache}
		if l.Metadata != nil {
			job.data.Data = l.Metadata
		}
		old, hasOld := previous[job.name]
		job.previous, job.cached = old.SHA, cached[job.name].SHA
		if l.Contents {
			job.unchanged = e.Unchanged[id]
		}
		if l.Types.Launch {
			switch {
			case l.Contents:
			case l.Types.Cache:
				return &OutputError{Phase: "export", Buildpack: bp.Ref, Err: fmt.Errorf("layer %q is cache=true but has no contents: write its directory, or set cache=false to reuse the layer of the previous image", l.Name)}
			case !hasOld || !validDiffID(old.SHA):
				return &OutputError{Phase: "export", Buildpack: bp.Ref, Err: fmt.Errorf("layer %q has no contents and the previous image has no such layer to reuse: write its directory", l.Name)}
			default:
				job.kept = true
			}
			job.forImage = true
			e.image = append(e.image, job)
		}
		if l.Types.Cache && e.Cache {
			if !l.Contents {
				e.emit(Event{Kind: EventWarning, Buildpack: bp.Ref, Layer: job.name, Text: fmt.Sprintf("layer %q is not cached: it has no contents", id)})
				continue
			}
			e.cache = append(e.cache, job)
		}
	}
	return nil
}

// layersOf is the layers that metadata of a previous image or cache has for a buildpack.
func layersOf(bps []cnb.BuildpackLayers, id cnb.ID) map[string]cnb.LayerMetadata {
	for _, b := range bps {
		if b.ID == id {
			return b.Layers
		}
	}
	return nil
}

func (e *exporter) newJob(l Layer) *layerJob {
	job := &layerJob{layer: l, done: make(chan struct{})}
	job.layer.limits = e.Limits
	job.layer.warn = func(text string) {
		if !slices.Contains(job.warnings, text) { // a sink may write a layer twice
			job.warnings = append(job.warnings, text)
		}
	}
	return job
}

// layerTree is the parts of a directory below <layers>, with its parents.
func layerTree(d Dirs, below ...string) []layerPart {
	name := path.Join(d.Layers, path.Join(below...))
	return append(parentsOf(d, name), treePart{
		anchor: d.Host(d.Layers), below: below, name: name, uid: d.UID, gid: d.GID,
	})
}

func (e *exporter) imageJob(l Layer, previous string) *layerJob {
	job := e.newJob(l)
	job.forImage, job.previous = true, previous
	e.image = append(e.image, job)
	return job
}

func (e *exporter) sbomJob(kind string) *layerJob {
	job := e.newJob(Layer{ID: engineLayer + kind + ".sbom", CreatedBy: createdBySBOM, parts: layerTree(e.Dirs, "sbom", kind)})
	job.forImage = true
	if e.Previous.BOM != nil {
		job.previous = e.Previous.BOM.SHA
	}
	return job
}

// planApp adds the app directory, cut into slices.
func (e *exporter) planApp(ctx context.Context) error {
	keeps, err := sliceApp(ctx, e.Dirs, e.Built.Metadata.Slices)
	if err != nil {
		return err
	}
	for i, keep := range keeps {
		l := Layer{ID: fmt.Sprintf("slice-%d", i+1), CreatedBy: fmt.Sprintf(createdBySlice, i+1)}
		if len(keeps) == 1 {
			l.CreatedBy = createdByApp
		}
		if keep == nil || keep("") {
			l.parts = append(parentsOf(e.Dirs, e.Dirs.App), treePart{
				anchor: e.Dirs.Host(e.Dirs.App), name: path.Clean(e.Dirs.App), uid: e.Dirs.UID, gid: e.Dirs.GID,
				byPath: true, keep: keep,
			})
		}
		previous := ""
		if i < len(e.Previous.App) {
			previous = e.Previous.App[i].SHA
		}
		e.imageJob(l, previous).app = true
	}
	return nil
}

// planLauncher adds the launcher, its metadata.toml and the links of the process types.
func (e *exporter) planLauncher() error {
	md, err := cnb.EncodeMetadata(e.Built.Metadata, e.PlatformAPI)
	if err != nil {
		return fmt.Errorf("encode metadata.toml: %w", err)
	}
	e.imageJob(Layer{ID: engineLayer + "launcher", CreatedBy: createdByLauncher, parts: []layerPart{
		rootDirPart(cnbDir), rootDirPart(lifecycleDir), filePart{name: launcherPath, host: e.Launcher.Path},
	}}, e.Previous.Launcher.SHA)

	dir := path.Join(e.Dirs.Layers, "config")
	e.imageJob(Layer{ID: engineLayer + "config", CreatedBy: createdByConfig, parts: append(parentsOf(e.Dirs, dir),
		inlinePart{hdr: tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, Uid: e.Dirs.UID, Gid: e.Dirs.GID}},
		inlinePart{hdr: tar.Header{Typeflag: tar.TypeReg, Name: dir + "/metadata.toml", Mode: 0o644, Uid: e.Dirs.UID, Gid: e.Dirs.GID}, data: md},
	)}, e.Previous.Config.SHA)

	if len(e.Built.Metadata.Processes) == 0 {
		return nil
	}
	links := []layerPart{rootDirPart(cnbDir), rootDirPart(processDir)}
	for _, p := range e.Built.Metadata.Processes {
		if _, err := cnb.ParseProcessType(string(p.Type)); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		links = append(links, inlinePart{hdr: tar.Header{Typeflag: tar.TypeSymlink, Name: processDir + "/" + string(p.Type), Linkname: launcherPath, Mode: 0o755}})
	}
	e.imageJob(Layer{ID: engineLayer + "process-types", CreatedBy: createdByProcesses, parts: links}, e.Previous.ProcessTypes.SHA)
	return nil
}

// run gives every layer to the sink, as many at a time as there are CPUs, and reports them in order. A layer of
// the cache alone that cannot be made is a warning; one of the image ends the export.
func (e *exporter) run(ctx context.Context, sink Sink) error {
	jobs := append([]*layerJob(nil), e.image...)
	for _, j := range e.cache {
		if !j.forImage {
			jobs = append(jobs, j)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	next := make(chan *layerJob, len(jobs)) // holds every job, so that filling it never blocks
	for _, j := range jobs {
		next <- j
	}
	close(next)
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		wg.Go(func() {
			for j := range next {
				j.run(ctx, sink)
				close(j.done)
			}
		})
	}
	for _, j := range jobs {
		<-j.done
		if err := e.finish(ctx, j); err != nil {
			cancel(err)
			return err
		}
	}
	return nil
}

func (j *layerJob) run(ctx context.Context, sink Sink) {
	if j.kept {
		j.result = LayerResult{DiffID: j.previous, Reused: true}
		return
	}
	if j.err = context.Cause(ctx); j.err != nil {
		return
	}
	previous := j.previous
	if !validDiffID(previous) {
		previous = j.cached
	}
	if !validDiffID(previous) {
		previous = ""
	}
	if j.fromSink(ctx, sink, previous) {
		return
	}
	j.result, j.err = sink.Layer(ctx, j.layer, previous)
	if j.err == nil && !validDiffID(j.result.DiffID) {
		j.err = fmt.Errorf("layer %s was stored without a diffID", j.layer.ID)
	}
}

// fromSink settles a layer that did not change with what the sink has of it.
func (j *layerJob) fromSink(ctx context.Context, sink Sink, previous string) bool {
	s, ok := sink.(KnowingSink)
	if !ok || !validDiffID(j.unchanged) {
		return false
	}
	res, known, err := s.Known(ctx, j.unchanged)
	if err != nil || !known { // asked again, by the layer's bytes
		return false
	}
	res.DiffID, res.Reused = j.unchanged, j.unchanged == previous
	j.result = res
	return true
}

// finish reports a job that is done.
func (e *exporter) finish(ctx context.Context, j *layerJob) error {
	for _, w := range j.warnings {
		e.emit(Event{Kind: EventWarning, Buildpack: j.buildpack, Layer: j.label(), Text: w})
	}
	if j.err != nil {
		if j.forImage || context.Cause(ctx) != nil {
			return j.err
		}
		e.emit(Event{Kind: EventWarning, Buildpack: j.buildpack, Layer: j.label(), Text: fmt.Sprintf("layer %s is not cached: %v", j.layer.ID, j.err)})
		return nil
	}
	if j.forImage {
		kind := EventLayerAdded
		j.result.Reused = j.result.DiffID == j.previous || j.app && e.hadApp(j.result.DiffID)
		if j.result.Reused {
			kind = EventLayerReused
		}
		e.emit(Event{Kind: kind, Buildpack: j.buildpack, Layer: j.label(), Text: j.layer.ID, Bytes: j.result.Size, Reused: j.result.Reused})
	}
	if j.inCache(e) {
		kind, same := EventCacheAdded, j.result.DiffID == j.cached
		if same {
			kind = EventCacheReused
		}
		e.emit(Event{Kind: kind, Buildpack: j.buildpack, Layer: j.label(), Text: j.layer.ID, Bytes: j.result.Size, Reused: same})
	}
	return nil
}

func (j *layerJob) label() string {
	if j.name != "" {
		return j.name
	}
	return j.layer.ID
}

func (j *layerJob) inCache(e *exporter) bool {
	return slices.Contains(e.cache, j)
}

func (e *exporter) hadApp(diffID string) bool {
	for _, l := range e.Previous.App {
		if l.SHA == diffID {
			return true
		}
	}
	return false
}

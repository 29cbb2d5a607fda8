package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"

	"github.com/slipway-build/slipway/builder/cnb"
)

// RestoreInput is what Restore works on.
type RestoreInput struct {
	PlatformAPI cnb.API
	Dirs        Dirs
	Group       cnb.Group
	Previous    cnb.LayersMetadata // as Analyze gave it
	Cache       CacheReader        // nil for none
	// SBOM opens the previous image's SBOM layer as an uncompressed tar stream; nil for none. It is called once
	// at most, and only if something of it can be used.
	SBOM func(ctx context.Context) (io.ReadCloser, error)
	// SBOMTree tells to take the previous image's SBOM files from <layers>/sbom, where ExtractSBOM put them, and
	// to remove what is there in the end. SBOM is not used then.
	SBOMTree bool
	// InPlace are layers whose contents are below <layers> already, as UnpackCached left them: they are not extracted.
	InPlace []PlacedLayer
	// SkipLayers restores store.toml and nothing else (platform, "skip-layers").
	SkipLayers bool
	Limits     Limits
	Emit       func(Event) // may be nil; never called concurrently
}

// Restore puts back what earlier builds left for the buildpacks of the group (platform, "restorer"; buildpack,
// "Layer Types"): store.toml, <layer>.toml without [types] for layers that can be reused, the contents of cached
// layers and SBOM files. Layers are extracted side by side, as many as there are CPUs.
//
// A layer of the cache that is missing, damaged or hostile is a miss: a warning, and nothing of it stays. Files
// belong to the buildpacks' user and have the time of their extraction, as with the reference: some tools throw
// away what is older than a few days.
func Restore(ctx context.Context, in RestoreInput) error {
	return inPhase("restore", restore(ctx, in))
}

func restore(ctx context.Context, in RestoreInput) error {
	if !in.PlatformAPI.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return &APIError{API: in.PlatformAPI}
	}
	root, err := os.OpenRoot(in.Dirs.Host(in.Dirs.Layers))
	if err != nil {
		return fmt.Errorf("open the layers directory: %w", err)
	}
	defer root.Close()
	r := &restorer{RestoreInput: in, root: root, emit: emitter(in.Emit)}
	if in.Cache != nil {
		r.cached = in.Cache.Metadata()
	}
	for _, el := range in.Group.Elements {
		if el.Extension {
			continue
		}
		if err := r.buildpack(el.Ref); err != nil {
			return err
		}
	}
	if err := r.extract(ctx); err != nil {
		return err
	}
	if in.SkipLayers || !in.PlatformAPI.AtLeast(0, 8) {
		return nil
	}
	return r.sboms(ctx)
}

type restorer struct {
	RestoreInput
	root   *os.Root
	emit   func(Event)
	cached cnb.CacheMetadata
	jobs   []*restoreJob
}

// A restoreJob is one layer whose contents come from the cache.
type restoreJob struct {
	buildpack cnb.Ref
	layer     string
	sha       string
	bytes     int64
	err       error
	done      chan struct{}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// buildpack restores store.toml and the metadata of one buildpack's layers and lists those to extract.
func (r *restorer) buildpack(ref cnb.Ref) error {
	for _, b := range r.Previous.Buildpacks {
		if b.ID != ref.ID || b.Store == nil {
			continue
		}
		text, err := cnb.EncodeStore(*b.Store)
		if err != nil {
			return fmt.Errorf("encode store.toml of buildpack %s: %w", ref, err)
		}
		if err := r.write(ref.ID, "store.toml", text); err != nil {
			return err
		}
		break
	}
	if r.SkipLayers {
		return nil
	}
	for _, s := range restoreSteps(r.PlatformAPI, ref.ID, r.Previous, r.cached) {
		if s.warning != "" {
			r.warn(ref, s.layer, s.warning)
			continue
		}
		if err := r.write(ref.ID, s.layer+".toml", s.text); err != nil {
			return err
		}
		r.emit(Event{Kind: EventLayerRestoredMetadata, Buildpack: ref, Layer: s.layer, Text: s.from})
		if s.sha != "" {
			r.jobs = append(r.jobs, &restoreJob{buildpack: ref, layer: s.layer, sha: s.sha, done: make(chan struct{})})
		}
	}
	return nil
}

// A restoreStep is what Restore does about one layer.
type restoreStep struct {
	layer   string
	from    string
	text    []byte // of <layer>.toml
	sha     string // of the contents that come from the cache; "" for none
	warning string // why nothing of it is restored
}

// restoreSteps is what becomes of a buildpack's layers, in order.
func restoreSteps(api cnb.API, id cnb.ID, previous cnb.LayersMetadata, cache cnb.CacheMetadata) (steps []restoreStep) {
	app, cached := layersOf(previous.Buildpacks, id), layersOf(cache.Buildpacks, id)
	found := chooseLayers(api, app, cached)
	for _, name := range sortedKeys(found) {
		l, c := found[name], cached[name]
		s := restoreStep{layer: name, from: l.from}
		if _, err := cnb.ParseLayerName(name); err != nil {
			s.warning = fmt.Sprintf("layer %.100q is not restored: %v", name, err)
			steps = append(steps, s)
			continue
		}
		if c.Cache && c.SHA != l.SHA {
			continue // the cache holds other contents than the metadata is about: the buildpack has to see nothing of it
		}
		data, _ := l.Data.(map[string]any)
		text, err := cnb.EncodeLayer(cnb.LayerTOML{Metadata: data})
		if err != nil {
			s.warning = fmt.Sprintf("layer %s:%s is not restored: its metadata is not TOML: %v", id, name, err)
		}
		s.text = text
		if c.Cache {
			s.sha = c.SHA
		}
		steps = append(steps, s)
	}
	return steps
}

// A restorable is a layer whose metadata comes back, and from where.
type restorable struct {
	cnb.LayerMetadata
	from string
}

// chooseLayers tells which layers' metadata is restored: the table of layer types in the spec, and from Platform API
// 0.14 on also launch layers that the cache alone knows.
func chooseLayers(api cnb.API, app, cached map[string]cnb.LayerMetadata) map[string]restorable {
	out := map[string]restorable{}
	for name, l := range app {
		inCache := cached[name].Cache
		switch {
		case !l.Launch:
		case l.Build && !l.Cache: // its contents are needed and nowhere to be had
		case l.Cache && !inCache:
		default:
			out[name] = restorable{l, "app image"}
		}
	}
	for name, l := range cached {
		if !l.Cache {
			continue
		}
		if _, inApp := app[name]; l.Launch && (inApp || !api.AtLeast(0, 14)) {
			continue
		}
		out[name] = restorable{l, "cache"}
	}
	return out
}

func (r *restorer) warn(ref cnb.Ref, layer, text string) {
	r.emit(Event{Kind: EventWarning, Buildpack: ref, Layer: layer, Text: text})
}

// write writes a file into a buildpack's layers directory.
func (r *restorer) write(id cnb.ID, name string, b []byte) error {
	if err := r.Dirs.makeDir(r.root, id.Dir()); err != nil {
		return err
	}
	return r.Dirs.makeFile(r.root, path.Join(id.Dir(), name), b)
}

// extract runs the jobs side by side and reports them in order.
func (r *restorer) extract(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	next := make(chan *restoreJob, len(r.jobs)) // holds every job, so that filling it never blocks
	for _, j := range r.jobs {
		next <- j
	}
	close(next)
	for range min(runtime.GOMAXPROCS(0), len(r.jobs)) {
		wg.Go(func() {
			for j := range next {
				j.bytes, j.err = r.extractLayer(ctx, j)
				close(j.done)
			}
		})
	}
	for _, j := range r.jobs {
		<-j.done
		if err := r.settle(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

func (r *restorer) settle(ctx context.Context, j *restoreJob) error {
	if j.err == nil {
		r.emit(Event{Kind: EventLayerRestoredData, Buildpack: j.buildpack, Layer: j.layer, Text: "cache", Bytes: j.bytes})
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	dir := j.buildpack.ID.Dir()
	err := r.root.RemoveAll(path.Join(dir, j.layer))
	if e := r.root.Remove(path.Join(dir, j.layer+".toml")); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("remove layer %s:%s, which could not be restored: %w", j.buildpack.ID, j.layer, err)
	}
	if errors.Is(j.err, errNoSpace) {
		return fmt.Errorf("restore layer %s:%s from the cache: %w", j.buildpack.ID, j.layer, j.err)
	}
	r.warn(j.buildpack, j.layer, fmt.Sprintf("layer %s:%s is not restored from the cache: %v", j.buildpack.ID, j.layer, j.err))
	r.drop(j.sha)
	return nil
}

// drop has the cache forget contents that could not be restored: an export that makes the same layer again would
// find it there, and keep what is damaged for ever.
func (r *restorer) drop(sha string) {
	if d, ok := r.Cache.(interface{ Drop(diffID string) error }); ok {
		_ = d.Drop(sha) // the next build misses it again
	}
}

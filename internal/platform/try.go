package platform

import (
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
)

// Tried is what buildpacks make of an app, without an image of it.
type Tried struct {
	App        string            `json:"app"`
	Builder    string            `json:"builder"`
	RunImage   string            `json:"runImage"`
	Plan       cnb.Plan          `json:"plan"`
	Buildpacks []TriedBuildpack  `json:"buildpacks"`
	Processes  []TriedProcess    `json:"processes"`
	Labels     map[string]string `json:"labels"`
	Slices     [][]string        `json:"slices,omitempty"`
	SBOMs      []TriedSBOM       `json:"sboms"`

	Timings map[Phase]time.Duration `json:"timings"`
	// Last is what the run before came to; nil for the first one of these buildpacks over this app.
	Last *Tried `json:"-"`
}

// A TriedBuildpack is one buildpack of the group, in the order in which they ran.
type TriedBuildpack struct {
	Buildpack cnb.Ref        `json:"buildpack"`
	Took      time.Duration  `json:"took"` // its bin/build
	Layers    []TriedLayer   `json:"layers"`
	Store     map[string]any `json:"store,omitempty"` // of store.toml
}

// How a layer came to be what it is.
const (
	LayerNew       = "new"       // the run before had no such layer
	LayerChanged   = "changed"   // other files than before
	LayerSame      = "same"      // made again, and the same files as before
	LayerUntouched = "untouched" // it was restored, and nothing was written to it; "same" where that cannot be seen
	LayerKept      = "kept"      // an image would take the one before: the buildpack left its TOML file alone
)

// A TriedLayer is one layer that is for something.
type TriedLayer struct {
	Name     cnb.LayerName  `json:"name"`
	Launch   bool           `json:"launch"`
	Build    bool           `json:"build"`
	Cache    bool           `json:"cache"`
	Metadata map[string]any `json:"metadata,omitempty"`
	How      string         `json:"how"` // LayerNew ...
	// DiffID and Compressed are those of the layer in an image or a cache; a layer for the build alone has none.
	DiffID     string `json:"diffID,omitempty"`
	Compressed int64  `json:"compressed,omitempty"`
	agent.Listing
}

// A TriedProcess is a process type of the image that there would be.
type TriedProcess struct {
	Type       cnb.ProcessType `json:"type"`
	Command    []string        `json:"command"`
	Args       []string        `json:"args,omitempty"`
	Direct     bool            `json:"direct"`
	Default    bool            `json:"default,omitempty"`
	Buildpack  cnb.ID          `json:"buildpack"`
	WorkingDir string          `json:"workingDir,omitempty"`
	ExecEnv    []string        `json:"execEnv,omitempty"`
}

// A TriedSBOM is a bill of materials that a buildpack left.
type TriedSBOM struct {
	Buildpack cnb.Ref       `json:"buildpack"`
	Layer     cnb.LayerName `json:"layer,omitempty"` // "" for one of the whole launch image or build
	Launch    bool          `json:"launch,omitempty"`
	Build     bool          `json:"build,omitempty"`
	Format    string        `json:"format"` // "cdx.json", "spdx.json", "syft.json"
}

// Try runs detect and build over an app and tells what the buildpacks left; it makes no image. Layers are kept for the
// next run of the same buildpacks over the same app, which finds them as a second build does. Of o the fields about the
// result mean nothing. Errors are Build's.
func Try(ctx context.Context, m *Machine, o Options, ui UI) (*Tried, error) {
	t, err := newTry(m, o, ui)
	if err != nil {
		return nil, err
	}
	err = t.walk(ctx, step{PhasePrepare, t.prepare}, step{PhaseAnalyze, t.analyze}, step{PhaseDetect, t.detect},
		step{PhaseRestore, t.restore}, step{PhaseBuild, t.build}, step{PhaseExport, t.gather})
	if err != nil {
		return nil, err
	}
	t.now.Timings, t.now.Last = t.timings, t.last.Tried
	return t.now, nil
}

// A try is a job that ends with what the buildpacks left.
type try struct {
	*job
	record string // file of the run before
	last   tryFile
	now    *Tried
}

func newTry(m *Machine, o Options, ui UI) (*try, error) {
	o, err := withoutImage(o)
	if err != nil {
		return nil, err
	}
	j, err := newJob(m, o, ui)
	if err != nil {
		return nil, err
	}
	t := &try{job: j, record: tryRecord(m, o)}
	return t, t.recall()
}

// analyze has the run before stand in the place of a previous image.
func (t *try) analyze(ctx context.Context) error {
	if err := t.job.analyze(ctx); err != nil {
		return err
	}
	t.analyzed.Metadata = t.last.Metadata
	return nil
}

// gather looks at what there is, and keeps it for the next run.
func (t *try) gather(ctx context.Context) error {
	unchanged := t.unchangedLayers(ctx)
	if err := t.collect(ctx, unchanged, true); err != nil {
		return err
	}
	t.now = &Tried{
		App: t.o.Source, Builder: t.builder.Reference, RunImage: t.run.Reference, Plan: t.detected.Plan,
		Processes: processesOf(t.built.Metadata), Labels: map[string]string{}, SBOMs: []TriedSBOM{},
	}
	for _, l := range t.built.Metadata.Labels {
		t.now.Labels[l.Key] = l.Value
	}
	for _, s := range t.built.Metadata.Slices {
		t.now.Slices = append(t.now.Slices, s.Paths)
	}
	for _, s := range t.built.SBOMs {
		t.now.SBOMs = append(t.now.SBOMs, TriedSBOM{Buildpack: s.Buildpack, Layer: s.Layer, Launch: s.Launch, Build: s.Build, Format: s.Extension})
	}
	for _, bp := range t.built.Buildpacks {
		b, err := t.buildpackLeft(ctx, bp, unchanged)
		if err != nil {
			return err
		}
		t.now.Buildpacks = append(t.now.Buildpacks, b)
	}
	if err := t.saveCache(ctx); err != nil {
		return err
	}
	return t.keep()
}

func (t *try) buildpackLeft(ctx context.Context, bp builder.BuiltBuildpack, unchanged map[string]string) (TriedBuildpack, error) {
	out := TriedBuildpack{Buildpack: bp.Ref, Took: t.h.took()[builder.PhaseBuild+" "+bp.Ref.String()], Layers: []TriedLayer{}}
	if bp.Store != nil {
		out.Store = bp.Store.Data
	}
	for _, l := range bp.Layers {
		layer, err := t.layerLeft(ctx, bp, l, unchanged[bp.LayerID(l)])
		if err != nil {
			return out, fmt.Errorf("layer %s: %w", bp.LayerID(l), err)
		}
		out.Layers = append(out.Layers, layer)
	}
	return out, nil
}

// layerLeft describes one layer. unchanged is its diffID where nothing was written to it since it was restored: its
// files are then those of the run before, and need not be read.
func (t *try) layerLeft(ctx context.Context, bp builder.BuiltBuildpack, l builder.BuiltLayer, unchanged string) (TriedLayer, error) {
	out := TriedLayer{Name: l.Name, Launch: l.Types.Launch, Build: l.Types.Build, Cache: l.Types.Cache, Metadata: l.Metadata}
	for _, e := range slices.Concat(t.exported.Layers, t.exported.CacheLayers) {
		if e.ID == bp.LayerID(l) {
			out.DiffID, out.Compressed = e.DiffID, e.Size
		}
	}
	last := t.last.Tried.layer(bp.ID, l.Name)
	if last != nil && (!l.Contents || unchanged != "" && unchanged == last.DiffID) {
		out.Listing, out.Compressed = last.Listing, max(out.Compressed, last.Compressed)
	} else if l.Contents {
		listed, err := t.collector.List(ctx, t.dirs, path.Join(t.dirs.LayersDir(bp.ID), string(l.Name)))
		if err != nil {
			return out, err
		}
		out.Listing = *listed
	}
	switch {
	case !l.Contents:
		out.How = LayerKept
	case last == nil:
		out.How = LayerNew
	case unchanged != "" && unchanged == last.DiffID:
		out.How = LayerUntouched
	case sameLayer(last, &out):
		out.How = LayerSame
	default:
		out.How = LayerChanged
	}
	return out, nil
}

// sameLayer says whether two layers have the same files: by their diffIDs where both have one.
func sameLayer(a, b *TriedLayer) bool {
	if a.DiffID != "" && b.DiffID != "" {
		return a.DiffID == b.DiffID
	}
	return a.Count == b.Count && a.Bytes == b.Bytes && slices.Equal(a.Files, b.Files)
}

// layer is the layer of that name; nil where there is none.
func (t *Tried) layer(bp cnb.ID, name cnb.LayerName) *TriedLayer {
	if t == nil {
		return nil
	}
	for _, b := range t.Buildpacks {
		if b.Buildpack.ID != bp {
			continue
		}
		for i := range b.Layers {
			if b.Layers[i].Name == name {
				return &b.Layers[i]
			}
		}
	}
	return nil
}

func processesOf(md cnb.Metadata) []TriedProcess {
	out := []TriedProcess{}
	for _, p := range md.Processes {
		out = append(out, TriedProcess{
			Type: p.Type, Command: p.Command, Args: p.Args, Direct: p.Direct, Buildpack: p.BuildpackID,
			Default: p.Type == md.BuildpackDefaultType, WorkingDir: p.WorkingDir, ExecEnv: p.ExecEnv,
		})
	}
	return out
}

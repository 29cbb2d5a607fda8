package builder

import (
	"context"
	"fmt"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A Sink takes the layers that Export makes. Layer writes l (l.WriteTar) to wherever blobs go and says what it
// became. previous is the diffID that the layer had in the previous image or cache, "" for none: a Sink that
// has that blob may stop at the diffID and need not compress. Called from several goroutines at once.
type Sink interface {
	Layer(ctx context.Context, l Layer, previous string) (LayerResult, error)
}

// A KnowingSink is a Sink that finds a layer it has by its diffID alone.
type KnowingSink interface {
	Sink
	Known(ctx context.Context, diffID string) (r LayerResult, known bool, err error)
}

// A LayerResult is a layer after it has been written: its identity in an image's config (DiffID) and, where the
// Sink compresses, in its manifest (Digest, Size).
type LayerResult struct {
	DiffID string `json:"diffID"`
	Digest string `json:"digest,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Reused bool   `json:"reused,omitempty"`
}

// A Launcher is the executable that becomes /cnb/lifecycle/launcher in the image.
type Launcher struct {
	Path     string               // on this machine
	Metadata cnb.LauncherMetadata // for the build metadata label
	// SBOM holds the launcher's SBOMs by extension ("cdx.json"); from Platform API 0.11 on they are part of the
	// image. LifecycleSBOM is the same for the engine itself and goes to <layers>/sbom/build.
	SBOM          map[string][]byte
	LifecycleSBOM map[string][]byte
}

// ExportInput is what Export works on. No Runner: nothing of a buildpack runs any more.
type ExportInput struct {
	PlatformAPI cnb.API
	Dirs        Dirs
	Group       cnb.Group
	Built       *Built
	// SBOMTree tells that the SBOM files of buildpacks lie below <layers>/sbom already, as WriteBuilt leaves them:
	// they are taken as they are, and Built.SBOMs is not looked at.
	SBOMTree bool
	// Previous is the previous image's metadata as Analyze gave it: layers without contents are reused from it.
	Previous cnb.LayersMetadata
	// Cache tells that cache layers are wanted too; PreviousCache is what the cache holds.
	Cache         bool
	PreviousCache cnb.CacheMetadata
	// Unchanged are layers, by Layer.ID, whose files the caller knows to be those of a diffID, and UnpackedLayer.Exact.
	// A KnowingSink that has it is asked for it instead of being given the files.
	Unchanged map[string]string
	// Extended are the layers of the extended run image, lowest first; Compose wants its config.
	Extended    []ExtendedLayer
	Launcher    Launcher
	ProcessType cnb.ProcessType // the user's default process, "" for the buildpacks' choice
	ExecEnv     string          // "" sets no label
	Project     cnb.ProjectMetadata
	// LayersOnly makes the layers of buildpacks and of their SBOMs, and no image: neither the app's nor the launcher's.
	LayersOnly bool
	Limits     Limits
	Emit       func(Event) // may be nil; never called concurrently
}

// Exported is an image without its run image: everything that Compose needs except the layers' blobs.
type Exported struct {
	PlatformAPI cnb.API         `json:"platform-api"`
	Layers      []ExportedLayer `json:"layers"`
	// Labels in the order in which they are set; the last of a key counts. The lifecycle metadata label is
	// not among them, because it names the run image: Compose adds it from Metadata.
	Labels     []cnb.Label        `json:"labels"`
	Env        []cnb.Label        `json:"env"`         // variables that are set
	PathPrefix []string           `json:"path-prefix"` // directories put before the run image's PATH
	Entrypoint []string           `json:"entrypoint"`
	WorkingDir string             `json:"working-dir"`
	Metadata   cnb.LayersMetadata `json:"metadata"` // RunImage and Stack are filled in by Compose
	// Cache is the metadata of the cache after this build, nil where none was asked for; CacheLayers are its
	// layers in the order of Cache.
	Cache       *cnb.CacheMetadata `json:"cache,omitempty"`
	CacheLayers []ExportedLayer    `json:"cache-layers,omitempty"`
}

// An ExportedLayer is one layer of the image or of the cache, in order.
type ExportedLayer struct {
	LayerResult
	ID        string `json:"id"`
	CreatedBy string `json:"created-by"`
	// Kept tells that the layer has no contents in this build and has to come from the previous image.
	Kept bool `json:"kept,omitempty"`
}

// Export makes the layers of the image and of the cache from what the buildpacks left and gives each to sink
// (platform, "exporter"). Layers are made side by side, as many as there are CPUs, and reported in order. The
// SBOM files are laid out below <layers>/sbom on the way.
func Export(ctx context.Context, in ExportInput, sink Sink) (*Exported, error) {
	out, err := export(ctx, in, sink)
	return out, inPhase("export", err)
}

func export(ctx context.Context, in ExportInput, sink Sink) (*Exported, error) {
	if !in.PlatformAPI.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return nil, &APIError{API: in.PlatformAPI}
	}
	if in.Built == nil {
		return nil, fmt.Errorf("export: no build to export")
	}
	e := &exporter{ExportInput: in, emit: emitter(in.Emit)}
	entrypoint, err := e.entrypoint()
	if err != nil {
		return nil, err
	}
	labels, err := e.labels()
	if err != nil {
		return nil, err
	}
	sbom, err := e.writeSBOMs()
	if err != nil {
		return nil, err
	}
	if err := e.plan(ctx, sbom); err != nil {
		return nil, err
	}
	if err := e.run(ctx, sink); err != nil {
		return nil, err
	}
	out := &Exported{
		PlatformAPI: in.PlatformAPI,
		Labels:      labels,
		Env:         e.env(),
		PathPrefix:  []string{processDir, lifecycleDir},
		Entrypoint:  entrypoint,
		WorkingDir:  in.Dirs.App,
	}
	e.collect(out)
	return out, nil
}

package builder

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/slipway-build/slipway/builder/cnb"
)

// BuildInput is what Build works on. Group and Plan come from Detect.
type BuildInput struct {
	PlatformAPI cnb.API
	Dirs        Dirs
	Group       cnb.Group
	Plan        cnb.Plan
	Target      cnb.Target
	StackID     string
	ExecEnv     string
	Env         []string
	Catalog     Catalog
	Runner      Runner
	Emit        func(Event)
	Stdio       func(cnb.Ref) (stdout, stderr io.Writer)
}

// Built is everything that Export needs besides the files themselves.
type Built struct {
	// Metadata is metadata.toml: processes merged and sorted by type, labels in order of execution (the last of
	// a key counts), slices, the buildpacks' default process type.
	Metadata cnb.Metadata `json:"metadata"`
	// Buildpacks is what each buildpack of the group left, in order of execution.
	Buildpacks []BuiltBuildpack `json:"buildpacks"`
	// SBOMs lists SBOM files, in order of execution and then of name.
	SBOMs []BuiltSBOM `json:"sboms,omitempty"`
	// BuildBOM is the deprecated bill of materials of build.toml; that of launch.toml is in Metadata.
	BuildBOM []cnb.BOMEntry `json:"build-bom,omitempty"`
}

// BuiltBuildpack is what one buildpack left in its layers directory.
type BuiltBuildpack struct {
	cnb.GroupElement
	Layers []BuiltLayer   `json:"layers,omitempty"` // sorted by name; none that is neither launch, build nor cache
	Store  *cnb.StoreTOML `json:"store,omitempty"`  // store.toml, nil where there is none
}

// LayerID is Layer.ID of a layer of the buildpack.
func (b BuiltBuildpack) LayerID(l BuiltLayer) string { return string(b.ID) + ":" + string(l.Name) }

// BuiltLayer is one <layer>.toml with at least one type set.
type BuiltLayer struct {
	Name     cnb.LayerName  `json:"name"`
	Types    cnb.LayerTypes `json:"types"`
	Metadata map[string]any `json:"metadata,omitempty"`
	// Contents tells whether the layer's directory exists. A launch layer without one is reused from the
	// previous image.
	Contents bool `json:"contents"`
}

// BuiltSBOM is one SBOM file that a buildpack left, checked against what its descriptor declares.
type BuiltSBOM struct {
	Buildpack cnb.Ref       `json:"buildpack"`
	Layer     cnb.LayerName `json:"layer,omitempty"` // "" for launch.sbom.* and build.sbom.*
	Launch    bool          `json:"launch,omitempty"`
	Build     bool          `json:"build,omitempty"` // every SBOM is one of Launch and Build
	Cache     bool          `json:"cache,omitempty"` // also kept with the cached layer
	Path      string        `json:"path"`            // as executables see it
	Extension string        `json:"extension"`       // "cdx.json", "spdx.json" or "syft.json"
}

// Build runs bin/build of every buildpack of the group in order and gathers what they leave (buildpack, "Phase
// #5: Build"). A buildpack's failure is an *ExitError or *StartError, a file of its that the spec does not allow an
// *OutputError.
func Build(ctx context.Context, in BuildInput) (*Built, error) {
	built, err := build(ctx, in)
	return built, inPhase(PhaseBuild, err)
}

func build(ctx context.Context, in BuildInput) (*Built, error) {
	if !in.PlatformAPI.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return nil, &APIError{API: in.PlatformAPI}
	}
	if err := distinctDirs(in.Group); err != nil {
		return nil, err
	}
	e, err := newExecution(in.Dirs, in.PlatformAPI, in.Env, in.StackID, in.ExecEnv, in.Target)
	if err != nil {
		return nil, err
	}
	b := &buildRun{in: in, emit: emitter(in.Emit), env: e, plan: in.Plan, processes: processes{byType: map[cnb.ProcessType]cnb.Process{}}}
	if b.layers, err = os.OpenRoot(in.Dirs.Host(in.Dirs.Layers)); err != nil {
		return nil, fmt.Errorf("open the layers directory: %w", err)
	}
	defer b.layers.Close()
	if b.scratch, err = os.OpenRoot(in.Dirs.Host(in.Dirs.scratch())); err != nil {
		return nil, fmt.Errorf("open the directory for buildpack plans: %w", err)
	}
	defer b.scratch.Close()
	if err := b.layers.RemoveAll("sbom"); err != nil {
		return nil, fmt.Errorf("remove SBOM files of an earlier build: %w", err)
	}
	for _, el := range in.Group.Elements {
		if el.Extension {
			continue
		}
		if err := b.step(ctx, el.Ref); err != nil {
			return nil, err
		}
	}
	return b.result(), nil
}

// distinctDirs makes sure that no two buildpacks share a layers directory: "a/b" and "a_b" would.
func distinctDirs(g cnb.Group) error {
	seen := map[string]cnb.Ref{}
	for _, el := range g.Elements {
		if other, ok := seen[el.ID.Dir()]; ok && !el.Extension {
			return fmt.Errorf("buildpacks %s and %s would share the layers directory %s: leave one out", other, el.Ref, el.ID.Dir())
		}
		if !el.Extension {
			seen[el.ID.Dir()] = el.Ref
		}
	}
	return nil
}

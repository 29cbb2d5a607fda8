package builder

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A PackageSpec says what a buildpackage is made of (distribution, "Buildpackage"). What it is made of is resolved already.
type PackageSpec struct {
	Main cnb.Ref // the buildpack that the package is about, one of Buildpacks
	// Buildpacks are that one and those that it is composed of, in any order.
	Buildpacks []BuilderBuildpack
	// Platform is what the package is for. Without an architecture it is for every one, unless a buildpack in it is not.
	Platform v1.Platform
	// Flatten puts all buildpacks but those of Apart into one layer, for container engines can stack only so many.
	Flatten bool
	Apart   []cnb.Ref
	// Layer turns a layer into bytes that can be read more than once.
	Layer func(ctx context.Context, l Layer) (v1.Layer, error)
}

// PackageBuildpack makes a buildpackage: a layer for each buildpack, and the labels that say which is which. All that the
// orders of its buildpacks have is to be in it, also what is optional. The same input gives the same image.
func PackageBuildpack(ctx context.Context, s PackageSpec) (v1.Image, error) {
	slices.SortFunc(s.Buildpacks, func(a, b BuilderBuildpack) int { return strings.Compare(a.Ref.String(), b.Ref.String()) })
	main, err := s.resolve()
	if err != nil {
		return nil, err
	}
	stacks, err := s.stacks()
	if err != nil {
		return nil, err
	}
	m := builderMaker{BuilderSpec: BuilderSpec{Layer: s.Layer, Buildpacks: s.Buildpacks}, label: cnb.BuildpackLayersLabel{}, added: map[v1.Hash]bool{}}
	merged, apart, err := s.flat()
	if err == nil && len(merged) > 0 {
		err = m.merge(ctx, merged)
	}
	if err != nil {
		return nil, err
	}
	for _, b := range apart {
		if err := m.buildpack(ctx, b); err != nil {
			return nil, err
		}
	}
	for i := range m.addenda {
		m.addenda[i].History.CreatedBy = strings.Replace(m.addenda[i].History.CreatedBy, "Builder: ", "Package: ", 1)
	}
	img, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), m.addenda...)
	if err != nil {
		return nil, fmt.Errorf("package of buildpack %s: %w", s.Main, err)
	}
	return s.configure(img, cnb.BuildpackageMetadata{ModuleInfo: main.Info(), Stacks: stacks}, m.label)
}

// configure sets platform and labels of a package.
func (s PackageSpec) configure(img v1.Image, meta cnb.BuildpackageMetadata, layers cnb.BuildpackLayersLabel) (v1.Image, error) {
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.Created = v1.Time{Time: LayerTime()}
	p := s.Platform
	for _, b := range s.Buildpacks {
		p.Architecture = cmp.Or(p.Architecture, b.Arch)
	}
	cf.OS, cf.Architecture, cf.Variant = p.OS, p.Architecture, p.Variant
	cf.Config.Labels = map[string]string{}
	for key, v := range map[string]any{cnb.LabelBuildpackage: meta, cnb.LabelBuildpackLayers: layers} {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encode label %s: %w", key, err)
		}
		cf.Config.Labels[key] = string(b)
	}
	return mutate.ConfigFile(img, cf)
}

// PackageIndex is the packages of one buildpack for several platforms as one image, in the order given. Their configs
// tell the platforms; two of one platform are an error.
func PackageIndex(imgs []v1.Image) (v1.ImageIndex, error) {
	seen := map[string]bool{}
	var adds []mutate.IndexAddendum
	for _, img := range imgs {
		cf, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("index of packages: %w", err)
		}
		p := v1.Platform{OS: cf.OS, Architecture: cf.Architecture, Variant: cf.Variant}
		if seen[p.String()] {
			return nil, fmt.Errorf("index of packages: two of them are for %s", p)
		}
		seen[p.String()] = true
		adds = append(adds, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), adds...), nil
}

// stacks are what the label of the package says of stacks: those that none of its buildpacks rules out, with the mixins
// of all of them (distribution, "Buildpackage"). Who names targets and no stack runs on any.
func (s PackageSpec) stacks() ([]cnb.Stack, error) {
	out := []cnb.Stack{{ID: "*"}}
	for _, b := range s.Buildpacks {
		if len(b.Stacks) == 0 || slices.ContainsFunc(b.Stacks, func(k cnb.Stack) bool { return k.ID == "*" }) {
			continue
		}
		if out[0].ID == "*" {
			out = slices.Clone(b.Stacks)
			continue
		}
		var both []cnb.Stack
		for _, have := range out {
			if i := slices.IndexFunc(b.Stacks, func(k cnb.Stack) bool { return k.ID == have.ID }); i >= 0 {
				mixins := slices.Concat(have.Mixins, b.Stacks[i].Mixins)
				slices.Sort(mixins)
				both = append(both, cnb.Stack{ID: have.ID, Mixins: slices.Compact(mixins)})
			}
		}
		if out = both; len(out) == 0 {
			return nil, fmt.Errorf("buildpack %s: it has no stack in common with the others of the package", b.Ref)
		}
	}
	return out, nil
}

// resolve finds the main buildpack and checks the orders.
func (s PackageSpec) resolve() (*cnb.Descriptor, error) {
	have := map[cnb.Ref]*cnb.Descriptor{}
	for _, b := range s.Buildpacks {
		if have[b.Ref] != nil {
			return nil, fmt.Errorf("buildpack %s is given twice", b.Ref)
		}
		have[b.Ref] = b.Descriptor
	}
	for _, b := range s.Buildpacks {
		for _, g := range b.Order {
			for _, e := range g.Elements {
				if have[e.Ref] == nil {
					return nil, fmt.Errorf("buildpack %s: its order has %s, which is not in the package: name it in [[dependencies]] of package.toml", b.Ref, e.Ref)
				}
			}
		}
	}
	if main := have[s.Main]; main != nil {
		return main, nil
	}
	return nil, fmt.Errorf("buildpack %s is not among those of its package", s.Main)
}

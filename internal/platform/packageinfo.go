package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
)

// A Lookup names a buildpack: a directory, a .cnb file or archive, a URL of one, an image, or what an index has.
type Lookup struct {
	Arg    string
	Target string // "os/arch[/variant]" of a package for several; "" is this machine's
	Pull   image.Policy
}

// A PackageInfo is what is known of a buildpack and of what it is composed of.
type PackageInfo struct {
	Where string // "directory", or the image.Kind of a package; a file is "oci"
	Image string // "name@digest" of a package that has a name
	Index *index.Resolution
	Main  cnb.BuildpackageMetadata
	// Buildpacks are all that is in the package. That of a directory is alone, and in no layer.
	Buildpacks cnb.BuildpackLayersLabel
	Layers     []PackageLayer
	Platform   string   // of the package; "" of a directory
	Platforms  []string // that its image in a registry is for, where it is an index
}

// A PackageLayer is one layer of a package.
type PackageLayer struct {
	DiffID, Digest string
	Size           int64 // compressed
	Buildpacks     []cnb.Ref
}

// InspectBuildpack tells of the buildpack that l names. Of a package only what describes it is fetched, not its layers.
func InspectBuildpack(ctx context.Context, m *Machine, l Lookup) (*PackageInfo, error) {
	var info *PackageInfo
	err := m.lookUp(ctx, l, func(p place, at located) (err error) {
		info, err = m.describe(ctx, p, at)
		return err
	})
	return info, err
}

// lookUp calls use with what l leads to, which is gone afterwards where it had to be unpacked.
func (m *Machine) lookUp(ctx context.Context, l Lookup, use func(place, located) error) error {
	t := cnb.Target{OS: "linux"}
	if l.Target != "" {
		var err error
		if t, err = parseTarget(l.Target); err != nil {
			return err
		}
	}
	tmp, err := os.MkdirTemp(m.State, "package-")
	if err != nil {
		return fmt.Errorf("make room for a package: %w", err)
	}
	defer os.RemoveAll(tmp)
	p := m.at("", tmp, t, l.Pull)
	p.sync = true
	at, err := m.locate(ctx, p, l.Arg)
	if err == nil {
		err = use(p, at)
	}
	if err != nil {
		return &BuildpackError{l.Arg, err}
	}
	return nil
}

func (m *Machine) describe(ctx context.Context, p place, at located) (*PackageInfo, error) {
	if at.pkg == nil {
		b, err := readBuildpackFor(at.dir, p.target)
		if err != nil {
			return nil, err
		}
		return &PackageInfo{Where: "directory", Main: cnb.BuildpackageMetadata{ModuleInfo: b.Info(), Stacks: b.Stacks},
			Buildpacks: cnb.BuildpackLayersLabel{b.ID: {b.Version: b.LayerInfo("")}}}, nil
	}
	main, layers, err := readPackage(at.pkg)
	if err == nil {
		err = checkPackage(layers)
	}
	if err != nil {
		return nil, err
	}
	info := &PackageInfo{Where: string(at.pkg.Kind), Index: at.index, Main: main, Buildpacks: layers}
	if at.pkg.Ref.IsName() {
		info.Image = at.pkg.Reference
	}
	c := at.pkg.Config
	info.Platform = cnb.Target{OS: c.OS, Arch: c.Architecture, Variant: c.Variant}.String()
	if at.pkg.Kind == image.KindRegistry {
		if info.Platforms, err = m.Registry.Platforms(ctx, at.pkg.Ref); err != nil {
			return nil, err
		}
	}
	info.Layers = packageLayers(at.pkg, layers)
	return info, nil
}

// packageLayers are the layers of a package, with what the label says is in them.
func packageLayers(img *image.Image, label cnb.BuildpackLayersLabel) []PackageLayer {
	manifest, _ := img.Manifest() // an engine's image may have none
	var out []PackageLayer
	for i, id := range img.Config.RootFS.DiffIDs {
		l := PackageLayer{DiffID: id.String()}
		if manifest != nil && i < len(manifest.Layers) {
			l.Digest, l.Size = manifest.Layers[i].Digest.String(), manifest.Layers[i].Size
		}
		for id, versions := range label {
			for version, info := range versions {
				if info.LayerDiffID == l.DiffID {
					l.Buildpacks = append(l.Buildpacks, cnb.Ref{ID: id, Version: version})
				}
			}
		}
		slices.SortFunc(l.Buildpacks, func(a, b cnb.Ref) int { return strings.Compare(a.String(), b.String()) })
		out = append(out, l)
	}
	return out
}

// Pulled is a package that is on this machine now.
type Pulled struct {
	Buildpack cnb.Ref
	Image     string // "name@digest" of it
	Digest    string
	File      string
	Index     *index.Resolution
}

// PullBuildpack brings a package with all its layers onto this machine: into the local store, where it then is without
// network, or into a .cnb file. Every byte is checked against the digests that lead to it.
func PullBuildpack(ctx context.Context, m *Machine, l Lookup, file string) (*Pulled, error) {
	var done *Pulled
	err := m.lookUp(ctx, l, func(p place, at located) (err error) {
		switch {
		case at.pkg == nil:
			return errors.New("it is a directory: slipway buildpack package makes a package of it")
		case file == "" && !at.pkg.Ref.IsName():
			return errors.New("it is a file, no image: name a file to write it to (--output FILE.cnb)")
		}
		done, err = m.pull(ctx, p, at, file)
		return err
	})
	return done, err
}

func (m *Machine) pull(ctx context.Context, p place, at located, file string) (*Pulled, error) {
	ref, _, err := wholePackage(at.pkg)
	if err != nil {
		return nil, err
	}
	digest, err := at.pkg.Digest()
	if err != nil {
		return nil, err
	}
	done := &Pulled{Buildpack: ref, Digest: digest.String(), File: file, Index: at.index}
	if at.pkg.Ref.IsName() {
		done.Image = at.pkg.Ref.WithDigest(digest).Name()
	}
	if file == "" {
		return done, p.Fetch(ctx, at.pkg)
	}
	layout := filepath.Join(p.tmp, "layout")
	to, err := image.ParseRef("oci:" + layout)
	if err != nil {
		return nil, err
	}
	if _, err := image.WriteLayout(ctx, to, nil, at.pkg, nil); err != nil {
		return nil, err
	}
	return done, packLayout(layout, file)
}

// maxOrder is how many lines an order is shown in: groups that name each other's parts again and again are more than
// anybody reads.
const maxOrder = 2000

// An OrderGroup is one alternative of an order, all that it is composed of unfolded.
type OrderGroup []OrderPart

// An OrderPart is one buildpack of a group.
type OrderPart struct {
	ID       cnb.ID       `json:"id"`
	Version  string       `json:"version,omitempty"`
	Optional bool         `json:"optional,omitempty"`
	Order    []OrderGroup `json:"order,omitempty"`
	// Note says why its own order is not shown: it stands within itself, or it is not in the package.
	Note string `json:"note,omitempty"`
}

// Order unfolds the order of the package, depth levels of it; below 0 is all.
func (i *PackageInfo) Order(depth int) []OrderGroup {
	left := maxOrder
	main := cnb.Ref{ID: i.Main.ID, Version: i.Main.Version}
	return i.unfold(main, depth, map[cnb.Ref]bool{main: true}, &left)
}

func (i *PackageInfo) unfold(of cnb.Ref, depth int, above map[cnb.Ref]bool, left *int) []OrderGroup {
	_, info, _ := i.Buildpacks.Find(of)
	if depth == 0 {
		return nil
	}
	var out []OrderGroup
	for _, g := range info.Order {
		group := OrderGroup{}
		for _, e := range g.Elements {
			if *left--; *left < 0 {
				return append(out, append(group, OrderPart{Note: fmt.Sprintf("more than %d are not shown", maxOrder)}))
			}
			ref, _, ok := i.Buildpacks.Find(e.Ref)
			part := OrderPart{ID: e.ID, Version: cmp.Or(ref.Version, e.Version), Optional: e.Optional}
			switch {
			case !ok && i.Where != "directory":
				part.Note = "not in the package"
			case above[ref]:
				part.Note = "within itself"
			case ok:
				above[ref] = true
				part.Order = i.unfold(ref, depth-1, above, left)
				delete(above, ref)
			}
			group = append(group, part)
		}
		out = append(out, group)
	}
	return out
}

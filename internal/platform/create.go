package platform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// CreateOptions says what builder image to make.
type CreateOptions struct {
	Name   string // of the builder
	Config string // path of builder.toml; relative paths in it are relative to its directory
	Tags   []string
	Output Output
	Pull   image.Policy
}

// CreateBuilder makes a builder image from builder.toml and writes it to its destination: the local store,
// and Docker too where there is one, so that the first build need not bring it there.
func CreateBuilder(ctx context.Context, m *Machine, o CreateOptions) (image.Written, error) {
	refs, err := parseNames(append([]string{o.Name}, o.Tags...))
	if err != nil {
		return image.Written{}, err
	}
	dir, name := filepath.Split(o.Config)
	if dir == "" {
		dir = "."
	}
	b, err := cnb.ReadFile(dir, name, cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) {
		return image.Written{}, fmt.Errorf("recipe %s: there is no such file (--config names another)", o.Config)
	}
	if err != nil {
		return image.Written{}, fmt.Errorf("read %s: %w", o.Config, err)
	}
	config, err := cnb.DecodeBuilderConfig(o.Config, b)
	if err != nil {
		return image.Written{}, err
	}
	spec := builder.BuilderSpec{
		Config: config, Creator: cnb.Creator{Name: "Slipway", Version: m.Version}, Layer: m.layer,
		Describe: cnb.BuilderLifecycle{},
	}
	r := m.resolver(hostPlatform(), o.Pull)
	base, err := r.Resolve(ctx, config.BuildImage)
	if err != nil {
		return image.Written{}, fmt.Errorf("build image: %w", err)
	}
	if base.Ref.SameImage(refs[0]) {
		return image.Written{}, fmt.Errorf("builder %s is its own build image: give it another name", o.Name)
	}
	spec.Base = base
	tmp, err := os.MkdirTemp(m.State, "builder-")
	if err != nil {
		return image.Written{}, fmt.Errorf("make room for a builder: %w", err)
	}
	defer os.RemoveAll(tmp)
	if spec.Buildpacks, err = m.builderBuildpacks(ctx, place{Resolver: r, dir: dir, tmp: tmp, target: builderTarget(base)}, config.Buildpacks); err != nil {
		return image.Written{}, err
	}
	if spec.Lifecycle, spec.Describe, err = m.lifecycle(tmp, dir, config.Lifecycle); err != nil {
		return image.Written{}, err
	}
	img, err := builder.CreateBuilder(ctx, spec)
	if err != nil {
		return image.Written{}, fmt.Errorf("%s: %w", o.Config, err)
	}
	switch {
	case o.Output.Publish:
		return m.Registry.Push(ctx, refs, img, image.PushOptions{From: []*image.Image{base}, ByDigest: o.Output.ByDigest})
	case o.Output.OCI != "":
		layout, err := image.ParseRef("oci:" + o.Output.OCI)
		if err != nil {
			return image.Written{}, err
		}
		return image.WriteLayout(ctx, layout, refs, img, nil)
	}
	w, err := m.Images.Put(ctx, refs, img, nil)
	if err == nil && m.Engine != nil && !o.Output.Store {
		_, err = image.LoadEngine(ctx, m.Engine, refs, img, image.LoadOptions{Known: []string{base.ID.String()}, Store: m.Store})
	}
	return w, err
}

// builderTarget is what a build image is, for the directories of targets.
func builderTarget(base *image.Image) cnb.Target {
	c := base.Config
	return cnb.Target{OS: c.OS, Arch: c.Architecture, Variant: c.Variant, Distros: []cnb.Distro{{
		Name: c.Config.Labels[cnb.LabelDistroName], Version: c.Config.Labels[cnb.LabelDistroVersion]}}}
}

func parseNames(names []string) ([]image.Ref, error) {
	var refs []image.Ref
	for _, n := range names {
		r, err := image.ParseRef(n)
		if err != nil {
			return nil, err
		}
		if !r.IsName() || r.Digest() != "" {
			return nil, fmt.Errorf("image %q: want a name with or without a tag", n)
		}
		refs = append(refs, r)
	}
	return refs, nil
}

// A place is where the buildpacks of a recipe are looked for: paths from dir, images by the resolver, all for one target.
// What lies in tmp is to stay as long as they are used.
type place struct {
	*image.Resolver
	dir, tmp string
	target   cnb.Target
	sync     bool // a plain name may mean what an index has that was not synced, and an image
}

// at is the place of a recipe in dir. A target without an architecture finds what is for this machine's.
func (m *Machine) at(dir, tmp string, t cnb.Target, pull image.Policy) place {
	t.Arch = cmp.Or(t.Arch, hostPlatform().Architecture)
	return place{Resolver: m.resolver(platformOf(t), pull), dir: dir, tmp: tmp, target: t}
}

// builderBuildpacks finds the buildpacks of a recipe.
func (m *Machine) builderBuildpacks(ctx context.Context, p place, sources []cnb.ModuleSource) ([]builder.BuilderBuildpack, error) {
	var out []builder.BuilderBuildpack
	for _, s := range sources {
		bps, err := m.builderBuildpack(ctx, p, s)
		if err != nil {
			return nil, fmt.Errorf("buildpack %s: %w", s.URI, err)
		}
		for _, b := range bps {
			if !slices.ContainsFunc(out, func(o builder.BuilderBuildpack) bool { return o.Ref == b.Ref }) {
				out = append(out, b)
			}
		}
	}
	return out, nil
}

// packaged is the buildpacks of a package image, whose layers go into the builder as they are.
func packaged(img *image.Image) ([]builder.BuilderBuildpack, error) {
	_, layers, err := readPackage(img)
	if err != nil {
		return nil, err
	}
	var out []builder.BuilderBuildpack
	for id, versions := range layers {
		for version, info := range versions {
			h, err := v1.NewHash(info.LayerDiffID)
			if err != nil {
				return nil, fmt.Errorf("image %s: buildpack %s@%s: %w", img.Ref, id, version, err)
			}
			l, err := img.LayerByDiffID(h)
			if err != nil {
				return nil, fmt.Errorf("image %s: buildpack %s@%s: %w", img.Ref, id, version, err)
			}
			out = append(out, builder.BuilderBuildpack{Layer: l, Arch: img.Config.Architecture, Descriptor: &cnb.Descriptor{
				Ref: cnb.Ref{ID: id, Version: version}, API: info.API, Name: info.Name, Homepage: info.Homepage,
				Stacks: info.Stacks, Targets: info.Targets, Order: info.Order,
			}})
		}
	}
	return out, nil
}

// readPackage reads the labels of a buildpack package.
func readPackage(img *image.Image) (main cnb.BuildpackageMetadata, layers cnb.BuildpackLayersLabel, err error) {
	for _, l := range []struct {
		key string
		v   any
	}{{cnb.LabelBuildpackage, &main}, {cnb.LabelBuildpackLayers, &layers}} {
		text := img.Label(l.key)
		if text == "" {
			return main, nil, fmt.Errorf("image %s is not a buildpack: it has no label %s", img.Ref, l.key)
		}
		if err := json.Unmarshal([]byte(text), l.v); err != nil {
			return main, nil, fmt.Errorf("image %s: label %s: %w", img.Ref, l.key, err)
		}
	}
	return main, layers, nil
}

// readDescriptor reads the buildpack.toml of a directory, and says whether the engine speaks its API.
func readDescriptor(dir string) (*cnb.Descriptor, []byte, error) {
	b, err := cnb.ReadFile(dir, "buildpack.toml", cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return nil, nil, errors.New("there is no such directory")
		}
		return nil, nil, errors.New("the directory has no buildpack.toml")
	}
	if err != nil {
		return nil, nil, err
	}
	d, err := cnb.DecodeDescriptor("buildpack.toml", b)
	if err != nil {
		return nil, nil, err
	}
	if !d.API.Within(cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI) {
		return nil, nil, &builder.APIError{Buildpack: d.Ref, API: d.API}
	}
	return d, b, nil
}

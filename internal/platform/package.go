package platform

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/classic"
	"github.com/slipway-build/slipway/internal/image"
)

// PackageOptions says what buildpackage to make.
type PackageOptions struct {
	Name string // of the image; "" where File is
	File string // a .cnb file
	// Config is the path of package.toml, to whose directory its paths are relative; "" packages Path alone.
	Config string
	Path   string // directory of a buildpack; with Config it stands for the recipe's buildpack
	// Targets are what it is made for, "os/arch[/variant][:distro@version]" each; without any it is what the recipe or the
	// buildpack says.
	Targets []string
	// Flatten puts all buildpacks into one layer, but those of Apart, "id@version" each.
	Flatten bool
	Apart   []string
	Output  Output
	Pull    image.Policy
}

// Packaged is a buildpackage that was made.
type Packaged struct {
	image.Written // of the index where it is for several targets
	Buildpack     cnb.Ref
	Buildpacks    []cnb.Ref // all that is in it
	Targets       []PackagedTarget
}

// A PackagedTarget is the package for one target.
type PackagedTarget struct {
	Target string
	Digest v1.Hash
	File   string // where it was written to a file of its own
}

// PackageBuildpack makes a buildpackage and writes it to its destination: an image, an index of images where it is for
// several targets, or files. A container engine and the local store take the image for this machine.
func PackageBuildpack(ctx context.Context, m *Machine, o PackageOptions) (Packaged, error) {
	var done Packaged
	tmp, err := os.MkdirTemp(m.State, "package-")
	if err != nil {
		return done, fmt.Errorf("make room for a package: %w", err)
	}
	defer os.RemoveAll(tmp)
	apart, err := o.apart()
	if err != nil {
		return done, err
	}
	r, err := readRecipe(o)
	if err != nil {
		return done, err
	}
	targets, err := r.targets(o.Targets)
	if err != nil {
		return done, err
	}
	var d destination
	if o.File == "" {
		if d, err = m.destination(o.Output, o.Name, nil); err != nil {
			return done, err
		}
		if targets, err = d.takes(targets); err != nil {
			return done, err
		}
	}
	var imgs []v1.Image
	for _, t := range targets {
		spec, err := m.packageSpec(ctx, r, m.at(r.dir, tmp, t, o.Pull))
		if err != nil {
			return done, err
		}
		spec.Platform, spec.Flatten, spec.Apart = platformOf(t), o.Flatten, apart
		img, err := builder.PackageBuildpack(ctx, spec)
		if err != nil {
			return done, err
		}
		imgs = append(imgs, img)
		if err := done.add(spec, img); err != nil {
			return done, err
		}
	}
	if o.File != "" {
		return done, done.writeFiles(ctx, imgs, tmp, o.File)
	}
	done.Written, err = d.writePackage(ctx, imgs)
	return done, err
}

// apart reads which buildpacks are not to be flattened.
func (o PackageOptions) apart() ([]cnb.Ref, error) {
	var out []cnb.Ref
	for _, s := range o.Apart {
		r, err := cnb.ParseRef(s)
		if err == nil && r.Version == "" {
			err = fmt.Errorf("buildpack %q: want ID@VERSION", s)
		}
		if err != nil {
			return nil, fmt.Errorf("what is not to be flattened: %w", err)
		}
		out = append(out, r)
	}
	if len(out) > 0 && !o.Flatten {
		return nil, errors.New("what is not to be flattened is named, but nothing is to be: give --flatten too")
	}
	return out, nil
}

// add notes what was made.
func (p *Packaged) add(spec builder.PackageSpec, img v1.Image) error {
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return err
	}
	t := cnb.Target{OS: cf.OS, Arch: cf.Architecture, Variant: cf.Variant}
	p.Buildpack = spec.Main
	p.Targets = append(p.Targets, PackagedTarget{Target: t.String(), Digest: digest})
	for _, b := range spec.Buildpacks {
		if !slices.Contains(p.Buildpacks, b.Ref) {
			p.Buildpacks = append(p.Buildpacks, b.Ref)
		}
	}
	return nil
}

// writeFiles writes a .cnb file for each image, as pack does: one that is for several targets is as many files, with os
// and architecture in their names.
func (p *Packaged) writeFiles(ctx context.Context, imgs []v1.Image, tmp, file string) error {
	for i, img := range imgs {
		t := &p.Targets[i]
		t.File = file
		if len(imgs) > 1 {
			t.File = strings.TrimSuffix(file, ".cnb") + "-" + strings.ReplaceAll(t.Target, "/", "-") + ".cnb"
		}
		layout := filepath.Join(tmp, "layout-"+t.Digest.Hex)
		ref, err := image.ParseRef("oci:" + layout)
		if err != nil {
			return err
		}
		if p.Written, err = image.WriteLayout(ctx, ref, nil, img, nil); err != nil {
			return err
		}
		if err := packLayout(layout, t.File); err != nil {
			return err
		}
	}
	return nil
}

// takes are those of the targets that the destination takes.
func (d destination) takes(all []cnb.Target) ([]cnb.Target, error) {
	if len(all) < 2 || d.where != WhereStore && d.where != WhereDocker {
		return all, nil
	}
	for _, t := range all {
		if own := hostPlatform(); t.OS == own.OS && (t.Arch == "" || t.Arch == own.Architecture) {
			return []cnb.Target{t}, nil
		}
	}
	return nil, fmt.Errorf("none of its targets is this machine's (%s): write it to a registry (--publish), to files (NAME.cnb) or to a directory (--output oci:DIR)", targetList(all))
}

// writePackage writes one image, or an index of several.
func (d destination) writePackage(ctx context.Context, imgs []v1.Image) (image.Written, error) {
	if len(imgs) == 1 {
		return d.write(ctx, imgs[0])
	}
	idx, err := builder.PackageIndex(imgs)
	if err != nil {
		return image.Written{}, err
	}
	if d.where == WhereRegistry {
		return d.m.Registry.PushIndex(ctx, d.refs, idx, image.PushOptions{})
	}
	layout, err := image.ParseRef("oci:" + d.oci)
	if err != nil {
		return image.Written{}, err
	}
	return image.WriteLayoutIndex(ctx, layout, d.refs, idx, nil)
}

// A recipe is package.toml, or what stands for it, with the directory that its paths are relative to.
type recipe struct {
	cnb.PackageConfig
	dir string
}

// readRecipe reads what is to be packaged.
func readRecipe(o PackageOptions) (recipe, error) {
	r := recipe{PackageConfig: cnb.PackageConfig{URI: "."}}
	if o.Config != "" {
		var name string
		if r.dir, name = filepath.Split(o.Config); r.dir == "" {
			r.dir = "."
		}
		b, err := cnb.ReadFile(r.dir, name, cnb.MaxDescriptor)
		if errors.Is(err, fs.ErrNotExist) {
			return r, fmt.Errorf("recipe %s: there is no such file", o.Config)
		}
		if err != nil {
			return r, fmt.Errorf("read %s: %w", o.Config, err)
		}
		if r.PackageConfig, err = cnb.DecodePackageConfig(o.Config, b); err != nil {
			return r, err
		}
	}
	if o.Path == "" {
		return r, nil
	}
	at, err := filepath.Abs(o.Path)
	r.URI = at
	return r, err
}

// targets are what the package is made for. What the buildpack says counts where it is a directory.
func (r recipe) targets(asked []string) ([]cnb.Target, error) {
	at := strings.TrimPrefix(r.URI, "file://")
	if !filepath.IsAbs(at) {
		at = filepath.Join(r.dir, at)
	}
	var own *cnb.Descriptor
	if fi, err := os.Stat(at); err == nil && fi.IsDir() && classic.Is(at) {
		own = &cnb.Descriptor{Targets: []cnb.Target{{OS: "linux", Arch: hostPlatform().Architecture}}}
	} else if err == nil && fi.IsDir() {
		if own, _, err = readDescriptor(at); err != nil {
			return nil, fmt.Errorf("buildpack %s: %w", r.URI, err)
		}
	}
	all, err := packageTargets(asked, r.Targets, own)
	if err != nil {
		return nil, fmt.Errorf("buildpack %s: %w", r.URI, err)
	}
	return all, nil
}

// packageSpec reads what is to go into the package for one target.
func (m *Machine) packageSpec(ctx context.Context, r recipe, p place) (builder.PackageSpec, error) {
	spec := builder.PackageSpec{Layer: m.layer}
	main, err := m.builderBuildpack(ctx, p, cnb.ModuleSource{URI: r.URI})
	if err != nil {
		return spec, fmt.Errorf("buildpack %s: %w", r.URI, err)
	}
	if len(main) != 1 {
		return spec, fmt.Errorf("buildpack %s: it is a package of %d buildpacks: name the directory of one", r.URI, len(main))
	}
	if err := madeFor(main[0].Descriptor, p.target); err != nil {
		return spec, fmt.Errorf("buildpack %s: %w", main[0].Ref, err)
	}
	more, err := m.builderBuildpacks(ctx, p, r.Dependencies)
	if err != nil {
		return spec, err
	}
	spec.Main, spec.Buildpacks = main[0].Ref, append(main, more...)
	return spec, nil
}

// packLayout writes the files of an OCI layout into a tar, in the order of their names: the same layout is the same file.
func packLayout(dir, file string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".cnb-*")
	if err != nil {
		return fmt.Errorf("write package %s: %w", file, err)
	}
	defer os.Remove(tmp.Name()) // gone already where all went well
	w := tar.NewWriter(tmp)
	err = filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil || at == dir {
			return err
		}
		name, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: builder.LayerTime()})
		}
		return packFile(w, at, name)
	})
	err = errors.Join(err, w.Close(), tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write package %s: %w", file, err)
	}
	return nil
}

func packFile(w *tar.Writer, at, name string) error {
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: fi.Size(), Mode: 0o644, ModTime: builder.LayerTime()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

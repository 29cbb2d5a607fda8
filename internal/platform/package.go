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

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// PackageOptions says what buildpackage to make.
type PackageOptions struct {
	Name string // of the image; "" where File is
	File string // a .cnb file
	// Config is the path of package.toml, to whose directory its paths are relative; "" packages Path alone.
	Config string
	Path   string // directory of a buildpack; with Config it stands for the recipe's buildpack
	Output Output
	Pull   image.Policy
}

// Packaged is a buildpackage that was made.
type Packaged struct {
	image.Written
	Buildpack  cnb.Ref
	Buildpacks []cnb.Ref // all that is in it
}

// PackageBuildpack makes a buildpackage and writes it to its destination: an image, or a file.
func PackageBuildpack(ctx context.Context, m *Machine, o PackageOptions) (Packaged, error) {
	var done Packaged
	tmp, err := os.MkdirTemp(m.State, "package-")
	if err != nil {
		return done, fmt.Errorf("make room for a package: %w", err)
	}
	defer os.RemoveAll(tmp)
	spec, err := m.packageSpec(ctx, tmp, o)
	if err != nil {
		return done, err
	}
	img, err := builder.PackageBuildpack(ctx, spec)
	if err != nil {
		return done, err
	}
	done.Buildpack = spec.Main
	for _, b := range spec.Buildpacks {
		done.Buildpacks = append(done.Buildpacks, b.Ref)
	}
	if o.File != "" {
		ref, err := image.ParseRef("oci:" + filepath.Join(tmp, "layout"))
		if err != nil {
			return done, err
		}
		if done.Written, err = image.WriteLayout(ctx, ref, nil, img, nil); err != nil {
			return done, err
		}
		return done, packLayout(filepath.Join(tmp, "layout"), o.File)
	}
	d, err := m.destination(o.Output, o.Name, nil)
	if err != nil {
		return done, err
	}
	done.Written, err = d.write(ctx, img)
	return done, err
}

// packageSpec reads what is to go into the package.
func (m *Machine) packageSpec(ctx context.Context, tmp string, o PackageOptions) (builder.PackageSpec, error) {
	spec := builder.PackageSpec{Platform: hostPlatform(), Layer: m.layer}
	config, dir := cnb.PackageConfig{URI: "."}, ""
	if o.Config != "" {
		var name string
		if dir, name = filepath.Split(o.Config); dir == "" {
			dir = "."
		}
		b, err := cnb.ReadFile(dir, name, cnb.MaxDescriptor)
		if errors.Is(err, fs.ErrNotExist) {
			return spec, fmt.Errorf("recipe %s: there is no such file", o.Config)
		}
		if err != nil {
			return spec, fmt.Errorf("read %s: %w", o.Config, err)
		}
		if config, err = cnb.DecodePackageConfig(o.Config, b); err != nil {
			return spec, err
		}
	}
	if o.Path != "" {
		at, err := filepath.Abs(o.Path)
		if err != nil {
			return spec, err
		}
		config.URI = at
	}
	r := m.resolver(spec.Platform, o.Pull)
	main, err := m.builderBuildpack(ctx, r, dir, tmp, cnb.ModuleSource{URI: config.URI})
	if err != nil {
		return spec, fmt.Errorf("buildpack %s: %w", config.URI, err)
	}
	if len(main) != 1 {
		return spec, fmt.Errorf("buildpack %s: it is a package of %d buildpacks: name the directory of one", config.URI, len(main))
	}
	more, err := m.builderBuildpacks(ctx, r, dir, tmp, config.Dependencies)
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

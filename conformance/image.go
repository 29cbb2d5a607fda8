package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// An Image is made by the suite and put into the case's registry. It has no executable in it, and the same bytes each
// time.
type Image struct {
	OS         string              `toml:"os"`   // linux if empty
	Arch       string              `toml:"arch"` // this machine's if empty
	Variant    string              `toml:"variant"`
	Labels     map[string]string   `toml:"labels"`
	Env        []string            `toml:"env"` // PATH=/usr/bin:/bin if empty
	User       string              `toml:"user"`
	Dir        string              `toml:"dir"`
	Entrypoint []string            `toml:"entrypoint"`
	Cmd        []string            `toml:"cmd"`
	Layers     []map[string]string `toml:"layers"` // each: path = content
}

func architecture() string { return runtime.GOARCH }

// image returns what the case, or the suite, says of an image.
func (c *Case) image(name string) Image {
	i, given := c.Images[name]
	if !given {
		i.Labels = map[string]string{
			"io.buildpacks.stack.id":            "suite.plain",
			"io.buildpacks.base.maintainer":     "the suite",
			"io.buildpacks.base.distro.name":    "plain",
			"io.buildpacks.base.distro.version": "1",
		}
	}
	if i.OS == "" {
		i.OS = "linux"
	}
	if i.Arch == "" {
		i.Arch = architecture()
	}
	if len(i.Env) == 0 {
		i.Env = []string{"PATH=/usr/bin:/bin"}
	}
	if len(i.Layers) == 0 {
		i.Layers = []map[string]string{{"etc/os-release": "ID=plain\nVERSION_ID=1\n", "base/name": name + "\n"}}
	}
	return i
}

// seed puts the case's images, and "run", into the registry.
func (p *registryPair) seed(r *root) error {
	names := slices.Sorted(maps.Keys(r.c.Images))
	if !slices.Contains(names, "run") {
		names = append(names, "run")
	}
	for _, name := range names {
		spec := r.c.image(name)
		spec.Labels = maps.Clone(spec.Labels) // the case is shared by its runs
		for key, value := range spec.Labels {
			value, err := r.expand(value)
			if err != nil {
				return err
			}
			spec.Labels[key] = value
		}
		image, err := spec.make()
		if err != nil {
			return err
		}
		if err := p.push(r.ref(name), image); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		for path, of := range r.c.Layouts {
			if of != name {
				continue
			}
			if err := writeLayout(r.path(filepath.Join("layout", path)), image); err != nil {
				return fmt.Errorf("image %s: %w", name, err)
			}
		}
	}
	return nil
}

// writeLayout writes an image as an OCI layout of its own.
func writeLayout(dir string, image v1.Image) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendImage(image)
}

func (i Image) make() (v1.Image, error) {
	image := empty.Image
	var layers []v1.Layer
	for _, files := range i.Layers {
		layer, err := layerOf(files)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	image, err := mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = i.OS, i.Arch, i.Variant
	config.Config.Labels, config.Config.Env = i.Labels, i.Env
	config.Config.User, config.Config.WorkingDir = i.User, i.Dir
	config.Config.Entrypoint, config.Config.Cmd = i.Entrypoint, i.Cmd
	return mutate.ConfigFile(image, config)
}

func layerOf(files map[string]string) (v1.Layer, error) {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	dirs := map[string]bool{}
	stamp := time.Unix(1, 0)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for at, c := range name {
			if dir := name[:at] + "/"; c == '/' && !dirs[dir] {
				dirs[dir] = true
				if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: stamp}); err != nil {
					return nil, err
				}
			}
		}
		content := files[name]
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: stamp}); err != nil {
			return nil, err
		}
		if _, err := io.Copy(w, strings.NewReader(content)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil })
}

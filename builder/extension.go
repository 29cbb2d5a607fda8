package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/slipway-build/slipway/builder/cnb"
)

// An ExtensionCatalog finds the image extensions of a builder. An absent one is a *NotFoundError. Safe for
// concurrent use.
type ExtensionCatalog interface {
	Extension(ref cnb.Ref) (*cnb.Descriptor, error)
}

// DirExtensions reads <dir>/<id>/<version>/extension.toml (platform, "Image Extensions Directory Layout") at each
// call; dir is a path of this machine and, as Descriptor.Path, of the executables.
func DirExtensions(dir string) ExtensionCatalog { return dirExtensions{dir} }

type dirExtensions struct{ dir string }

func (c dirExtensions) Extension(ref cnb.Ref) (*cnb.Descriptor, error) {
	dir, have, ok := moduleDir(c.dir, extensionFile, ref)
	if !ok {
		return nil, &NotFoundError{Buildpack: ref, Extension: true, Have: have}
	}
	b, err := cnb.ReadFile(dir, extensionFile, cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Buildpack: ref, Extension: true, Have: have}
	}
	if err != nil {
		return nil, fmt.Errorf("read descriptor of extension %s: %w", ref, err)
	}
	d, err := cnb.DecodeExtension(filepath.Join(dir, extensionFile), b)
	if err != nil {
		return nil, fmt.Errorf("extension %s: %w", ref, err)
	}
	d.Path = dir
	d.HasDetect = exists(filepath.Join(dir, "bin", "detect"))
	d.HasGenerate = exists(filepath.Join(dir, "bin", "generate"))
	return d, nil
}

const extensionFile = "extension.toml"

// asExtensions marks every element as what it is: extensions are always optional (buildpack, "Detection").
func asExtensions(order cnb.Order) cnb.Order {
	out := make(cnb.Order, len(order))
	for i, g := range order {
		out[i].Elements = slices.Clone(g.Elements)
		for j := range out[i].Elements {
			out[i].Elements[j].Extension, out[i].Elements[j].Optional = true, true
		}
	}
	return out
}

// checkExtensions makes sure of every extension that an order names, as checkOrder does of buildpacks. Orders of
// extensions do not nest.
func checkExtensions(order cnb.Order, catalog ExtensionCatalog) error {
	if len(order) > maxGroups {
		return &OrderError{Reason: fmt.Sprintf("%d groups of extensions, the limit is %d", len(order), maxGroups)}
	}
	for _, g := range order {
		if len(g.Elements) > maxElements {
			return &OrderError{Reason: fmt.Sprintf("a group of %d extensions, the limit is %d", len(g.Elements), maxElements)}
		}
		for _, e := range g.Elements {
			if catalog == nil {
				return fmt.Errorf("order of extensions: %w", &NotFoundError{Buildpack: e.Ref, Extension: true})
			}
			d, err := catalog.Extension(e.Ref)
			if err != nil {
				return fmt.Errorf("order of extensions: %w", err)
			}
			if err := checkAPI(d); err != nil {
				return err
			}
		}
	}
	return nil
}

package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-build/slipway/builder/cnb"
)

// DirCatalog reads <dir>/<id>/<version>/buildpack.toml (platform, "Buildpacks Directory Layout") at each call;
// dir is a path of this machine and, as Descriptor.Path, of the executables.
func DirCatalog(dir string) Catalog { return dirCatalog{dir} }

type dirCatalog struct{ dir string }

func (c dirCatalog) Buildpack(ref cnb.Ref) (*cnb.Descriptor, error) {
	bpDir, have, ok := moduleDir(c.dir, "buildpack.toml", ref)
	if !ok {
		return nil, &NotFoundError{Buildpack: ref, Have: have}
	}
	b, err := cnb.ReadFile(bpDir, "buildpack.toml", cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Buildpack: ref, Have: have}
	}
	if err != nil {
		return nil, fmt.Errorf("read descriptor of buildpack %s: %w", ref, err)
	}
	d, err := cnb.DecodeDescriptor(filepath.Join(bpDir, "buildpack.toml"), b)
	if err != nil {
		return nil, fmt.Errorf("buildpack %s: %w", ref, err)
	}
	d.Path = bpDir
	d.HasDetect = exists(filepath.Join(bpDir, "bin", "detect"))
	d.Windows = !exists(filepath.Join(bpDir, "bin", "build")) &&
		(exists(filepath.Join(bpDir, "bin", "build.bat")) || exists(filepath.Join(bpDir, "bin", "build.exe")))
	return d, nil
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// moduleDir is <dir>/<id>/<version>, and the versions of the id that have a descriptor of the given name. A ref
// without a version means the only one.
func moduleDir(dir, descriptor string, ref cnb.Ref) (path string, have []string, ok bool) {
	idDir := filepath.Join(dir, ref.ID.Dir())
	entries, _ := os.ReadDir(idDir)
	for _, e := range entries {
		if exists(filepath.Join(idDir, e.Name(), descriptor)) {
			have = append(have, e.Name())
		}
	}
	version := ref.Version
	if version == "" && len(have) == 1 {
		version = have[0]
	}
	if version == "" || version == "." || version == ".." || filepath.Base(version) != version {
		return "", have, false
	}
	return filepath.Join(idDir, version), have, true
}

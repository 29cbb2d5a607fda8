package platform

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/lifecycle"
)

// lifecycle finds the lifecycle that a builder carries for other platforms: a directory with lifecycle.toml and a
// folder lifecycle/, a gzipped tarball of those, which is unpacked to tmp, or where the recipe names none our own.
func (m *Machine) lifecycle(tmp, dir, uri string) (string, cnb.BuilderLifecycle, error) {
	if uri == "" {
		d := lifecycle.Distribution{Version: m.Tools.Version, Lifecycle: m.Tools.Lifecycle, Launcher: m.Tools.Launcher}
		return tmp, d.Describe(), writeLifecycle(d, tmp)
	}
	at := strings.TrimPrefix(uri, "file://")
	if !filepath.IsAbs(at) {
		at = filepath.Join(dir, at)
	}
	if fi, err := os.Stat(at); err == nil && !fi.IsDir() {
		if err := lifecycle.Unpack(at, tmp); err != nil {
			return "", cnb.BuilderLifecycle{}, err
		}
		at = tmp
	}
	b, err := cnb.ReadFile(at, lifecycle.DescriptorName, cnb.MaxDescriptor)
	if err != nil {
		return "", cnb.BuilderLifecycle{}, fmt.Errorf("lifecycle %s: want a directory or a .tgz with lifecycle.toml and lifecycle/: %w", uri, err)
	}
	l, err := cnb.DecodeLifecycle(filepath.Join(uri, lifecycle.DescriptorName), b)
	if err != nil {
		return "", cnb.BuilderLifecycle{}, err
	}
	describe := cnb.NewBuilderLifecycle(l.Version)
	describe.APIs.Buildpack.Supported, describe.APIs.Platform.Supported = l.BuildpackAPIs, l.PlatformAPIs
	return at, describe, nil
}

// writeLifecycle lays our own lifecycle out in dir.
func writeLifecycle(d lifecycle.Distribution, dir string) error {
	if err := d.Check(); err != nil {
		return err
	}
	descriptor, err := d.Descriptor()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, lifecycle.DescriptorName), descriptor, 0o644); err != nil {
		return fmt.Errorf("write lifecycle: %w", err)
	}
	return d.Write(filepath.Join(dir, lifecycle.DirName))
}

package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"maps"

	"github.com/slipway-build/slipway/builder/cnb"
)

// maxSBOM caps one SBOM file.
const maxSBOM = 16 << 20

// engineDir is the name under which SBOMs of the launcher and the engine are kept.
const engineDir = "buildpacksio_lifecycle"

// sbomKinds tells which trees below <layers>/sbom hold something for a layer.
type sbomKinds struct{ launch, cache bool }

// writeSBOMs lays out the SBOM files below <layers>/sbom/{launch,build,cache}: the first is a layer of the
// image, the second is for the platform, the third is a layer of the cache (platform, "exporter"). Whatever was
// there before, a buildpack wrote, and is removed.
func (e *exporter) writeSBOMs() (sbomKinds, error) {
	var kinds sbomKinds
	if !e.PlatformAPI.AtLeast(0, 8) {
		return kinds, nil
	}
	root, err := os.OpenRoot(e.Dirs.Host(e.Dirs.Layers))
	if err != nil {
		return kinds, fmt.Errorf("open the layers directory: %w", err)
	}
	defer root.Close()
	if err := root.RemoveAll("sbom"); err != nil {
		return kinds, fmt.Errorf("remove %s: %w", path.Join(e.Dirs.Layers, "sbom"), err)
	}
	left := int64(maxSBOMs)
	for _, s := range e.Built.SBOMs {
		n, err := e.copySBOM(root, s)
		if err != nil {
			return kinds, err
		}
		if left -= n; left < 0 {
			return kinds, &OutputError{Phase: "export", Buildpack: s.Buildpack, File: s.Path, Err: fmt.Errorf("with it the SBOM files of this build have more than %d bytes", maxSBOMs)}
		}
		kinds.launch = kinds.launch || s.Launch
		kinds.cache = kinds.cache || s.Cache
	}
	own, err := e.engineSBOMs()
	if err != nil {
		return kinds, err
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if err := e.writeBelow(root, name, own[name]); err != nil {
			return kinds, err
		}
		kinds.launch = kinds.launch || strings.HasPrefix(name, "sbom/launch/")
	}
	return kinds, nil
}

// copySBOM copies one file of a buildpack to where its kinds belong and returns its size.
func (e *exporter) copySBOM(root *os.Root, s BuiltSBOM) (int64, error) {
	rel, err := filepath.Rel(e.Dirs.Layers, s.Path)
	if err == nil && cnb.SBOMMediaType(s.Extension) == "" {
		err = fmt.Errorf("unknown SBOM format %q", s.Extension)
	}
	if s.Layer != "" && err == nil {
		_, err = cnb.ParseLayerName(string(s.Layer))
	}
	var b []byte
	if err == nil {
		b, err = cnb.ReadFileIn(root, rel, maxSBOM)
	}
	if err != nil {
		return 0, &OutputError{Phase: "export", Buildpack: s.Buildpack, File: s.Path, Err: err}
	}
	for _, k := range []struct {
		kind string
		want bool
	}{{"launch", s.Launch}, {"build", s.Build}, {"cache", s.Cache}} {
		if !k.want {
			continue
		}
		name := path.Join("sbom", k.kind, s.Buildpack.ID.Dir(), string(s.Layer), "sbom."+s.Extension)
		if err := e.writeBelow(root, name, b); err != nil {
			return 0, err
		}
	}
	return int64(len(b)), nil
}

// engineSBOMs is the files that come from the engine and not from a file of a buildpack.
func (e *exporter) engineSBOMs() (map[string][]byte, error) {
	out := map[string][]byte{}
	if e.PlatformAPI.AtLeast(0, 9) {
		launch, err := cnb.EncodeLegacyBOM(e.Built.Metadata.BOM)
		if err != nil {
			return nil, fmt.Errorf("encode the bill of materials: %w", err)
		}
		build, err := cnb.EncodeLegacyBOM(e.Built.BuildBOM)
		if err != nil {
			return nil, fmt.Errorf("encode the bill of materials: %w", err)
		}
		out["sbom/launch/sbom.legacy.json"] = launch
		out["sbom/build/sbom.legacy.json"] = build
	}
	if e.PlatformAPI.AtLeast(0, 11) {
		for ext, b := range e.Launcher.SBOM {
			out["sbom/launch/"+engineDir+"/launcher/sbom."+ext] = b
		}
		for ext, b := range e.Launcher.LifecycleSBOM {
			out["sbom/build/"+engineDir+"/sbom."+ext] = b
		}
	}
	return out, nil
}

// writeBelow writes a file below <layers>, with its directories, owned by the buildpacks' user. Modes do not
// depend on the umask, because they become part of layers.
func (e *exporter) writeBelow(root *os.Root, name string, b []byte) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if err := e.Dirs.makeDir(root, name[:i]); err != nil {
			return err
		}
	}
	return e.Dirs.makeFile(root, name, b)
}

// makeDir is ownDir with a mode that the umask has no part in.
func (d Dirs) makeDir(root *os.Root, name string) error {
	if fi, err := root.Lstat(name); err == nil && fi.IsDir() {
		return nil
	}
	if err := d.ownDir(root, name); err != nil {
		return err
	}
	return root.Chmod(name, 0o755)
}

// makeFile writes a new file, whatever was in its place, for the buildpacks' user.
func (d Dirs) makeFile(root *os.Root, name string, b []byte) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.chown(root, name)
}

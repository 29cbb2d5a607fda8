package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/slipway-build/slipway/builder/cnb"
)

// maxSBOM caps one SBOM file.
const maxSBOM = 16 << 20

// engineDir is the name under which SBOMs of the launcher and the engine are kept.
const engineDir = "buildpacksio_lifecycle"

// sbomKinds tells which trees below <layers>/sbom hold something for a layer.
type sbomKinds struct{ launch, cache bool }

// sbomWriter lays out the SBOM files of a build below <layers>/sbom/{launch,build,cache}: the first is a layer of the
// image, the second is for the platform, the third is a layer of the cache (platform, "builder" and "exporter").
type sbomWriter struct {
	dirs  Dirs
	api   cnb.API
	built *Built
	phase string // to which a buildpack's fault is put down
}

// write puts the files of buildpacks in place. Whatever was there before, a buildpack wrote, and is removed.
func (w sbomWriter) write(root *os.Root) (kinds sbomKinds, err error) {
	if err := root.RemoveAll("sbom"); err != nil {
		return kinds, fmt.Errorf("remove %s: %w", path.Join(w.dirs.Layers, "sbom"), err)
	}
	left := int64(maxSBOMs)
	for _, s := range w.built.SBOMs {
		n, err := w.copy(root, s)
		if err != nil {
			return kinds, err
		}
		if left -= n; left < 0 {
			return kinds, &OutputError{Phase: w.phase, Buildpack: s.Buildpack, File: s.Path, Err: fmt.Errorf("with it the SBOM files of this build have more than %d bytes", maxSBOMs)}
		}
		kinds.launch = kinds.launch || s.Launch
		kinds.cache = kinds.cache || s.Cache
	}
	if !w.api.AtLeast(0, 9) {
		return kinds, nil
	}
	for kind, bom := range map[string][]cnb.BOMEntry{"launch": w.built.Metadata.BOM, "build": w.built.BuildBOM} {
		text, err := cnb.EncodeLegacyBOM(bom)
		if err != nil {
			return kinds, fmt.Errorf("encode the bill of materials: %w", err)
		}
		if err := w.dirs.writeBelow(root, "sbom/"+kind+"/sbom.legacy.json", text); err != nil {
			return kinds, err
		}
	}
	kinds.launch = true
	return kinds, nil
}

// copy copies one file of a buildpack to where its kinds belong and returns its size.
func (w sbomWriter) copy(root *os.Root, s BuiltSBOM) (int64, error) {
	rel, err := filepath.Rel(w.dirs.Layers, s.Path)
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
		return 0, &OutputError{Phase: w.phase, Buildpack: s.Buildpack, File: s.Path, Err: err}
	}
	for _, k := range []struct {
		kind string
		want bool
	}{{"launch", s.Launch}, {"build", s.Build}, {"cache", s.Cache}} {
		if !k.want {
			continue
		}
		name := path.Join("sbom", k.kind, s.Buildpack.ID.Dir(), string(s.Layer), "sbom."+s.Extension)
		if err := w.dirs.writeBelow(root, name, b); err != nil {
			return 0, err
		}
	}
	return int64(len(b)), nil
}

// writeSBOMs makes <layers>/sbom what the image and the cache want: the files of buildpacks, laid out now or by the
// build before (SBOMTree), and the engine's own.
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
	if e.SBOMTree {
		kinds = sbomKinds{launch: isDir(root, "sbom/launch"), cache: isDir(root, "sbom/cache")}
	} else if kinds, err = (sbomWriter{e.Dirs, e.PlatformAPI, e.Built, "export"}).write(root); err != nil {
		return kinds, err
	}
	if !e.PlatformAPI.AtLeast(0, 11) {
		return kinds, nil
	}
	for _, own := range []struct {
		dir   string
		files map[string][]byte
	}{{"sbom/launch/" + engineDir + "/launcher/", e.Launcher.SBOM}, {"sbom/build/" + engineDir + "/", e.Launcher.LifecycleSBOM}} {
		for _, ext := range sortedKeys(own.files) {
			if err := e.Dirs.writeBelow(root, own.dir+"sbom."+ext, own.files[ext]); err != nil {
				return kinds, err
			}
		}
	}
	kinds.launch = kinds.launch || len(e.Launcher.SBOM) > 0
	return kinds, nil
}

// writeBelow writes a file below <layers>, with its directories, owned by the buildpacks' user. Modes do not
// depend on the umask, because they become part of layers.
func (d Dirs) writeBelow(root *os.Root, name string, b []byte) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if err := d.makeDir(root, name[:i]); err != nil {
			return err
		}
	}
	return d.makeFile(root, name, b)
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

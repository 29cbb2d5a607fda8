package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/slipway-build/slipway/builder/cnb"
)

// ReadBuilt is what Build gave, put together again from what it left: metadata.toml, as read by cnb.DecodeMetadata,
// and the layers directory of each buildpack of the group. It is for an export that is a process of its own
// (platform, "exporter"), where the files are all there is. SBOM files are not looked for: they lie below
// <layers>/sbom then, see ExportInput.SBOMTree.
func ReadBuilt(dirs Dirs, group cnb.Group, md cnb.Metadata) (*Built, error) {
	built, err := readBuilt(dirs, group, md)
	return built, inPhase("export", err)
}

func readBuilt(dirs Dirs, group cnb.Group, md cnb.Metadata) (*Built, error) {
	layers, err := os.OpenRoot(dirs.Host(dirs.Layers))
	if err != nil {
		return nil, fmt.Errorf("open the layers directory: %w", err)
	}
	defer layers.Close()
	built := &Built{Metadata: md}
	if built.Metadata.Processes == nil {
		built.Metadata.Processes = []cnb.Process{}
	}
	for _, el := range group.Elements {
		if el.Extension {
			continue
		}
		bp := BuiltBuildpack{GroupElement: el}
		var out buildOutput
		if out, err = readLeft(layers, dirs, el); err != nil {
			return nil, err
		}
		for _, l := range out.layers {
			if l.Types != (cnb.LayerTypes{}) {
				bp.Layers = append(bp.Layers, l)
			}
		}
		bp.Store = out.store
		for _, e := range out.build.BOM {
			e.Buildpack = cnb.GroupElement{Ref: el.Ref}
			built.BuildBOM = append(built.BuildBOM, e)
		}
		built.Buildpacks = append(built.Buildpacks, bp)
	}
	return built, nil
}

// readLeft reads layers, store.toml and build.toml of one buildpack; one without a directory left nothing.
func readLeft(layers *os.Root, dirs Dirs, el cnb.GroupElement) (out buildOutput, err error) {
	r := outputReader{dirs: dirs, d: &cnb.Descriptor{Ref: el.Ref, API: el.API}}
	r.root, err = layers.OpenRoot(el.ID.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, r.fault("", err)
	}
	defer r.root.Close()
	if r.names, err = listDir(r.root, "."); err != nil {
		return out, r.fault("", err)
	}
	if out.layers, err = r.readLayers(); err != nil {
		return out, err
	}
	if b, ok, err := r.file("build.toml"); err != nil {
		return out, err
	} else if ok {
		if out.build, err = cnb.DecodeBuildTOML(r.path("build.toml"), b); err != nil {
			return out, r.fault("build.toml", err)
		}
	}
	out.store, err = r.readStore()
	return out, err
}

// metadataFile is where Build's metadata.toml lies for an export that is a process of its own, and in the image.
func metadataFile(layers string) string { return path.Join(layers, "config", "metadata.toml") }

// WriteBuilt leaves what Build gave where an export that is a process of its own looks for it:
// <layers>/config/metadata.toml and the SBOM files below <layers>/sbom (platform, "builder").
func WriteBuilt(dirs Dirs, api cnb.API, built *Built) error {
	return inPhase(PhaseBuild, writeBuilt(dirs, api, built))
}

func writeBuilt(dirs Dirs, api cnb.API, built *Built) error {
	text, err := cnb.EncodeMetadata(built.Metadata, api)
	if err != nil {
		return fmt.Errorf("encode metadata.toml: %w", err)
	}
	root, err := os.OpenRoot(dirs.Host(dirs.Layers))
	if err != nil {
		return fmt.Errorf("open the layers directory: %w", err)
	}
	defer root.Close()
	if err := dirs.writeBelow(root, "config/metadata.toml", text); err != nil {
		return fmt.Errorf("write %s: %w", metadataFile(dirs.Layers), err)
	}
	if !api.AtLeast(0, 8) {
		return nil
	}
	_, err = sbomWriter{dirs, api, built, PhaseBuild}.write(root)
	return err
}

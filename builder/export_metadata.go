package builder

import (
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

func validDiffID(s string) bool {
	h, err := v1.NewHash(s)
	return err == nil && h.Algorithm == "sha256"
}

// collect turns the finished jobs into the image's layers and metadata and the cache's.
func (e *exporter) collect(out *Exported) {
	for _, j := range e.image {
		out.Layers = append(out.Layers, ExportedLayer{LayerResult: j.result, ID: j.layer.ID, CreatedBy: j.layer.CreatedBy, Kept: j.kept})
	}
	out.Metadata = e.metadata()
	if !e.Cache {
		return
	}
	md := cnb.CacheMetadata{Buildpacks: e.buildpackLayers(e.cache, false)}
	for _, j := range e.cache {
		if j.err != nil {
			continue
		}
		if j.name == "" {
			md.BOM.SHA = j.result.DiffID
		}
		r := j.result
		r.Reused = r.DiffID == j.cached
		out.CacheLayers = append(out.CacheLayers, ExportedLayer{LayerResult: r, ID: j.layer.ID, CreatedBy: j.layer.CreatedBy})
	}
	out.Cache = &md
}

// metadata is the lifecycle metadata label without the run image.
func (e *exporter) metadata() cnb.LayersMetadata {
	md := cnb.LayersMetadata{Buildpacks: e.buildpackLayers(e.image, true)}
	for _, j := range e.image {
		sha := cnb.LayerSHA{SHA: j.result.DiffID}
		switch {
		case j.app:
			md.App = append(md.App, sha)
		case j.layer.ID == engineLayer+"launch.sbom":
			md.BOM = &sha
		case j.layer.ID == engineLayer+"launcher":
			md.Launcher = sha
		case j.layer.ID == engineLayer+"config":
			md.Config = sha
		case j.layer.ID == engineLayer+"process-types":
			md.ProcessTypes = sha
		}
	}
	return md
}

// buildpackLayers is what each buildpack has among jobs; every buildpack of the group appears.
func (e *exporter) buildpackLayers(jobs []*layerJob, withStore bool) []cnb.BuildpackLayers {
	var out []cnb.BuildpackLayers
	for _, el := range e.Group.Elements {
		if el.Extension {
			continue
		}
		b := cnb.BuildpackLayers{ID: el.ID, Version: el.Version, Layers: map[string]cnb.LayerMetadata{}}
		if bp, ok := e.built(el.Ref); ok && withStore {
			b.Store = bp.Store
		}
		for _, j := range jobs {
			if j.err == nil && j.name != "" && j.buildpack == el.Ref {
				b.Layers[j.name] = cnb.LayerMetadata{SHA: j.result.DiffID, LayerMetadataFile: j.data}
			}
		}
		out = append(out, b)
	}
	return out
}

package cnb

// DecodeAnalyzed reads analyzed.toml (platform, "analyzed.toml").
func DecodeAnalyzed(name string, b []byte) (Analyzed, error) {
	d, t, err := parse(name, b, 16*MaxDescriptor)
	if err != nil {
		return Analyzed{}, err
	}
	a := Analyzed{Image: imageRef(t, "image"), BuildImage: imageRef(t, "build-image"), Metadata: layersMetadata(t.sub("metadata"))}
	if t.has("run-image") {
		r := t.sub("run-image")
		a.RunImage = &RunImage{Reference: r.str("reference"), Image: r.str("image"), Extend: r.bool("extend")}
		if r.has("target") {
			g := r.sub("target")
			tg := target(g)
			tg.ID = g.str("id")
			if g.has("distro") {
				di := g.sub("distro")
				tg.Distros = []Distro{{Name: di.str("name"), Version: di.str("version")}}
			}
			a.RunImage.Target = &tg
		}
	}
	return a, d.err
}

func imageRef(t table, key string) *ImageRef {
	if !t.has(key) {
		return nil
	}
	return &ImageRef{Reference: t.sub(key).str("reference")}
}

func layersMetadata(t table) LayersMetadata {
	sha := func(key string) LayerSHA { return LayerSHA{SHA: t.sub(key).str("sha")} }
	m := LayersMetadata{Config: sha("config"), Launcher: sha("launcher"), ProcessTypes: sha("process-types")}
	for _, a := range t.subs("app", 0) {
		m.App = append(m.App, LayerSHA{SHA: a.str("sha")})
	}
	if t.has("sbom") {
		s := sha("sbom")
		m.BOM = &s
	}
	for _, b := range t.subs("buildpacks", 0) {
		bp := BuildpackLayers{ID: ID(b.str("key")), Version: b.str("version")}
		layers := b.sub("layers")
		for name := range layers.m {
			if bp.Layers == nil {
				bp.Layers = map[string]LayerMetadata{}
			}
			l := layers.sub(name)
			md := LayerMetadata{SHA: l.str("sha")}
			md.Build, md.Launch, md.Cache = l.bool("build"), l.bool("launch"), l.bool("cache")
			if v, ok := l.m["metadata"]; ok {
				md.Data = v
			}
			bp.Layers[name] = md
		}
		if b.has("store") {
			bp.Store = &StoreTOML{Data: b.sub("store").sub("metadata").m}
		}
		m.Buildpacks = append(m.Buildpacks, bp)
	}
	r := t.sub("run-image")
	m.RunImage = RunImageMetadata{TopLayer: r.str("top-layer"), Reference: r.str("reference"), Image: r.str("image"), Mirrors: r.strs("mirrors", "")}
	if t.has("stack") {
		m.Stack = &StackLabel{RunImage: runImageName(t.sub("stack").sub("run-image"))}
	}
	return m
}

package cnb

// DecodeLayer reads <layer>.toml (buildpack, "Layer Content Metadata"). launch, build and cache at the top
// level, as they were before Buildpack API 0.6, are an error.
func DecodeLayer(name string, b []byte, _ API) (LayerTOML, error) {
	d, t, err := parse(name, b, MaxBuildFile)
	if err != nil {
		return LayerTOML{}, err
	}
	for _, k := range []string{"launch", "build", "cache"} {
		if t.has(k) {
			t.fail(k, "belongs in the table [types]: move it there")
		}
	}
	types := t.sub("types")
	l := LayerTOML{
		Types:    LayerTypes{Launch: types.bool("launch"), Build: types.bool("build"), Cache: types.bool("cache")},
		Metadata: t.sub("metadata").m,
	}
	return l, d.err
}

// DecodeStore reads store.toml (buildpack, "store.toml").
func DecodeStore(name string, b []byte) (StoreTOML, error) {
	d, t, err := parse(name, b, MaxBuildFile)
	if err != nil {
		return StoreTOML{}, err
	}
	return StoreTOML{Data: t.sub("metadata").m}, d.err
}

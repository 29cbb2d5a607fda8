package cnb

// Names of the image labels and environment variables that the spec defines.
const (
	LabelLifecycleMetadata = "io.buildpacks.lifecycle.metadata"
	LabelBuildMetadata     = "io.buildpacks.build.metadata"
	LabelProjectMetadata   = "io.buildpacks.project.metadata"
	LabelRebasable         = "io.buildpacks.rebasable"
	LabelExecEnv           = "io.buildpacks.exec-env"
	LabelStackID           = "io.buildpacks.stack.id"
	LabelStackMixins       = "io.buildpacks.stack.mixins"
	LabelBaseID            = "io.buildpacks.base.id"
	LabelDistroName        = "io.buildpacks.base.distro.name"
	LabelDistroVersion     = "io.buildpacks.base.distro.version"
	LabelLifecycleVersion  = "io.buildpacks.lifecycle.version"
	LabelLifecycleAPIs     = "io.buildpacks.lifecycle.apis"
	LabelBuilderMetadata   = "io.buildpacks.builder.metadata"
	LabelBuildpackOrder    = "io.buildpacks.buildpack.order"
	LabelBuildpackLayers   = "io.buildpacks.buildpack.layers"
	LabelBuildpackage      = "io.buildpacks.buildpackage.metadata"
	LabelBuildpackSystem   = "io.buildpacks.buildpack.system"
	LabelCacheMetadata     = "io.buildpacks.lifecycle.cache.metadata"
)

// LayersMetadata is the label io.buildpacks.lifecycle.metadata (platform, "Labels"). Field order is the
// reference's, because the label's bytes are part of the image.
type LayersMetadata struct {
	App          []LayerSHA        `json:"app" toml:"app"`
	BOM          *LayerSHA         `json:"sbom,omitempty" toml:"sbom,omitempty"`
	Buildpacks   []BuildpackLayers `json:"buildpacks" toml:"buildpacks"`
	Config       LayerSHA          `json:"config" toml:"config"`
	Launcher     LayerSHA          `json:"launcher" toml:"launcher"`
	ProcessTypes LayerSHA          `json:"process-types" toml:"process-types"`
	RunImage     RunImageMetadata  `json:"runImage" toml:"run-image"`
	Stack        *StackLabel       `json:"stack,omitempty" toml:"stack,omitempty"`
}

// A LayerSHA names a layer by diffID ("sha256:...").
type LayerSHA struct {
	SHA string `json:"sha" toml:"sha"`
}

// BuildpackLayers is what one buildpack contributed.
type BuildpackLayers struct {
	ID      ID                       `json:"key" toml:"key"`
	Version string                   `json:"version" toml:"version"`
	Layers  map[string]LayerMetadata `json:"layers" toml:"layers"`
	Store   *StoreTOML               `json:"store,omitempty" toml:"store,omitempty"`
}

// LayerMetadata is a layer's content metadata plus its diffID.
type LayerMetadata struct {
	SHA string `json:"sha" toml:"sha"`
	LayerMetadataFile
}

// LayerMetadataFile is the JSON form of <layer>.toml.
type LayerMetadataFile struct {
	Data   any  `json:"data" toml:"metadata"`
	Build  bool `json:"build" toml:"build"`
	Launch bool `json:"launch" toml:"launch"`
	Cache  bool `json:"cache" toml:"cache"`
}

// StoreTOML is store.toml: buildpack data that survives a build (buildpack, "store.toml").
type StoreTOML struct {
	Data map[string]any `json:"metadata" toml:"metadata"`
}

// RunImageMetadata says which run image an app image stands on.
type RunImageMetadata struct {
	TopLayer  string   `json:"topLayer" toml:"top-layer"`
	Reference string   `json:"reference" toml:"reference"`
	Image     string   `json:"image,omitempty" toml:"image,omitempty"`
	Mirrors   []string `json:"mirrors,omitempty" toml:"mirrors,omitempty"`
}

// StackLabel is the deprecated copy of the run image (platform, "Deprecations").
type StackLabel struct {
	RunImage RunImageName `json:"runImage" toml:"run-image"`
}

// RunImageName is a run image with its mirrors (run.toml, stack.toml, builder metadata).
type RunImageName struct {
	Image   string   `json:"image,omitempty" toml:"image"`
	Mirrors []string `json:"mirrors,omitempty" toml:"mirrors,omitempty"`
}

// CacheMetadata describes the layers in a cache: the volume cache's file and the cache image's label.
type CacheMetadata struct {
	BOM        LayerSHA          `json:"sbom" toml:"sbom"`
	Buildpacks []BuildpackLayers `json:"buildpacks" toml:"buildpacks"`
}

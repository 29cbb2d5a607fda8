package cnb

// BuilderMetadata is the label io.buildpacks.builder.metadata, in the form that pack reads and writes.
type BuilderMetadata struct {
	Description string            `json:"description"`
	Buildpacks  []ModuleInfo      `json:"buildpacks"`
	Extensions  []ModuleInfo      `json:"extensions"`
	Stack       BuilderStack      `json:"stack"`
	Lifecycle   BuilderLifecycle  `json:"lifecycle"`
	CreatedBy   Creator           `json:"createdBy"`
	RunImages   []BuilderRunImage `json:"images"`
}

// ModuleInfo describes a buildpack in a builder's or package's labels.
type ModuleInfo struct {
	ID          ID        `json:"id,omitempty"`
	Name        string    `json:"name,omitempty"`
	Version     string    `json:"version,omitempty"`
	Description string    `json:"description,omitempty"`
	Homepage    string    `json:"homepage,omitempty"`
	Keywords    []string  `json:"keywords,omitempty"`
	ExecEnv     []string  `json:"exec-env,omitempty"`
	Licenses    []License `json:"licenses,omitempty"`
	ClearEnv    bool      `json:"clear-env,omitempty"`
}

// Info is the ModuleInfo of a buildpack.
func (d *Descriptor) Info() ModuleInfo {
	return ModuleInfo{
		ID: d.ID, Name: d.Name, Version: d.Version, Description: d.Description, Homepage: d.Homepage,
		Keywords: d.Keywords, ExecEnv: d.ExecEnv, Licenses: d.Licenses, ClearEnv: d.ClearEnv,
	}
}

// BuilderStack is the run image in the form that preceded RunImages.
type BuilderStack struct {
	RunImage BuilderRunImage `json:"runImage"`
}

// BuilderRunImage is a run image with its mirrors; pack writes null mirrors, so nothing is omitted here.
type BuilderRunImage struct {
	Image   string   `json:"image"`
	Mirrors []string `json:"mirrors"`
}

// BuilderLifecycle says which lifecycle a builder holds and which APIs it speaks. API is the older form:
// the oldest version of each.
type BuilderLifecycle struct {
	Version string `json:"version"`
	API     struct {
		Buildpack string `json:"buildpack"`
		Platform  string `json:"platform"`
	} `json:"api"`
	APIs struct {
		Buildpack APIVersions `json:"buildpack"`
		Platform  APIVersions `json:"platform"`
	} `json:"apis"`
}

// APIVersions lists versions of one API.
type APIVersions struct {
	Deprecated []string `json:"deprecated"`
	Supported  []string `json:"supported"`
}

// NewBuilderLifecycle describes a lifecycle of this engine at the given version.
func NewBuilderLifecycle(version string) BuilderLifecycle {
	l := BuilderLifecycle{Version: version}
	l.API.Buildpack, l.API.Platform = OldestBuildpackAPI.String(), OldestPlatformAPI.String()
	l.APIs.Buildpack = APIVersions{Deprecated: []string{}, Supported: BuildpackAPIs()}
	l.APIs.Platform = APIVersions{Deprecated: []string{}, Supported: PlatformAPIs()}
	return l
}

// Creator is the tool that made a builder.
type Creator struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// BuildpackLayersLabel is the label io.buildpacks.buildpack.layers: id -> version -> what is in the image.
type BuildpackLayersLabel map[ID]map[string]BuildpackLayerInfo

// BuildpackLayerInfo describes one buildpack of a builder or package and the layer that holds it.
type BuildpackLayerInfo struct {
	API         API      `json:"api"`
	Stacks      []Stack  `json:"stacks,omitempty"`
	Targets     []Target `json:"targets,omitempty"`
	Order       Order    `json:"order,omitempty"`
	LayerDiffID string   `json:"layerDiffID"`
	Homepage    string   `json:"homepage,omitempty"`
	Name        string   `json:"name,omitempty"`
}

// LayerInfo is the entry of a buildpack whose layer has the given diffID.
func (d *Descriptor) LayerInfo(diffID string) BuildpackLayerInfo {
	return BuildpackLayerInfo{
		API: d.API, Stacks: d.Stacks, Targets: d.Targets, Order: d.Order, LayerDiffID: diffID,
		Homepage: d.Homepage, Name: d.Name,
	}
}

// Find looks a buildpack up. Without a version there must be exactly one of that id.
func (l BuildpackLayersLabel) Find(r Ref) (Ref, BuildpackLayerInfo, bool) {
	versions := l[r.ID]
	if r.Version == "" && len(versions) == 1 {
		for v := range versions {
			r.Version = v
		}
	}
	info, ok := versions[r.Version]
	return r, info, ok
}

// BuildpackageMetadata is the label io.buildpacks.buildpackage.metadata: which buildpack a package is about.
type BuildpackageMetadata struct {
	ModuleInfo
	Stacks []Stack `json:"stacks,omitempty"`
}

// SystemLabel is the label io.buildpacks.buildpack.system.
type SystemLabel struct {
	Pre  SystemBuildpacks `json:"pre,omitzero"`
	Post SystemBuildpacks `json:"post,omitzero"`
}

// SystemBuildpacks is one end of the SystemLabel.
type SystemBuildpacks struct {
	Buildpacks []GroupElement `json:"buildpacks,omitempty"`
}

package cnb

// A Process is one process type of an image (platform "metadata.toml"; buildpack "launch.toml").
type Process struct {
	Type ProcessType
	// Command is the executable and the arguments that are always passed. Before Buildpack API 0.9 it is
	// one string (and a shell script when not Direct).
	Command []string
	// Args are default arguments; the user's arguments replace them from Platform API 0.10 and Buildpack
	// API 0.9 on, and are appended to them before.
	Args        []string
	Direct      bool
	Default     bool
	BuildpackID ID
	WorkingDir  string
	ExecEnv     []string // empty or "*": every execution environment
	// API is the Buildpack API of the buildpack that contributed the process; it decides how Args behave.
	// It is not part of launch.toml.
	API API
}

// ProcessType is the name of a process, by which the launcher chooses it: numbers, letters, '.', '_', '-'.
// Made by ParseProcessType; "." and ".." are not process types.
type ProcessType string

// A Slice is a set of globs below the app directory that becomes a layer of its own.
type Slice struct {
	Paths []string `toml:"paths" json:"paths"`
}

// A Label is an image label that a buildpack sets.
type Label struct {
	Key   string `toml:"key" json:"key"`
	Value string `toml:"value" json:"value"`
}

// A Launch is launch.toml (buildpack, "launch.toml"), validated for the buildpack's API.
type Launch struct {
	Labels    []Label
	Processes []Process
	Slices    []Slice
	BOM       []BOMEntry // deprecated
}

// A BuildTOML is build.toml: the plan entries this buildpack leaves to the next provider.
type BuildTOML struct {
	Unmet []Provide  `toml:"unmet"`
	BOM   []BOMEntry `toml:"bom"` // deprecated
}

// LayerTypes says what a layer is for (buildpack, "Layer Types").
type LayerTypes struct {
	Launch bool `toml:"launch" json:"launch"`
	Build  bool `toml:"build" json:"build"`
	Cache  bool `toml:"cache" json:"cache"`
}

// A LayerTOML is <layer>.toml (buildpack, "Layer Content Metadata").
type LayerTOML struct {
	Types    LayerTypes
	Metadata map[string]any
}

// LayerName is the name of a layer directory below <layers>/<buildpack>. Made by ParseLayerName; never
// "build", "launch", "store", ".", ".." or a name with a separator.
type LayerName string

// Metadata is metadata.toml in the config layer, which the launcher reads (platform, "metadata.toml").
// Its bytes are part of the image's identity: write it with EncodeMetadata only.
type Metadata struct {
	Buildpacks           []GroupElement
	Extensions           []GroupElement
	Processes            []Process
	Slices               []Slice
	DefaultProcessType   ProcessType
	BuildpackDefaultType ProcessType
	Labels               []Label
	// BOM is the deprecated bill of materials; it is written for Platform API 0.8 and older only.
	BOM []BOMEntry
}

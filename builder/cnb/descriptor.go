package cnb

// A Descriptor is a buildpack.toml (buildpack, "buildpack.toml") or an extension.toml (image_extension,
// "extension.toml"), validated. It is made by DecodeDescriptor or DecodeExtension, which accept both forms of
// exec-env and of a target's variant that are in the wild.
type Descriptor struct {
	API API
	Ref
	Name        string
	Homepage    string
	Description string
	Keywords    []string
	Licenses    []License
	ClearEnv    bool
	SBOMFormats []string // media types
	ExecEnv     []string // empty or "*": every execution environment
	Stacks      []Stack
	Targets     []Target
	Order       Order // not empty for a composite buildpack
	Metadata    map[string]any
	// Extension is set for an image extension. It has no stacks, no order and no SBOM formats.
	Extension bool
	// Path is the buildpack's directory as its own executables see it, for example
	// /cnb/buildpacks/a_b/1.2.3. It is not part of the file.
	Path string
	// HasDetect tells whether bin/detect exists; without it a buildpack always passes, and an extension has
	// detect/plan.toml in its place.
	HasDetect bool
	// HasGenerate tells whether an extension's bin/generate exists; without it generate/ is its output.
	HasGenerate bool
	// Windows is set where only bin/build.bat or bin/build.exe exists (implied target).
	Windows bool
}

// A License names the terms of a buildpack.
type License struct {
	Type string `toml:"type" json:"type,omitempty"`
	URI  string `toml:"uri" json:"uri,omitempty"`
}

// A Stack is the form of target that Buildpack API 0.9 and older used.
type Stack struct {
	ID     string   `toml:"id" json:"id"`
	Mixins []string `toml:"mixins" json:"mixins,omitempty"`
}

// A Target says where a buildpack or an image runs. An empty field matches any value.
type Target struct {
	// ID is an image's io.buildpacks.base.id; it plays no part in matching.
	ID      string   `toml:"id" json:"id,omitempty"`
	OS      string   `toml:"os" json:"os,omitempty"`
	Arch    string   `toml:"arch" json:"arch,omitempty"`
	Variant string   `toml:"variant" json:"variant,omitempty"`
	Distros []Distro `toml:"distros" json:"distros,omitempty"`
}

// A Distro is an operating system distribution as /etc/os-release names it (ID, VERSION_ID).
type Distro struct {
	Name    string `toml:"name" json:"name,omitempty"`
	Version string `toml:"version" json:"version,omitempty"`
}

// An Order is the alternatives that detection tries, first match wins.
type Order []Group

// A Group is the buildpacks of one alternative, in order of execution.
type Group struct {
	Elements []GroupElement `toml:"group" json:"group"`
}

// A GroupElement is one buildpack (or extension) of a group. API and Homepage are filled in by detection.
type GroupElement struct {
	Ref
	API       API      `toml:"api,omitempty" json:"api,omitzero"`
	Homepage  string   `toml:"homepage,omitempty" json:"homepage,omitempty"`
	Optional  bool     `toml:"optional,omitempty" json:"optional,omitempty"`
	Extension bool     `toml:"extension,omitempty" json:"extension,omitempty"`
	ExecEnv   []string `toml:"exec-env,omitempty" json:"exec-env,omitempty"`
	ClearEnv  bool     `toml:"-" json:"clear-env,omitempty"`
}

// A System is system.toml: buildpacks put before and after every group (platform 0.15).
type System struct {
	Pre  []GroupElement
	Post []GroupElement
}

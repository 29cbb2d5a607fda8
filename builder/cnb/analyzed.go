package cnb

// Analyzed is analyzed.toml: what is known of the previous image and of the run image (platform, "analyzed.toml").
type Analyzed struct {
	Image      *ImageRef      `json:"image,omitempty"` // the previous image, nil where there is none
	RunImage   *RunImage      `json:"runImage,omitempty"`
	BuildImage *ImageRef      `json:"buildImage,omitempty"`
	Metadata   LayersMetadata `json:"metadata"`
}

// An ImageRef names an image exactly: by digest, by an engine's image id or by an OCI layout path.
type ImageRef struct {
	Reference string `json:"reference"`
}

// A RunImage is the run image of a build: Reference is exact, Image is the name the platform gave.
type RunImage struct {
	Reference string  `json:"reference"`
	Image     string  `json:"image,omitempty"`
	Extend    bool    `json:"extend,omitempty"`
	Target    *Target `json:"target,omitempty"` // Distros holds at most one
}

// ProjectMetadata is project-metadata.toml and the label io.buildpacks.project.metadata: where the source came from.
type ProjectMetadata struct {
	Source *ProjectSource `json:"source,omitempty"`
}

// A ProjectSource is the source of an app. Version tells one state of it from another.
type ProjectSource struct {
	Type     string         `json:"type,omitempty"`
	Version  map[string]any `json:"version,omitempty"`
	Metadata map[string]any `json:"metadata,omitempty"`
}

// A Report is report.toml: the image a build made (platform, "report.toml").
type Report struct {
	Build BuildReport
	Image ImageReport
}

// BuildReport holds the deprecated bill of materials of the build (Platform API 0.8 and older).
type BuildReport struct {
	BOM []BOMEntry
}

// ImageReport names the image by what its destination calls it.
type ImageReport struct {
	Tags         []string
	ImageID      string // in a container engine
	Digest       string // in a registry
	ManifestSize int64
}

// A BOMEntry is an entry of the deprecated [[bom]] arrays (buildpack, "Deprecations"). Buildpack is filled
// in by the engine.
type BOMEntry struct {
	Require
	Buildpack GroupElement `json:"buildpack"`
}

// BuildMetadata is the label io.buildpacks.build.metadata, as read from an image (platform, "Labels").
// Write it with EncodeBuildMetadata.
type BuildMetadata struct {
	Buildpacks         []GroupElement   `json:"buildpacks"`
	Extensions         []GroupElement   `json:"extensions,omitempty"`
	Launcher           LauncherMetadata `json:"launcher"`
	Processes          []LabelProcess   `json:"processes"`
	DefaultProcessType ProcessType      `json:"buildpack-default-process-type,omitempty"`
}

// LauncherMetadata says which launcher an image holds.
type LauncherMetadata struct {
	Version string         `json:"version"`
	Source  LauncherSource `json:"source"`
}

// LauncherSource is the source that the launcher was built from.
type LauncherSource struct {
	Git struct {
		Repository string `json:"repository"`
		Commit     string `json:"commit"`
	} `json:"git"`
}

// A LabelProcess is a process as the label io.buildpacks.build.metadata has it.
type LabelProcess struct {
	Type        ProcessType  `json:"type"`
	Command     LabelCommand `json:"command"`
	Args        []string     `json:"args"`
	Direct      bool         `json:"direct"`
	Default     bool         `json:"default,omitempty"`
	BuildpackID ID           `json:"buildpackID"`
	WorkingDir  string       `json:"working-dir,omitempty"`
	ExecEnv     []string     `json:"exec-env,omitempty"`
}

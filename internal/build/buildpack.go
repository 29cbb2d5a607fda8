package build

import "time"

// IndexName is the name in URLs of the git repository of the index of buildpacks that the service keeps: no app has it.
const IndexName AppName = "registry-index"

// IndexID is what stands for that repository where apps have theirs.
const IndexID ID = "01900000-0000-7000-8000-000000000010"

// A Namespace is the first part of the ids of buildpacks in the service's index, and whose it is.
type Namespace struct {
	Name      string
	Owner     ID
	CreatedAt time.Time
}

// A BuildpackImage is what an image in the service's index says of itself.
type BuildpackImage struct {
	ID        ID
	Buildpack string // ns/name
	Version   string
	Address   string // host/repository@sha256:digest
	User      ID     // who registered it
	Facts     BuildpackFacts
	CreatedAt time.Time
	UpdatedAt time.Time // when it was yanked or not any more
}

// BuildpackFacts are from an image's labels: somebody else's words.
type BuildpackFacts struct {
	Name        string            `json:"name,omitempty"`
	Description string            `json:"description,omitempty"`
	Homepage    string            `json:"homepage,omitempty"`
	API         string            `json:"api,omitempty"`
	Licenses    []string          `json:"licenses,omitempty"`
	Keywords    []string          `json:"keywords,omitempty"`
	Stacks      []string          `json:"stacks,omitempty"`
	Targets     []BuildpackTarget `json:"targets,omitempty"`
	Platforms   []string          `json:"platforms,omitempty"` // of the image: os/architecture
}

// A BuildpackTarget is where a buildpack says that it works; an empty field is any.
type BuildpackTarget struct {
	OS      string            `json:"os"`
	Arch    string            `json:"arch"`
	Variant string            `json:"variant"`
	Distros []BuildpackDistro `json:"distros"`
}

// A BuildpackDistro is a distribution of a target; without a version it is any of that name.
type BuildpackDistro struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

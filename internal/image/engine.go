package image

import (
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// An Engine is the part of a Docker engine that this package needs. An image that is not there is an error
// that wraps ErrNotFound, from Inspect and from Remove.
type Engine interface {
	// Inspect describes an image by name or ID.
	Inspect(ctx context.Context, ref string) (EngineImage, error)
	// Load reads a docker-archive or OCI layout tar. It returns after the engine has taken all of it, and
	// an error that the engine reports inside its answer is an error.
	Load(ctx context.Context, tar io.Reader) error
	// Save writes images by name or ID as the engine's archive.
	Save(ctx context.Context, refs []string, w io.Writer) error
	// Tag gives an image a further name.
	Tag(ctx context.Context, source, target string) error
	// Remove drops a name, and the image with its last name.
	Remove(ctx context.Context, ref string) error
	// EngineInfo says what kind of engine this is. It is asked often and should be kept.
	EngineInfo(ctx context.Context) (EngineInfo, error)
}

// An EngineImage is what an engine tells of an image.
type EngineImage struct {
	ID          string   // "sha256:...": the config's digest, or the manifest's in a containerd image store
	RepoTags    []string // "name:tag" as the engine writes them
	RepoDigests []string // "name@sha256:..." of registries it came from
	// Config is the image's platform, settings and rootfs (diffIDs), as far as inspect tells.
	Config v1.ConfigFile
	Size   int64
}

// EngineInfo says how an engine keeps images and what it runs.
type EngineInfo struct {
	Version        string // "20.10.24"
	OS, Arch       string // "linux", "amd64", in Go's words
	ContainerStore bool   // images are in containerd: an archive must be complete
	Remote         bool   // the engine is not on this machine: what is sent stays compressed
}

package image

import (
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrNotFound is wrapped by errors that say an image is in none of the places that were asked.
var ErrNotFound = errors.New("image not found")

// Kind is the place an image was found in.
type Kind string

// The places.
const (
	KindStore    Kind = "store"    // the local image store
	KindRegistry Kind = "registry" // a registry; layers are fetched when they are read
	KindEngine   Kind = "docker"   // a Docker engine; layers are saved out of it when they are read
	KindLayout   Kind = "oci"      // an OCI layout directory
)

// Policy says when a registry is asked although the image is on the machine.
type Policy string

// The policies. The zero value is PullIfNotPresent.
const (
	PullAlways       Policy = "always"
	PullIfNotPresent Policy = "if-not-present"
	PullNever        Policy = "never"
)

// ParsePolicy reads a pull policy.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case PullAlways, PullIfNotPresent, PullNever:
		return p, nil
	case "":
		return PullIfNotPresent, nil
	}
	return "", fmt.Errorf("pull policy %q: want %s, %s or %s", clip(s), PullAlways, PullIfNotPresent, PullNever)
}

// ParsePlatform reads "os/arch" or "os/arch/variant".
func ParsePlatform(s string) (v1.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return v1.Platform{}, fmt.Errorf("platform %q: want os/arch or os/arch/variant", clip(s))
	}
	for _, p := range parts {
		if p == "" || strings.Trim(p, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			return v1.Platform{}, fmt.Errorf("platform %q: want os/arch or os/arch/variant", clip(s))
		}
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// An Image is an image that was found, with how it was found.
type Image struct {
	// Image reads lazily: its manifest and config are at hand except for KindEngine, where the first call
	// that needs exact bytes saves the image out of the engine once.
	v1.Image
	Kind Kind
	// Ref is the argument that led here; with mirrors, the one that answered.
	Ref Ref
	// Reference is what to write down as the image's identity: "repository@sha256:..." where there is a
	// manifest digest, else the image ID.
	Reference string
	// ManifestDigest is known without reading anything; it is zero for KindEngine, where Digest() may have to save.
	ManifestDigest v1.Hash
	// ID is the config's digest: the image's ID in a Docker engine with the classic image store.
	ID v1.Hash
	// EngineID names the image to the engine, when it is known to be there.
	EngineID string
	// Config has platform, settings (env, labels, user) and diffIDs. For KindEngine it is what the engine
	// tells and has no history; RawConfigFile and ConfigFile are exact.
	Config *v1.ConfigFile
}

// Platform is the image's own platform.
func (i *Image) Platform() v1.Platform {
	return v1.Platform{OS: i.Config.OS, Architecture: i.Config.Architecture, Variant: i.Config.Variant}
}

// Label is one label of the image, or empty.
func (i *Image) Label(key string) string { return i.Config.Config.Labels[key] }

// Written says what a writer put down.
type Written struct {
	Names []string // normalised names that now mean the image
	// Digest is the manifest's digest, the same from every writer; ID is the config's.
	Digest v1.Hash
	ID     v1.Hash
	// ManifestSize is the manifest's length in bytes (platform, "report.toml").
	ManifestSize int64
	// EngineID is how the engine names the image; empty from other writers.
	EngineID string
	// Sent and Kept count layers that were written and that were there already.
	Sent, Kept int
	Pushed     int64 // bytes of the layers that a registry was sent
}

// Progress is called by writers and readers as bytes move; nil is allowed. It may be called from several
// goroutines and must not block.
type Progress func(Step)

// A Step is one piece of progress.
type Step struct {
	What   string // "push", "pull", "load", "save", "write"
	Digest string // of the blob; empty for a manifest or a whole archive
	Done   int64  // bytes so far
	Total  int64  // bytes in all, 0 when unknown
	Kept   bool   // the blob was there already
}

func (p Progress) step(s Step) {
	if p != nil {
		p(s)
	}
}

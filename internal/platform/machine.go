package platform

import (
	"errors"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// A Machine is what builds stand on: directories of this host, the stores, and the runtime. It is made
// once and is safe for concurrent use by several builds.
type Machine struct {
	// State is the directory of builds in progress and of what Slipway keeps: <State>/builds.
	State string
	// Store keeps layers; Images names images in it.
	Store  *layerstore.Store
	Images *image.Images
	// Registry reads and writes images in registries.
	Registry *image.Registry
	// Runtime runs containers, Engine is its image store. Both are nil where there is no Docker; NoRuntime
	// then says why, for the one line that a user sees.
	Runtime   container.Runtime
	Engine    image.Engine
	NoRuntime error
	// Tools are our own binaries for the container's platform.
	Tools Tools
	// Version is Slipway's own, for labels and reports.
	Version string
	// Copy restores cached layers by copying also where they could be mounted. The result is the same.
	Copy bool
}

// Tools are the static binaries that Slipway brings into containers and images. Lifecycle is agent and
// collector, and the phases in a builder; Launcher starts the processes of a built image.
type Tools struct {
	Lifecycle string
	Launcher  string
	Version   string // of the lifecycle, a semantic version
}

// Check says whether the tools are there.
func (t Tools) Check() error {
	for _, p := range []string{t.Lifecycle, t.Launcher} {
		if fi, err := os.Stat(p); err != nil || !fi.Mode().IsRegular() {
			return fmt.Errorf("%s is missing: this slipway was built without its tools (run make build)", p)
		}
	}
	return nil
}

// runtime is the Runtime, or the reason why there is none.
func (m *Machine) runtime() (container.Runtime, error) {
	if m.Runtime != nil {
		return m.Runtime, nil
	}
	if m.NoRuntime != nil {
		return nil, m.NoRuntime
	}
	return nil, errors.New("no container runtime: install Docker (apt-get install docker.io) and start it")
}

// resolver finds images for one build.
func (m *Machine) resolver(p v1.Platform, policy image.Policy) *image.Resolver {
	return &image.Resolver{Images: m.Images, Registry: m.Registry, Engine: m.Engine, Policy: policy, Platform: p}
}

package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/rootfs"
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
	// Fetch downloads buildpacks that are named by URLs. Nil reaches public addresses by https, as the system trusts.
	Fetch *fetch.Fetcher
	// Runtime runs containers. It is nil where there can be none; NoRuntime then says why, for the one line that a
	// user sees. Why says which one was taken, and for what reason.
	Runtime   container.Runtime
	NoRuntime error
	Why       string
	// Docker is the Docker Engine and Engine its images, nil where there is none or it was left alone; with it the
	// Runtime need not be Docker's.
	Docker *docker.Runtime
	Engine image.Engine
	// Roots has the unpacked images of a Runtime without an engine; nil for Docker's.
	Roots *rootfs.Store
	// Tools are our own binaries for the container's platform.
	Tools Tools
	// Version is Slipway's own, for labels and reports.
	Version string
	// OwnIndex is the buildpack registry index that this process keeps itself, and OwnIndexName what it is called: it is
	// asked before those in State, and without a network. nil: there is none.
	OwnIndex     func() (*index.Index, error)
	OwnIndexName string
	// StaleIndex, where it is not nil, is told of an index that a build asked and that was not synced for an hour, at
	// most once in ten minutes. It has it synced, and does not wait for that.
	StaleIndex func(name string)
	// Copy restores cached layers by copying also where they could be mounted. The result is the same.
	Copy bool
}

// Tools are the static binaries that Slipway brings into containers and images. Agent works in a build's containers and
// beside them; Lifecycle is the phases in a builder; Launcher starts the processes of a built image; Classic runs classic
// buildpacks, and may be absent where there are none.
type Tools struct {
	Agent     string
	Lifecycle string
	Launcher  string
	Classic   string
	Version   string // of the lifecycle, a semantic version
}

// ToolsIn are the tools of a directory, under the names of their commands. Their version is for the caller to say.
func ToolsIn(dir string) Tools {
	return Tools{Agent: filepath.Join(dir, "agent"), Lifecycle: filepath.Join(dir, "lifecycle"), Launcher: filepath.Join(dir, "launcher"), Classic: filepath.Join(dir, "classic")}
}

// Check says whether the tools are there.
func (t Tools) Check() error {
	for _, p := range []string{t.Agent, t.Lifecycle, t.Launcher} {
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
	return nil, errNothing
}

// Bring makes sure that the Runtime has an image, and returns what a container.Spec calls it.
func (m *Machine) Bring(ctx context.Context, img *image.Image) (string, error) {
	if m.Roots != nil {
		return m.Roots.Add(ctx, img)
	}
	if _, err := m.runtime(); err != nil {
		return "", err
	}
	return image.EnsureEngine(ctx, m.Engine, img, image.LoadOptions{Store: m.Store})
}

// resolver finds images for one build.
func (m *Machine) resolver(p v1.Platform, policy image.Policy) *image.Resolver {
	return &image.Resolver{Images: m.Images, Registry: m.Registry, Engine: m.Engine, Policy: policy, Platform: p}
}

// Prune removes what nothing needs and nobody used for so long: blobs of images and caches, unpacked layers, unpacked
// images.
func (m *Machine) Prune(ctx context.Context, unused time.Duration) (layerstore.Pruned, error) {
	p, err := m.Images.Prune(ctx, unused)
	if err == nil && m.Roots != nil {
		_, err = m.Roots.Prune(unused)
	}
	return p, errors.Join(err, m.pruneTries(unused))
}

package agent

import (
	"context"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/source"
)

// A Preparation is what a build's directories hold before the first phase.
type Preparation struct {
	// Dirs says where; Dirs.Root is made by Prepare and must not exist before.
	Dirs builder.Dirs `json:"dirs"`
	// Env becomes <platform>/env, one file a name.
	Env map[string]string `json:"env,omitempty"`
	// BuildConfig becomes <build-config>/env, one file a name with its suffix, where Dirs names such a directory.
	BuildConfig map[string]string `json:"build-config,omitempty"`
	// Bindings are service bindings: name to a directory on this machine with at least a file "type". Regular files
	// of it are copied; links that stay inside are resolved (as Kubernetes lays out secrets).
	Bindings map[string]string `json:"bindings,omitempty"`
	// Files are further files of the platform, owned by root and readable by all, for example a CA bundle.
	Files []File `json:"files,omitempty"`
}

// A File is one small file at an absolute path as executables see it.
type File struct {
	Path string `json:"path"`
	Data []byte `json:"data"`
}

// Prepare makes the directories of a build: the app's and the layers directory owned by the CNB user, the platform's
// owned by root. A name that the spec does not allow is an error before anything is made.
func (c *Collector) Prepare(ctx context.Context, p Preparation) error {
	return c.call(ctx, "prepare", p, nil)
}

// Source is source.Unpack in the collector. Path and Dest are paths of this machine.
func (c *Collector) Source(ctx context.Context, req source.Request) (*source.Result, error) {
	out := &source.Result{}
	return out, c.call(ctx, "source", req, out)
}

// Usage is what a build takes on disk.
type Usage struct {
	Bytes int64 `json:"bytes"` // in blocks, as the file system counts; 4096 at least for each inode
	Files int64 `json:"files"` // inodes
}

// Usage measures the directories dirs, of which those that do not exist count nothing. It may be asked while the build
// runs. What is mounted below them is left out, and a directory that is one of dirs counts once.
func (c *Collector) Usage(ctx context.Context, dirs ...string) (Usage, error) {
	var u Usage
	err := c.call(ctx, "usage", dirs, &u)
	return u, err
}

// Remove deletes a build's directory and everything in it, whatever its depth and modes. It being gone is fine.
func (c *Collector) Remove(ctx context.Context, dir string) error {
	return c.call(ctx, "remove", dir, nil)
}

// Ping returns when the collector answers.
func (c *Collector) Ping(ctx context.Context) error { return c.call(ctx, "ping", nil, nil) }

// Catalog gives the collector the buildpacks that Detect and Build may use: those of the agent's Hello and those added
// for this build. It replaces what was given before. The result has one entry per file, in order.
func (c *Collector) Catalog(ctx context.Context, files []BuildpackFile) ([]CatalogEntry, error) {
	var out []CatalogEntry
	err := c.call(ctx, "catalog", files, &out)
	return out, err
}

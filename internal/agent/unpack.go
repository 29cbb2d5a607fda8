package agent

import (
	"context"
	"fmt"
	"os"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent/wire"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/source"
)

// unpackRequest asks for the contents of a layer of a buildpack package.
type unpackRequest struct {
	Blob   string `json:"blob"` // a file where the collector runs, plain or compressed
	DiffID string `json:"diffID"`
	Dest   string `json:"dest"` // is made
}

// UnpackPackage is builder.ExtractPackage in the collector: the layer in the file blob goes to dest, which must not
// exist.
func (c *Collector) UnpackPackage(ctx context.Context, blob, diffID, dest string) error {
	return c.call(ctx, "unpack", unpackRequest{blob, diffID, dest}, nil)
}

// unpack runs in the collector.
func unpack(ctx context.Context, r unpackRequest) error {
	f, err := os.Open(r.Blob)
	if err != nil {
		return fmt.Errorf("open layer %s: %w", r.DiffID, err)
	}
	defer f.Close()
	tar, err := layerstore.NewDecoder(f)
	if err != nil {
		return fmt.Errorf("open layer %s: %w", r.DiffID, err)
	}
	defer tar.Close()
	if err := os.Mkdir(r.Dest, 0o755); err != nil {
		return fmt.Errorf("unpack layer %s: %w", r.DiffID, err)
	}
	return builder.ExtractPackage(ctx, tar, r.DiffID, r.Dest)
}

// treeRequest asks for the contents of a cached layer in directories of their own.
type treeRequest struct {
	Dirs   builder.Dirs        `json:"dirs"`
	Layer  builder.CachedLayer `json:"layer"`
	Limits builder.Limits      `json:"limits"`
}

// UnpackCached is builder.UnpackCached in the collector. The layer comes from Host.Blob.
func (c *Collector) UnpackCached(ctx context.Context, d builder.Dirs, l builder.CachedLayer, limits builder.Limits) (builder.UnpackedLayer, error) {
	var out builder.UnpackedLayer
	err := c.call(ctx, "tree", treeRequest{d, l, limits}, &out)
	return out, err
}

func (s *collectorServer) tree(ctx context.Context, _ *wire.Call, r treeRequest) (any, error) {
	rc, err := hostCache{conn: s.conn}.Open(ctx, r.Layer.DiffID)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return builder.UnpackCached(ctx, r.Dirs, r.Layer, rc, r.Limits)
}

// Told is source.Tell in the collector.
func (c *Collector) Told(ctx context.Context, path string, unwrap bool) (source.Told, error) {
	var t source.Told
	err := c.call(ctx, "told", source.Request{Path: path, Unwrap: unwrap}, &t)
	return t, err
}

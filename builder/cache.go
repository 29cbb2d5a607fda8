package builder

import (
	"context"
	"io"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A CacheReader is the cache of earlier builds as Restore sees it. Safe for concurrent use. One that also has a method
// Drop(diffID string) error is told of contents that could not be restored.
type CacheReader interface {
	// Metadata describes the layers in the cache.
	Metadata() cnb.CacheMetadata
	// Open gives the uncompressed tar stream of a layer. An error means that the layer is not to be had, which
	// is never more than a miss.
	Open(ctx context.Context, diffID string) (io.ReadCloser, error)
}

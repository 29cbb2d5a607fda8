// Package cache keeps what a build wants to find again, in the forms of the reference lifecycle: a directory (a
// volume) or an image in a registry. Each engine reuses what the other left. It decides nothing about a build: which
// layers are cached and which are restored is package builder's business.
//
// A cache may have been written by anybody who ran in a build container. What is broken, missing or hostile in it is
// a miss with a warning, never an error of a build, and nothing in it blocks.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A Cache is what the phases need of either kind. It is a builder.CacheReader. It is safe for concurrent use.
type Cache interface {
	// Metadata describes the layers that are in the cache: what a half-present cache lacks is not in it.
	Metadata() cnb.CacheMetadata
	// Open reads a layer as an uncompressed tar. An error is a miss. The bytes are not checked against diffID:
	// builder.Restore hashes what it reads.
	Open(ctx context.Context, diffID string) (io.ReadCloser, error)
	// Replace makes the cache hold exactly md's layers. layer gives a layer by diffID, and is not called
	// concurrently; one that the cache has already is not asked for, and neither read nor written. After an error
	// the cache is what it was.
	Replace(ctx context.Context, md cnb.CacheMetadata, layer func(diffID string) (v1.Layer, error)) error
	// Exists is false where a platform says "Layer cache not found".
	Exists() bool
	// Name is what the user calls the cache: a directory or an image.
	Name() string
	// Warnings are the misses noticed since the last call, for the user to read.
	Warnings() []string
}

// errNoLayer says that the cache does not have a layer.
var errNoLayer = errors.New("the cache has no such layer")

// parseDiffID is the only way from a text of a cache to a file name.
func parseDiffID(s string) (v1.Hash, error) {
	h, err := v1.NewHash(s)
	if err != nil || h.Algorithm != "sha256" {
		return v1.Hash{}, fmt.Errorf("layer %.100q: not a sha256 digest", s)
	}
	return h, nil
}

// layersOf is the diffIDs that md names, each once: buildpacks in their order, their layers by name, the SBOM last.
// The order is part of a cache image's digest.
func layersOf(md cnb.CacheMetadata) ([]string, error) {
	var ids []string
	for _, bp := range md.Buildpacks {
		for _, name := range slices.Sorted(maps.Keys(bp.Layers)) {
			ids = append(ids, bp.Layers[name].SHA)
		}
	}
	if md.BOM.SHA != "" {
		ids = append(ids, md.BOM.SHA)
	}
	return distinct(ids)
}

// distinct drops repeated diffIDs and refuses what is none.
func distinct(ids []string) ([]string, error) {
	seen := map[string]bool{}
	var out []string
	for _, id := range ids {
		if _, err := parseDiffID(id); err != nil {
			return nil, err
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out, nil
}

// present drops from md the layers that the cache does not have, and says which.
func present(md cnb.CacheMetadata, has func(diffID string) bool) (cnb.CacheMetadata, []string) {
	var gone []string
	out := cnb.CacheMetadata{BOM: md.BOM}
	if sha := md.BOM.SHA; sha != "" && !has(sha) {
		out.BOM.SHA = ""
		gone = append(gone, "SBOM files")
	}
	for _, bp := range md.Buildpacks {
		layers := map[string]cnb.LayerMetadata{}
		for _, name := range slices.Sorted(maps.Keys(bp.Layers)) {
			if l := bp.Layers[name]; has(l.SHA) {
				layers[name] = l
			} else {
				gone = append(gone, fmt.Sprintf("layer %s:%s", bp.ID, name))
			}
		}
		bp.Layers = layers
		out.Buildpacks = append(out.Buildpacks, bp)
	}
	return out, gone
}

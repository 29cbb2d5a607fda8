package builder

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A CachedLayer is a layer of the cache that Restore takes contents of.
type CachedLayer struct {
	Buildpack cnb.ID `json:"buildpack"`
	Name      string `json:"name"`
	DiffID    string `json:"diffID"`
}

// ID names the layer as Layer.ID does.
func (l CachedLayer) ID() string { return string(l.Buildpack) + ":" + l.Name }

// Path is the layer's directory below <layers>.
func (l CachedLayer) Path() string { return path.Join(l.Buildpack.Dir(), l.Name) }

// A PlacedLayer is contents that UnpackCached made, with their size as it told it.
type PlacedLayer struct {
	CachedLayer
	Bytes int64 `json:"bytes"`
}

// CachedLayers lists the layers whose contents Restore takes from the cache, in its order. Those whose metadata has
// no valid diffID are not among them, nor those that share a directory with another: two ids of buildpacks may have
// one directory.
func CachedLayers(api cnb.API, group cnb.Group, previous cnb.LayersMetadata, cache cnb.CacheMetadata) []CachedLayer {
	var all, out []CachedLayer
	paths := map[string]int{}
	for _, el := range group.Elements {
		if el.Extension {
			continue
		}
		for _, s := range restoreSteps(api, el.ID, previous, cache) {
			if s.warning == "" && s.sha != "" {
				l := CachedLayer{el.ID, s.layer, s.sha}
				paths[l.Path()]++
				all = append(all, l)
			}
		}
	}
	for _, l := range all {
		if validDiffID(l.DiffID) && paths[l.Path()] == 1 {
			out = append(out, l)
		}
	}
	return out
}

// An UnpackedLayer is what UnpackCached made.
type UnpackedLayer struct {
	Bytes int64 `json:"bytes"` // as Restore reports them
	// Exact tells that Export makes this very layer of the files again, as long as nothing of them changes and the
	// directories above, <layers> and the buildpack's, are of the buildpacks' user and have the mode 0755.
	Exact bool `json:"exact"`
}

// UnpackCached makes the layers directory of d with nothing in it but the contents of one layer, which are what Restore
// makes of tar. Nothing of the layers directory may be there before. After an error the caller removes what is there.
func UnpackCached(ctx context.Context, d Dirs, l CachedLayer, tar io.Reader, limits Limits) (out UnpackedLayer, err error) {
	if out, err = unpackCached(ctx, d, l, tar, limits); err != nil {
		return out, fmt.Errorf("unpack layer %s: %w", l.ID(), err)
	}
	return out, nil
}

func unpackCached(ctx context.Context, d Dirs, l CachedLayer, tar io.Reader, limits Limits) (out UnpackedLayer, err error) {
	if _, err := cnb.ParseLayerName(l.Name); err != nil {
		return out, err
	}
	if _, err := cnb.ParseID(string(l.Buildpack)); err != nil {
		return out, err
	}
	if !validDiffID(l.DiffID) {
		return out, errNoDiffID
	}
	at := d.Host(d.Layers)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Mkdir(at, 0o755)); err != nil {
		return out, err
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return out, err
	}
	defer root.Close()
	if err := root.Mkdir(l.Buildpack.Dir(), 0o755); err != nil {
		return out, err
	}
	for _, dir := range []string{"./", "./" + l.Buildpack.Dir()} { // whatever the umask
		if err := errors.Join(root.Chmod(dir, 0o755), d.chown(root, dir)); err != nil {
			return out, err
		}
	}
	if out.Bytes, err = unpackLayer(ctx, d, root, l.Path(), l.DiffID, tar, limits); err != nil {
		return out, err
	}
	out.Exact = exact(ctx, d, l, limits)
	return out, context.Cause(ctx)
}

// exact makes the layer of the files that were just unpacked. It need not be the same: modes may be lost, another tool
// may write the same files in another way. One that cannot be made is Export's to complain of.
func exact(ctx context.Context, d Dirs, l CachedLayer, limits Limits) bool {
	h := sha256.New()
	warned := false
	again := Layer{ID: l.ID(), parts: layerTree(d, l.Buildpack.Dir(), l.Name), limits: limits, warn: func(string) { warned = true }}
	return again.WriteTar(ctx, h) == nil && !warned && sum(h) == l.DiffID
}

// inPlace looks whether the contents of j are in dir already.
func (r *restorer) inPlace(j *restoreJob, dir string) (int64, bool) {
	for _, p := range r.InPlace {
		if p.Buildpack != j.buildpack.ID || p.Name != j.layer || p.DiffID != j.sha {
			continue
		}
		fi, err := r.root.Lstat(dir)
		return p.Bytes, err == nil && fi.IsDir()
	}
	return 0, false
}

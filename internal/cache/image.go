package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
)

// ImageOptions refine a cache image.
type ImageOptions struct {
	// Clear leaves unread what the image has: the cache is empty until Replace.
	Clear bool
	// DeletePrevious has Replace delete the image that it replaced (Platform API before 0.13, RFC 0116).
	DeletePrevious bool
}

// An Image is a cache in a registry: an image of the cached layers that nothing runs, with the metadata in a label.
type Image struct {
	warnings
	reg  *image.Registry
	ref  image.Ref
	opts ImageOptions

	mu       sync.Mutex
	current  v1.Image // what the registry has; nil where it has none that can be used
	digest   v1.Hash  // of current
	metadata cnb.CacheMetadata
	exists   bool
	dropped  map[string]bool // layers with other contents than the image says
}

var _ Cache = (*Image)(nil)

// OpenImage reads the metadata of a cache image; no layer is read. An image that is not there or cannot be used is an
// empty cache, and the latter is in Warnings: whoever wants to know before the build whether the registry can be read
// and written asks it (Registry.CheckRead, CheckWrite). An error means that ref is not a name in a registry, or that
// ctx has ended. ctx must outlive the reading of layers.
func OpenImage(ctx context.Context, reg *image.Registry, ref image.Ref, opts ImageOptions) (*Image, error) {
	if !ref.IsName() {
		return nil, fmt.Errorf("open cache image: %q is not a name in a registry", ref)
	}
	c := &Image{reg: reg, ref: ref, opts: opts}
	if opts.Clear {
		return c, nil
	}
	// The reference writes no architecture, so any is read.
	img, err := reg.Image(ctx, ref, v1.Platform{OS: "linux"})
	switch {
	case context.Cause(ctx) != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, image.ErrNotFound):
		return c, nil
	case err == nil && img.Config.Architecture != "" && img.Config.Architecture != runtime.GOARCH:
		err = fmt.Errorf("it is for architecture %s", img.Config.Architecture)
	}
	c.exists = true
	if err != nil {
		c.warn("cache image %s cannot be read, the build starts without: %v", ref, err)
		return c, nil
	}
	md, err := c.read(img)
	if err != nil {
		c.warn("cache image %s is not used: %v", ref, err)
		return c, nil
	}
	c.current, c.digest, c.metadata = img, img.ManifestDigest, md
	return c, nil
}

// read decodes the label, as far as the image has the layers.
func (c *Image) read(img *image.Image) (cnb.CacheMetadata, error) {
	label := img.Label(cnb.LabelCacheMetadata)
	if label == "" {
		return cnb.CacheMetadata{}, nil
	}
	md, err := cnb.DecodeCacheMetadata([]byte(label))
	if err != nil {
		return md, err
	}
	have := map[string]bool{}
	for _, d := range img.Config.RootFS.DiffIDs {
		have[d.String()] = true
	}
	md, gone := present(md, func(id string) bool { return have[id] })
	for _, g := range gone {
		c.warn("cache image %s lacks the contents of %s", c.ref, g)
	}
	return md, nil
}

// Name is the image as it was given.
func (c *Image) Name() string { return c.ref.String() }

// Exists says whether the registry has the image.
func (c *Image) Exists() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exists
}

// Metadata describes the layers in the image. Callers must not change it.
func (c *Image) Metadata() cnb.CacheMetadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metadata
}

// HasLayer says whether the image has a layer.
func (c *Image) HasLayer(diffID string) bool {
	_, err := c.Layer(diffID)
	return err == nil
}

// Layer is a layer of the image. It is read when its contents are.
func (c *Image) Layer(diffID string) (v1.Layer, error) {
	h, err := parseDiffID(diffID)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil || c.dropped[h.String()] {
		return nil, fmt.Errorf("layer %s: %w", h, errNoLayer)
	}
	return c.current.LayerByDiffID(h)
}

// Drop has Replace ask for a layer whose contents turned out to be wrong, rather than to keep it.
func (c *Image) Drop(diffID string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped == nil {
		c.dropped = map[string]bool{}
	}
	c.dropped[diffID] = true
	c.metadata, _ = present(c.metadata, func(id string) bool { return id != diffID })
	return nil
}

// Open reads a layer from the registry.
func (c *Image) Open(ctx context.Context, diffID string) (io.ReadCloser, error) {
	l, err := c.Layer(diffID)
	if err != nil {
		return nil, fmt.Errorf("open layer in cache image %s: %w", c.ref, err)
	}
	rc, err := l.Uncompressed()
	if err != nil {
		return nil, fmt.Errorf("open layer in cache image %s: %w", c.ref, err)
	}
	return &contextReadCloser{contextReader{ctx, rc}, rc}, nil
}

type contextReadCloser struct {
	contextReader
	io.Closer
}

// Replace pushes an image of exactly md's layers. Those of the image that was there are not read: the registry has
// them. Should it have lost one, all are asked for.
func (c *Image) Replace(ctx context.Context, md cnb.CacheMetadata, layer func(diffID string) (v1.Layer, error)) error {
	ids, err := layersOf(md)
	if err != nil {
		return fmt.Errorf("write cache image %s: %w", c.ref, err)
	}
	reused := false
	img, err := makeImage(md, ids, func(id string) (v1.Layer, error) {
		if l, err := c.Layer(id); err == nil {
			reused = true
			return l, nil
		}
		return layer(id)
	})
	if err == nil {
		err = c.push(ctx, md, img)
	}
	if err != nil && reused && errors.Is(err, image.ErrNotFound) {
		if img, err = makeImage(md, ids, layer); err == nil {
			err = c.push(ctx, md, img)
		}
	}
	if err != nil {
		return fmt.Errorf("write cache image %s: %w", c.ref, err)
	}
	return nil
}

func (c *Image) push(ctx context.Context, md cnb.CacheMetadata, img v1.Image) error {
	w, err := c.reg.Push(ctx, []image.Ref{c.ref}, img, image.PushOptions{})
	if err != nil {
		return err
	}
	c.mu.Lock()
	old := c.digest
	c.current, c.digest, c.metadata, c.exists, c.dropped = img, w.Digest, md, true, nil
	c.mu.Unlock()
	if c.opts.DeletePrevious && old != (v1.Hash{}) && old != w.Digest {
		if err := c.reg.Delete(ctx, c.ref.WithDigest(old)); err != nil {
			c.warn("Unable to delete cache image: %v", err) // the reference's phrase
		}
	}
	return nil
}

// created is the time of all that is made; the reference's.
var created = v1.Time{Time: time.Date(1980, time.January, 1, 0, 0, 1, 0, time.UTC)}

// makeImage is a cache image as the reference makes them, but with an architecture, which an image must have.
func makeImage(md cnb.CacheMetadata, ids []string, layer func(diffID string) (v1.Layer, error)) (v1.Image, error) {
	label, err := json.Marshal(md)
	if err != nil {
		return nil, err
	}
	var adds []mutate.Addendum
	for _, id := range ids {
		l, err := layer(id)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", id, err)
		}
		mt, err := l.MediaType()
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", id, err)
		}
		if mt == types.DockerLayer {
			mt = types.OCILayer // the same bytes
		}
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: mt, History: v1.History{Created: created}})
	}
	if len(adds) == 0 { // some registries take no image without a layer: an empty tar, as in the reference
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(make([]byte, 1024))), nil })
		if err != nil {
			return nil, err
		}
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: types.OCILayer, History: v1.History{Created: created}})
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, Created: created,
		Config: v1.Config{Labels: map[string]string{cnb.LabelCacheMetadata: string(label)}},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(img, adds...)
}

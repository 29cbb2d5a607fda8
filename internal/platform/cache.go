package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// buildCache is what earlier builds of the app kept: in the local store under a key, or in a registry image.
type buildCache struct {
	local    *layerstore.Cache // one of the two is nil
	image    *cache.Image
	metadata cnb.CacheMetadata
}

// openCache reads the cache's metadata. A cache that cannot be read is an empty one.
func (j *job) openCache(ctx context.Context) error {
	if j.o.Cache.Image != "" {
		return j.openCacheImage(ctx)
	}
	key := j.o.Cache.Key
	if key == "" {
		key = j.dest.refs[0].Name()
	}
	j.cache.local = j.store.Cache(key)
	if j.o.Cache.Clear {
		if err := j.cache.local.Clear(); err != nil {
			return err
		}
	}
	j.cache.metadata = j.cache.local.Metadata()
	if j.stack != nil {
		j.ahead = inBackground(ctx, j.unpackAhead)
	}
	return nil
}

func (j *job) openCacheImage(ctx context.Context) error {
	ref, err := image.ParseRef(j.o.Cache.Image)
	if err != nil {
		return fmt.Errorf("cache image: %w", err)
	}
	if err := j.dest.isNot(ref, "cache image"); err != nil {
		return err
	}
	if err := j.m.Registry.CheckWrite(ctx, ref); err != nil {
		return fmt.Errorf("cache image: %w", err)
	}
	if j.cache.image, err = cache.OpenImage(ctx, j.m.Registry, ref, cache.ImageOptions{Clear: j.o.Cache.Clear}); err != nil {
		return err
	}
	for _, w := range j.cache.image.Warnings() {
		j.warn("%s", w)
	}
	j.cache.metadata = j.cache.image.Metadata()
	return nil
}

// fetchLayer brings a layer of the cache image or of the previous image into the store.
func (j *job) fetchLayer(ctx context.Context, diffID string) error {
	if c := j.cache.image; c != nil {
		if l, err := c.Layer(diffID); err == nil {
			if err := image.Keep(ctx, j.m.Store, l); err != nil {
				return errors.Join(err, c.Drop(diffID))
			}
			return nil
		}
	}
	if j.previous == nil {
		return fmt.Errorf("layer %s: %w", diffID, fs.ErrNotExist)
	}
	h, err := v1.NewHash(diffID)
	if err != nil {
		return err
	}
	l, err := j.previous.LayerByDiffID(h)
	if err != nil {
		return fmt.Errorf("layer %s: %w", diffID, fs.ErrNotExist)
	}
	return image.Keep(ctx, j.m.Store, l)
}

// saveCache keeps what this build wants to find again.
func (j *job) saveCache(ctx context.Context) error {
	if j.exported.Cache == nil {
		return nil
	}
	if j.cache.image != nil {
		return j.cache.image.Replace(ctx, *j.exported.Cache, j.layer)
	}
	var ids []string
	for _, l := range j.exported.CacheLayers {
		ids = append(ids, l.DiffID)
	}
	return j.cache.local.Replace(*j.exported.Cache, ids)
}

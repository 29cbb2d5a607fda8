package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// buildCache is what earlier builds of the app kept: in the local store under a key, or in a registry image.
type buildCache struct {
	local    *layerstore.Cache
	ref      image.Ref    // of a cache image
	image    *image.Image // nil where the registry has none yet
	metadata cnb.CacheMetadata
}

// openCache reads the cache's metadata. A cache that cannot be read is an empty one.
func (j *job) openCache(ctx context.Context) error {
	j.h.fetch = j.fetchLayer
	if j.o.Cache.Image != "" {
		return j.openCacheImage(ctx)
	}
	key := j.o.Cache.Key
	if key == "" {
		key = j.dest.refs[0].Name()
	}
	j.cache.local = j.m.Store.Cache(key)
	if j.o.Cache.Clear {
		if err := j.cache.local.Clear(); err != nil {
			return err
		}
	}
	j.cache.metadata = j.cache.local.Metadata()
	return nil
}

func (j *job) openCacheImage(ctx context.Context) (err error) {
	if j.cache.ref, err = image.ParseRef(j.o.Cache.Image); err != nil {
		return fmt.Errorf("cache image: %w", err)
	}
	if err := j.dest.isNot(j.cache.ref, "cache image"); err != nil {
		return err
	}
	if err := j.m.Registry.CheckWrite(ctx, j.cache.ref); err != nil {
		return fmt.Errorf("cache image: %w", err)
	}
	if j.o.Cache.Clear {
		return nil
	}
	img, err := j.m.Registry.Image(ctx, j.cache.ref, v1.Platform{})
	if err != nil {
		if !missing(err) {
			j.warn("cache image %s cannot be read, the build starts without: %v", j.cache.ref, err)
		}
		return nil
	}
	if j.cache.metadata, err = cnb.DecodeCacheMetadata([]byte(img.Label(cnb.LabelCacheMetadata))); err != nil {
		j.warn("cache image %s is not used: %v", j.cache.ref, err)
		return nil
	}
	j.cache.image = img
	return nil
}

// fetchLayer brings a layer of the cache image or of the previous image into the store.
func (j *job) fetchLayer(ctx context.Context, diffID string) error {
	h, err := v1.NewHash(diffID)
	if err != nil {
		return err
	}
	for _, img := range []*image.Image{j.cache.image, j.previous} {
		if img == nil {
			continue
		}
		l, err := img.LayerByDiffID(h)
		if err != nil {
			continue
		}
		return image.Keep(ctx, j.m.Store, l)
	}
	return fmt.Errorf("layer %s: %w", diffID, fs.ErrNotExist)
}

// saveCache keeps what this build wants to find again.
func (j *job) saveCache(ctx context.Context) error {
	if j.exported.Cache == nil {
		return nil
	}
	var ids []string
	for _, l := range j.exported.CacheLayers {
		ids = append(ids, l.DiffID)
	}
	if j.cache.local != nil {
		return j.cache.local.Replace(*j.exported.Cache, ids)
	}
	img, err := j.cacheImage(ids)
	if err != nil {
		return fmt.Errorf("make the cache image: %w", err)
	}
	var from []*image.Image
	if j.cache.image != nil {
		from = append(from, j.cache.image)
	}
	if _, err := j.m.Registry.Push(ctx, []image.Ref{j.cache.ref}, img, image.PushOptions{From: from}); err != nil {
		return fmt.Errorf("write the cache image: %w", err)
	}
	return nil
}

// cacheImage is an image of the cached layers, with their metadata in a label as the reference writes it.
func (j *job) cacheImage(diffIDs []string) (v1.Image, error) {
	var layers []v1.Layer
	for _, id := range diffIDs {
		l, err := j.layer(id)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	label, err := json.Marshal(j.exported.Cache)
	if err != nil {
		return nil, err
	}
	cf := withPlatform(img)
	cf.Config.Labels = map[string]string{cnb.LabelCacheMetadata: string(label)}
	return mutate.ConfigFile(img, cf)
}

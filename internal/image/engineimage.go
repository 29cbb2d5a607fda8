package image

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// engineImage is an image in a Docker engine. What inspect tells is at hand; the first call that needs
// exact bytes reads the image into the local store, once per image and machine: by its config when the
// store has it from elsewhere, by its registry digest where the registry still has it, else out of the
// engine with Save.
type engineImage struct {
	id   v1.Hash // the config's digest; zero in a containerd image store, which tells only the manifest's
	read func() (v1.Image, error)
}

func newEngineImage(id v1.Hash, read func() (v1.Image, error)) *engineImage {
	return &engineImage{id: id, read: sync.OnceValues(read)}
}

// lazyEngine says whether asking the image for its bytes could read it out of an engine.
func lazyEngine(img v1.Image) bool {
	if i, ok := img.(*Image); ok {
		img = i.Image
	}
	_, ok := img.(*engineImage)
	return ok
}

func (i *engineImage) ConfigName() (v1.Hash, error) {
	if i.id != (v1.Hash{}) {
		return i.id, nil
	}
	img, err := i.read()
	if err != nil {
		return v1.Hash{}, err
	}
	return img.ConfigName()
}

func (i *engineImage) Layers() ([]v1.Layer, error) { return from(i, v1.Image.Layers) }
func (i *engineImage) MediaType() (types.MediaType, error) {
	return from(i, v1.Image.MediaType)
}
func (i *engineImage) Size() (int64, error)                { return from(i, v1.Image.Size) }
func (i *engineImage) ConfigFile() (*v1.ConfigFile, error) { return from(i, v1.Image.ConfigFile) }
func (i *engineImage) RawConfigFile() ([]byte, error)      { return from(i, v1.Image.RawConfigFile) }
func (i *engineImage) Digest() (v1.Hash, error)            { return from(i, v1.Image.Digest) }
func (i *engineImage) Manifest() (*v1.Manifest, error)     { return from(i, v1.Image.Manifest) }
func (i *engineImage) RawManifest() ([]byte, error)        { return from(i, v1.Image.RawManifest) }
func (i *engineImage) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	return from(i, func(img v1.Image) (v1.Layer, error) { return img.LayerByDigest(h) })
}
func (i *engineImage) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	return from(i, func(img v1.Image) (v1.Layer, error) { return img.LayerByDiffID(h) })
}

func from[T any](i *engineImage, f func(v1.Image) (T, error)) (T, error) {
	img, err := i.read()
	if err != nil {
		var none T
		return none, err
	}
	return f(img)
}

// fromEngine finds an image in the engine and reads none of it.
func (r *Resolver) fromEngine(ctx context.Context, ref Ref) (*Image, error) {
	name := ref.Familiar()
	info, err := r.Engine.Inspect(ctx, name)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("image %q in Docker: %w", name, ErrNotFound)
		}
		return nil, fmt.Errorf("image %q in Docker: %w", name, err)
	}
	engine, err := r.Engine.EngineInfo(ctx)
	if err != nil {
		return nil, err
	}
	if r.Images != nil { // what the store has is exact and needs no reading
		if img, ok := r.Images.byID(info.ID); ok {
			img.Ref, img.EngineID = ref, info.ID
			if ref.IsName() {
				img.Reference = ref.WithDigest(img.ManifestDigest).Name()
			}
			return img, inPlatform(img, r.Platform)
		}
	}
	id, err := v1.NewHash(info.ID)
	if err != nil {
		return nil, fmt.Errorf("image %q in Docker: %w", name, err)
	}
	img := &Image{Kind: KindEngine, Ref: ref, Reference: info.ID, EngineID: info.ID, Config: &info.Config, ID: id}
	if engine.ContainerStore {
		img.ManifestDigest, img.ID = id, v1.Hash{}
		if ref.IsName() {
			img.Reference = ref.WithDigest(id).Name()
		}
	}
	img.Image = newEngineImage(img.ID, func() (v1.Image, error) { return r.materialise(ctx, ref, info) })
	return img, inPlatform(img, r.Platform)
}

// materialise gets the exact bytes of an image in the engine.
func (r *Resolver) materialise(ctx context.Context, ref Ref, info EngineImage) (v1.Image, error) {
	if r.Images == nil {
		return nil, fmt.Errorf("image %q: reading it out of Docker needs a local store", ref.Familiar())
	}
	if img, err := r.fromOrigin(ctx, info); err == nil {
		return img, nil
	}
	raw, err := saveImage(ctx, r.Engine, info.ID, r.Images.store, r.Progress)
	if err != nil {
		return nil, err
	}
	img, err := found(raw, KindStore, ref)
	if err != nil {
		return nil, err
	}
	return raw, r.Images.recordSaved(ctx, img)
}

// originTime bounds how long a registry is waited for before an image is saved out of the engine instead.
const originTime = 10 * time.Second

// fromOrigin finds the image under the digest it had in the registry that the engine pulled it from. So a
// published image has the very base layers of its run image, and no byte of them moves.
func (r *Resolver) fromOrigin(ctx context.Context, info EngineImage) (v1.Image, error) {
	if r.Registry == nil || r.Policy == PullNever {
		return nil, ErrNotFound
	}
	short, cancel := context.WithTimeout(ctx, originTime)
	defer cancel()
	for _, d := range info.RepoDigests {
		ref, err := ParseRef(d)
		if err != nil {
			continue
		}
		img, err := r.Registry.Image(short, ref, r.Platform)
		if err != nil || img.ID.String() != info.ID && img.ManifestDigest.String() != info.ID {
			continue
		}
		if err := r.Images.recordPulled(short, img, r.Platform); err != nil {
			return nil, err
		}
		raw, err := img.RawManifest()
		if err != nil {
			return nil, err
		}
		return newRawImage(raw, storeSource{store: r.Images.store, fetch: r.Registry.source(ctx, ref).open, origin: ref})
	}
	return nil, ErrNotFound
}

// recordSaved remembers the image by its ID, so that the next build need not save it again.
func (i *Images) recordSaved(_ context.Context, img *Image) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	d, err := describe(img, manifest)
	if err != nil {
		return err
	}
	return i.edit(i.pulledPath(), func(idx *v1.IndexManifest) error {
		setName(idx, img.ID.String(), d)
		return nil
	})
}

package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// Images is the local image store: an OCI image layout whose blobs are those of a layer store and whose
// index.json names images. Any number of processes may use it. A second file of the same form, pulled.json,
// remembers what registry names meant when they were last asked; the layers of those may be missing here.
type Images struct {
	store *layerstore.Store
}

// OpenImages is the local image store in a layer store's directory. A valid, empty index is written when
// there is none.
func OpenImages(store *layerstore.Store) (*Images, error) {
	i := &Images{store: store}
	if _, err := os.Lstat(i.indexPath()); notExist(err) {
		if err := i.edit(i.indexPath(), func(*v1.IndexManifest) error { return nil }); err != nil {
			return nil, err
		}
	}
	return i, nil
}

// Store is the layer store underneath.
func (i *Images) Store() *layerstore.Store { return i.store }

func (i *Images) indexPath() string  { return filepath.Join(i.store.Dir(), "index.json") }
func (i *Images) pulledPath() string { return filepath.Join(i.store.Dir(), "pulled.json") }

// read loads an index. An absent or garbled one is empty: images are lost with it, builds are not.
func (i *Images) read(path string) *v1.IndexManifest {
	b, err := os.ReadFile(path)
	if err != nil {
		return emptyIndex()
	}
	idx, err := parseIndex(b)
	if err != nil {
		return emptyIndex()
	}
	return idx
}

// edit changes an index under the store's index lock, in one atomic step.
func (i *Images) edit(path string, change func(*v1.IndexManifest) error) error {
	unlock, err := i.store.Lock("index", true)
	if err != nil {
		return fmt.Errorf("lock image store: %w", err)
	}
	defer unlock()
	idx := i.read(path)
	if err := change(idx); err != nil {
		return err
	}
	slices.SortStableFunc(idx.Manifests, func(a, b v1.Descriptor) int {
		return strings.Compare(a.Annotations[annotationName], b.Annotations[annotationName])
	})
	b, err := json.MarshalIndent(idx, "", "  ")
	if err != nil {
		return fmt.Errorf("write image index: %w", err)
	}
	if err := i.store.Replace(path, append(b, '\n')); err != nil {
		return fmt.Errorf("write image index: %w", err)
	}
	return nil
}

// setName makes a name mean d and nothing else.
func setName(idx *v1.IndexManifest, name string, d v1.Descriptor) {
	dropName(idx, name)
	annotations := map[string]string{annotationName: name}
	for _, k := range []string{annotationID} {
		if v := d.Annotations[k]; v != "" {
			annotations[k] = v
		}
	}
	d.Annotations = annotations
	idx.Manifests = append(idx.Manifests, d)
}

func dropName(idx *v1.IndexManifest, name string) bool {
	n := len(idx.Manifests)
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d v1.Descriptor) bool {
		return d.Annotations[annotationName] == name
	})
	return len(idx.Manifests) < n
}

// A Named is one name in the store and what it means.
type Named struct {
	Ref      Ref
	Digest   v1.Hash
	ID       v1.Hash
	Platform v1.Platform
	Created  time.Time
	Size     int64 // of all layers, compressed
	Labels   map[string]string
}

// List gives every name, sorted. An entry whose manifest or config is broken is left out.
func (i *Images) List(ctx context.Context) ([]Named, error) {
	var out []Named
	for _, d := range i.read(i.indexPath()).Manifests {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		ref, err := ParseRef(d.Annotations[annotationName])
		if err != nil {
			continue
		}
		img, err := imageAt(storeSource{store: i.store}, d, v1.Platform{})
		if err != nil {
			continue
		}
		c, err := img.ConfigFile()
		if err != nil {
			continue
		}
		n := Named{Ref: ref, Digest: img.digest, ID: img.manifest.Config.Digest, Created: c.Created.Time, Labels: c.Config.Labels,
			Platform: v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}}
		for _, l := range img.manifest.Layers {
			n.Size += l.Size
		}
		out = append(out, n)
	}
	return out, nil
}

// find looks a name, a digest in a repository, or an image ID up in one index.
func find(idx *v1.IndexManifest, ref Ref) (v1.Descriptor, bool) {
	for _, d := range idx.Manifests {
		switch {
		case ref.IsID():
			if d.Annotations[annotationID] == ref.ID() || d.Digest.String() == ref.ID() {
				return d, true
			}
		case d.Annotations[annotationName] == ref.Name():
			return d, true
		case ref.Digest() != "" && d.Digest.String() == ref.Digest():
			if named, err := ParseRef(d.Annotations[annotationName]); err == nil && named.SameRepository(ref) {
				return d, true
			}
		}
	}
	return v1.Descriptor{}, false
}

// Get finds an image by name, digest or ID. All its blobs are local. An image of which a blob is missing is
// no image: ErrNotFound. A zero platform takes any.
func (i *Images) Get(ctx context.Context, ref Ref, want v1.Platform) (*Image, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	d, ok := find(i.read(i.indexPath()), ref)
	if !ok {
		return nil, fmt.Errorf("image %q in the local store: %w", ref.Familiar(), ErrNotFound)
	}
	return i.at(ref, d, want, storeSource{store: i.store}, true)
}

// byID finds an image made or kept here by its config digest, which is also its ID in Docker.
func (i *Images) byID(id string) (*Image, bool) {
	ref, err := ParseRef(id)
	if err != nil {
		return nil, false
	}
	for _, path := range []string{i.indexPath(), i.pulledPath()} {
		if d, ok := find(i.read(path), ref); ok {
			if img, err := i.at(ref, d, v1.Platform{}, storeSource{store: i.store}, true); err == nil {
				return img, true
			}
		}
	}
	return nil, false
}

// at builds the Image behind a descriptor; complete demands every blob.
func (i *Images) at(ref Ref, d v1.Descriptor, want v1.Platform, src storeSource, complete bool) (*Image, error) {
	missing := func(what string) (*Image, error) {
		return nil, fmt.Errorf("image %q in the local store: %s is missing: %w", ref.Familiar(), what, ErrNotFound)
	}
	if !i.store.Has(d.Digest, d.Size) {
		return missing("its manifest")
	}
	raw, err := imageAt(storeSource{store: i.store}, d, want)
	if err != nil {
		return missing("its manifest (" + err.Error() + ")")
	}
	raw.src = src
	if !i.store.Has(raw.manifest.Config.Digest, raw.manifest.Config.Size) {
		return missing("its config")
	}
	for _, l := range raw.manifest.Layers {
		if complete && !i.store.Has(l.Digest, l.Size) {
			return missing("layer " + l.Digest.String())
		}
	}
	img, err := found(raw, KindStore, ref)
	if err != nil {
		return missing("its config (" + err.Error() + ")")
	}
	if name, err := ParseRef(d.Annotations[annotationName]); err == nil && ref.IsID() {
		img.Reference = name.WithDigest(img.ManifestDigest).Name()
	}
	return img, inPlatform(img, want)
}

// found wraps an image that has exact bytes.
func found(raw v1.Image, kind Kind, ref Ref) (*Image, error) {
	c, err := raw.ConfigFile()
	if err != nil {
		return nil, err
	}
	digest, err := raw.Digest()
	if err != nil {
		return nil, err
	}
	id, err := raw.ConfigName()
	if err != nil {
		return nil, err
	}
	img := &Image{Image: raw, Kind: kind, Ref: ref, ManifestDigest: digest, ID: id, Config: c, Reference: id.String()}
	if ref.IsName() {
		img.Reference = ref.WithDigest(digest).Name()
	}
	return img, nil
}

func inPlatform(img *Image, want v1.Platform) error {
	err := checkPlatform(img.Config, want)
	if pe, ok := err.(*PlatformError); ok {
		pe.Image = img.Ref.Familiar()
	}
	return err
}

// Put stores an image with all its layers and makes the names mean it.
func (i *Images) Put(ctx context.Context, refs []Ref, img v1.Image, progress Progress) (Written, error) {
	w, d, err := copyImage(ctx, i.store, img, "write", progress)
	if err != nil {
		return w, fmt.Errorf("write image to the local store: %w", err)
	}
	for _, r := range refs {
		if !r.IsName() || r.Digest() != "" {
			return w, fmt.Errorf("image %q: not a name for the local store, want name:tag", r)
		}
	}
	err = i.edit(i.indexPath(), func(idx *v1.IndexManifest) error {
		for _, r := range refs {
			setName(idx, r.Name(), d)
			w.Names = append(w.Names, r.Name())
		}
		return nil
	})
	return w, err
}

// Tag gives an image of the store a further name.
func (i *Images) Tag(_ context.Context, source, target Ref) error {
	if !target.IsName() || target.Digest() != "" {
		return fmt.Errorf("image %q: not a name for the local store, want name:tag", target)
	}
	return i.edit(i.indexPath(), func(idx *v1.IndexManifest) error {
		d, ok := find(idx, source)
		if !ok {
			return fmt.Errorf("image %q in the local store: %w", source.Familiar(), ErrNotFound)
		}
		setName(idx, target.Name(), d)
		return nil
	})
}

// Remove drops a name; given a digest or an ID, every name of that image. Its blobs go with Prune.
func (i *Images) Remove(_ context.Context, ref Ref) error {
	return i.edit(i.indexPath(), func(idx *v1.IndexManifest) error {
		if ref.IsName() && dropName(idx, ref.Name()) {
			return nil
		}
		d, ok := find(idx, ref)
		if !ok {
			return fmt.Errorf("image %q in the local store: %w", ref.Familiar(), ErrNotFound)
		}
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(o v1.Descriptor) bool { return o.Digest == d.Digest })
		return nil
	})
}

// Prune removes blobs that no name and no build cache needs and that were not used for that long, and
// forgets what was pulled and not used for that long.
func (i *Images) Prune(ctx context.Context, unused time.Duration) (layerstore.Pruned, error) {
	if err := context.Cause(ctx); err != nil {
		return layerstore.Pruned{}, err
	}
	before := time.Now().Add(-unused)
	err := i.edit(i.pulledPath(), func(idx *v1.IndexManifest) error {
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d v1.Descriptor) bool {
			info, err := os.Lstat(filepath.Join(i.store.Dir(), "blobs", "sha256", d.Digest.Hex))
			return err != nil || info.ModTime().Before(before)
		})
		return nil
	})
	if err != nil {
		return layerstore.Pruned{}, err
	}
	keep := map[string]bool{}
	for _, path := range []string{i.indexPath(), i.pulledPath()} {
		for _, d := range i.read(path).Manifests {
			keep[d.Digest.String()] = true
			raw, err := imageAt(storeSource{store: i.store}, d, v1.Platform{})
			if err != nil {
				continue
			}
			keep[raw.manifest.Config.Digest.String()] = true
			for _, l := range raw.manifest.Layers {
				keep[l.Digest.String()] = true
			}
		}
	}
	return i.store.Prune(keep, unused)
}

// recordPulled remembers what a registry name meant for a platform, without its layers.
func (i *Images) recordPulled(ctx context.Context, img *Image, want v1.Platform) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	if _, err := i.store.PutBlob(ctx, config); err != nil {
		return err
	}
	d, err := describe(img, manifest)
	if err != nil {
		return err
	}
	if _, err := i.store.PutBlob(ctx, manifest); err != nil {
		return err
	}
	return i.edit(i.pulledPath(), func(idx *v1.IndexManifest) error {
		setName(idx, pulledName(img.Ref, want), d)
		return nil
	})
}

// pulledName tells the platforms of one name apart.
func pulledName(ref Ref, p v1.Platform) string { return ref.Name() + " " + platformString(p) }

// describe is the index entry of an image.
func describe(img v1.Image, manifest []byte) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(manifest))
	if err != nil {
		return v1.Descriptor{}, err
	}
	mt, err := img.MediaType()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if mt == "" {
		mt = types.OCIManifestSchema1
	}
	id, err := img.ConfigName()
	if err != nil {
		return v1.Descriptor{}, err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{MediaType: mt, Digest: digest, Size: size,
		Platform:    &v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant},
		Annotations: map[string]string{annotationID: id.String()}}, nil
}

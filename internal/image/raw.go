package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// Caps for documents that come from outside.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxLayers   = 1000
)

// A blobSource gives the blobs of one place. Open checks digest and size on every byte it hands out.
type blobSource interface {
	open(d v1.Descriptor) (io.ReadCloser, error)
}

// rawImage is an image of exact bytes: its manifest is at hand, its config is read once when asked for,
// its layers when they are read.
type rawImage struct {
	raw      []byte
	manifest *v1.Manifest
	digest   v1.Hash
	src      blobSource
	config   func() ([]byte, error) // keeps its result
	parsed   func() (*v1.ConfigFile, error)
}

func newRawImage(raw []byte, src blobSource) (*rawImage, error) {
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	img := &rawImage{raw: raw, manifest: m, digest: digest, src: src}
	img.config = sync.OnceValues(func() ([]byte, error) {
		b, err := readBlob(src, m.Config, maxConfig)
		if err != nil {
			return nil, fmt.Errorf("read image config %s: %w", m.Config.Digest, err)
		}
		return b, nil
	})
	img.parsed = sync.OnceValues(func() (*v1.ConfigFile, error) {
		b, err := img.config()
		if err != nil {
			return nil, err
		}
		c, err := v1.ParseConfigFile(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("parse image config %s: %w", m.Config.Digest, err)
		}
		if len(c.RootFS.DiffIDs) != len(m.Layers) {
			return nil, fmt.Errorf("image %s: config has %d layers, manifest %d", digest, len(c.RootFS.DiffIDs), len(m.Layers))
		}
		return c, nil
	})
	return img, nil
}

// parseManifest reads an image manifest and refuses what could not be an image we handle.
func parseManifest(raw []byte) (*v1.Manifest, error) {
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("image manifest is larger than %d bytes", maxManifest)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("parse image manifest: %w", err)
	}
	switch {
	case m.SchemaVersion != 2 || m.Config.Digest.Hex == "":
		return nil, fmt.Errorf("not an image manifest of schema 2 with a config")
	case len(m.Layers) > maxLayers:
		return nil, fmt.Errorf("image has %d layers, at most %d are read", len(m.Layers), maxLayers)
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if d.Digest.Algorithm != "sha256" || d.Size < 0 {
			return nil, fmt.Errorf("image manifest: blob %s: want a sha256 digest and a size", d.Digest)
		}
		if len(d.URLs) > 0 || !d.MediaType.IsDistributable() && d.MediaType.IsLayer() {
			return nil, fmt.Errorf("image has a foreign layer (%s), which is not read", d.Digest)
		}
	}
	return &m, nil
}

// readBlob reads a small blob whole.
func readBlob(src blobSource, d v1.Descriptor, max int64) ([]byte, error) {
	if d.Size > max {
		return nil, fmt.Errorf("blob %s has %d bytes, at most %d are read", d.Digest, d.Size, max)
	}
	r, err := src.open(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("blob %s has more than %d bytes", d.Digest, max)
	}
	return b, nil
}

func (i *rawImage) RawManifest() ([]byte, error)    { return i.raw, nil }
func (i *rawImage) Manifest() (*v1.Manifest, error) { return i.manifest.DeepCopy(), nil }
func (i *rawImage) Digest() (v1.Hash, error)        { return i.digest, nil }
func (i *rawImage) Size() (int64, error)            { return int64(len(i.raw)), nil }
func (i *rawImage) ConfigName() (v1.Hash, error)    { return i.manifest.Config.Digest, nil }
func (i *rawImage) RawConfigFile() ([]byte, error)  { return i.config() }
func (i *rawImage) MediaType() (types.MediaType, error) {
	if i.manifest.MediaType == "" {
		return types.OCIManifestSchema1, nil
	}
	return i.manifest.MediaType, nil
}

func (i *rawImage) ConfigFile() (*v1.ConfigFile, error) {
	c, err := i.parsed()
	if err != nil {
		return nil, err
	}
	return c.DeepCopy(), nil
}

func (i *rawImage) Layers() ([]v1.Layer, error) {
	c, err := i.parsed()
	if err != nil {
		return nil, err
	}
	ls := make([]v1.Layer, len(i.manifest.Layers))
	for n, d := range i.manifest.Layers {
		ls[n] = &rawLayer{src: i.src, desc: d, diffID: c.RootFS.DiffIDs[n]}
	}
	return ls, nil
}

func (i *rawImage) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	ls, err := i.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range ls {
		if l.(*rawLayer).desc.Digest == h {
			return l, nil
		}
	}
	if h == i.manifest.Config.Digest {
		return &rawLayer{src: i.src, desc: i.manifest.Config, diffID: h}, nil
	}
	return nil, fmt.Errorf("image %s has no layer %s", i.digest, h)
}

func (i *rawImage) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	ls, err := i.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range ls {
		if l.(*rawLayer).diffID == h {
			return l, nil
		}
	}
	return nil, fmt.Errorf("image %s has no layer with diffID %s", i.digest, h)
}

// rawLayer is a layer that a manifest and a config describe.
type rawLayer struct {
	src    blobSource
	desc   v1.Descriptor
	diffID v1.Hash
}

func (l *rawLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *rawLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *rawLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *rawLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *rawLayer) Compressed() (io.ReadCloser, error)  { return l.src.open(l.desc) }

// TarSize is a hint at the length of the layer's tar, for a layer in the local store.
func (l *rawLayer) TarSize() (int64, bool) {
	if s, ok := l.src.(storeSource); ok && s.store.Has(l.desc.Digest, l.desc.Size) {
		return s.store.TarSize(l.desc.Digest.String())
	}
	return 0, false
}

// Descriptor keeps annotations of the manifest when the layer moves to another image.
func (l *rawLayer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }

func (l *rawLayer) Uncompressed() (io.ReadCloser, error) {
	rc, err := l.src.open(l.desc)
	if err != nil {
		return nil, err
	}
	z, err := layerstore.NewDecoder(rc)
	if err != nil {
		rc.Close()
		return nil, fmt.Errorf("layer %s: %w", l.desc.Digest, err)
	}
	return &bothCloser{ReadCloser: z, under: rc}, nil
}

type bothCloser struct {
	io.ReadCloser
	under io.Closer
}

func (b *bothCloser) Close() error {
	err := b.ReadCloser.Close()
	if uerr := b.under.Close(); err == nil {
		err = uerr
	}
	return err
}

// storeSource reads blobs of the layer store, and from elsewhere those it lacks.
type storeSource struct {
	store *layerstore.Store
	// fetch opens a blob that is not in the store; nil when there is no such place.
	fetch func(v1.Descriptor) (io.ReadCloser, error)
	// origin is the repository that has the blobs too, if one is known.
	origin Ref
}

func (s storeSource) open(d v1.Descriptor) (io.ReadCloser, error) {
	if s.store.Has(d.Digest, d.Size) || s.fetch == nil {
		return s.store.Blob(d.Digest.String())
	}
	return s.fetch(d)
}

package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A Historian is an Engine that tells an image's history without saving it, the oldest step first.
type Historian interface {
	History(ctx context.Context, ref string) ([]v1.History, error)
}

// ViewEngine finds an image in a Docker engine by what the engine tells of it: settings, diffIDs and history. No byte
// of the image is read for that, and its manifest's digest and its config's exact bytes are unknown; it is a base to
// make another image on, and what LoadEngine sends to the same engine. The layers' bytes come from find, which is
// asked for a layer that has to be sent after all; nil makes that an error. An engine with a containerd image store
// wants whole images: there, use Resolver.InEngine.
func ViewEngine(ctx context.Context, e Engine, ref Ref, find func(diffID string) (v1.Layer, error)) (*Image, error) {
	name := ref.Familiar()
	info, err := e.Inspect(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("image %q in Docker: %w", name, err)
	}
	id, err := v1.NewHash(info.ID)
	if err != nil {
		return nil, fmt.Errorf("image %q in Docker: %w", name, err)
	}
	cf := info.Config
	if h, ok := e.(Historian); ok {
		steps, err := h.History(ctx, info.ID)
		if err != nil {
			return nil, fmt.Errorf("image %q in Docker: %w", name, err)
		}
		cf.History = layered(steps, len(cf.RootFS.DiffIDs))
	}
	v := &view{cf: &cf}
	for _, d := range cf.RootFS.DiffIDs {
		v.layers = append(v.layers, KnownLayer(d, find))
	}
	return &Image{Image: v, Kind: KindEngine, Ref: ref, Reference: info.ID, EngineID: info.ID, ID: id, Config: &cf}, nil
}

// layered is a history with one step per layer, or none at all: the engine does not say which steps made a layer, but
// where there are as many steps as layers each did.
func layered(steps []v1.History, layers int) []v1.History {
	if len(steps) != layers {
		return nil
	}
	return steps
}

// KnownLayer is a layer of which no more than the diffID is known until it is sent; find gives it then. Its Digest is
// its diffID, and its Size is 0: good for an image that goes to a Docker engine, whose config names diffIDs only.
func KnownLayer(diffID v1.Hash, find func(diffID string) (v1.Layer, error)) v1.Layer {
	return &knownLayer{diffID: diffID, find: find}
}

type knownLayer struct {
	diffID v1.Hash
	find   func(string) (v1.Layer, error)
}

// found is the layer with its bytes.
func (l *knownLayer) found() (v1.Layer, error) {
	if l.find == nil {
		return nil, fmt.Errorf("its bytes are in the engine only")
	}
	return l.find(l.diffID.String())
}

func (l *knownLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }
func (l *knownLayer) Digest() (v1.Hash, error) { return l.diffID, nil }
func (l *knownLayer) Size() (int64, error)     { return 0, nil }
func (l *knownLayer) MediaType() (types.MediaType, error) {
	return types.DockerLayer, nil
}

func (l *knownLayer) Compressed() (io.ReadCloser, error) {
	f, err := l.found()
	if err != nil {
		return nil, err
	}
	return f.Compressed()
}

func (l *knownLayer) Uncompressed() (io.ReadCloser, error) {
	f, err := l.found()
	if err != nil {
		return nil, err
	}
	return f.Uncompressed()
}

// view is an image as an engine describes it.
type view struct {
	cf     *v1.ConfigFile
	layers []v1.Layer
}

func (v *view) Layers() ([]v1.Layer, error)               { return v.layers, nil }
func (v *view) MediaType() (types.MediaType, error)       { return types.DockerManifestSchema2, nil }
func (v *view) ConfigFile() (*v1.ConfigFile, error)       { return v.cf.DeepCopy(), nil }
func (v *view) RawConfigFile() ([]byte, error)            { return json.Marshal(v.cf) }
func (v *view) LayerByDigest(h v1.Hash) (v1.Layer, error) { return v.LayerByDiffID(h) }

func (v *view) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	for _, l := range v.layers {
		if d, err := l.DiffID(); err == nil && d == h {
			return l, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

func (v *view) ConfigName() (v1.Hash, error) { return sumOf(v.RawConfigFile()) }
func (v *view) Digest() (v1.Hash, error)     { return sumOf(v.RawManifest()) }

func (v *view) Size() (int64, error) {
	b, err := v.RawManifest()
	return int64(len(b)), err
}

func (v *view) RawManifest() ([]byte, error) {
	m, err := v.Manifest()
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

func (v *view) Manifest() (*v1.Manifest, error) {
	config, err := v.RawConfigFile()
	if err != nil {
		return nil, err
	}
	id, err := v.ConfigName()
	if err != nil {
		return nil, err
	}
	m := &v1.Manifest{
		SchemaVersion: 2, MediaType: types.DockerManifestSchema2,
		Config: v1.Descriptor{MediaType: types.DockerConfigJSON, Size: int64(len(config)), Digest: id},
	}
	for _, l := range v.layers {
		d, err := l.DiffID()
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.DockerLayer, Digest: d})
	}
	return m, nil
}

func sumOf(b []byte, err error) (v1.Hash, error) {
	if err != nil {
		return v1.Hash{}, err
	}
	h, _, err := v1.SHA256(bytes.NewReader(b))
	return h, err
}

package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// maxSavedFiles bounds the entries of an engine's archive; an image has a handful per layer.
const maxSavedFiles = 20_000

// saved collects what an engine's archive holds: layers go into the store as they stream by, small files
// stay in memory until the tables of contents at the end say what they are.
type saved struct {
	store    *layerstore.Store
	progress Progress
	small    map[string][]byte
	layers   map[string]layerstore.Entry // by path in the archive
	links    map[string]string
}

// saveImage reads an image out of an engine into the store, config byte for byte. Layers are compressed the
// way builds compress them, unless the engine has the original blobs. wantID is the image's ID in the engine.
func saveImage(ctx context.Context, e Engine, wantID string, store *layerstore.Store, progress Progress) (*rawImage, error) {
	pr, pw := io.Pipe()
	done := make(chan error, 1) // the writer ends even when the reader gave up
	go func() {
		err := e.Save(ctx, []string{wantID}, pw)
		pw.CloseWithError(err)
		done <- err
	}()
	s := &saved{store: store, progress: progress, small: map[string][]byte{}, layers: map[string]layerstore.Entry{}, links: map[string]string{}}
	err := s.read(ctx, pr)
	pr.CloseWithError(io.ErrClosedPipe)
	if serr := <-done; serr != nil && (err == nil || strings.Contains(err.Error(), serr.Error())) {
		err = serr
	}
	if err != nil {
		return nil, fmt.Errorf("save image %s out of Docker: %w", wantID, err)
	}
	img, err := s.image(ctx, wantID)
	if err != nil {
		return nil, fmt.Errorf("save image %s out of Docker: %w", wantID, err)
	}
	return img, nil
}

func (s *saved) read(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(&contextReader{ctx: ctx, r: r})
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, r) // the padding after a tar's end
			return err
		}
		if err != nil {
			return err
		}
		if n == maxSavedFiles {
			return fmt.Errorf("the archive has more than %d entries", maxSavedFiles)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeSymlink, tar.TypeLink:
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), target)
			}
			s.links[name] = path.Clean(target)
		case tar.TypeReg:
			if err := s.file(ctx, name, h.Size, tr); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
}

// file keeps a JSON document, or streams a layer into the store.
func (s *saved) file(ctx context.Context, name string, size int64, r io.Reader) error {
	br := bufio.NewReaderSize(r, 1<<17)
	head, err := br.Peek(512)
	if err != nil && err != io.EOF {
		return err
	}
	zstd := bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd})
	packed := zstd || bytes.HasPrefix(head, []byte{0x1f, 0x8b})
	isTar := len(head) == 512 && bytes.Equal(head[257:262], []byte("ustar")) || strings.HasSuffix(name, ".tar")
	switch {
	case packed || isTar:
	case len(head) > 0 && (head[0] == '{' || head[0] == '[') && size <= maxConfig:
		b, err := io.ReadAll(br)
		s.small[name] = b
		return err
	case size < 512:
		return nil // VERSION and the like
	}
	w, err := s.store.Writer(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	m := &meter{ReadCloser: io.NopCloser(br), step: Step{What: "save", Digest: name, Total: size}, progress: s.progress}
	var e layerstore.Entry
	if packed {
		e, err = keepCompressed(w, m, zstd)
	} else {
		e, err = compress(w, m)
	}
	s.layers[name] = e
	return err
}

// compress stores a plain tar as a layer of ours.
func compress(w *layerstore.Writer, r io.Reader) (layerstore.Entry, error) {
	z := layerstore.NewEncoder(w)
	_, err := io.Copy(z, r)
	if err := errors.Join(err, z.Close()); err != nil {
		return layerstore.Entry{}, err
	}
	return w.Commit(z.DiffID())
}

// keepCompressed stores a layer as it is, and finds its diffID by unpacking it on the way.
func keepCompressed(w *layerstore.Writer, r io.Reader, zstd bool) (layerstore.Entry, error) {
	var e layerstore.Entry
	z, err := layerstore.NewDecoder(io.TeeReader(r, w))
	if err != nil {
		return e, err
	}
	defer z.Close()
	h := sha256.New()
	if _, err := io.Copy(h, z); err != nil {
		return e, err
	}
	if _, err := io.Copy(w, r); err != nil { // what stands after the compressed stream
		return e, err
	}
	digest, size, err := w.CommitBlob(v1.Hash{})
	e = layerstore.Entry{DiffID: "sha256:" + hex.EncodeToString(h.Sum(nil)), Digest: digest.String(), Size: size, MediaType: types.OCILayer}
	if zstd {
		e.MediaType = types.OCILayerZStd
	}
	return e, err
}

// image finds the image with that ID among what was read and checks that it is whole.
func (s *saved) image(ctx context.Context, wantID string) (*rawImage, error) {
	src := storeSource{store: s.store}
	if raw, ok := s.small[blobName(wantID)]; ok && isManifest(raw) { // containerd's image store: the original manifest
		return s.original(ctx, raw, src)
	}
	var table []legacyManifest
	if err := json.Unmarshal(s.small["manifest.json"], &table); err != nil {
		return nil, fmt.Errorf("the archive has no readable manifest.json: %w", err)
	}
	for _, t := range table {
		config := s.small[path.Clean(t.Config)]
		sum := sha256.Sum256(config)
		if "sha256:"+hex.EncodeToString(sum[:]) == wantID {
			return s.rebuild(ctx, config, t.Layers, src)
		}
	}
	return nil, fmt.Errorf("the archive has no config with digest %s", wantID)
}

func isManifest(raw []byte) bool {
	_, err := parseManifest(raw)
	return err == nil
}

// original keeps the manifest that the engine got from a registry.
func (s *saved) original(ctx context.Context, raw []byte, src storeSource) (*rawImage, error) {
	img, err := newRawImage(raw, src)
	if err != nil {
		return nil, err
	}
	config, ok := s.small[blobName(img.manifest.Config.Digest.String())]
	if !ok {
		return nil, fmt.Errorf("the archive lacks config %s", img.manifest.Config.Digest)
	}
	if _, err := s.store.PutBlob(ctx, config); err != nil {
		return nil, err
	}
	for _, l := range img.manifest.Layers {
		if !s.store.Has(l.Digest, l.Size) {
			return nil, fmt.Errorf("the archive lacks layer %s", l.Digest)
		}
	}
	_, err = s.store.PutBlob(ctx, raw)
	return img, err
}

// rebuild makes a manifest for a config and its layers: an engine with the classic store has none.
func (s *saved) rebuild(ctx context.Context, config []byte, layers []string, src storeSource) (*rawImage, error) {
	c, err := v1.ParseConfigFile(bytes.NewReader(config))
	if err != nil {
		return nil, fmt.Errorf("parse image config: %w", err)
	}
	if len(layers) != len(c.RootFS.DiffIDs) {
		return nil, fmt.Errorf("the archive has %d layers, the config %d", len(layers), len(c.RootFS.DiffIDs))
	}
	id, err := s.store.PutBlob(ctx, config)
	if err != nil {
		return nil, err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{},
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: id, Size: int64(len(config))}}
	for n, name := range layers {
		e, ok := s.layer(path.Clean(name))
		if !ok || e.DiffID != c.RootFS.DiffIDs[n].String() {
			return nil, fmt.Errorf("layer %d of the archive (%s) is not %s", n, name, c.RootFS.DiffIDs[n])
		}
		h, err := v1.NewHash(e.Digest)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: e.MediaType, Digest: h, Size: e.Size})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if _, err := s.store.PutBlob(ctx, raw); err != nil {
		return nil, err
	}
	return newRawImage(raw, src)
}

func (s *saved) layer(name string) (layerstore.Entry, bool) {
	for range 8 { // links of links end somewhere
		if e, ok := s.layers[name]; ok {
			return e, true
		}
		next, ok := s.links[name]
		if !ok {
			break
		}
		name = next
	}
	return layerstore.Entry{}, false
}

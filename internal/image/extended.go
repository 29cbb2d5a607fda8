package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// WriteSparseLayout writes an OCI layout that has the image's manifest and config and none of its layers, byte
// for byte, so that its digest is the image's (platform, "restorer": base images for the extender). What dir
// listed before goes.
func WriteSparseLayout(ctx context.Context, dir string, img v1.Image) error {
	fail := func(err error) error { return fmt.Errorf("write sparse OCI layout %s: %w", dir, err) }
	config, err := img.RawConfigFile()
	if err != nil {
		return fail(err)
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return fail(err)
	}
	d, err := describe(img, manifest)
	if err != nil {
		return fail(err)
	}
	l := layoutDir{dir}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return fail(err)
	}
	for _, b := range [][]byte{config, manifest} {
		h, n, err := v1.SHA256(bytes.NewReader(b))
		if err != nil {
			return fail(err)
		}
		if _, err := l.write(ctx, h, n, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }); err != nil {
			return fail(err)
		}
	}
	idx := emptyIndex()
	idx.Manifests = []v1.Descriptor{d}
	text, err := json.MarshalIndent(idx, "", "  ")
	if err != nil {
		return fail(err)
	}
	if err := l.replace("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return fail(err)
	}
	if err := l.replace("index.json", append(text, '\n')); err != nil {
		return fail(err)
	}
	return nil
}

// Extended is a run image that an extender wrote: its config, and the layers that it put on the run image. The
// layout has no blobs for the layers of the run image itself.
type Extended struct {
	Config *v1.ConfigFile
	Layers []ExtendedLayer // lowest first
}

// An ExtendedLayer is one layer of an Extended that has a blob.
type ExtendedLayer struct {
	Index   int // among all layers of the image
	History v1.History
	path    string
	digest  v1.Hash
}

// ReadExtended finds the one OCI layout in dir (<extended>/run, platform, "extender"); nil where dir is absent or
// empty. Only digests are checked: an extender's idea of sizes and of diffIDs is its own.
func ReadExtended(dir string) (*Extended, error) {
	fail := func(err error) (*Extended, error) {
		return nil, fmt.Errorf("read the extended run image in %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	switch {
	case notExist(err) || err == nil && len(entries) == 0:
		return nil, nil
	case err != nil:
		return fail(err)
	case len(entries) > 1:
		return fail(fmt.Errorf("it has %d entries, and one image is wanted", len(entries)))
	case !entries[0].IsDir():
		return fail(fmt.Errorf("%s is not a directory", entries[0].Name()))
	}
	l := layoutDir{filepath.Join(dir, entries[0].Name())}
	idx, err := l.index()
	if err != nil {
		return fail(err)
	}
	if len(idx.Manifests) != 1 {
		return fail(fmt.Errorf("%s lists %d images, and one is wanted", entries[0].Name(), len(idx.Manifests)))
	}
	raw, err := l.small(idx.Manifests[0].Digest, maxManifest)
	if err != nil {
		return fail(fmt.Errorf("its manifest: %w", err))
	}
	m, err := parseManifest(raw)
	if err != nil {
		return fail(err)
	}
	raw, err = l.small(m.Config.Digest, maxConfig)
	if err != nil {
		return fail(fmt.Errorf("its config: %w", err))
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return fail(fmt.Errorf("its config: %w", err))
	}
	out := &Extended{Config: config}
	if err := out.find(l, m); err != nil {
		return fail(err)
	}
	return out, nil
}

// find lists the layers that have blobs. Above the first of them all must.
func (e *Extended) find(l layoutDir, m *v1.Manifest) error {
	var history []v1.History
	for _, h := range e.Config.History {
		if !h.EmptyLayer {
			history = append(history, h)
		}
	}
	for n, d := range m.Layers {
		layer := ExtendedLayer{Index: n, path: l.blob(d.Digest), digest: d.Digest}
		if n < len(history) {
			layer.History = history[n]
		}
		info, err := os.Lstat(layer.path)
		switch {
		case err == nil && !info.Mode().IsRegular():
			return fmt.Errorf("the blob of layer %s is not a regular file", d.Digest)
		case errors.Is(err, fs.ErrNotExist) && (len(e.Layers) > 0 || strings.Contains(layer.History.CreatedBy, "Created by extension: ")):
			return fmt.Errorf("layer %s comes from an extension and has no blob", d.Digest)
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		e.Layers = append(e.Layers, layer)
	}
	return nil
}

// small reads a document that is named by its digest.
func (l layoutDir) small(h v1.Hash, limit int64) ([]byte, error) {
	if h.Algorithm != "sha256" || !hexPattern().MatchString(h.Hex) {
		return nil, fmt.Errorf("blob %.80s: want a sha256 digest", h)
	}
	f, err := openRegular(l.blob(h))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(b)) > limit:
		return nil, fmt.Errorf("blob %s has more than %d bytes", h, limit)
	case fmt.Sprintf("%x", sha256.Sum256(b)) != h.Hex:
		return nil, fmt.Errorf("blob %s: its content differs from its digest", h)
	}
	return b, nil
}

// Open reads the layer's tar, compressed or not on disk. The end of the reader is an error where the blob is not
// what its digest says.
func (l ExtendedLayer) Open() (io.ReadCloser, error) {
	f, err := openRegular(l.path)
	if err != nil {
		return nil, fmt.Errorf("open layer %s of the extended run image: %w", l.digest, err)
	}
	r := &digestReader{f: f, want: l.digest, sum: sha256.New()}
	z, err := layerstore.NewDecoder(r)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("layer %s of the extended run image: %w", l.digest, err)
	}
	return &bothCloser{ReadCloser: z, under: f}, nil
}

// digestReader ends with an error in place of io.EOF where the bytes are not those of the digest.
type digestReader struct {
	f    *os.File
	want v1.Hash
	sum  hash.Hash
}

func (r *digestReader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	r.sum.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(r.sum.Sum(nil)) != r.want.Hex {
		return n, fmt.Errorf("layer %s of the extended run image: its content differs from its digest", r.want)
	}
	return n, err
}

package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// Layer is a layer of the volume for an image (a launch cache). Its file is read here, and one that is not what its
// name says is dropped: in an image it would end the build ("invalid diffID"), as an error here it is a miss. Digest
// and Size compress the layer when they are first asked for.
func (v *Volume) Layer(diffID string) (v1.Layer, error) {
	fail := func(err error) (v1.Layer, error) {
		return nil, fmt.Errorf("layer %.80q of cache %s: %w", diffID, v.dir, err)
	}
	want, err := parseDiffID(diffID)
	if err != nil {
		return fail(err)
	}
	f, err := v.open(diffID)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 256<<10))
	if err != nil {
		return fail(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want.Hex {
		return fail(errors.Join(fmt.Errorf("its contents are of sha256:%s", got), v.Drop(diffID)))
	}
	l := &volumeLayer{v: v, diffID: want, tarSize: n}
	l.packed = sync.OnceValues(l.pack)
	return l, nil
}

// volumeLayer is a layer's tar in a volume. In an image it is compressed the one way that layers are.
type volumeLayer struct {
	v       *Volume
	diffID  v1.Hash
	tarSize int64
	packed  func() (v1.Descriptor, error) // keeps its result
}

// DiffID implements v1.Layer.
func (l *volumeLayer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// MediaType implements v1.Layer.
func (l *volumeLayer) MediaType() (types.MediaType, error) { return layerstore.LayerMediaType, nil }

// TarSize is the length of the tar, by which an engine is sent the tar itself.
func (l *volumeLayer) TarSize() (int64, bool) { return l.tarSize, true }

// Digest implements v1.Layer.
func (l *volumeLayer) Digest() (v1.Hash, error) {
	d, err := l.packed()
	return d.Digest, err
}

// Size implements v1.Layer.
func (l *volumeLayer) Size() (int64, error) {
	d, err := l.packed()
	return d.Size, err
}

func (l *volumeLayer) pack() (v1.Descriptor, error) {
	rc, err := l.Compressed()
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer rc.Close()
	h, n, err := v1.SHA256(rc)
	return v1.Descriptor{Digest: h, Size: n}, err
}

// Uncompressed implements v1.Layer.
func (l *volumeLayer) Uncompressed() (io.ReadCloser, error) { return l.v.open(l.diffID.String()) }

// Compressed implements v1.Layer. The reader must be closed.
func (l *volumeLayer) Compressed() (io.ReadCloser, error) {
	f, err := l.v.open(l.diffID.String())
	if err != nil {
		return nil, err
	}
	return compress(f), nil
}

// compress compresses what r has in the background and closes r. It ends when the result is read or closed.
func compress(r io.ReadCloser) io.ReadCloser {
	pr, pw := io.Pipe()
	z := layerstore.NewEncoder(pw)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := io.CopyBuffer(struct{ io.Writer }{z}, struct{ io.Reader }{r}, make([]byte, 256<<10))
		pw.CloseWithError(errors.Join(err, z.Close(), r.Close()))
	}()
	return &packing{PipeReader: pr, done: done}
}

type packing struct {
	*io.PipeReader
	done chan struct{}
}

// Close ends the compression and waits for its end.
func (p *packing) Close() error {
	err := p.PipeReader.Close()
	<-p.done
	return err
}

package builder

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A DirSink is a Sink that keeps every layer as one gzip file in a directory, named by its diffID. It is safe
// for concurrent use; the directory is the caller's to remove.
type DirSink struct {
	dir string
	has func(diffID string) bool

	mu     sync.Mutex
	layers map[string]v1.Layer
}

// NewDirSink keeps layers in dir. has, which may be nil, tells which layers of the previous image can be had
// elsewhere: they are hashed and not compressed or kept.
func NewDirSink(dir string, has func(diffID string) bool) *DirSink {
	if has == nil {
		has = func(string) bool { return false }
	}
	return &DirSink{dir: dir, has: has, layers: map[string]v1.Layer{}}
}

// Layer implements Sink in one pass: tar, hash, compress, hash, write.
func (s *DirSink) Layer(ctx context.Context, l Layer, previous string) (LayerResult, error) {
	if previous != "" && s.has(previous) {
		h := sha256.New()
		if err := l.WriteTar(ctx, h); err != nil {
			return LayerResult{}, err
		}
		if sum(h) == previous {
			return LayerResult{DiffID: previous, Reused: true}, nil
		}
	}
	f, err := os.CreateTemp(s.dir, "layer-*")
	if err != nil {
		return LayerResult{}, fmt.Errorf("store layer %s: %w", l.ID, err)
	}
	defer os.Remove(f.Name()) // gone already where all went well
	blob, err := compressLayer(ctx, l, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return LayerResult{}, fmt.Errorf("store layer %s: %w", l.ID, err)
	}
	blob.path = filepath.Join(s.dir, blob.diffID.Hex+".tar.gz")
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.Rename(f.Name(), blob.path); err != nil {
		return LayerResult{}, fmt.Errorf("store layer %s: %w", l.ID, err)
	}
	s.layers[blob.diffID.String()] = blob
	return LayerResult{DiffID: blob.diffID.String(), Digest: blob.digest.String(), Size: blob.size}, nil
}

// Get is a layer that was written, in the form that Compose wants.
func (s *DirSink) Get(diffID string) (v1.Layer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.layers[diffID]; ok {
		return l, nil
	}
	return nil, fmt.Errorf("layer %s is not in %s", diffID, s.dir)
}

func sum(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

type countWriter int64

func (c *countWriter) Write(b []byte) (int, error) {
	*c += countWriter(len(b))
	return len(b), nil
}

// compressLayer writes the blob that the reference writes of the same layer, byte for byte: a registry that has one has
// the other. That is the standard library's gzip at its fastest.
func compressLayer(ctx context.Context, l Layer, w io.Writer) (blobFile, error) {
	diff, digest, size := sha256.New(), sha256.New(), countWriter(0)
	gz, err := gzip.NewWriterLevel(io.MultiWriter(w, digest, &size), gzip.BestSpeed)
	if err != nil {
		return blobFile{}, err
	}
	if err := l.WriteTar(ctx, io.MultiWriter(diff, gz)); err != nil {
		return blobFile{}, err
	}
	if err := gz.Close(); err != nil {
		return blobFile{}, err
	}
	b := blobFile{size: int64(size)}
	if b.diffID, err = v1.NewHash(sum(diff)); err != nil {
		return b, err
	}
	b.digest, err = v1.NewHash(sum(digest))
	return b, err
}

// blobFile is a v1.Layer whose identity is known and whose contents are a gzip file.
type blobFile struct {
	path           string
	diffID, digest v1.Hash
	size           int64
}

func (b blobFile) DiffID() (v1.Hash, error)            { return b.diffID, nil }
func (b blobFile) Digest() (v1.Hash, error)            { return b.digest, nil }
func (b blobFile) Size() (int64, error)                { return b.size, nil }
func (b blobFile) MediaType() (types.MediaType, error) { return types.DockerLayer, nil }
func (b blobFile) Compressed() (io.ReadCloser, error)  { return os.Open(b.path) }
func (b blobFile) Uncompressed() (io.ReadCloser, error) {
	f, err := os.Open(b.path)
	if err != nil {
		return nil, err
	}
	gz, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return gunzip{gz, f}, nil
}

type gunzip struct {
	*gzip.Reader
	file *os.File
}

func (g gunzip) Close() error { return errors.Join(g.Reader.Close(), g.file.Close()) }

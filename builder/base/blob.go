package base

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/pgzip"
)

// blob is a compressed layer in a file; it is a v1.Layer. Nothing of it is computed twice.
type blob struct {
	path           string
	digest, diffID v1.Hash
	size           int64
}

func (b *blob) Digest() (v1.Hash, error)             { return b.digest, nil }
func (b *blob) DiffID() (v1.Hash, error)             { return b.diffID, nil }
func (b *blob) Size() (int64, error)                 { return b.size, nil }
func (b *blob) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }
func (b *blob) Compressed() (io.ReadCloser, error)   { return os.Open(b.path) }
func (b *blob) Uncompressed() (io.ReadCloser, error) { return openGzip(b.path) }

type gzipFile struct {
	*gzip.Reader
	f *os.File
}

func openGzip(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	zr, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read layer %s: %w", path, err)
	}
	return gzipFile{zr, f}, nil
}

func (g gzipFile) Close() error { return g.f.Close() }

// blobWriter hashes, compresses and hashes again in one pass, into blobs/sha256 of an OCI layout. The compression
// works on blocks of one size, so its bytes do not depend on the number of cores.
type blobWriter struct {
	dir            string
	f              *os.File
	zip            *pgzip.Writer
	raw, packed    hash.Hash
	uncompressedTo io.Writer
}

func newBlobWriter(layout string) (*blobWriter, error) {
	dir := filepath.Join(layout, "blobs", "sha256")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, ".layer-")
	if err != nil {
		return nil, err
	}
	w := &blobWriter{dir: dir, f: f, raw: sha256.New(), packed: sha256.New()}
	w.zip = pgzip.NewWriter(io.MultiWriter(f, w.packed))
	w.uncompressedTo = io.MultiWriter(w.zip, w.raw)
	return w, nil
}

func (w *blobWriter) Write(p []byte) (int, error) { return w.uncompressedTo.Write(p) }

func (w *blobWriter) abort() {
	w.zip.Close() // ends its goroutines; the file is removed
	w.f.Close()
	os.Remove(w.f.Name())
}

// finish gives the blob its name.
func (w *blobWriter) finish() (*blob, error) {
	if err := w.zip.Close(); err != nil {
		w.abort()
		return nil, fmt.Errorf("compress layer: %w", err)
	}
	st, err := w.f.Stat()
	if err == nil {
		err = w.f.Chmod(0o644)
	}
	if err == nil {
		err = w.f.Sync()
	}
	if err == nil {
		err = w.f.Close()
	}
	b := &blob{digest: hashOf(w.packed), diffID: hashOf(w.raw)}
	b.path = filepath.Join(w.dir, b.digest.Hex)
	if err == nil {
		b.size = st.Size()
		err = os.Rename(w.f.Name(), b.path)
	}
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return b, nil
}

func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

package layerstore

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// Layer is the stored layer with that diffID, without reading a byte of it. False is a miss.
func (s *Store) Layer(diffID string) (v1.Layer, bool) {
	e, ok := s.Known(diffID)
	if !ok {
		return nil, false
	}
	l, err := s.NewLayer(e)
	return l, err == nil
}

// NewLayer makes a layer of a blob in the store and what the caller knows about it, for example from a
// manifest and a config. It reads nothing.
func (s *Store) NewLayer(e Entry) (v1.Layer, error) {
	digest, err := parseDigest(e.Digest)
	if err != nil {
		return nil, err
	}
	diffID, err := parseDigest(e.DiffID)
	if err != nil {
		return nil, err
	}
	return &layer{s: s, digest: digest, diffID: diffID, size: e.Size, mediaType: e.MediaType}, nil
}

type layer struct {
	s              *Store
	digest, diffID v1.Hash
	size           int64
	mediaType      types.MediaType
}

func (l *layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return l.mediaType, nil }
func (l *layer) Compressed() (io.ReadCloser, error)   { return l.s.Blob(l.digest.String()) }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.s.uncompressed(l.digest, l.diffID) }

// TarSize is Store.TarSize of the layer's blob.
func (l *layer) TarSize() (int64, bool) { return l.s.TarSize(l.digest.String()) }

// TarSize is the length of a gzip blob's content as its last four bytes tell it, without unpacking. It is a
// hint: content of 4 GiB and more, or several gzip members in one blob, have another length. That of zstd is counted.
// False means that the blob does not tell.
func (s *Store) TarSize(digest string) (int64, bool) {
	h, err := parseDigest(digest)
	if err != nil {
		return 0, false
	}
	f, err := os.OpenFile(s.path(h), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() < 18 { // header and trailer of gzip
		return 0, false
	}
	var head [2]byte
	var tail [4]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, false
	}
	if head == [2]byte(Zstd.encoding().magic) {
		return unpackedSize(f)
	}
	if head != [2]byte{0x1f, 0x8b} {
		return 0, false
	}
	if _, err := f.ReadAt(tail[:], info.Size()-4); err != nil {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint32(tail[:])), true
}

func unpackedSize(f io.Reader) (int64, bool) {
	z, err := NewDecoder(f)
	if err != nil {
		return 0, false
	}
	defer z.Close()
	n, err := io.Copy(io.Discard, z)
	return n, err == nil
}

// uncompressed reads a blob as a tar and checks at its end that the tar is the one that was promised.
func (s *Store) uncompressed(digest, diffID v1.Hash) (io.ReadCloser, error) {
	f, err := os.OpenFile(s.path(digest), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open layer: %w", err)
	}
	z, err := NewDecoder(f)
	if err != nil {
		f.Close()
		_ = s.Remove(digest.String())
		return nil, &CorruptError{Digest: digest.String(), Reason: err.Error()}
	}
	return &tarReader{s: s, f: f, z: z, digest: digest, diffID: diffID, h: sha256.New()}, nil
}

type tarReader struct {
	s              *Store
	f              *os.File
	z              io.ReadCloser
	digest, diffID v1.Hash
	h              hash.Hash
}

func (r *tarReader) Read(p []byte) (int, error) {
	n, err := r.z.Read(p)
	r.h.Write(p[:n])
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		_ = r.s.Remove(r.digest.String())
		return n, &CorruptError{Digest: r.digest.String(), Reason: err.Error()}
	case hex.EncodeToString(r.h.Sum(nil)) != r.diffID.Hex:
		_ = r.s.Remove(r.digest.String())
		return n, &CorruptError{Digest: r.digest.String(), Reason: "its content is not layer " + r.diffID.String()}
	}
	return n, io.EOF
}

func (r *tarReader) Close() error {
	err := r.z.Close()
	if cerr := r.f.Close(); err == nil {
		err = cerr
	}
	return err
}

// readSmall reads a regular file of at most max bytes. It follows no link and never blocks on a FIFO.
func readSmall(path string, max int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > max {
		return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", path, max)
	}
	return io.ReadAll(io.LimitReader(f, max))
}

package layerstore

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
)

// The encoder's parameters are part of every layer's digest: changing one changes every image. encoderID
// names them together with the compressor's generation, so that blobs made by another encoder are not
// taken for what this one would write.
const (
	// The first word is from when pgzip did the work; the bytes have stayed.
	encoderID = "pgzip-1.3.0/1.20.3/l4/1MiB"
	// Level 4: on node_modules 8 % smaller than level 1 for 0.3 s of 220 MiB on two cores; levels 5 and up pay
	// more time for less.
	encodeLevel = 4
	encodeBlock = 1 << 20
	encodeDict  = 16 << 10 // of the block before, for matches across its end
)

// LayerMediaType is the media type of what NewEncoder writes.
const LayerMediaType = types.OCILayer

// NewEncoder compresses a layer's tar the one way Slipway does it: gzip in fixed blocks, so that all cores
// share one layer and the bytes depend on neither their number nor the sizes of the writes. Who writes several layers
// takes the encoders of one Compressor.
func NewEncoder(w io.Writer) *Encoder { return NewCompressor().NewEncoder(w) }

// NewReadAhead is NewDecoder for who has other things to do with what it reads: gzip is unpacked in the background,
// a few blocks ahead. It must be closed, and r is its alone until then.
func NewReadAhead(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 1<<18)
	magic, err := br.Peek(2)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return NewDecoder(br)
	}
	z, err := pgzip.NewReaderN(br, decodeBlock, decodeBlocks)
	if err != nil {
		return nil, fmt.Errorf("read gzip layer: %w", err)
	}
	return z, nil
}

// What NewReadAhead keeps unpacked.
const (
	decodeBlock  = 256 << 10
	decodeBlocks = 8
)

// NewDecoder reads a layer that is gzip, zstd or a plain tar, told by its first bytes. Closing it does
// not close r.
func NewDecoder(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 1<<18)
	magic, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read layer: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read gzip layer: %w", err)
		}
		return z, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, fmt.Errorf("read zstd layer: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

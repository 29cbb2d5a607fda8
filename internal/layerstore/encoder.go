package layerstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// A Compressor makes blobs of layers on all cores, of one dominant layer as of many side by side: layers are cut into
// blocks of a fixed size, and a fixed number of blocks is all that its encoders have between them, however large or
// many the layers are. It is safe for concurrent use; its encoders are for one goroutine each.
type Compressor struct {
	kind  Compression
	size  int           // of a block
	slots chan struct{} // one for every block that may be in use

	mu   sync.Mutex
	free []*block
}

// NewCompressor makes a Compressor for the cores of this machine. Its memory comes as it is needed.
func NewCompressor(kind Compression) *Compressor {
	e := kind.encoding()
	return &Compressor{kind: kind, size: e.block, slots: make(chan struct{}, min(2*runtime.GOMAXPROCS(0)+2, e.blocks))}
}

// take waits for a block. Who holds one that is not full yet never waits for another, so that somebody always goes on.
func (c *Compressor) take() *block {
	c.slots <- struct{}{}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.free); n > 0 {
		b := c.free[n-1]
		c.free = c.free[:n-1]
		return b
	}
	return &block{in: make([]byte, 0, c.size)}
}

func (c *Compressor) give(b *block) {
	b.in, b.dict, b.out, b.last, b.err = b.in[:0], b.dict[:0], b.out[:0], false, nil
	c.mu.Lock()
	c.free = append(c.free, b)
	c.mu.Unlock()
	<-c.slots
}

// A block is a piece of a layer on its way through an Encoder.
type block struct {
	in   []byte
	dict []byte // gzip: the end of what stands before it
	out  []byte
	gz   *flate.Writer
	zst  *zstd.Encoder
	last bool
	err  error
	used sync.WaitGroup // hashing and compression, which both read in
}

// compress makes the block's part of the blob.
func (b *block) compress(kind Compression) error {
	if b.out == nil {
		b.out = make([]byte, 0, cap(b.in)+cap(b.in)/16)
	}
	if kind == Zstd {
		return b.zstd()
	}
	return b.gzip()
}

// gzip ends at a byte, so that blocks can be made apart.
func (b *block) gzip() (err error) {
	out := bytes.NewBuffer(b.out)
	if b.gz == nil {
		if b.gz, err = flate.NewWriterDict(out, gzipLevel, nil); err != nil {
			return err
		}
	}
	var dict []byte
	if len(b.dict) > 0 {
		dict = b.dict
	}
	b.gz.ResetDict(out, dict)
	_, err = b.gz.Write(b.in)
	err = errors.Join(err, b.gz.Flush())
	if b.last {
		err = errors.Join(err, b.gz.Close())
	}
	b.out = out.Bytes()
	return err
}

// zstd makes a frame of its own (RFC 8878, "Zstandard Frames": frames follow each other).
func (b *block) zstd() (err error) {
	if b.zst == nil {
		b.zst, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
			zstd.WithWindowSize(cap(b.in)), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
		if err != nil {
			return err
		}
	}
	if b.last && len(b.in) == 0 && len(b.dict) > 0 {
		return nil // frames stand before it
	}
	b.out = b.zst.EncodeAll(b.in, b.out)
	return nil
}

// An Encoder compresses one layer's tar and finds out its diffID on the way. Close ends the stream and leaves the
// writer below open; it must be called in any case.
type Encoder struct {
	c      *Compressor
	w      io.Writer
	cur    *block
	tail   []byte
	hashes chan *block // both hold as many as there are blocks: to send never waits
	writes chan *block
	done   chan struct{} // closed when all blocks are written and given back
	diff   hash.Hash
	crc    uint32
	size   uint32 // of the tar, modulo 2^32
	closed bool

	mu  sync.Mutex
	err error
}

// NewEncoder starts the blob of one layer.
func (c *Compressor) NewEncoder(w io.Writer) *Encoder {
	e := &Encoder{
		c: c, w: w, diff: sha256.New(), done: make(chan struct{}), tail: make([]byte, 0, gzipDict),
		hashes: make(chan *block, cap(c.slots)), writes: make(chan *block, cap(c.slots)),
	}
	go e.hash()
	go e.write()
	return e
}

// Write implements io.Writer. An error of the writer below is told by a later call, at last by Close.
func (e *Encoder) Write(p []byte) (int, error) {
	if e.closed {
		return 0, errors.New("write to a closed encoder")
	}
	written := 0
	for len(p) > 0 {
		if err := e.failure(); err != nil {
			return written, err
		}
		if e.cur == nil {
			e.begin()
		}
		n := min(len(p), e.c.size-len(e.cur.in))
		e.cur.in = append(e.cur.in, p[:n]...)
		written, p = written+n, p[n:]
		if len(e.cur.in) == e.c.size {
			e.send(false)
		}
	}
	return written, nil
}

func (e *Encoder) begin() {
	e.cur = e.c.take()
	e.cur.dict = append(e.cur.dict, e.tail...)
}

// send hands the current block to those who hash, compress and write.
func (e *Encoder) send(last bool) {
	b := e.cur
	e.cur = nil
	b.last = last
	e.size += uint32(len(b.in))
	e.tail = append(e.tail[:0], b.in[max(0, len(b.in)-gzipDict):]...)
	b.used.Add(1)
	e.hashes <- b
	b.used.Go(func() { b.err = b.compress(e.c.kind) })
	e.writes <- b
}

// hash reads the blocks in order, beside their compression.
func (e *Encoder) hash() {
	for b := range e.hashes {
		e.diff.Write(b.in)
		e.crc = crc32.Update(e.crc, crc32.IEEETable, b.in)
		b.used.Done()
	}
}

// write puts the blocks down in order.
func (e *Encoder) write() {
	defer close(e.done)
	gzip := e.c.kind != Zstd
	if gzip {
		_, err := e.w.Write(gzipHeader())
		e.fail(err)
	}
	for b := range e.writes {
		b.used.Wait()
		if err := b.err; err != nil {
			e.fail(fmt.Errorf("compress layer: %w", err))
		} else if e.failure() == nil {
			_, err := e.w.Write(b.out)
			e.fail(err)
		}
		e.c.give(b)
	}
	if gzip && e.failure() == nil {
		_, err := e.w.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, e.crc), e.size))
		e.fail(err)
	}
}

// gzipHeader is what stands at the beginning of every gzip layer (RFC 1952): no name, no time, no operating system.
func gzipHeader() []byte { return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff} }

// Close implements io.Closer. A second call says what the first said.
func (e *Encoder) Close() error {
	if !e.closed {
		if e.cur == nil {
			e.begin()
		}
		e.send(true)
		close(e.hashes)
		close(e.writes)
		e.closed = true
	}
	<-e.done
	return e.failure()
}

// DiffID is the digest of the tar that was written. It is valid after Close.
func (e *Encoder) DiffID() string { return "sha256:" + hex.EncodeToString(e.diff.Sum(nil)) }

func (e *Encoder) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

func (e *Encoder) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

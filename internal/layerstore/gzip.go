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
)

// A Compressor makes blobs of layers on all cores, of one dominant layer as of many side by side: layers are cut into
// blocks of a fixed size, and a fixed number of blocks is all that its encoders have between them, however large or
// many the layers are. It is safe for concurrent use; its encoders are for one goroutine each.
type Compressor struct {
	slots chan struct{} // one for every block that may be in use

	mu   sync.Mutex
	free []*block
}

// maxBlocks bounds the memory of a Compressor, at 3 MiB a block. It feeds as many cores as one stream of files does.
const maxBlocks = 24

// NewCompressor makes a Compressor for the cores of this machine. Its memory comes as it is needed.
func NewCompressor() *Compressor {
	return &Compressor{slots: make(chan struct{}, min(2*runtime.GOMAXPROCS(0)+2, maxBlocks))}
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
	return &block{in: make([]byte, 0, encodeBlock), dict: make([]byte, 0, encodeDict)}
}

func (c *Compressor) give(b *block) {
	b.in, b.dict, b.last, b.err = b.in[:0], b.dict[:0], false, nil
	b.out.Reset()
	c.mu.Lock()
	c.free = append(c.free, b)
	c.mu.Unlock()
	<-c.slots
}

// A block is a piece of a layer on its way through an Encoder.
type block struct {
	in   []byte
	dict []byte // the end of what stands before it
	out  bytes.Buffer
	z    *flate.Writer
	last bool
	err  error
	used sync.WaitGroup // hashing and compression, which both read in
}

// compress makes the block's part of the stream: blocks end at a byte, so that they can be made apart.
func (b *block) compress() error {
	if b.z == nil {
		b.out.Grow(encodeBlock + encodeBlock/16)
		z, err := flate.NewWriterDict(&b.out, encodeLevel, nil)
		if err != nil {
			return err
		}
		b.z = z
	}
	var dict []byte
	if len(b.dict) > 0 {
		dict = b.dict
	}
	b.z.ResetDict(&b.out, dict)
	_, err := b.z.Write(b.in)
	err = errors.Join(err, b.z.Flush())
	if b.last {
		err = errors.Join(err, b.z.Close())
	}
	return err
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
		c: c, w: w, diff: sha256.New(), done: make(chan struct{}), tail: make([]byte, 0, encodeDict),
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
		n := min(len(p), encodeBlock-len(e.cur.in))
		e.cur.in = append(e.cur.in, p[:n]...)
		written, p = written+n, p[n:]
		if len(e.cur.in) == encodeBlock {
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
	e.tail = append(e.tail[:0], b.in[max(0, len(b.in)-encodeDict):]...)
	b.used.Add(1)
	e.hashes <- b
	b.used.Go(func() { b.err = b.compress() })
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
	_, err := e.w.Write(gzipHeader())
	e.fail(err)
	for b := range e.writes {
		b.used.Wait()
		if err := b.err; err != nil {
			e.fail(fmt.Errorf("compress layer: %w", err))
		} else if e.failure() == nil {
			_, err := e.w.Write(b.out.Bytes())
			e.fail(err)
		}
		e.c.give(b)
	}
	if e.failure() == nil {
		_, err := e.w.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, e.crc), e.size))
		e.fail(err)
	}
}

// gzipHeader is what stands at the beginning of every layer (RFC 1952): no name, no time, no operating system.
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

package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent/wire"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// hostSink sends layers to the host. It is a builder.Sink.
type hostSink struct {
	conn *wire.Conn
	z    *layerstore.Compressor // of all layers of an export
}

// Layer reads the layer's files once: tar, diffID and compression on the way to the host. Only where the host has the
// layer's earlier form it hashes first, and sends nothing when nothing changed.
func (s hostSink) Layer(ctx context.Context, l builder.Layer, previous string) (builder.LayerResult, error) {
	if !isDiffID(previous) { // none, or nonsense from a label
		return s.send(ctx, l, "")
	}
	old, known, err := s.Known(ctx, previous)
	if err != nil || !known {
		return s.sendOr(ctx, l, previous, err)
	}
	h := sha256.New()
	if err := l.WriteTar(ctx, h); err != nil {
		return builder.LayerResult{}, err
	}
	diffID := digestOf(h)
	if diffID == previous {
		old.DiffID, old.Reused = diffID, true
		return old, nil
	}
	if now, known, err := s.Known(ctx, diffID); err != nil || known {
		now.DiffID, now.Reused = diffID, false // new to this image
		return now, err
	}
	return s.send(ctx, l, previous)
}

func (s hostSink) sendOr(ctx context.Context, l builder.Layer, previous string, err error) (builder.LayerResult, error) {
	if err != nil {
		return builder.LayerResult{}, err
	}
	return s.send(ctx, l, previous)
}

// Known asks the host for a layer. It makes hostSink a builder.KnowingSink.
func (s hostSink) Known(ctx context.Context, diffID string) (builder.LayerResult, bool, error) {
	body, err := encode(diffID)
	if err != nil {
		return builder.LayerResult{}, false, err
	}
	reply, err := s.conn.Call(ctx, "known", body)
	if err != nil {
		return builder.LayerResult{}, false, fmt.Errorf("ask for layer %s: %w", diffID, err)
	}
	var k knownReply
	err = decode(reply, &k)
	return k.Result, k.Known, err
}

func (s hostSink) send(ctx context.Context, l builder.Layer, previous string) (res builder.LayerResult, err error) {
	body, err := encode(layerHeader{ID: l.ID, Previous: previous})
	if err != nil {
		return res, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	call, err := s.conn.Start("layer", body)
	if err != nil {
		return res, err
	}
	wrote := make(chan error, 1)
	go func() {
		err := s.write(ctx, call, l)
		if err != nil {
			cancel(err) // the host must not take a part for the whole
		}
		wrote <- err
	}()
	reply, err := call.Wait(ctx)
	if err != nil {
		cancel(err) // what still writes stops at its next block
	}
	werr := <-wrote
	switch {
	case werr != nil && context.Cause(ctx) == werr:
		return res, werr
	case err != nil:
		return res, fmt.Errorf("hand over layer %s: %w", l.ID, err)
	case werr != nil:
		return res, werr
	}
	err = decode(reply, &res)
	return res, err
}

func (s hostSink) write(ctx context.Context, call *wire.Call, l builder.Layer) error {
	out := call.Writer(0)
	z := s.z.NewEncoder(out)
	// z is closed in any case: it has goroutines.
	if err := errors.Join(l.WriteTar(ctx, z), z.Close()); err != nil {
		return err
	}
	trailer := call.Writer(1)
	_, err := io.WriteString(trailer, z.DiffID())
	return errors.Join(err, trailer.Close(), out.Close())
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// hostCache reads layers from files that the host names. It is a builder.CacheReader.
type hostCache struct {
	conn *wire.Conn
	meta cnb.CacheMetadata
}

func (c hostCache) Metadata() cnb.CacheMetadata { return c.meta }

// Open gives the tar of a layer as it is in the host's file. It checks the file's own checksum only: builder.Restore
// hashes what it reads of a cache.
func (c hostCache) Open(ctx context.Context, diffID string) (io.ReadCloser, error) {
	body, err := encode(diffID)
	if err != nil {
		return nil, err
	}
	reply, err := c.conn.Call(ctx, "blob", body)
	if err != nil {
		return nil, err
	}
	var b blobReply
	if err := decode(reply, &b); err != nil {
		return nil, err
	}
	return openBlob(b.Path, diffID)
}

// Drop tells the host of a layer that could not be restored. builder.Restore asks for it.
func (c hostCache) Drop(diffID string) error {
	body, err := encode(diffID)
	if err == nil {
		_, err = c.conn.Call(context.Background(), "drop", body)
	}
	return err
}

func openBlob(path, diffID string) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open layer %s: %w", diffID, err)
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("open layer %s: %w", diffID, errors.Join(err, fs.ErrInvalid))
	}
	z, err := layerstore.NewReadAhead(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open layer %s: %w", diffID, err)
	}
	return &blobReader{ReadCloser: z, f: f}, nil
}

// blobReader closes the file with the decoder.
type blobReader struct {
	io.ReadCloser
	f *os.File
}

func (b *blobReader) Close() error { return errors.Join(b.ReadCloser.Close(), b.f.Close()) }

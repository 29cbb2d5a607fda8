package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// How the layer store is read again, bit by bit: a disk that loses bits is to be noticed before a build needs them, and
// no build is to notice the reading.
const (
	scrubEvery = 24 * time.Hour // from the beginning of one round to that of the next, or as long as one takes
	scrubPiece = 256 << 10
	scrubPause = 50 * time.Millisecond // after each piece: 5 MiB a second
)

// scrub reads the layers that builds keep again and again until ctx ends. What is not what it was is removed, so that
// the next build misses it, and the operator hears of it.
func (d *Daemon) scrub(ctx context.Context, pause time.Duration) {
	for {
		next := time.After(scrubEvery)
		if err := d.scrubOnce(ctx, pause); err != nil && ctx.Err() == nil {
			d.host.Fault(fmt.Errorf("scrub: %w", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		}
	}
}

// scrubOnce is one round.
func (d *Daemon) scrubOnce(ctx context.Context, pause time.Duration) error {
	blobs, err := os.ReadDir(filepath.Join(d.machine.Store.Dir(), "blobs", "sha256"))
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range blobs {
		err := d.scrubBlob(ctx, "sha256:"+b.Name(), pause)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, bad := errors.AsType[*layerstore.CorruptError](err); bad {
			d.metrics.scrubBad.Inc()
			d.host.Fault(fmt.Errorf("scrub: a layer of the build caches is damaged and was removed, the next build that needs it makes it anew; look at the disk: %w", err))
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // else it was pruned meanwhile
			errs = append(errs, err)
		}
	}
	d.metrics.scrubRounds.Inc()
	return errors.Join(errs...)
}

// scrubBlob reads one layer; the store removes it if it is not what its name says.
func (d *Daemon) scrubBlob(ctx context.Context, digest string, pause time.Duration) error {
	r, err := d.machine.Store.Blob(digest)
	if err != nil {
		return err
	}
	defer r.Close()
	for buf := make([]byte, scrubPiece); ; {
		n, err := io.ReadFull(r, buf)
		d.metrics.scrubbed.Add(float64(n))
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

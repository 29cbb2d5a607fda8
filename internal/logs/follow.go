package logs

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// chunk is how much a follower reads at a time, and all the memory that it takes: nothing while it waits, this much
// while it writes, be that for hours.
const chunk = 16 << 10

// IdleAfter is how long a follower hears nothing before Idle is called.
const IdleAfter = 15 * time.Second

// An Idler is a writer that wants to say that it lives while there is nothing to say. Idle is called between writes,
// never during one.
type Idler interface{ Idle() error }

// Follow copies a log to w from an offset on, and then as it grows, until it has ended, and returns the final state
// of the build. It also returns when ctx is done, with its cause, and with the error of a write to w. (A write that
// blocks is the caller's to interrupt.) Any number may follow a log, each at its own pace: a slow one delays only
// itself. New text reaches w within 50 ms and in as few writes as that allows. If w is an Idler, it is called when
// nothing came for IdleAfter.
func (d *Dir) Follow(ctx context.Context, id build.ID, from int64, w io.Writer) (state build.State, err error) {
	l, err := d.find(id)
	if err != nil {
		return "", err
	}
	defer d.leave(l) // it was only read
	wait := newWaiter(w)
	defer wait.stop()
	for {
		shown, state, changed, err := l.look(from)
		if err != nil {
			return "", err
		}
		switch {
		case from < shown:
			n, err := d.copy(w, l, from, shown)
			if err != nil {
				return "", err
			}
			from += n
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
		case state != "":
			return state, nil
		default:
			if err := wait.until(ctx, changed); err != nil {
				return "", err
			}
		}
	}
}

// copy writes the next chunk, or less, to w.
func (d *Dir) copy(w io.Writer, l *log, from, to int64) (int64, error) {
	buf := d.chunks.Get().(*[chunk]byte)
	defer d.chunks.Put(buf)
	b := buf[:min(chunk, to-from)]
	if _, err := l.file.ReadAt(b, headerSize+from); err != nil {
		return 0, fmt.Errorf("reading the log of build %s: %w", l.id, err)
	}
	n, err := w.Write(b)
	if err != nil {
		return 0, fmt.Errorf("passing on the log of build %s: %w", l.id, err)
	}
	if n != len(b) {
		return 0, fmt.Errorf("passing on the log of build %s: %w", l.id, io.ErrShortWrite)
	}
	return int64(n), nil
}

// A waiter lets an Idler know.
type waiter struct {
	idler Idler
	timer *time.Timer
	idle  <-chan time.Time // never, without an Idler
}

func newWaiter(w io.Writer) waiter {
	idler, ok := w.(Idler)
	if !ok {
		return waiter{}
	}
	timer := time.NewTimer(IdleAfter)
	return waiter{idler, timer, timer.C}
}

func (w waiter) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w waiter) until(ctx context.Context, changed <-chan struct{}) error {
	for {
		if w.timer != nil {
			w.timer.Reset(IdleAfter)
		}
		select {
		case <-changed:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.idle:
			if err := w.idler.Idle(); err != nil {
				return fmt.Errorf("keeping a follower: %w", err)
			}
		}
	}
}

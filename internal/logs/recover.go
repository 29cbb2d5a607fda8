package logs

import (
	"context"
	"errors"
	"os"

	"github.com/slipway-build/slipway/internal/build"
)

// Recover closes what an earlier process left open, once, at the start; the service may work meanwhile. Each such log
// gets a line that says where it was interrupted. state tells how its build stands now: if that is terminal, the log
// ends with it; otherwise it waits for a further attempt, or for its removal. A log that waits ends too if its build
// has. Offsets stay as they were.
func (d *Dir) Recover(ctx context.Context, state func(build.ID) build.State) error {
	return d.each(func(id build.ID, _ os.DirEntry) error {
		if ctx.Err() != nil {
			return nil
		}
		torn, waits, err := d.left(id)
		if err != nil || !torn && !waits {
			return err
		}
		now := state(id)
		if !torn && !now.Terminal() {
			return nil
		}
		w, err := d.Create(id, Options{})
		if errors.Is(err, ErrWriting) || errors.Is(err, ErrEnded) {
			return nil // somebody was faster
		}
		if err != nil {
			return err
		}
		return w.Close(now)
	})
}

// left tells whether a log was left open, or waits, with nobody writing it.
func (d *Dir) left(id build.ID) (torn, waits bool, err error) {
	l, err := d.find(id)
	if errors.Is(err, build.ErrNotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	l.mu.Lock()
	torn, waits = l.torn, l.state == "" && !l.writing
	l.mu.Unlock()
	return torn, waits, d.leave(l)
}

package container

import (
	"io"
	"time"
)

// Interrupt has the Read of a container's input return, where its reader can be
// interrupted (see Streams.Stdin). It says how long to wait for that: longer for
// those than for others, which may just be about to be done. restore undoes what
// would hinder a later use of the reader. For Runtimes.
func Interrupt(r io.Reader) (wait time.Duration, restore func()) {
	type deadliner interface{ SetReadDeadline(time.Time) error }
	switch r := r.(type) {
	case nil:
	case *io.PipeReader:
		_ = r.CloseWithError(io.ErrClosedPipe)
		return time.Second, func() {}
	case deadliner:
		if r.SetReadDeadline(time.Unix(1, 0)) == nil {
			return time.Second, func() { _ = r.SetReadDeadline(time.Time{}) }
		}
	}
	return 5 * time.Millisecond, func() {}
}

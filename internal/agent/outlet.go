package agent

import (
	"bytes"
	"io"

	"github.com/slipway-build/slipway/internal/agent/wire"
)

// An outlet takes what a program prints on one stream. It sends that on, until the other end ends the stream of that
// number of its own: it has enough then and wants nothing more but the end, and the rest goes no further than here.
type outlet struct {
	call   *wire.Call
	stream int
	w      io.Writer // nil: nobody listens, the program may go on until it is killed
	last   byte      // the last that was sent
	behind int       // how much was sent since the other end had enough
	rest   *rest     // not nil: what is not sent
}

func (o *outlet) take(b []byte) {
	if len(b) > 0 && o.rest == nil && o.w != nil && o.call.Ended(o.stream) {
		at, ok := o.part(b)
		o.send(b[:at])
		if b = b[at:]; ok {
			o.rest = &rest{}
		}
	}
	if o.rest != nil {
		o.rest.add(b)
		return
	}
	o.send(b)
}

// part is where the rest begins in b, if it does: with a line, or in a line that is too long.
func (o *outlet) part(b []byte) (at int, ok bool) {
	if o.last == '\n' || o.behind > restSize {
		return 0, true
	}
	if at = bytes.IndexByte(b, '\n') + 1; at > 0 {
		return at, true
	}
	o.behind += len(b)
	return len(b), false
}

func (o *outlet) send(b []byte) {
	if len(b) == 0 || o.w == nil {
		return
	}
	o.last = b[len(b)-1]
	if _, err := o.w.Write(b); err != nil {
		o.w = nil
	}
}

// restSize is how much of the end of an output is kept: twice what the log of a build keeps of its own.
const restSize = 128 << 10

// A rest is what a program printed after the other end had enough.
type rest struct {
	Bytes int64  `json:"bytes"` // left out before End
	Lines int64  `json:"lines"` // that ended in what is left out
	End   []byte `json:"end"`   // at most restSize, from a line's beginning if something is left out
}

func (r *rest) add(b []byte) {
	r.Bytes += int64(len(b))
	r.Lines += int64(bytes.Count(b, newline))
	if over := len(b) - restSize; over > 0 {
		r.End, b = r.End[:0], b[over:]
	}
	if all := len(r.End) + len(b); all > 2*restSize {
		r.End = append(r.End[:0], r.End[all-restSize:]...)
	}
	r.End = append(r.End, b...)
}

// end gives the rest when nothing more comes. Until then Bytes and Lines count all, and End may be twice as long.
func (r *rest) end() *rest {
	if r == nil {
		return nil
	}
	end := r.End[max(0, len(r.End)-restSize):]
	if int64(len(end)) < r.Bytes {
		end = end[bytes.IndexByte(end, '\n')+1:]
	}
	return &rest{Bytes: r.Bytes - int64(len(end)), Lines: r.Lines - int64(bytes.Count(end, newline)), End: end}
}

var newline = []byte{'\n'}

// write hands the rest to the writer that has enough. The numbers are what a helper says.
func (r *rest) write(w BoundedWriter) error {
	end := r.End[max(0, len(r.End)-restSize):]
	if left := min(r.Bytes, maxLeftOut); left > 0 {
		w.Skip(left, max(0, min(r.Lines, left)))
	}
	_, err := w.Write(end)
	return err
}

// maxLeftOut is more than any program prints, and adds up.
const maxLeftOut = 1 << 50

// A BoundedWriter is a writer of output that keeps the beginning and the end. It is not called at once by several.
type BoundedWriter interface {
	io.Writer
	// Full says that the beginning is kept: from now on it is enough to write the end.
	Full() bool
	// Skip tells of whole lines that were printed between what was written before and what is written next.
	Skip(bytes, lines int64)
}

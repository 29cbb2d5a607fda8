package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
)

// extend gives the browser its time for what is written next.
func (v *visit) extend() { _ = v.rc.SetWriteDeadline(time.Now().Add(v.c.stall)) } // not every server can

// lookEvery is how often a page that is followed looks where its build is.
const lookEvery = time.Second

// stream sends what comes of a log as server-sent events, until it has ended:
//
//	data: [[12, false, [["f1 b", "text"], ["", "more"]]], ...]
//	id: <cursor>
//
// which are lines with their number, whether they tell of an error, and pieces with their classes. A line that is sent again
// takes the place of the one with its number. "change" tells that the build is somewhere else now, and "end" that nothing
// follows. The browser gets text, never HTML.
func (c *Console) stream(ctx context.Context, v *visit) error {
	_, b, err := v.build(ctx)
	if err != nil {
		return err
	}
	from, err := v.place()
	if err != nil {
		return err
	}
	info, err := c.Logs.Stat(b.ID)
	if err == nil && from.offset > info.Size {
		err = logs.ErrOffset
	}
	if errors.Is(err, build.ErrNotFound) || errors.Is(err, logs.ErrOffset) {
		v.w.WriteHeader(http.StatusNoContent) // and the browser does not come again
		return nil
	}
	if err != nil {
		return err
	}
	return c.follow(ctx, v, b, from)
}

var errSessionOver = errors.New("the session is over")

// whileSigned is a context that ends with the visitor's session too. end waits for what looks at it.
func (v *visit) whileSigned(ctx context.Context) (signed context.Context, end func()) {
	ctx, over := context.WithCancelCause(ctx)
	var beside sync.WaitGroup
	beside.Go(func() {
		look := time.NewTicker(v.c.session)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
			if _, err := v.c.Store.OpenSession(ctx, v.secret); errors.Is(err, build.ErrNotFound) {
				over(errSessionOver)
				return
			}
		}
	})
	return ctx, func() { over(nil); beside.Wait() }
}

// place is where in a log a browser goes on: behind the last event that it had, or where its page ends.
func (v *visit) place() (cursor, error) {
	at := v.URL.Query().Get("at")
	if last := v.Header.Get("Last-Event-ID"); last != "" {
		at = last
	}
	from, ok := parseCursor(at)
	if !ok {
		return cursor{}, &problem{http.StatusBadRequest, "That is no place in a log", "Load the page again."}
	}
	return from, nil
}

// follow copies the log, and looks at the build beside it.
func (c *Console) follow(ctx context.Context, v *visit, b build.Build, from cursor) error {
	e := v.events(from)
	ctx, leave := v.whileSigned(ctx)
	defer leave()
	watching, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { c.watch(watching, v, b, e) })
	_, err := c.Logs.Follow(ctx, b.ID, from.offset, e)
	stop()
	beside.Wait()
	return e.finish(err)
}

// events begins an answer of events, of a log from a cursor.
func (v *visit) events(from cursor) *events {
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	v.begun = true
	v.extend()
	v.w.WriteHeader(http.StatusOK)
	_ = v.rc.Flush()
	return &events{v: v, paint: newPainter(from)}
}

// finish tells that nothing follows. After an error the connection ends without that, and the browser comes again with
// its cursor.
func (e *events) finish(err error) error {
	if err == nil {
		err = e.end()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// watch sends a change whenever the build has gone on.
func (c *Console) watch(ctx context.Context, v *visit, b build.Build, e *events) {
	seen := v.URL.Query().Get("seen") // it may have gone on since the page was made
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		changed := c.Service.Watch(b.ID)
		now, err := c.Store.BuildByID(ctx, b.ID)
		if err != nil {
			return
		}
		if at := whereIs(now); at != seen {
			if seen = at; e.change() != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-look.C:
		}
	}
}

// whereIs is the same as long as the summary of a build is.
func whereIs(b build.Build) string {
	return fmt.Sprint(b.State, " ", b.Phase, " ", b.Buildpack, " ", b.CancelAsked, " ", b.Attempt)
}

// events is a logs.Idler that sends lines as they come.
type events struct {
	v     *visit
	paint *painter

	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer for logs.Dir.Follow.
func (e *events) Write(p []byte) (int, error) {
	var lines [][3]any
	e.paint.write(p, func(l line) { lines = append(lines, l.wire()) })
	return len(p), e.send(lines)
}

// wire is a line as the stream has it.
func (l line) wire() [3]any {
	spans := make([][2]string, len(l.spans))
	for i, s := range l.spans {
		spans[i] = [2]string{s.class, s.text}
	}
	return [3]any{l.number, l.wrong, spans}
}

func (e *events) send(lines [][3]any) error {
	if l, ok := e.paint.rest(); ok {
		lines = append(lines, l.wire())
	}
	if len(lines) == 0 {
		return nil
	}
	text, err := json.Marshal(lines)
	if err != nil {
		return fmt.Errorf("send a log: %w", err)
	}
	return e.put("data: %s\nid: %s\n\n", text, e.paint.cursor)
}

func (e *events) put(format string, args ...any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf.Reset()
	fmt.Fprintf(&e.buf, format, args...)
	e.v.extend()
	if _, err := e.v.w.Write(e.buf.Bytes()); err != nil {
		return err
	}
	return e.v.rc.Flush()
}

// Idle implements logs.Idler.
func (e *events) Idle() error { return e.put(": the build goes on\n\n") }

func (e *events) change() error { return e.put("event: change\ndata: {}\n\n") }

func (e *events) end() error { return e.put("event: end\ndata: {}\n\n") }

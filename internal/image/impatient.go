package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// answerTime is how long a registry that was connected to may say nothing where a build has not begun yet: long enough
// for a busy one to look up a manifest, short enough for the build to say at once that it cannot be.
const answerTime = 4 * time.Second

// A silentError says that somebody took the connection and said nothing.
type silentError struct{ wait time.Duration }

func (e *silentError) Error() string {
	return fmt.Sprintf("it took the connection and said nothing for %s", e.wait)
}

// An impatient transport waits for a registry's answers, and for what comes next of them, no longer than wait. A registry
// that was silent once is not asked again. What is written, and blobs, have all the time that they need, and so has
// everything once it is calm. It is made for one image.
type impatient struct {
	base         http.RoundTripper
	wait         time.Duration
	silent, calm atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (t *impatient) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.calm.Load() || r.Method != http.MethodGet && r.Method != http.MethodHead || strings.Contains(asked(r).URL.Path, "/blobs/") {
		return t.base.RoundTrip(r)
	}
	late := &silentError{t.wait}
	if t.silent.Load() {
		return nil, late
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(t.wait, func() { cancel(late) })
	res, err := t.base.RoundTrip(r.WithContext(ctx))
	timer.Stop()
	if err != nil {
		err = t.reason(ctx, err)
		cancel(nil)
		return nil, err
	}
	res.Body = &impatientBody{ReadCloser: res.Body, t: t, ctx: ctx, cancel: cancel, timer: timer}
	return res, nil
}

// reason is err, or that the registry was silent where that was why.
func (t *impatient) reason(ctx context.Context, err error) error {
	if late, ok := errors.AsType[*silentError](context.Cause(ctx)); ok {
		t.silent.Store(true)
		return late
	}
	return err
}

// An impatientBody waits for the next bytes no longer than its transport.
type impatientBody struct {
	io.ReadCloser
	t      *impatient
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (b *impatientBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.t.wait)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF {
		err = b.t.reason(b.ctx, err)
	}
	return n, err
}

func (b *impatientBody) Close() error {
	b.cancel(nil)
	return b.ReadCloser.Close()
}

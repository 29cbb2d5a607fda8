package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
)

const (
	// silence is how long a followed log may say nothing, not even that it lives, before the connection counts as
	// broken. The service says so every 15 seconds.
	silence = 4 * logs.IdleAfter
	// patience is how long a service may be away while its log is followed.
	patience = 3 * time.Minute
)

// A LogOf says which log is meant. Made by BuildLog and its like.
type LogOf struct{ path []string }

func logOf(path ...string) LogOf { return LogOf{append(path, "log")} }

// BuildLog is the log of a build, by id or number.
func BuildLog(app, id string) LogOf { return logOf("apps", app, "builds", id) }

// ReleaseLog is the log of a release's command, by the release's id or version.
func ReleaseLog(app, release string) LogOf { return logOf("apps", app, "releases", release) }

// Log copies a log as far as it is written to w, from an offset on, and returns the offset behind it.
func (c *Client) Log(ctx context.Context, of LogOf, from int64, w io.Writer) (int64, error) {
	for {
		n, size, err := c.page(ctx, of, from, w)
		from += n
		if err != nil || n == 0 || from >= size {
			return from, err
		}
	}
}

// page copies one page of a log, and returns how long that was and how long the log is.
func (c *Client) page(ctx context.Context, of LogOf, from int64, w io.Writer) (n, size int64, err error) {
	res, err := c.send(ctx, call{
		method: http.MethodGet, path: of.path,
		query:  url.Values{"offset": {strconv.FormatInt(from, 10)}, "limit": {strconv.Itoa(logs.MaxPage)}},
		header: http.Header{"Accept": {"text/plain"}},
	})
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	if size, err = strconv.ParseInt(res.Header.Get("Log-Size"), 10, 64); err != nil {
		return 0, 0, fmt.Errorf("service %s: it does not say how long the log is", c.base)
	}
	if n, err = io.Copy(w, res.Body); err != nil {
		err = fmt.Errorf("read the log: %w", err)
	}
	return n, size, err
}

// Follow copies a log to w from an offset on and then as it grows, until it has ended, and returns the final state of
// what it is of. A connection that breaks is made again, and w gets every byte once.
func (c *Client) Follow(ctx context.Context, of LogOf, from int64, w io.Writer) (build.State, error) {
	lost := time.Now()
	for try := 1; ; try++ {
		state, next, err := c.follow(ctx, of, from, w)
		if next > from {
			from, try = next, 1
		}
		if err == nil {
			return state, nil
		}
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		b, broken := errors.AsType[*brokenError](err)
		if !broken {
			return "", err
		}
		if b.lived {
			lost = time.Now()
		}
		if time.Since(lost) > patience {
			return "", b.err
		}
		if err := sleep(ctx, pause(min(try, 5), nil)); err != nil {
			return "", err
		}
	}
}

// A brokenError is a log that may be asked for again. lived tells that something had come, if only a sign of life.
type brokenError struct {
	err   error
	lived bool
}

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// follow is one connection. next is the offset behind what w got.
func (c *Client) follow(ctx context.Context, of LogOf, from int64, w io.Writer) (state build.State, next int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := c.send(ctx, call{
		method: http.MethodGet, path: of.path,
		query:  url.Values{"follow": {"true"}},
		header: http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {strconv.FormatInt(from, 10)}},
	})
	if e, ok := errors.AsType[*Error](err); ok && e.Status < 500 {
		return "", from, err
	}
	if err != nil {
		return "", from, &brokenError{err: err}
	}
	defer res.Body.Close()
	if media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); media != "text/event-stream" {
		return "", from, fmt.Errorf("service %s: it gave %.80q for a log to follow: is something between here and there?", c.base, res.Header.Get("Content-Type"))
	}
	alarm := time.AfterFunc(silence, cancel)
	defer alarm.Stop()
	h := &heard{r: res.Body, alarm: alarm}
	next = from
	for e, err := range logs.ReadEvents(h) {
		if err != nil {
			err = fmt.Errorf("service %s: %w", c.base, err)
			if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, bufio.ErrTooLong) {
				return "", next, err // that is no log
			}
			return "", next, &brokenError{err: err, lived: h.any}
		}
		if e.State != "" {
			return e.State, next, nil
		}
		if _, err := w.Write(e.Text); err != nil {
			return "", next, err
		}
		next = e.Offset
	}
	return "", next, &brokenError{err: io.ErrUnexpectedEOF, lived: h.any}
}

// heard puts the alarm off while something comes.
type heard struct {
	r     io.Reader
	alarm *time.Timer
	any   bool // something came
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if n > 0 {
		h.any = true
		h.alarm.Reset(silence)
	}
	return n, err
}

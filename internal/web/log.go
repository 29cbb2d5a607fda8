package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
)

// A logRequest is what a client wants of a log.
type logRequest struct {
	from, limit int64
	follow      bool
	events      bool // as server-sent events; else text
	plain       bool // text without colours
}

func (c *call) logRequest() (r logRequest, err error) {
	q := c.URL.Query()
	r.events = wantsEvents(c.Header)
	offset := q.Get("offset")
	if last := c.Header.Get("Last-Event-ID"); r.events && last != "" {
		offset = last // where a browser goes on that lost its connection
	}
	if r.from, err = logs.ParseOffset(offset); err != nil {
		return r, invalid("offset", "it is a number of bytes, as the id of an event is")
	}
	r.limit = logs.MaxPage
	if text := q.Get("limit"); text != "" {
		if r.limit, err = strconv.ParseInt(text, 10, 64); err != nil || r.limit < 0 {
			return r, invalid("limit", "it is a number of bytes")
		}
	}
	for name, into := range map[string]*bool{"follow": &r.follow, "plain": &r.plain} {
		if text := q.Get(name); text != "" {
			if *into, err = strconv.ParseBool(text); err != nil {
				return r, invalid(name, "it is true or false")
			}
		}
	}
	if r.events && r.plain {
		return r, invalid("plain", "events are the log as it is: their ids count its bytes")
	}
	return r, nil
}

// wantsEvents tells whether a client prefers server-sent events to text.
func wantsEvents(h http.Header) bool {
	for part := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		switch media, _, _ := strings.Cut(part, ";"); strings.ToLower(strings.TrimSpace(media)) {
		case "text/event-stream":
			return true
		case "text/plain":
			return false
		}
	}
	return false
}

// buildLog is a page of a log, or follows it.
func (s *server) buildLog(ctx context.Context, c *call) error {
	r, err := c.logRequest()
	if err != nil {
		return err
	}
	b, err := s.find(ctx, c)
	if err != nil {
		return err
	}
	return s.log(ctx, c, logged{b.ID, b.State}, r)
}

// A logged is what has a log, and how it stands.
type logged struct {
	id    build.ID
	state build.State
}

// releaseLog is that of a release's command.
func (s *server) releaseLog(ctx context.Context, c *call) error {
	r, err := c.logRequest()
	if err != nil {
		return err
	}
	rel, err := s.Store.Release(ctx, c.app.ID, c.PathValue("release"))
	if errors.Is(err, build.ErrNotFound) {
		err = noRelease(c, c.PathValue("release"))
	}
	if err != nil {
		return err
	}
	return s.log(ctx, c, commandOf(rel), r)
}

func commandOf(r build.Release) logged {
	switch r.State {
	case build.ReleaseSucceeded:
		return logged{r.ID, build.Succeeded}
	case build.ReleaseFailed:
		return logged{r.ID, build.Failed}
	}
	return logged{r.ID, build.Running}
}

// log is a page of a log, or follows it.
func (s *server) log(ctx context.Context, c *call, of logged, r logRequest) error {
	if r.events || r.follow {
		return s.follow(ctx, c, of, r)
	}
	p, err := s.Logs.Page(of.id, r.from, r.limit)
	if err != nil {
		return logProblem(err)
	}
	describe(c.w.Header(), of, p.Info)
	c.w.Header().Set("Log-Next", strconv.FormatInt(p.From+int64(len(p.Data)), 10))
	if r.plain {
		var out bytes.Buffer
		d := logs.NewPlain(&out)
		_, err := d.Write(p.Data)
		if err = errors.Join(err, d.Close()); err != nil {
			return err
		}
		p.Data = out.Bytes()
	}
	return c.send(http.StatusOK, textPlain, p.Data)
}

const textPlain = "text/plain; charset=utf-8"

// stream is what an output_stream_url leads to.
func (s *server) stream(ctx context.Context, c *call) error {
	r, err := c.logRequest()
	if err != nil {
		return err
	}
	b, err := s.Store.BuildByID(ctx, build.ID(c.PathValue("id")))
	if errors.Is(err, build.ErrNotFound) { // its app was removed, for its setup has failed
		v, serr := s.Store.SetupOfBuild(ctx, build.ID(c.PathValue("id")))
		if serr == nil {
			b, err = build.Build{ID: v.Build, State: v.BuildState}, nil
		}
	}
	if err != nil {
		return err
	}
	return s.follow(ctx, c, logged{b.ID, b.State}, r)
}

// releaseStream is what the output_stream_url of a release leads to.
func (s *server) releaseStream(ctx context.Context, c *call) error {
	r, err := c.logRequest()
	if err != nil {
		return err
	}
	rel, err := s.Store.ReleaseByID(ctx, build.ID(c.PathValue("id")))
	if err != nil {
		return err
	}
	return s.follow(ctx, c, commandOf(rel), r)
}

// describe says how long a log is and how what it is of stands.
func describe(h http.Header, of logged, i logs.Info) {
	state := of.state
	if i.State != "" {
		state = i.State
	} else if state.Terminal() {
		state = build.Running // its last lines are still to come
	}
	h.Set("Log-Size", strconv.FormatInt(i.Size, 10))
	h.Set("Log-State", string(state))
}

func logProblem(err error) error {
	if errors.Is(err, build.ErrNotFound) {
		return &problem{http.StatusNotFound, "not_found", "there is no log of it, or none any more"}
	}
	if errors.Is(err, logs.ErrOffset) {
		return invalid("offset", "the log is not that long")
	}
	return err
}

// follow sends a log from an offset on until it has ended. A client that does not take it, and one whose connection
// must end before that, sees the connection break: what it has is not the whole.
func (s *server) follow(ctx context.Context, c *call, of logged, r logRequest) error {
	info, err := s.Logs.Stat(of.id)
	if err != nil {
		return logProblem(err)
	}
	if r.from > info.Size {
		return logProblem(logs.ErrOffset)
	}
	h := c.w.Header()
	describe(h, of, info)
	h.Set("X-Accel-Buffering", "no")
	h.Set("Content-Type", textPlain)
	if r.events {
		h.Set("Content-Type", "text/event-stream")
	}
	c.w.WriteHeader(http.StatusOK)
	if c.Method == http.MethodHead {
		return nil
	}
	c.w.live = true
	if err := c.w.rc.Flush(); err != nil {
		return fmt.Errorf("begin to send a log: %w", err)
	}
	return s.copyLog(ctx, c.w, of.id, r)
}

func (s *server) copyLog(ctx context.Context, w io.Writer, id build.ID, r logRequest) error {
	switch {
	case r.events:
		e := logs.NewEvents(w, r.from)
		state, err := s.Logs.Follow(ctx, id, r.from, e)
		if err == nil {
			err = e.End(state)
		}
		return err
	case r.plain:
		d := logs.NewPlain(w)
		_, err := s.Logs.Follow(ctx, id, r.from, d)
		if err == nil {
			err = d.Close()
		}
		return err
	}
	_, err := s.Logs.Follow(ctx, id, r.from, w)
	return err
}

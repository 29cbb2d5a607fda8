package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// A call is one request to a route, with what the front door found out before its handler runs.
type call struct {
	*http.Request
	s     *server
	w     *answer
	id    string // Request-Id
	actor build.Actor
	app   build.App // of a route below /apps/{app}, or of the hook

	hook     build.Hook // of a hook's URL
	registry bool       // a route of the registry API
	secrets  []string   // with which a forge may sign what it sends there

	status int                 // of success; a list that goes on says 206
	names  map[build.ID]string // of users, as they were looked up
}

// userName is the name of a user. One that is gone has none.
func (c *call) userName(ctx context.Context, id build.ID) (string, error) {
	if name, ok := c.names[id]; ok {
		return name, nil
	}
	u, err := c.s.Store.User(ctx, string(id))
	if err != nil && !errors.Is(err, build.ErrNotFound) {
		return "", err
	}
	if c.names == nil {
		c.names = map[build.ID]string{}
	}
	c.names[id] = u.Name
	return u.Name, nil
}

// maxBody is how large a JSON body may be, where the route does not say otherwise.
const maxBody = 1 << 20

// decode reads the body into a value, strictly: one JSON text, no field that is not known. No body is the zero value.
func (c *call) decode(into any, limit int64) error {
	if limit == 0 {
		limit = maxBody
	}
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, limit))
	if err != nil {
		return bodyProblem(err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	if err := strict(text); err != nil {
		return decodeProblem(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return decodeProblem(err)
	}
	return nil
}

// decodeProblem names the field that could not be decoded, and nothing of its value.
func decodeProblem(err error) error {
	if e, ok := errors.AsType[*build.InvalidError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*problem](err); ok {
		return e
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := e.Field
		if field == "" {
			field = "body"
		}
		got, _, _ := strings.Cut(e.Value, " ") // "number 12" is a value
		return invalid(field, fmt.Sprintf("it cannot be a JSON %s here", got))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return invalid(strings.Trim(name, `"`), "no such field")
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return badRequest(fmt.Sprintf("the body is no JSON: %v at byte %d", e, e.Offset))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return badRequest("the JSON of the body ends too early")
	}
	return badRequest("the body is no JSON that is understood here")
}

// answer sends a value as JSON.
func (c *call) answer(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	return c.send(c.status, "application/json", b.Bytes())
}

// send is the last step of every answer that is no stream. That the client does not take it concerns nobody else.
func (c *call) send(status int, contentType string, text []byte) error {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", fmt.Sprint(len(text)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(text)
	return nil
}

// fail answers with what an error means.
func (c *call) fail(err error) {
	if c.w.begun {
		panic(http.ErrAbortHandler) // the client must not take what it has for the whole
	}
	p, ours := problemOf(err, c.id)
	if ours && c.Context().Err() == nil {
		c.s.Fault(fmt.Errorf("%s %s, request %s: %w", c.Method, c.where(), c.id, err))
	}
	if p.status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="slipway"`)
		if c.Method == http.MethodGet && strings.HasSuffix(c.URL.Path, "/log") && strings.Contains(c.Header.Get("Accept"), "text/html") {
			// A person has followed a link, that of a commit's status: the browser asks for a token.
			c.w.Header().Add("WWW-Authenticate", `Basic realm="slipway: a token is the password"`)
		}
	}
	c.status = p.status
	if c.registry {
		_ = c.answer(registryProblem{p.ID, p.Message, p.Message})
		return
	}
	_ = c.answer(p)
}

// where is the path without what may be secret in it.
func (c *call) where() string {
	path := oneLine(c.URL.Path)
	if rest, ok := strings.CutPrefix(path, "/hooks/"); ok && rest != "" {
		return "/hooks/..."
	}
	return path
}

var requestID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`) })

// front is what every request goes through, whatever it asks for.
func (s *server) front(mux *http.ServeMux) http.Handler {
	crossOrigin := http.NewCrossOriginProtection() // a browser may keep a token that its user typed as a password
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, s: s, w: newAnswer(w, s.Stall), id: r.Header.Get("Request-Id"), status: http.StatusOK}
		if !requestID().MatchString(c.id) {
			c.id = string(build.NewID())
		}
		h := w.Header()
		h.Set("Request-Id", c.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		r.Body = newBody(r, c.w.rc, s.Stall)
		defer c.end()
		if err := crossOrigin.Check(r); err != nil {
			c.fail(forbidden("a page of another site asks for this: use a client that is no browser"))
			return
		}
		handler, pattern := mux.Handler(r)
		if pattern == "" {
			c.fail(elsewhere(handler, r))
			return
		}
		mux.ServeHTTP(c.w, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
	})
}

// callKey is where the front door leaves the call for the handler that the multiplexer finds.
type callKey struct{}

// end follows the handler, also when it panicked.
func (c *call) end() {
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler {
			panic(v)
		}
		c.fail(fmt.Errorf("panic: %v", v))
	}
	c.w.finish()
}

// elsewhere says what is wrong with a request that has no route, as the multiplexer's own answer tells.
func elsewhere(handler http.Handler, r *http.Request) error {
	var a discarded
	handler.ServeHTTP(&a, r)
	if a.status == http.StatusMethodNotAllowed {
		return &problem{a.status, "bad_request", fmt.Sprintf("%.20s is not for this: it takes %s", r.Method, a.Header().Get("Allow"))}
	}
	return &problem{http.StatusNotFound, "not_found", "there is nothing here: see /openapi.json for what there is"}
}

// discarded keeps of an answer its status and header.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}

func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }

func (d *discarded) WriteHeader(status int) { d.status = status }

// A stamp is a time as clients see it: UTC, to the second.
type stamp time.Time

// MarshalJSON is encoding/json's.
func (s stamp) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Time(s).UTC().Format(time.RFC3339))
}

// when is null for no time.
func when(t time.Time) *stamp {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

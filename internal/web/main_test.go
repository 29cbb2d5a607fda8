package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/work"
)

// tags takes every name.
type tags struct {
	mu   sync.Mutex
	at   map[string]string
	gone string // a digest that no repository has any more
}

func (t *tags) Has(_ context.Context, _ []work.Credential, _, digest string) (bool, error) {
	return digest != t.gone, nil
}

func (t *tags) Tag(_ context.Context, _ []work.Credential, repository, tag, digest string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at[repository+":"+tag] = digest
	return nil
}

// diary notes what happens to apps.
type diary struct {
	mu    sync.Mutex
	lines []string
	fail  error
}

func (d *diary) note(format string, args ...any) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
	return d.fail
}

func (d *diary) Created(_ context.Context, a build.App) error { return d.note("created %s", a.Name) }
func (d *diary) Deleted(_ context.Context, a build.App) error { return d.note("deleted %s", a.Name) }
func (d *diary) Changed(_ context.Context, before, after build.App) error {
	return d.note("changed %s %s to %s %s", before.Name, before.Branch, after.Name, after.Branch)
}

// house is the whole service but for workers, which tests play, behind a real server.
type house struct {
	Options
	t        *testing.T
	url      string
	tags     *tags
	diary    *diary
	ready    error
	refuse   error // of preflight
	mu       sync.Mutex
	faults   []error
	faulty   bool   // a test that expects faults
	root     string // an administrator's token
	alice    string
	bob      string
	handler  http.Handler
	document *document
	conns    atomic.Int64 // that are open
	stop     func()       // as the daemon does: requests end
}

func newHouse(t *testing.T, change ...func(*Options)) *house {
	dir := t.TempDir()
	h := &house{t: t, tags: &tags{at: map[string]string{}}, diary: &diary{}}
	box := must(secret.Open(filepath.Join(dir, "key")))(t)
	h.Store = must(store.Open(t.Context(), filepath.Join(dir, "slipway.db"), box))(t)
	t.Cleanup(func() { _ = h.Store.Close() })
	h.Logs = must(logs.Open(filepath.Join(dir, "logs")))(t)
	h.Sources = must(fetch.OpenSources(filepath.Join(dir, "sources")))(t)
	h.Service = service.New(service.Config{Builder: "builder", Registry: "registry.test", Lease: time.Minute, Limits: build.Limits{Time: time.Hour}},
		h.Store, h.Logs, h.tags, func(err error) { h.Options.Fault(err) })
	h.Options.Fault = func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.faults = append(h.faults, err)
	}
	h.Apps, h.Registry, h.Version, h.Key, h.SourceLimit = h.diary, "registry.test", "1.2.3", bytes.Repeat([]byte("k"), 32), 1<<20
	h.Ready = func(context.Context) error { return h.ready }
	h.Preflight = func(context.Context, build.App) error { return h.refuse }
	h.Workers = func() int { return 2 }
	for _, f := range change {
		f(&h.Options)
	}
	h.handler = must(New(h.Options))(t)
	recorder := httptest.NewRecorder()
	h.handler.ServeHTTP(recorder, httptest.NewRequest("GET", "/openapi.json", nil))
	h.document = readDocument(t, recorder.Body.Bytes())
	server := httptest.NewUnstartedServer(h.handler)
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	t.Cleanup(stop)
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			_ = c.(*net.TCPConn).SetWriteBuffer(32 << 10)
			h.conns.Add(1)
		case http.StateClosed, http.StateHijacked:
			h.conns.Add(-1)
		}
	}
	server.Start()
	h.url = server.URL
	t.Cleanup(server.Close)
	h.root = must(h.Store.First(t.Context(), "root"))(t)
	h.alice, h.bob = h.user("alice"), h.user("bob")
	t.Cleanup(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.faults) > 0 != h.faulty {
			t.Errorf("faults of the service: %v", h.faults)
		}
	})
	return h
}

// must is for what must not fail.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// user makes a user, and answers with a token.
func (h *house) user(name string) string {
	return h.do("POST", "/users", h.root, fmt.Sprintf(`{"name":%q}`, name)).want(201).str("token")
}

// An answered request.
type reply struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	text   string
}

// do asks with a JSON body, or none.
func (h *house) do(method, path, token, body string, headers ...string) reply {
	h.t.Helper()
	if !strings.Contains(path, "://") {
		path = h.url + path
	}
	req := must(http.NewRequestWithContext(h.t.Context(), method, path, strings.NewReader(body)))(h.t)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	res := must(http.DefaultClient.Do(req))(h.t)
	defer res.Body.Close()
	text := must(io.ReadAll(res.Body))(h.t)
	if err := h.document.check(res.Request.Method, res.Request.URL.EscapedPath(), res.StatusCode, res.Header, text); err != nil && method != http.MethodHead {
		h.t.Errorf("%s %s: %v", method, path, err)
	}
	return reply{h.t, method + " " + path, res.StatusCode, res.Header, string(text)}
}

func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: %d, want %d: %.2000s", r.what, r.status, status, r.text)
	}
	return r
}

// refused is an error body with an id and something in its message.
func (r reply) refused(status int, id, part string) {
	r.t.Helper()
	r.want(status)
	var p problem
	if err := json.Unmarshal([]byte(r.text), &p); err != nil || p.ID != id || !strings.Contains(p.Message, part) || strings.Contains(p.Message, "\n") {
		r.t.Errorf("%s: %s, want %s and %q (%v)", r.what, r.text, id, part, err)
	}
}

// into decodes the answer.
func (r reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.text), v); err != nil {
		r.t.Fatalf("%s: %v: %.2000s", r.what, err, r.text)
	}
}

// at is a value in the answer, by dotted path.
func (r reply) at(path string) any {
	r.t.Helper()
	var v any
	r.into(&v)
	for part := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			r.t.Fatalf("%s: no %s in %.2000s", r.what, path, r.text)
		}
		if v, ok = m[part]; !ok {
			r.t.Fatalf("%s: no %s in %.2000s", r.what, path, r.text)
		}
	}
	return v
}

func (r reply) str(path string) string {
	r.t.Helper()
	s, ok := r.at(path).(string)
	if !ok {
		r.t.Fatalf("%s: %s is no text in %.2000s", r.what, path, r.text)
	}
	return s
}

// is compares values of the answer: path, value, path, value...
func (r reply) is(pairs ...any) reply {
	r.t.Helper()
	for p := range slices.Chunk(pairs, 2) {
		if got := r.at(p[0].(string)); fmt.Sprint(got) != fmt.Sprint(p[1]) {
			r.t.Errorf("%s: %s is %v, want %v", r.what, p[0], got, p[1])
		}
	}
	return r
}

// newApp makes an app of alice's.
func (h *house) newApp(name string) reply {
	h.t.Helper()
	return h.do("POST", "/apps", h.alice, fmt.Sprintf(`{"name":%q}`, name)).want(201)
}

// newBuild uploads a source and builds it.
func (h *house) newBuild(app string) reply {
	h.t.Helper()
	src := h.do("POST", "/sources", h.alice, "").want(201)
	h.do("PUT", src.str("source_blob.put_url"), "", "a source").want(200)
	return h.do("POST", "/apps/"+app+"/builds", h.alice, fmt.Sprintf(`{"source_blob":{"url":%q,"version":"v1"}}`, src.str("source_blob.get_url"))).want(201)
}

// claim plays a worker.
func (h *house) claim() *work.Job {
	h.t.Helper()
	j := must(h.Service.Claim(h.t.Context(), "w"))(h.t)
	if j == nil {
		h.t.Fatal("no build waits")
	}
	return j
}

func (h *house) say(j *work.Job, text string) {
	if _, err := h.Service.Log(h.t.Context(), j.Claim, work.Piece{Text: []byte(text)}); err != nil {
		h.t.Error(err)
	}
}

const digest = "sha256:0123456789012345678901234567890123456789012345678901234567890123"

func (h *house) succeed(j *work.Job, digest string) {
	h.t.Helper()
	o := work.Outcome{State: build.Succeeded, Result: &build.Result{
		Repository: j.Image, Digest: digest, RunImage: "run@sha256:1", Builder: "builder@sha256:2", Phases: []build.PhaseTiming{},
		Buildpacks: []build.Buildpack{{ID: "acme/web", Version: "1.0", Homepage: "https://acme.test"}}, Processes: []build.Process{{Type: "web", Command: "serve", Default: true}},
	}}
	if err := h.Service.Finish(h.t.Context(), j.Claim, o); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) fail(j *work.Job) {
	h.t.Helper()
	f := &build.Failure{Blame: build.BlameApp, Code: "buildpack-failed", Phase: "build", Reason: "no good", Next: "do better"}
	if err := h.Service.Finish(h.t.Context(), j.Claim, work.Outcome{State: build.Failed, Failure: f}); err != nil {
		h.t.Fatal(err)
	}
}

var errOurs = errors.New("disk /dev/sda1 on fire")

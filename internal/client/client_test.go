package client

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
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
	"github.com/slipway-build/slipway/internal/web"
	"github.com/slipway-build/slipway/internal/work"
)

type noTags struct{}

func (noTags) Has(context.Context, []work.Credential, string, string) (bool, error) { return true, nil }

func (noTags) Tag(context.Context, []work.Credential, string, string, string) error { return nil }

// A house is the service but for workers, which tests play. between, if not nil, stands before it.
type house struct {
	*testing.T
	service *service.Service
	handler http.Handler
	token   string
	between func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func newHouse(t *testing.T) *house {
	dir := t.TempDir()
	h := &house{T: t}
	box, err := secret.Open(filepath.Join(dir, "key"))
	h.check(err)
	st, err := store.Open(t.Context(), filepath.Join(dir, "slipway.db"), box)
	h.check(err)
	t.Cleanup(func() { _ = st.Close() })
	l, err := logs.Open(filepath.Join(dir, "logs"))
	h.check(err)
	src, err := fetch.OpenSources(filepath.Join(dir, "sources"))
	h.check(err)
	fault := func(err error) { t.Errorf("fault of the service: %v", err) }
	h.service = service.New(service.Config{Builder: "builder", Registry: "registry.test", Lease: time.Minute, Limits: build.Limits{Time: time.Hour}}, st, l, noTags{}, fault)
	h.handler, err = web.New(web.Options{
		Store: st, Service: h.service, Logs: l, Sources: src, Fault: fault, Registry: "registry.test", Version: "1.2.3",
		Key: bytes.Repeat([]byte("k"), 32), SourceLimit: 1 << 20, Ready: func(context.Context) error { return nil }, Workers: func() int { return 2 },
	})
	h.check(err)
	h.token, err = st.First(t.Context(), "root")
	h.check(err)
	return h
}

func (h *house) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// ServeHTTP is http.Handler's.
func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.between != nil {
		h.between(w, r, h.handler)
		return
	}
	h.handler.ServeHTTP(w, r)
}

// client is one of the service at a URL; "" starts a server for it.
func (h *house) client(url string) *Client {
	h.Helper()
	if url == "" {
		server := httptest.NewServer(h)
		h.Cleanup(server.Close)
		url = server.URL
	}
	c, err := New(Options{URL: url, Token: h.token, UserAgent: "test"})
	h.check(err)
	return c
}

func (h *house) app(c *Client, name string) App {
	h.Helper()
	a, err := c.CreateApp(h.Context(), AppChange{Name: &name})
	h.check(err)
	return a
}

// build uploads a source and builds it.
func (h *house) build(c *Client, app string) Build {
	h.Helper()
	s, err := c.CreateSource(h.Context(), app)
	h.check(err)
	_, err = c.Upload(h.Context(), s, strings.NewReader("a source"), 8, nil)
	h.check(err)
	b, err := c.CreateBuild(h.Context(), app, BuildRequest{Source: BuildSource{URL: s.Blob.GetURL, Version: "v1"}})
	h.check(err)
	return b
}

func (h *house) claim() *work.Job {
	h.Helper()
	j, err := h.service.Claim(h.Context(), "w")
	if err != nil || j == nil {
		h.Fatalf("claim: %v, %v", j, err)
	}
	return j
}

func (h *house) fail(j *work.Job) {
	h.Helper()
	h.check(h.service.Finish(h.Context(), j.Claim, work.Outcome{State: build.Failed, Failure: &build.Failure{Blame: build.BlameApp, Code: "x", Reason: "no good"}}))
}

func TestPages(t *testing.T) {
	h := newHouse(t)
	c := h.client("")
	for i := range 5 {
		h.app(c, fmt.Sprintf("app-%d", i))
	}
	for _, r := range []Range{{Attribute: "name", Max: 2}, {Attribute: "name", Max: 5}, {Attribute: "name", Desc: true, Max: 1}, {}} {
		apps, err := Collect(pages[App](t.Context(), c, r, "apps"), 0)
		h.check(err)
		var names []string
		for _, a := range apps {
			names = append(names, a.Name[4:])
		}
		want := "0 1 2 3 4"
		if r.Desc {
			want = "4 3 2 1 0"
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%+v: %s, want %s", r, got, want)
		}
	}
	asked := 0
	h.between = func(w http.ResponseWriter, r *http.Request, next http.Handler) { asked++; next.ServeHTTP(w, r) }
	if apps, err := Collect(pages[App](t.Context(), c, Range{Attribute: "name", Max: 2}, "apps"), 2); err != nil || len(apps) != 2 || asked != 1 {
		t.Errorf("the first two: %d, %v, asked %d times", len(apps), err, asked)
	}
	// A service that never comes to an end is left.
	h.between = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Next-Range", "name ]a..")
		w.WriteHeader(http.StatusPartialContent)
		io.WriteString(w, `[{}]`)
	}
	if _, err := Collect(c.Apps(t.Context()), 0); err == nil || !strings.Contains(err.Error(), "again and again") {
		t.Errorf("the same page again: %v", err)
	}
}

func TestErrors(t *testing.T) {
	h := newHouse(t)
	c := h.client("")
	h.app(c, "taken")
	name := "taken"
	_, missing := c.App(t.Context(), "missing")
	_, conflict := c.CreateApp(t.Context(), AppChange{Name: &name})
	stranger, err := New(Options{URL: c.URL(), Token: "nobody"})
	h.check(err)
	_, unknown := stranger.Account(t.Context())
	_, dots := c.App(t.Context(), "..")
	h.between = func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Error(w, "<html>", http.StatusTeapot)
	}
	_, html := c.App(t.Context(), "taken")
	h.between = func(w http.ResponseWriter, r *http.Request, _ http.Handler) { io.WriteString(w, "[") }
	_, broken := c.App(t.Context(), "taken")
	for what, c := range map[string]struct {
		err    error
		id     string
		status int
		text   string
	}{
		"missing":       {missing, "not_found", 404, ""},
		"taken":         {conflict, "conflict", 409, "taken is taken"},
		"unknown token": {unknown, "unauthorized", 401, ""},
		"a path":        {dots, "", 0, "is no name"},
		"no service":    {html, "unknown", 418, "is that the URL of a Slipway service?"},
		"no JSON":       {broken, "", 0, "not what this slipway understands"},
	} {
		e, ok := errors.AsType[*Error](c.err)
		if ok != (c.id != "") || ok && (e.ID != c.id || e.Status != c.status) || c.err == nil || !strings.Contains(c.err.Error(), c.text) || strings.Contains(c.err.Error(), "\n") {
			t.Errorf("%s: %#v %v", what, c.err, c.err)
		}
		if ok && c.id != "unknown" && e.RequestID == "" {
			t.Errorf("%s: no Request-Id", what)
		}
	}
}

// TestRedirect keeps the token from wherever a service points to.
func TestRedirect(t *testing.T) {
	var seen atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	defer other.Close()
	h := newHouse(t)
	h.between = func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, other.URL, http.StatusFound)
	}
	_, err := h.client("").Account(t.Context())
	if err == nil || !strings.Contains(err.Error(), other.URL) || seen.Load() != 0 {
		t.Errorf("followed %d times, %v", seen.Load(), err)
	}
}

// TestAgain makes a proxy of the service say twice that nobody is behind it.
func TestAgain(t *testing.T) {
	h := newHouse(t)
	c := h.client("")
	h.app(c, "app")
	asked, away := 0, 2
	h.between = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if asked++; asked <= away {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		next.ServeHTTP(w, r)
	}
	if _, err := c.App(t.Context(), "app"); err != nil || asked != 3 {
		t.Errorf("reading: asked %d times, %v", asked, err)
	}
	asked = 0
	if err := c.PutCredential(t.Context(), "app", GitCredential, "git.test", Credential{Username: "u", Password: "p"}); err != nil || asked != 3 {
		t.Errorf("putting: asked %d times, %v", asked, err)
	}
	asked = 0
	if _, err := c.RetryBuild(t.Context(), "app", "1"); err == nil || asked != 1 {
		t.Errorf("making a build: asked %d times, %v", asked, err)
	}
	asked, away = 0, 100
	if _, err := c.App(t.Context(), "app"); err == nil || asked != maxTries {
		t.Errorf("reading what is away: asked %d times, %v", asked, err)
	}
}

// TestDialled waits for a service that is not there yet, also to change something.
func TestDialled(t *testing.T) {
	h := newHouse(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	h.check(err)
	at := l.Addr().String()
	h.check(l.Close())
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(100 * time.Millisecond)
		l, err := net.Listen("tcp", at)
		if err != nil {
			return // somebody else has it now
		}
		server := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
		server.Start()
		h.Cleanup(server.Close)
	})
	name := "late"
	_, err = h.client("http://"+at).CreateApp(t.Context(), AppChange{Name: &name})
	wg.Wait()
	if err != nil {
		t.Error(err)
	}
}

func TestUpload(t *testing.T) {
	h := newHouse(t)
	c := h.client("")
	h.app(c, "app")
	place, err := c.CreateSource(t.Context(), "app")
	h.check(err)
	text := strings.Repeat("x", 300_000)
	var sent int64
	up, err := c.Upload(t.Context(), place, strings.NewReader(text), int64(len(text)), func(n int64) { sent = n })
	if err != nil || up.Size != int64(len(text)) || sent != up.Size || !strings.HasPrefix(up.Checksum, "SHA256:") {
		t.Errorf("%+v, %v, sent %d", up, err, sent)
	}
	if _, err := c.Upload(t.Context(), place, strings.NewReader("y"), 1, nil); !errors.Is(err, &Error{ID: "conflict"}) {
		t.Errorf("a second time: %v", err)
	}
	place, err = c.CreateSource(t.Context(), "app")
	h.check(err)
	_, err = c.Upload(t.Context(), place, io.LimitReader(endless{}, 2<<20), 2<<20, nil)
	if err == nil || strings.Contains(err.Error(), "sig=") {
		t.Errorf("too large: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestCertificates(t *testing.T) {
	h := newHouse(t)
	server := httptest.NewTLSServer(h)
	defer server.Close()
	server.Config.ErrorLog = nil
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c, err := New(Options{URL: server.URL, Token: h.token, CA: ca})
	h.check(err)
	if _, err := c.Account(t.Context()); err != nil {
		t.Errorf("trusted: %v", err)
	}
	if _, err := h.client(server.URL).Account(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("not trusted: %v", err)
	}
	if _, err := New(Options{URL: server.URL, CA: []byte("x")}); err == nil {
		t.Error("no certificate is one")
	}
	var place Source
	place.Blob.PutURL = "http://" + server.Listener.Addr().String() + "/x"
	if _, err := c.Upload(t.Context(), place, strings.NewReader("x"), 1, nil); err == nil || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("from https to http: %v", err)
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://Host.test": "https://host.test", "https://host.test/": "https://host.test", "http://127.0.0.1:8080": "http://127.0.0.1:8080",
		"https://host.test/slipway/": "https://host.test/slipway", "https://[::1]:1": "https://[::1]:1",
	} {
		if u, err := ParseURL(in); err != nil || u.String() != want {
			t.Errorf("ParseURL(%q) = %v, %v", in, u, err)
		}
	}
	for _, in := range []string{"", "host.test", "ftp://host.test", "https://", "https://user:pass@host.test", "https://host.test?x=1", "https://:80", "https://a b", "-x"} {
		u, err := ParseURL(in)
		if err == nil || strings.Contains(err.Error(), "pass") {
			t.Errorf("ParseURL(%q) = %v, %v", in, u, err)
		}
	}
}

package outbox

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/store"
)

// A world has hosts, each with a handler, and is a transport to them. A host that is not there refuses.
type world struct {
	mu    sync.Mutex
	hosts map[string]http.HandlerFunc
	heard []heard
}

type heard struct {
	at     time.Time
	method string
	url    string
	header http.Header
	body   string
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	h := w.hosts[r.URL.Host]
	w.heard = append(w.heard, heard{time.Now(), r.Method, r.URL.String(), r.Header.Clone(), strings.ReplaceAll(string(body), `\u0026`, "&")})
	w.mu.Unlock()
	if h == nil {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	h(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

func (w *world) of(host string) (out []heard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.heard {
		if strings.Contains(h.url, "//"+host+"/") {
			out = append(out, h)
		}
	}
	return out
}

// house is a store with a sender, and one app.
type house struct {
	*store.Store
	*world
	t    *testing.T
	app  build.App
	user build.User
	stop func()
}

// inHouse runs f with a clock that goes as fast as nothing happens.
func inHouse(t *testing.T, f func(t *testing.T, h *house)) {
	dir := t.TempDir()
	box, err := secret.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		h := &house{t: t, world: &world{hosts: map[string]http.HandlerFunc{}}}
		if h.Store, err = store.Open(ctx, filepath.Join(dir, "slipway.db"), box); err != nil {
			t.Fatal(err)
		}
		if h.user, err = h.CreateUser(ctx, "alice", false); err != nil {
			t.Fatal(err)
		}
		if h.app, err = h.CreateApp(ctx, build.App{Name: "shop", Owner: h.user.ID, Branch: "main", Disconnect: build.Continue}); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}()
		h.start()
		defer func() { h.stop() }()
		f(t, h)
	})
}

// start starts a sender; stop ends it.
func (h *house) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sender{Store: h.Store, Transport: h.world, URL: "https://build.test", Version: "1.2.3", Fault: func(err error) { h.t.Errorf("fault: %v", err) }}
	over := make(chan error)
	go func() { over <- s.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-over; err != nil {
			h.t.Error(err)
		}
	})
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func answers(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// forge sets where statuses go.
func (h *house) forge(kind build.ForgeKind, repository, api, token string) {
	h.t.Helper()
	must(h.PutForge(h.t.Context(), build.Forge{App: h.app.ID, Kind: kind, Repository: repository, API: api, Context: "slipway/shop", Token: token}))(h.t)
}

func (h *house) webhook(url string, level build.Level) build.Webhook {
	h.t.Helper()
	return must(h.CreateWebhook(h.t.Context(), build.Webhook{App: h.app.ID, User: h.user.ID, URL: url, Include: []string{build.IncludeBuild}, Level: level, Secret: "whsec_" + base64.StdEncoding.EncodeToString([]byte("the key of it"))}))(h.t)
}

// queue makes a build of the commit of a repository.
func (h *house) queue(repository string) build.Build {
	h.t.Helper()
	b, _, err := h.CreateBuild(h.t.Context(), build.Build{
		App: h.app.ID, User: h.user.ID, Trigger: build.Trigger{Kind: build.TriggerAPI}, Source: build.Source{URL: repository, Git: true, Ref: "refs/heads/main", Commit: commit},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

func (h *house) claim() build.Build {
	h.t.Helper()
	b, ok, err := h.Claim(h.t.Context(), "w", time.Hour)
	if err != nil || !ok {
		h.t.Fatal(ok, err)
	}
	return b
}

func (h *house) finish(b build.Build, o store.Outcome) {
	h.t.Helper()
	if _, _, err := h.Finish(h.t.Context(), b.ID, b.Fence, o); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) messages(kind build.MessageKind) []build.Message {
	h.t.Helper()
	return must(h.Messages(h.t.Context(), h.app.ID, kind, store.Page{Max: 1000}))(h.t)
}

// settle lets time pass until nothing waits.
func (h *house) settle() {
	h.t.Helper()
	for range 10_000 {
		synctest.Wait()
		if all := must(h.Lanes(h.t.Context()))(h.t); len(all) == 0 {
			return
		}
		time.Sleep(time.Minute)
	}
	h.t.Fatal("something waits for ever")
}

package outbox

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
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
func inHouse(t *testing.T, f func(h *house)) {
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
		f(h)
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

// TestForges: what each forge is told, as its API has it, of a build that waits, runs, and ends in each way.
func TestForges(t *testing.T) {
	const log = "https://build.test/apps/shop/builds/1/log?follow=true&plain=true"
	hub := func(state, description string) string {
		return fmt.Sprintf(`{"context":"slipway/shop","description":%q,"state":%q,"target_url":%q}`, description, state, log)
	}
	lab := func(state, description string) string {
		return fmt.Sprintf(`{"description":%q,"name":"slipway/shop","ref":"main","state":%q,"target_url":%q}`, description, state, log)
	}
	bucket := func(state, description string) string {
		return fmt.Sprintf(`{"description":%q,"key":"slipway/shop","name":"slipway/shop","refname":"main","state":%q,"url":%q}`, description, state, log)
	}
	server := func(state, description string) string {
		return fmt.Sprintf(`{"buildNumber":"1","description":%q,"key":"slipway/shop","name":"slipway/shop","ref":"refs/heads/main","state":%q,"url":%q}`, description, state, log)
	}
	for _, c := range []struct {
		name            string
		kind            build.ForgeKind
		repository, api string
		path            string
		token           string
		header          []string
		body            func(state, description string) string
		states          [6]string // pending, running, success, failure, error, cancelled
	}{
		{"github", build.ForgeGitHub, "git@github.com:acme/shop.git", "https://api.github.com", "/repos/acme/shop/statuses/" + commit, "t0ken-of-it",
			[]string{"Authorization: Bearer t0ken-of-it", "X-GitHub-Api-Version: 2022-11-28", "Accept: application/vnd.github+json"}, hub,
			[6]string{"pending", "pending", "success", "failure", "error", "error"}},
		{"gitlab", build.ForgeGitLab, "https://gitlab.test/acme/web/shop.git", "https://gitlab.test/api/v4", "/projects/acme%2Fweb%2Fshop/statuses/" + commit, "t0ken-of-it",
			[]string{"PRIVATE-TOKEN: t0ken-of-it"}, lab, [6]string{"pending", "running", "success", "failed", "failed", "canceled"}},
		{"gitea", build.ForgeGitea, "https://gitea.test/acme/shop", "https://gitea.test/api/v1", "/repos/acme/shop/statuses/" + commit, "t0ken-of-it",
			[]string{"Authorization: token t0ken-of-it"}, hub, [6]string{"pending", "pending", "success", "failure", "error", "error"}},
		{"bitbucket", build.ForgeBitbucket, "git@bitbucket.org:acme/shop.git", "https://api.bitbucket.org/2.0", "/repositories/acme/shop/commit/" + commit + "/statuses/build", "t0ken-of-it",
			[]string{"Authorization: Bearer t0ken-of-it"}, bucket, [6]string{"INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "STOPPED"}},
		{"bitbucket with a user", build.ForgeBitbucket, "https://bitbucket.org/acme/shop.git", "https://api.bitbucket.org/2.0", "/repositories/acme/shop/commit/" + commit + "/statuses/build", "ann:t0ken",
			[]string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:t0ken"))}, bucket, [6]string{"INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "STOPPED"}},
		{"bitbucket-server", build.ForgeBitbucketServer, "https://git.test/scm/~ann/shop.git", "https://git.test/rest/api/latest", "/projects/~ann/repos/shop/commits/" + commit + "/builds", "t0ken-of-it",
			[]string{"Authorization: Bearer t0ken-of-it"}, server, [6]string{"INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "CANCELLED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, end := range []store.Outcome{
				{State: build.Succeeded, Result: &build.Result{}, Release: &build.Release{State: build.ReleaseSucceeded}},
				{State: build.Failed, Failure: &build.Failure{Blame: build.BlameApp, Reason: "npm ci\nwent wrong"}},
				{State: build.Failed, Failure: &build.Failure{Blame: build.BlamePlatform, Reason: strings.Repeat("€", 200)}},
				{State: build.Cancelled},
			} {
				inHouse(t, func(h *house) {
					host := hostOf(c.api)
					h.hosts[host] = answers(201)
					h.forge(c.kind, c.repository, c.api, c.token)
					h.queue(c.repository)
					synctest.Wait()
					b := h.claim()
					synctest.Wait()
					if end.State == build.Cancelled {
						must(h.Cancel(h.t.Context(), b.ID, "ann asked for it"))(t)
					}
					h.finish(b, end)
					synctest.Wait()
					ends := []string{
						"Build 1 succeeded: v1", "Build 1 failed: npm ci went wrong", "Build 1: the build service failed, not the app: " + strings.Repeat("€", 89) + "...", "Build 1 was cancelled: ann asked for it",
					}
					want := []string{c.body(c.states[0], "Build 1 waits"), c.body(c.states[1], "Build 1 runs"), c.body(c.states[2+i], ends[i])}
					for j, got := range h.of(host) {
						if got.method != "POST" || got.url != c.api+c.path || got.header.Get("Content-Type") != "application/json" || got.header.Get("User-Agent") != "slipway/1.2.3" {
							t.Errorf("%s %s %v", got.method, got.url, got.header)
						}
						for _, line := range c.header {
							name, value, _ := strings.Cut(line, ": ")
							if got.header.Get(name) != value {
								t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
							}
						}
						if j >= len(want) || got.body != want[j] {
							t.Errorf("body %d\n%s\nwant\n%s", j, got.body, strings.Join(want, "\n"))
						}
					}
					if n := len(h.of(host)); n != len(want) {
						t.Errorf("it was told %d times", n)
					}
				})
			}
		})
	}
}

func hostOf(url string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
	return host
}

// TestElsewhere: of builds whose source is not on the forge it is told nothing.
func TestElsewhere(t *testing.T) {
	inHouse(t, func(h *house) {
		h.forge(build.ForgeGitea, "https://gitea.test/acme/shop.git", "https://gitea.test/api/v1", "t0ken-of-it")
		for _, src := range []build.Source{
			{Stored: "x", Commit: commit}, {URL: "https://gitea.test/acme/shop.git"}, {URL: "https://gitea.test/acme/other.git", Git: true, Commit: commit},
			{URL: "https://other.test/acme/shop.git", Git: true, Commit: commit}, {URL: "https://gitea.test/acme/shop.git", Git: true, Ref: "main"},
		} {
			if _, _, err := h.CreateBuild(h.t.Context(), build.Build{App: h.app.ID, User: h.user.ID, Source: src}); err != nil {
				t.Fatal(err)
			}
		}
		if all := h.messages(build.MessageStatus); len(all) != 0 {
			t.Errorf("%+v", all)
		}
		h.queue("git@gitea.test:Acme/shop")
		if all := h.messages(build.MessageStatus); len(all) != 1 {
			t.Errorf("%+v", all)
		}
	})
}

// TestReplaced: a state that could not be told is not told when the next one is there, also while it is being sent.
func TestReplaced(t *testing.T) {
	const repository = "https://gitea.test/acme/shop.git"
	for _, slow := range []bool{false, true} {
		inHouse(t, func(h *house) {
			first := true
			h.hosts["gitea.test"] = func(w http.ResponseWriter, r *http.Request) {
				if first {
					if first = false; slow {
						select {
						case <-r.Context().Done():
						case <-time.After(10 * time.Second):
						}
					}
					w.WriteHeader(500)
				}
			}
			h.forge(build.ForgeGitea, repository, "https://gitea.test/api/v1", "t0ken-of-it")
			h.queue(repository)
			synctest.Wait() // it is sent, and fails at once or only later
			h.finish(h.claim(), store.Outcome{State: build.Succeeded, Result: &build.Result{}})
			h.settle()
			var told []string
			for _, got := range h.of("gitea.test") {
				_, state, _ := strings.Cut(got.body, `"state":"`)
				state, _, _ = strings.Cut(state, `"`)
				told = append(told, state)
			}
			if text := strings.Join(told, " "); text != "pending success" && (slow || text != "pending pending success") { // that it runs, before it had ended
				t.Errorf("slow %t: it was told %s", slow, text)
			}
			all := h.messages(build.MessageStatus)
			if all[0].State != build.MessageReplaced || all[0].Attempts != 1 || slow && all[1].State != build.MessageReplaced || all[2].State != build.MessageSent {
				t.Errorf("slow %t: %+v", slow, all)
			}
		})
	}
}

// TestRetries: what an answer means, for a status, and for a webhook of each level.
func TestRetries(t *testing.T) {
	for _, c := range []struct {
		name            string
		answer          http.HandlerFunc // nil: nobody is there
		forge, webhook  int              // attempts
		pause, most     time.Duration    // before the second
		state           build.MessageState
		disabled, error string
	}{
		{"taken", answers(204), 1, 1, 0, 0, build.MessageSent, "", ""},
		{"refused", nil, 20, 20, 2 * time.Second, 3 * time.Second, build.MessageFailed, "", "connection refused"},
		{"never answered", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 20, 20, 17 * time.Second, 18 * time.Second, build.MessageFailed, "", "there was no answer in 15s"},
		{"500", answers(500), 20, 20, 2 * time.Second, 3 * time.Second, build.MessageFailed, "", "it was answered 500 Internal Server Error"},
		{"401", answers(401), 1, 20, 2 * time.Second, 3 * time.Second, build.MessageFailed, "", "it was answered 401 Unauthorized"},
		{"422", answers(422), 1, 20, 2 * time.Second, 3 * time.Second, build.MessageFailed, "", "it was answered 422 Unprocessable Entity"},
		{"410", answers(410), 1, 1, 0, 0, build.MessageFailed, "it was answered 410 Gone", "it was answered 410 Gone"},
		{"redirected", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.test/")
			w.WriteHeader(307)
		}, 1, 20, 2 * time.Second, 3 * time.Second, build.MessageFailed, "", "it was answered 307 Temporary Redirect"},
		{"503 for an hour", later(503, "3600"), 20, 20, time.Hour, 90 * time.Minute, build.MessageFailed, "", "it was answered 503 Service Unavailable"},
		{"429 for ever", later(429, "99999999"), 9, 9, 6 * time.Hour, 9 * time.Hour, build.MessageFailed, "", "it was answered 429 Too Many Requests"},
		{"403 with Retry-After", later(403, "60"), 20, 20, time.Minute, 90 * time.Second, build.MessageFailed, "", "it was answered 403 Forbidden"},
		{"already so", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"message":"Cannot transition status via :enqueue from :pending"}`)
		}, 1, 20, 2 * time.Second, 3 * time.Second, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				for _, host := range []string{"gitea.test", "sync.test", "notify.test"} {
					h.hosts[host] = c.answer
				}
				h.forge(build.ForgeGitea, "https://gitea.test/acme/shop.git", "https://gitea.test/api/v1", "t0ken-of-it")
				w := h.webhook("https://sync.test/hook", build.LevelSync)
				h.webhook("https://notify.test/hook", build.LevelNotify)
				h.queue("https://gitea.test/acme/shop.git")
				began := time.Now()
				h.settle()
				h.wantTries("gitea.test", c.forge, c.pause, c.most)
				h.wantTries("sync.test", c.webhook, c.pause, c.most)
				h.wantTries("notify.test", 1, 0, 0)
				if n := len(h.of("evil.test")); n != 0 {
					t.Error("it was redirected")
				}
				if took := time.Since(began); took > maxAge+10*time.Hour {
					t.Errorf("it was tried for %s", took)
				}
				for _, m := range append(h.messages(build.MessageStatus), h.messages(build.MessageWebhook)...) {
					if c.state != "" && (m.State != c.state || m.Error != c.error || m.Attempts == 0 || !m.NextAt.IsZero()) {
						t.Errorf("%+v", m)
					}
				}
				if got := must(h.Webhook(h.t.Context(), h.app.ID, string(w.ID)))(t); got.Disabled != c.disabled {
					t.Errorf("the webhook is disabled: %q", got.Disabled)
				}
			})
		})
	}
}

func later(status int, after string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(status)
	}
}

// wantTries: so many attempts, each pause but the first at least as long as the one before was without its jitter.
func (h *house) wantTries(host string, n int, pause, most time.Duration) {
	h.t.Helper()
	all := h.of(host)
	if len(all) > n || len(all) < (n*7+9)/10 { // age ends those that are tried often
		h.t.Fatalf("%s: %d attempts, want %d", host, len(all), n)
	}
	if n > 1 {
		if got := all[1].at.Sub(all[0].at); got < pause || got > most {
			h.t.Errorf("%s: the second attempt after %s, want %s to %s", host, got, pause, most)
		}
	}
	for i := 2; i < len(all); i++ {
		if got, before := all[i].at.Sub(all[i-1].at), all[i-1].at.Sub(all[i-2].at); got > longPause*3/2+attemptTime || 3*got < 2*min(before, longPause) {
			h.t.Errorf("%s: pauses of %s and %s", host, before, got)
		}
	}
}

// TestHosts: a host that takes nothing, however much is for it, holds nobody else.
func TestHosts(t *testing.T) {
	inHouse(t, func(h *house) {
		most, at := 0, 0
		h.hosts["dead.test"] = func(_ http.ResponseWriter, r *http.Request) {
			h.mu.Lock()
			at++
			most = max(most, at)
			h.mu.Unlock()
			<-r.Context().Done()
			h.mu.Lock()
			at--
			h.mu.Unlock()
		}
		h.hosts["alive.test"] = answers(200)
		for range build.MaxWebhooks - 1 {
			h.webhook("https://dead.test/hook", build.LevelSync)
		}
		h.webhook("https://alive.test/hook", build.LevelSync)
		began := time.Now()
		const builds = 10
		for range builds {
			h.queue("https://gitea.test/acme/shop.git")
		}
		synctest.Wait()
		if n, took := len(h.of("alive.test")), time.Since(began); n != builds || took > 0 {
			t.Errorf("%d of %d came in %s", n, builds, took)
		}
		h.stop()
		if most != maxOfHost {
			t.Errorf("%d at once to a host, want %d", most, maxOfHost)
		}
	})
}

// TestHostileAnswer: of an answer only a little is kept, of which nothing is secret or more than a line.
func TestHostileAnswer(t *testing.T) {
	inHouse(t, func(h *house) {
		h.hosts["gitea.test"] = func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			fmt.Fprintf(w, "no:\x1b[31m %s\n and \u202e%s", r.Header.Get("Authorization"), strings.Repeat("x", 1<<20))
		}
		h.hosts["listener.test"] = func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(410)
			fmt.Fprint(w, "who asked for ", r.URL, "?")
		}
		h.forge(build.ForgeGitea, "https://gitea.test/acme/shop.git", "https://gitea.test/api/v1", "t0ken-of-it")
		h.webhook("https://listener.test/services/T0000000000/s3cret-part-of-it?key=hidden", build.LevelSync)
		h.queue("https://gitea.test/acme/shop.git")
		h.settle()
		m := h.messages(build.MessageStatus)[0]
		if want := "no: [31m token [masked] and xxx"; !strings.HasPrefix(m.Answer, want) || len(m.Answer) != maxAnswer {
			t.Errorf("kept %d %q", len(m.Answer), m.Answer)
		}
		if m := h.messages(build.MessageWebhook)[0]; m.Answer != "who asked for [masked]?" {
			t.Errorf("kept %q", m.Answer)
		}
	})
}

package outbox

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// TestElsewhere: of builds whose source is not on the forge it is told nothing.
func TestElsewhere(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.forge(build.ForgeGitea, "https://gitea.test/acme/shop.git", "https://gitea.test/api/v1", "t0ken-of-it")
		for _, src := range []build.Source{
			{Stored: "x", Commit: commit}, {URL: "https://gitea.test/acme/shop.git"}, {URL: "https://gitea.test/acme/other.git", Git: true, Commit: commit},
			{URL: "https://other.test/acme/shop.git", Git: true, Commit: commit}, {URL: "https://gitea.test/acme/shop.git", Git: true, Ref: "main"},
		} {
			if _, _, err := h.CreateBuild(t.Context(), build.Build{App: h.app.ID, User: h.user.ID, Source: src}); err != nil {
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
		inHouse(t, func(t *testing.T, h *house) {
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
			inHouse(t, func(t *testing.T, h *house) {
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
				if got := must(h.Webhook(t.Context(), h.app.ID, string(w.ID)))(t); got.Disabled != c.disabled {
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
	if len(all) > n || len(all) < (2*n+1)/3 { // age ends those that are tried often
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
	inHouse(t, func(t *testing.T, h *house) {
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
	inHouse(t, func(t *testing.T, h *house) {
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

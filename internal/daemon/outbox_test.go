package daemon_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A listener is told something by a service, and answers as it likes.
type listener struct {
	url    string
	answer func(w http.ResponseWriter, r *http.Request, n int) // nil: 200; n counts from 1

	mu  sync.Mutex
	got []heard
}

type heard struct {
	path   string
	header http.Header
	body   string
}

func newListener(t testing.TB, answer func(http.ResponseWriter, *http.Request, int)) *listener {
	l := &listener{answer: answer}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		l.got = append(l.got, heard{r.URL.Path, r.Header, string(body)})
		n := len(l.got)
		l.mu.Unlock()
		if l.answer != nil {
			l.answer(w, r, n)
		}
	}))
	t.Cleanup(s.Close)
	l.url = s.URL
	return l
}

func (l *listener) heard() []heard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

// A status is what these tests look at of a status of a commit.
type status struct {
	ID            string
	Number        int
	Commit, State string
	Result        string
	Attempts      int `json:"num_attempts"`
	Code          int
	Error, Answer string
	NextAttemptAt string `json:"next_attempt_at"`
	Description   string
	Build         struct{ Number int }
}

func (a *app) statuses() (all []status) {
	a.t.Helper()
	a.api("GET", "/statuses", nil).want(200).into(&all)
	return all
}

// states are the states that a listener was told of a commit, and each is told once where none was asked for again.
func (l *listener) states(t testing.TB, commit string) (out []string) {
	t.Helper()
	for _, h := range l.heard() {
		if !strings.HasSuffix(h.path, "/statuses/"+commit) {
			continue
		}
		var s struct{ State string }
		if err := json.Unmarshal([]byte(h.body), &s); err != nil {
			t.Error(err)
		}
		out = append(out, s.State)
	}
	return out
}

// tellForge sets where statuses go: to a listener, whose forge has the repository of a hook.
func (a *app) tellForge(f *forge, api string) {
	a.t.Helper()
	a.api("PUT", "/forge", map[string]string{"forge": "gitea", "repository": f.repository, "api_url": api + "/api/v1", "token": "t0ken-of-the-forge"}).want(200)
}

// TestStatuses: what a forge answers, or that it does not, changes nothing of a build and slows none; it is tried again
// where that may help, and all of it can be seen.
func TestStatuses(t *testing.T) {
	t.Parallel()
	s := common(t)
	from := s.newApp(t, nil)
	good := from.commit("build.sh", "echo good or bad\n[ -z \"${BAD-}\" ] || exit 3\n")
	from.push(true, []string{"slipway", "main"})

	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	once := func(status int, header ...string) func(http.ResponseWriter, *http.Request, int) {
		return func(w http.ResponseWriter, _ *http.Request, n int) {
			if n > 1 {
				return
			}
			for _, line := range header {
				name, value, _ := strings.Cut(line, ": ")
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
		}
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request, int)
		down   bool
		last   func(s status) bool // what becomes of the last status
		told   bool                // that the commit is good
	}{
		"taken": {nil, false, func(s status) bool { return s.Result == "sent" && s.Attempts == 1 && s.Code == 200 }, true},
		"down": {nil, true, func(s status) bool {
			return s.Result == "waiting" && s.Attempts > 0 && strings.Contains(s.Error, "connection refused") && s.NextAttemptAt != ""
		}, false},
		"slow": {func(_ http.ResponseWriter, r *http.Request, _ int) {
			select {
			case <-over:
			case <-r.Context().Done():
			}
		}, false, func(s status) bool { return s.Result == "waiting" }, false},
		"401": {func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.WriteHeader(401)
			fmt.Fprint(w, `{"message":"token is required"}`)
		}, false, func(s status) bool {
			return s.Result == "failed" && s.Attempts == 1 && s.Code == 401 && strings.Contains(s.Answer, "token is required")
		}, false},
		"429":          {once(429, "Retry-After: 1"), false, func(s status) bool { return s.Result == "sent" }, true},
		"500 then 200": {once(500), false, func(s status) bool { return s.Result == "sent" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := s.newApp(t, nil)
			l := newListener(t, c.answer)
			f := a.newForge(t, from.name)
			url := l.url
			if c.down {
				url = "http://" + freeAddress(t)
			}
			a.tellForge(f, url)
			made := f.tell(t, "1", noCommit, good, 202)
			if b := a.ended(made.Build.Number); b.State != "succeeded" || b.Release == nil {
				t.Fatalf("the build: %+v %+v", b, b.Failure)
			}
			var last status
			eventually(t, "the last status is there", func() bool {
				all := a.statuses()
				last = all[len(all)-1]
				return last.State == "success" && c.last(last)
			})
			if last.Commit != good || last.Build.Number != 1 || last.Description != "Build 1 succeeded: v1" {
				t.Errorf("%+v", last)
			}
			if states := l.states(t, good); c.told && (len(states) == 0 || states[len(states)-1] != "success" || slices.Contains(states[:len(states)-1], "failure")) {
				t.Errorf("the forge was told %v", states)
			}
		})
	}

	t.Run("failure", func(t *testing.T) {
		t.Parallel()
		a := s.newApp(t, nil)
		l := newListener(t, nil)
		f := a.newForge(t, from.name)
		a.tellForge(f, l.url)
		a.api("PATCH", "/config-vars", map[string]string{"BAD": "yes"}).want(200)
		made := f.tell(t, "1", noCommit, good, 202)
		a.ended(made.Build.Number)
		eventually(t, "the forge is told of the failure", func() bool { return slices.Contains(l.states(t, good), "failure") })
		for _, h := range l.heard() {
			var told struct {
				Target  string `json:"target_url"`
				Context string
			}
			if err := json.Unmarshal([]byte(h.body), &told); err != nil || told.Context != "slipway/"+a.name || h.header.Get("Authorization") != "token t0ken-of-the-forge" {
				t.Errorf("%+v, %v", h, err)
			}
			if log := a.ask(t, "GET", told.Target, nil).want(200).text; !strings.Contains(log, "good or bad") {
				t.Errorf("the log at %s: %s", told.Target, log)
			}
		}
	})
}

// TestWebhook: a listener is told of a build by push and of its release, in the order in which they happened, whatever
// another one does that holds its answers.
func TestWebhook(t *testing.T) {
	t.Parallel()
	s := common(t)
	a := s.newApp(t, nil)
	over := make(chan struct{})
	l, slow := newListener(t, nil), newListener(t, func(http.ResponseWriter, *http.Request, int) { <-over })
	t.Cleanup(func() { close(over) })
	var made struct{ Secret string }
	for _, l := range []*listener{slow, l} {
		a.api("POST", "/webhooks", map[string]any{"url": l.url + "/hook", "level": "sync", "include": []string{"api:build", "api:release"}}).want(201).into(&made)
	}
	a.api("POST", "/webhooks", map[string]any{"url": "http://127.0.0.2:1/", "level": "sync", "include": []string{"api:release"}}).want(201)
	a.commit("build.sh", "echo told\n")
	a.push(true, []string{"slipway", "main"}, "Released v1")
	type event struct {
		Action, Resource string
		Data             struct {
			Status  string
			State   string
			Current bool
		}
	}
	var all []string
	eventually(t, "the release is told of", func() bool {
		all = nil
		for _, h := range l.heard() {
			var e event
			if err := json.Unmarshal([]byte(h.body), &e); err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprint(e.Resource, " ", e.Action, " ", e.Data.Status, " ", e.Data.Current))
		}
		return len(all) >= 5
	})
	want := "build create pending false, build update pending false, release create succeeded false, build update succeeded false, release update succeeded true"
	if got := strings.Join(all, ", "); got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
	var deliveries []struct {
		ID, Status, Error string
		Attempts          int `json:"num_attempts"`
		Last              *struct {
			Code   int
			Status string
		} `json:"last_attempt"`
	}
	eventually(t, "five were delivered", func() bool {
		a.api("GET", "/webhook-deliveries", nil).want(200).into(&deliveries)
		n := 0
		for _, d := range deliveries {
			if d.Status == "succeeded" && d.Attempts == 1 && d.Last.Code == 200 {
				n++
			}
		}
		return n == 5
	})
	if len(deliveries) != 12 {
		t.Errorf("%+v", deliveries)
	}
	eventually(t, "what may not be connected to is not", func() bool {
		a.api("GET", "/webhook-deliveries", nil).want(200).into(&deliveries)
		n := 0
		for _, d := range deliveries {
			if d.Status == "failed" && strings.Contains(d.Error, "a loopback address, which is not connected to: the operator can add 127.0.0.2/32 to fetch.allow") {
				n++
			}
		}
		return n == 2
	})
	a.api("POST", "/webhook-deliveries/"+l.heard()[0].header.Get("webhook-id")+"/actions/redeliver", nil).want(200)
	eventually(t, "it is delivered again", func() bool {
		all := l.heard()
		return len(all) == 6 && all[5].header.Get("webhook-id") == all[0].header.Get("webhook-id")
	})
}

// tellAll has the killed app's events told to a listener, and builds.
func (k *killed) tellAll() {
	k.listener = newListener(k.t, nil)
	var made struct{ ID string }
	k.app.api("POST", "/webhooks", map[string]any{"url": k.listener.url, "level": "sync", "include": []string{"api:build", "api:release"}}).want(201).into(&made)
	k.name = made.ID
	k.build()
}

// wantTold: every event that was recorded before and after the kill is told, of the build to its end.
func (k *killed) wantTold() {
	var events []struct {
		ID      string
		Payload struct{ Data struct{ State string } }
	}
	eventually(k.t, "the end of the build is told", func() bool {
		k.app.api("GET", "/webhook-events", nil).want(200).into(&events)
		told := map[string]bool{}
		for _, h := range k.listener.heard() {
			var e struct{ ID string }
			if err := json.Unmarshal([]byte(h.body), &e); err != nil {
				k.t.Fatal(err)
			}
			told[e.ID] = true
		}
		ended := false
		for _, e := range events {
			if !told[e.ID] {
				return false
			}
			ended = ended || e.Payload.Data.State == "succeeded"
		}
		return ended
	})
	k.app.api("DELETE", "/webhooks/"+k.name, nil).want(200)
	if len(events) < 5 {
		k.t.Errorf("%d events: %+v", len(events), events)
	}
}

package console

import (
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/work"
)

// TestStreamEndsWithSession: who signs out, or whose token is taken away, hears no more of a build or of a setup, however
// much it prints.
func TestStreamEndsWithSession(t *testing.T) {
	t.Parallel()
	y, h := templateYard(t)
	y.console.session = 20 * time.Millisecond
	y.submit(y.app("shop"), "one")
	of := map[string]*work.Job{"/console/apps/shop/builds/1": y.claim()}
	commit := h.commit("main", "Begin", "app.json", "{}")
	first := y.signIn(y.token)
	at := first.post(h.link(""), h.link(""), url.Values{"commit": {string(commit)}, "name": {"guests"}}).want(303).header.Get("Location")
	of[at] = y.wait()
	for path, j := range of {
		y.print(j, "it begins\n")
		for how, end := range map[string]func(*browser, build.ID){
			"signs out":       func(b *browser, _ build.ID) { b.post("/console/apps", "/console/sign-out", nil).want(303) },
			"loses the token": func(_ *browser, id build.ID) { must(0, y.store.RevokeToken(t.Context(), y.admin.ID, id))(t) },
		} {
			token, text, err := y.store.CreateToken(t.Context(), build.Token{User: y.admin.ID, Verbs: build.Verbs()})
			if err != nil {
				t.Fatal(err)
			}
			b := y.signIn(text)
			over := b.listen(path + "/stream")
			end(b, token.ID)
			if said := y.printUntil(j, over); !strings.Contains(said, "it begins") || strings.Contains(said, "event: end") {
				t.Errorf("who follows %s and %s hears %s", path, how, said)
			}
		}
		y.finish(j, good())
	}
	y.ended(at)
}

// listen takes what a page's stream sends, until it is cut off.
func (b *browser) listen(path string) <-chan string {
	b.t.Helper()
	res := must(b.client.Get(b.server.URL + path))(b.t)
	over := make(chan string, 1)
	go func() {
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			text = append(text, "event: end"...) // it was not cut off
		}
		over <- string(text)
	}()
	return over
}

// printUntil has a build print until somebody has heard enough.
func (y *yard) printUntil(j *work.Job, over <-chan string) string {
	y.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		y.print(j, "on and on\n")
		select {
		case said := <-over:
			return said
		case <-time.After(10 * time.Millisecond):
		}
	}
	y.t.Fatal("it is never cut off")
	return ""
}

package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/secret"
)

// TestSourceURL: the query of a source's URL, where signed URLs have their secret, is nowhere in the database.
func TestSourceURL(t *testing.T) {
	y := newYard(t)
	u := y.user(t, "ann", false)
	a, other := y.app(t, u, "app-a"), y.app(t, u, "app-b")
	const at, query = "https://example.com/a%3Fb.tgz", "X-Signature=c4nary&x=%41?"
	made := func(app build.ID, src build.Source) build.Build {
		t.Helper()
		b, _, err := y.CreateBuild(t.Context(), build.Build{App: app, User: u.ID, Trigger: build.Trigger{Kind: build.TriggerAPI}, Source: src})
		if err != nil {
			t.Fatal(err)
		}
		if b, err = y.BuildByID(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := made(a.ID, build.Source{URL: at + "?" + query})
	again := made(a.ID, first.Source)
	for _, b := range []build.Build{first, again} {
		if got, err := y.SourceURL(b); err != nil || got != at+"?"+query || b.Source.URL != at {
			t.Errorf("the URL of build %d is %q, %v; the record has %q", b.Number, got, err, b.Source.URL)
		}
	}
	for _, moved := range []build.Build{
		{App: other.ID, Source: first.Source}, {App: a.ID, Source: build.Source{URL: "https://evil.example/", Query: first.Source.Query}},
	} {
		if got, err := y.SourceURL(moved); !errors.Is(err, secret.ErrSealed) {
			t.Errorf("the query opens for another app or URL: %q, %v", got, err)
		}
	}
	if plain := made(a.ID, build.Source{URL: at}); plain.Source.Query != nil {
		t.Error("what has no query has one sealed")
	}
	files, err := filepath.Glob(filepath.Join(y.dir, "*db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || strings.Contains(string(b), "c4nary") {
			t.Errorf("%s has the query, or %v", f, err)
		}
	}
}

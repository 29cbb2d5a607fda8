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
	y.wantNowhere(t, "c4nary")
}

// TestQueriesSealedLater: a record from before queries were sealed has none in plain text after it was opened.
func TestQueriesSealedLater(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	const at, query = "https://example.com/a.tgz", "X-Signature=c4nary"
	var made []build.Build
	for range 3 {
		b, _, err := y.CreateBuild(t.Context(), build.Build{App: a.ID, User: a.Owner, Trigger: build.Trigger{Kind: build.TriggerAPI}, Source: build.Source{URL: at, Version: "really?"}})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, b)
	}
	for _, b := range made[1:] {
		b.Source.URL += "?" + query
		if _, err := y.w.ExecContext(t.Context(), `UPDATE builds SET source = ? WHERE id = ?`, build.JSON(b.Source), b.ID); err != nil {
			t.Fatal(err)
		}
	}
	// As it was before: without what came later too.
	if _, err := y.w.ExecContext(t.Context(), `DELETE FROM goose_db_version WHERE version_id >= 5; DROP TABLE namespaces; DROP TABLE buildpack_images; DROP TABLE index_commits;
		DROP TABLE setups; DROP TABLE console_sessions; DROP INDEX builds_ended; DROP TABLE deployments; DROP TABLE deployers; ALTER TABLE apps DROP COLUMN deployment_seq`); err != nil {
		t.Fatal(err)
	}
	if err := y.Close(); err != nil {
		t.Fatal(err)
	}
	y.open(t)
	for i, b := range made {
		b, err := y.BuildByID(t.Context(), b.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := at
		if i > 0 {
			want += "?" + query
		}
		if got, err := y.SourceURL(b); err != nil || got != want || b.Source.URL != at || b.Source.Version != "really?" {
			t.Errorf("the URL of build %d is %q, %v; the record has %+v", b.Number, got, err, b.Source)
		}
	}
	y.wantNowhere(t, "c4nary")
}

// wantNowhere looks for something that no file of the database may have.
func (y *yard) wantNowhere(t *testing.T, secret string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(y.dir, "*db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err != nil || strings.Contains(string(b), secret) {
			t.Errorf("%s has the query, or %v", f, err)
		}
	}
}

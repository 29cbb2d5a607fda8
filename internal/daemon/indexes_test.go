package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/index"
)

// TestRefreshIndexes: an index that was asked once is synced when its time has come; one that never was stays so, and one
// that cannot be synced keeps none from it.
func TestRefreshIndexes(t *testing.T) {
	dir := t.TempDir()
	sources := map[string]string{"a-lost": t.TempDir(), "asked": t.TempDir(), "fresh": t.TempDir(), "never": t.TempDir()}
	add := func(name, version string) {
		t.Helper()
		at := filepath.Join(sources[name], "ja", "va", "acme_java")
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		f, ferr := os.OpenFile(at, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err = errors.Join(err, ferr); err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(f, `{"ns":"acme","name":"java","version":%q,"yanked":false,"addr":"r.example/a/b@sha256:%s"}`+"\n", version, strings.Repeat("1", 64))
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	set, err := index.OpenSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Remove("official"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a-lost", "asked", "fresh", "never"} {
		add(name, "1.0.0")
		if err := set.Add(index.Source{Name: name, URL: sources[name]}); err != nil {
			t.Fatal(err)
		}
		if name == "never" {
			continue
		}
		if _, err := set.Sync(t.Context(), name, false); err != nil {
			t.Fatal(err)
		}
		if name != "fresh" {
			ago := time.Now().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(dir, name, "model"), ago, ago); err != nil {
				t.Fatal(err)
			}
		}
		add(name, "1.1.0")
	}
	if err := os.RemoveAll(sources["a-lost"]); err != nil {
		t.Fatal(err)
	}
	if err := refreshIndexes(t.Context(), dir, 30*time.Minute); err == nil || !strings.Contains(err.Error(), "sync index a-lost: ") || strings.Contains(err.Error(), "never") {
		t.Errorf("one is lost: %v", err)
	}
	for name, want := range map[string]string{"a-lost": "1.0.0", "asked": "1.1.0", "fresh": "1.0.0"} {
		if r, err := set.Resolve("acme/java", name); err != nil || r.Version != want {
			t.Errorf("%s: %+v %v, want %s", name, r, err, want)
		}
	}
	if _, err := set.Index("never"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("never asked: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("over"))
	if err := refreshIndexes(ctx, dir, 0); err == nil || err.Error() != "over" {
		t.Errorf("the service ends: %v", err)
	}
}

package index_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/internal/index"
)

// repo is a git repository of an index.
type repo struct {
	t   *testing.T
	dir string
}

func newRepo(t *testing.T) repo {
	t.Helper()
	r := repo{t, t.TempDir()}
	r.git("init", "--quiet", "--initial-branch", "main")
	return r
}

func (r repo) git(args ...string) {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "user.name=a", "-c", "user.email=a@example.org"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (r repo) commit(files map[string]string, args ...string) {
	r.t.Helper()
	write(r.t, r.dir, files)
	r.git("add", "--all")
	r.git(append([]string{"commit", "--quiet", "--message", "change"}, args...)...)
}

func TestSyncGit(t *testing.T) {
	r := newRepo(t)
	const path = "ja/va/acme_java"
	r.commit(map[string]string{path: row("acme/java", "1.0.0", "1", false)})
	s := emptySet(t)
	if err := s.Add(index.Source{Name: "ours", URL: "file://" + r.dir}); err != nil {
		t.Fatal(err)
	}
	want := func(letter string) {
		t.Helper()
		if got, err := s.Resolve("acme/java", ""); err != nil || got.Image != address(letter) || got.Revision == "" {
			t.Errorf("%+v %v, want image %s", got, err, letter)
		}
	}
	sync := func(accept bool) index.Synced {
		t.Helper()
		done, err := s.Sync(t.Context(), "ours", accept)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	if first, err := s.Find(t.Context(), "acme/java", ""); err != nil || first.Image != address("1") { // syncs, since it has to
		t.Fatal(first, err)
	}
	r.commit(map[string]string{path: row("acme/java", "1.0.0", "1", false) + row("acme/java", "1.1.0", "2", false)})
	want("1") // nothing is asked of anybody for what is known
	if done := sync(false); done.Added != 1 || done.Held != "" || done.Fetched <= 0 || done.Before == done.Revision {
		t.Errorf("%+v", done)
	}
	want("2")
	if done := sync(false); done.Added != 0 || done.Fetched != 0 || done.Before != done.Revision {
		t.Errorf("nothing new: %+v", done)
	}

	// History that was rewritten is not followed, time after time, before somebody says so.
	r.commit(map[string]string{path: row("acme/java", "1.0.0", "1", false) + row("acme/java", "1.1.0", "3", false)}, "--amend")
	for range 2 {
		if done := sync(false); !strings.Contains(done.Held, "was rewritten") {
			t.Errorf("%+v", done)
		}
		want("2")
	}
	if done := sync(true); done.Held != "" {
		t.Errorf("%+v", done)
	}
	want("3")

	// Without its source it stays what it is.
	if err := os.Rename(r.dir, r.dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(t.Context(), "ours", false); err == nil || !strings.Contains(err.Error(), "sync index ours: git fetch file://") {
		t.Errorf("the source is gone: %v", err)
	}
	want("3")
	if _, err := s.Find(t.Context(), "acme/nothing", ""); !errors.Is(err, index.ErrUnknown) {
		t.Errorf("unknown, just synced: %v", err)
	}
}

// TestCopyIsPacked: hourly syncs, each of some objects, do not leave a file for each of these.
func TestCopyIsPacked(t *testing.T) {
	r := newRepo(t)
	dir := t.TempDir()
	s, err := index.OpenSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Add(index.Source{Name: "ours", URL: "file://" + r.dir}); err != nil {
		t.Fatal(err)
	}
	const syncs, each = 15, 60
	for i := range syncs {
		files := map[string]string{}
		for j := range each {
			name := fmt.Sprintf("bp%d-%d", i, j)
			files[fmt.Sprintf("%s/%s/acme_%s", name[:2], name[2:4], name)] = row("acme/"+name, "1.0.0", "1", false)
		}
		r.commit(files)
		if _, err := s.Sync(t.Context(), "ours", false); err != nil {
			t.Fatal(err)
		}
	}
	repos, err := filepath.Glob(filepath.Join(dir, "ours", "repo.git"))
	if err != nil || len(repos) != 1 {
		t.Fatal(repos, err)
	}
	loose, _ := filepath.Glob(filepath.Join(repos[0], "objects", "[0-9a-f][0-9a-f]", "*"))
	packs, _ := filepath.Glob(filepath.Join(repos[0], "objects", "pack", "*.pack"))
	if len(loose) > syncs*each*9/10 || len(packs) == 0 {
		t.Errorf("%d objects in files of their own, %d packs", len(loose), len(packs))
	}
	if r, err := s.Resolve("acme/bp0-0", "ours"); err != nil || r.Image != address("1") {
		t.Error(r, err)
	}
}

// Eight at once on one directory, as eight processes would: each with a Set of its own.
func TestSideBySide(t *testing.T) {
	r := newRepo(t)
	files := map[string]string{}
	for i := range 50 {
		name := fmt.Sprintf("acme/java%d", i)
		n, _ := index.ParseName(name)
		files[n.Path()] = row(name, "1.0.0", "1", false)
	}
	r.commit(files)
	dir := t.TempDir()
	write(t, dir, map[string]string{"registries.toml": "[[registries]]\nname = 'ours'\nurl = 'file://" + r.dir + "'\n"})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := index.OpenSet(dir)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 50 {
				if i%10 == 0 {
					if _, err := s.Sync(t.Context(), "ours", false); err != nil {
						t.Error(err)
					}
				}
				if got, err := s.Find(t.Context(), fmt.Sprintf("acme/java%d", i), ""); err != nil || got.Image != address("1") {
					t.Errorf("%+v %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// A read model that is damaged is told, and made anew by a sync.
func TestDamagedModel(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"empty":   func([]byte) []byte { return nil },
		"cut":     func(b []byte) []byte { return b[:len(b)/3] },
		"other":   func([]byte) []byte { return []byte("#!/bin/sh\n") },
		"lengths": func(b []byte) []byte { return []byte(strings.Replace(string(b), "\n", "\n9", 1)) },
		"version": func(b []byte) []byte { return b[:len(b)-20] },
	} {
		t.Run(name, func(t *testing.T) {
			source, dir := t.TempDir(), t.TempDir()
			write(t, source, map[string]string{"ja/va/acme_java": row("acme/java", "1.0.0", "1", false)})
			write(t, dir, map[string]string{"registries.toml": "[[registries]]\nname = 'ours'\nurl = '" + source + "'\n"})
			s, err := index.OpenSet(dir)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Sync(t.Context(), "ours", false); err != nil {
				t.Fatal(err)
			}
			model := filepath.Join(dir, "ours", "model")
			b, err := os.ReadFile(model)
			if err == nil {
				err = os.WriteFile(model, damage(b), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Resolve("acme/java", ""); err == nil || strings.Contains(err.Error(), "panic") {
				t.Errorf("damaged: %v", err)
			}
			if _, err := s.Sync(t.Context(), "ours", false); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Resolve("acme/java", ""); err != nil || got.Image != address("1") {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

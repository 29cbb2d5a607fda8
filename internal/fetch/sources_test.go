package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/store"
)

func TestSources(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sources")
	s, err := OpenSources(dir)
	must(t, err)
	put := func(text string) Kept {
		t.Helper()
		k, err := s.Put(t.Context(), strings.NewReader(text), 10)
		must(t, err)
		return k
	}
	one, two := put("one"), put("two")
	if again := put("one"); again != one || one.Key == two.Key || one.Size != 3 || one.Sum != Sum("SHA256:"+string(one.Key)) {
		t.Errorf("%+v, then %+v, and %+v", one, again, two)
	}
	f, err := s.Open(one.Key)
	must(t, err)
	if b, err := io.ReadAll(f); string(b) != "one" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	f.Close()
	if p, err := s.Path(two.Key); err != nil || filepath.Dir(p) != dir {
		t.Errorf("%s, %v", p, err)
	}
	must(t, s.Remove(two.Key))
	must(t, s.Remove(two.Key))
	if _, err := s.Open(two.Key); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := s.Path(two.Key); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestSourcesKeepNothingHalf(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSources(dir)
	must(t, err)
	broken := errors.New("the line broke")
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	for name, f := range map[string]func() error{
		"too large": func() error { _, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 11)), 10); return err },
		"broken": func() error {
			_, err := s.Put(t.Context(), io.MultiReader(strings.NewReader("abc"), errReader{broken}), 10)
			return err
		},
		"cancelled": func() error { _, err := s.Put(gone, strings.NewReader("abc"), 10); return err },
		"a writer that hides the limit": func() error {
			_, err := s.Write(t.Context(), 2, func(w io.Writer) error { w.Write([]byte("abc")); return nil })
			return err
		},
	} {
		err := f()
		_, limit := errors.AsType[*LimitError](err)
		if err == nil || !limit && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if entries, _ := os.ReadDir(dir); err != nil || len(files) != 0 || len(entries) != 1 {
		t.Errorf("%v %v are left: %v", files, entries, err)
	}
	// What a killed process leaves goes when the directory is opened again.
	must(t, os.WriteFile(filepath.Join(dir, stagingDir, "source-1"), []byte("half"), 0o600))
	if _, err = OpenSources(dir); err != nil {
		t.Error(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(files) != 0 {
		t.Errorf("%v is left", files)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// An upload from POST to the build's end: what the records name stays, the rest goes.
func TestPruneByRecords(t *testing.T) {
	box, err := secret.Open(filepath.Join(t.TempDir(), "key"))
	must(t, err)
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"), box)
	must(t, err)
	defer db.Close()
	user, err := db.CreateUser(t.Context(), "u@example.com", false)
	must(t, err)
	dir := t.TempDir()
	s, err := OpenSources(dir)
	must(t, err)
	place, err := db.CreateUpload(t.Context(), user.ID, time.Hour)
	must(t, err)
	k, err := s.Put(t.Context(), strings.NewReader("uploaded"), 100)
	must(t, err)
	must(t, db.FillUpload(t.Context(), place.ID, string(k.Key), string(k.Sum), k.Size))
	if err := db.FillUpload(t.Context(), place.ID, string(k.Key), string(k.Sum), k.Size); !errors.Is(err, build.ErrConflict) {
		t.Errorf("put twice: %v", err)
	}
	fresh, err := s.Put(t.Context(), strings.NewReader("not recorded yet"), 100)
	must(t, err)
	stale, err := s.Put(t.Context(), strings.NewReader("never recorded"), 100)
	must(t, err)
	old := time.Now().Add(-2 * time.Hour)
	for _, k := range []Key{k.Key, stale.Key} {
		must(t, os.Chtimes(s.path(k), old, old))
	}
	must(t, os.WriteFile(filepath.Join(dir, "README"), nil, 0o600))
	keep, err := db.KeptSources(t.Context(), time.Hour)
	must(t, err)
	n, size, err := s.Prune(t.Context(), keep, time.Hour)
	if n != 1 || size != int64(len("never recorded")) || err != nil {
		t.Errorf("%d sources of %d bytes are removed, %v", n, size, err)
	}
	for key, there := range map[Key]bool{k.Key: true, fresh.Key: true, stale.Key: false} {
		if _, err := s.Path(key); (err == nil) != there {
			t.Errorf("%s: %v", key, err)
		}
	}
	// Put again is fresh again.
	_, err = s.Put(t.Context(), strings.NewReader("uploaded"), 100)
	must(t, err)
	if n, _, err := s.Prune(t.Context(), nil, time.Hour); n != 0 || err != nil {
		t.Errorf("%d are removed, %v", n, err)
	}
}

// A source that is put while it is pruned is there afterwards.
func TestPutAgainstPrune(t *testing.T) {
	s, err := OpenSources(t.TempDir())
	must(t, err)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, _, err := s.Prune(t.Context(), nil, time.Hour); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 50 {
		k, err := s.Put(t.Context(), strings.NewReader("x"), 1)
		must(t, err)
		if _, err := s.Path(k.Key); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(s.path(k.Key), old, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestParseKey(t *testing.T) {
	good := strings.Repeat("a0", 32)
	if k, err := ParseKey(good); string(k) != good || err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "../x", strings.ToUpper(good), good + "0", good[:62] + "/.", stagingDir} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

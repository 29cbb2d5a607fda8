package layerstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// TestWrittenTo: what somebody writes into the store is a miss, without its being read, and the layer can be stored anew.
func TestWrittenTo(t *testing.T) {
	flip := func(path string, at int) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[at] ^= 1
		return os.WriteFile(path, b, 0o644)
	}
	directory := func(path string) error {
		return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o755))
	}
	for name, tc := range map[string]struct {
		change func(blob, memo string) error
		known  bool
	}{
		"nothing":            {func(string, string) error { return nil }, true},
		"a blob":             {func(blob, _ string) error { return flip(blob, 40) }, false},
		"a memo":             {func(_, memo string) error { return flip(memo, 100) }, false},
		"no blob":            {func(blob, _ string) error { return os.Remove(blob) }, false},
		"a directory":        {func(blob, _ string) error { return directory(blob) }, false},
		"a directory's memo": {func(_, memo string) error { return directory(memo) }, false},
		"a copy": {func(blob, _ string) error { // reads as it did, and is sealed again
			b, err := os.ReadFile(blob)
			now := time.Now().Truncate(time.Second).Add(time.Millisecond)
			return errors.Join(err, os.Remove(blob), os.WriteFile(blob, b, 0o644), os.Chtimes(blob, now, now))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			e := stored(t, s, "content")
			blob := filepath.Join(s.Dir(), "blobs", "sha256", hexOf(e.Digest))
			if err := tc.change(blob, filepath.Join(s.Dir(), "memo", hexOf(e.DiffID))); err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Known(e.DiffID); ok != tc.known {
				t.Errorf("known %v, want %v", ok, tc.known)
			}
			if tc.known {
				if fi, err := os.Lstat(blob); err != nil || fi.ModTime().Nanosecond() != 0 {
					t.Errorf("it will be read each time: %v, %v", fi, err)
				}
			}
			if again := stored(t, s, "content"); again != e {
				t.Errorf("stored anew: %+v, want %+v", again, e)
			}
			if got, ok := s.Known(e.DiffID); !ok || got != e {
				t.Errorf("then known: %+v, %v", got, ok)
			}
			if c, err := s.Check(t.Context()); err != nil || len(c.Bad) > 0 {
				t.Errorf("%q, %v", c.Bad, err)
			}
		})
	}
}

// TestWrittenRecord: the index of a cache with one letter changed is no cache, although it could be read.
func TestWrittenRecord(t *testing.T) {
	s := open(t)
	e := stored(t, s, "content")
	m := cnb.CacheMetadata{Buildpacks: []cnb.BuildpackLayers{{ID: "a/b", Version: "1", Layers: map[string]cnb.LayerMetadata{
		"one": {SHA: e.DiffID, LayerMetadataFile: cnb.LayerMetadataFile{Cache: true, Data: map[string]any{"version": "one"}}},
	}}}}
	c := s.Cache("app")
	if err := c.Replace(m, []string{e.DiffID}); err != nil {
		t.Fatal(err)
	}
	if got := c.Metadata(); len(got.Buildpacks) != 1 {
		t.Fatalf("read back: %+v", got)
	}
	files, err := filepath.Glob(filepath.Join(s.Dir(), "caches", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	changed := bytes.Replace(b, []byte(`"version":"one"`), []byte(`"version":"two"`), 1)
	if err != nil || bytes.Equal(b, changed) {
		t.Fatalf("%s, %v", b, err)
	}
	if err := os.WriteFile(files[0], changed, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := c.Metadata(); len(got.Buildpacks) != 0 {
		t.Errorf("a changed record is believed: %+v", got)
	}
}

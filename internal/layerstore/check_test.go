package layerstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// stored is a small layer in the store.
func stored(t *testing.T, s *layerstore.Store, content string) layerstore.Entry {
	t.Helper()
	b, _ := tarOf(t, "file", content)
	return put(t, s, b)
}

// TestCheck: what was damaged through the file system is found and gone, the rest stays.
func TestCheck(t *testing.T) {
	s := open(t)
	good, bad := stored(t, s, "good"), stored(t, s, "bad")
	if err := s.Cache("app").Replace(cnb.CacheMetadata{}, []string{good.DiffID}); err != nil {
		t.Fatal(err)
	}
	c, err := s.Check(t.Context())
	if err != nil || len(c.Bad) != 0 || c.Blobs != 2 || c.Bytes != good.Size+bad.Size {
		t.Fatalf("%+v, %v", c, err)
	}
	at := filepath.Join(s.Dir(), "blobs", "sha256")
	blob := filepath.Join(at, strings.TrimPrefix(bad.Digest, "sha256:"))
	b, err := os.ReadFile(blob)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	memo := filepath.Join(s.Dir(), "memo", strings.TrimPrefix(bad.DiffID, "sha256:"))
	err = errors.Join(os.Chmod(blob, 0o644), os.WriteFile(blob, b, 0o644), os.WriteFile(memo, []byte("{"), 0o644),
		os.WriteFile(filepath.Join(at, "stranger"), nil, 0o644), os.WriteFile(filepath.Join(s.Dir(), "caches", "x.json"), []byte("]"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if c, err = s.Check(t.Context()); err != nil || len(c.Bad) != 4 {
		t.Errorf("%q, %v", c.Bad, err)
	}
	if c, err = s.Check(t.Context()); err != nil || len(c.Bad) != 0 || c.Blobs != 1 {
		t.Errorf("the second time: %+v, %v", c, err)
	}
	if _, ok := s.Known(good.DiffID); !ok {
		t.Error("the good layer is gone")
	}
	if _, ok := s.Known(bad.DiffID); ok {
		t.Error("the bad layer is still there")
	}
}

// TestDropCaches: the longest unused go first, shared layers count once.
func TestDropCaches(t *testing.T) {
	s := open(t)
	shared, own := stored(t, s, "shared"), stored(t, s, "own")
	for name, ids := range map[string][]string{"old": {own.DiffID}, "young": {shared.DiffID}, "younger": {shared.DiffID}} {
		if err := s.Cache(name).Replace(cnb.CacheMetadata{}, ids); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(s.Dir(), "caches", layerstore.CacheKey("old")+".json"), past, past); err != nil {
		t.Fatal(err)
	}
	infos, err := s.Caches()
	if err != nil || len(infos) != 3 || infos[2].Key != layerstore.CacheKey("old") || infos[2].Layers != 1 || infos[2].Bytes != own.Size {
		t.Fatalf("%+v, %v", infos, err)
	}
	if dropped, err := s.DropCaches(0, shared.Size+own.Size); err != nil || len(dropped) != 0 {
		t.Errorf("with room for all: dropped %v, %v", dropped, err)
	}
	if dropped, err := s.DropCaches(0, shared.Size); err != nil || !slices.Equal(dropped, []string{layerstore.CacheKey("old")}) {
		t.Errorf("with room for the shared layer: dropped %v, %v", dropped, err)
	}
	if dropped, err := s.DropCaches(time.Nanosecond, -1); err != nil || len(dropped) != 2 {
		t.Errorf("unused: dropped %v, %v", dropped, err)
	}
}

package layerstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/layerstore"
)

func TestCache(t *testing.T) {
	s := open(t)
	c := s.Cache("index.docker.io/library/app:latest")
	if m := c.Metadata(); len(m.Buildpacks) > 0 {
		t.Fatalf("a new cache has %v", m)
	}
	one, oneID := tarOf(t, "one", "1")
	two, twoID := tarOf(t, "two", "2")
	put(t, s, one)
	e := put(t, s, two)
	meta := cnb.CacheMetadata{Buildpacks: []cnb.BuildpackLayers{{ID: "a/b", Version: "1", Layers: map[string]cnb.LayerMetadata{
		"one": {SHA: oneID}, "two": {SHA: twoID}}}}}
	if err := c.Replace(meta, []string{oneID, digestOf(nil)}); err == nil {
		t.Error("a layer that is not in the store is accepted")
	}
	if err := c.Replace(meta, []string{twoID, oneID, oneID}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Cache("index.docker.io/library/app:latest").Open(t.Context(), oneID)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, one) {
		t.Errorf("cached layer: %v", err)
	}
	r.Close()
	if err := os.Remove(blobPath(s, e.Digest)); err != nil {
		t.Fatal(err)
	}
	if got := c.Metadata().Buildpacks[0].Layers; len(got) != 1 || got["one"].SHA != oneID {
		t.Errorf("with one blob gone the cache has %v", got)
	}
	if _, err := c.Open(t.Context(), twoID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening the lost layer: %v", err)
	}
	path := filepath.Join(s.Dir(), "caches", layerstore.CacheKey("index.docker.io/library/app:latest")+".json")
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if m := c.Metadata(); len(m.Buildpacks) > 0 {
		t.Errorf("a garbled cache has %v", m)
	}
	if err := errors.Join(c.Clear(), c.Clear()); err != nil {
		t.Error(err)
	}
}

func TestCacheKey(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "A", "../a", "..", "/etc/passwd", "a/b", "a_b", "", "\x00", "ä", strings.Repeat("x", 5000), "-rf", ".hidden"} {
		k := layerstore.CacheKey(name)
		if strings.ContainsAny(k, "/\x00") || len(k) > 200 || strings.HasPrefix(k, ".") {
			t.Errorf("key of %q is %q", name, k)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%q and %q share key %q", name, other, k)
		}
		seen[k] = name
	}
}

func FuzzCacheKey(f *testing.F) {
	for _, s := range []string{"a", "../..", "index.docker.io/library/app:latest", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if k := layerstore.CacheKey(name); !filepath.IsLocal(k) || filepath.Base(k) != k || len(k) > 200 {
			t.Errorf("key of %q is %q", name, k)
		}
	})
}

func TestCacheLock(t *testing.T) {
	s := open(t)
	unlock, err := s.Cache("a").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Cache("a").Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v, want a deadline", err)
	}
	other, err := s.Cache("b").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other()
	unlock()
	unlock, err = s.Cache("a").Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestPrune(t *testing.T) {
	s := open(t)
	var e [3]layerstore.Entry
	var ids [3]string
	for i := range e {
		b, id := tarOf(t, fmt.Sprint(i), "x")
		e[i], ids[i] = put(t, s, b), id
	}
	if err := s.Cache("a").Replace(cnb.CacheMetadata{}, ids[:1]); err != nil {
		t.Fatal(err)
	}
	keep := map[string]bool{e[1].Digest: true}
	if p, err := s.Prune(keep, time.Hour); err != nil || p.Blobs != 0 {
		t.Fatalf("fresh blobs are pruned: %v %v", p, err)
	}
	p, err := s.Prune(keep, -time.Hour)
	if err != nil || p.Blobs != 1 || p.Bytes != e[2].Size {
		t.Fatalf("pruned %v, %v; want one blob of %d bytes", p, err, e[2].Size)
	}
	for i, want := range []bool{true, true, false} {
		if _, ok := s.Known(ids[i]); ok != want {
			t.Errorf("layer %d known: %v, want %v", i, ok, want)
		}
	}
}

// Many writers of the same and of other layers, with Prune at work, leave a store in which what is known
// is whole.
func TestConcurrent(t *testing.T) {
	s := open(t)
	done := make(chan error, 8) // one slot for each goroutine
	for g := range 8 {
		go func() {
			var err error
			for i := range 20 {
				other, oerr := layerstore.Open(s.Dir())
				err = errors.Join(err, oerr)
				b, id := tarOf(t, fmt.Sprint(i%5), strings.Repeat("y", 1000*i%5000))
				e := put(t, other, b)
				if g == 0 {
					_, perr := other.Prune(nil, time.Minute)
					err = errors.Join(err, perr)
				}
				if k, ok := other.Known(id); !ok || k != e {
					err = errors.Join(err, fmt.Errorf("layer %d: known %v as %v", i, ok, k))
				}
			}
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

package index_test

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/index"
)

// old has an index look as if it was synced so long ago.
func old(t *testing.T, dir string, ago time.Duration) {
	t.Helper()
	then := time.Now().Add(-ago)
	if err := os.Chtimes(dir, then, then); err != nil {
		t.Fatal(err)
	}
}

// TestClaim: of those who find an index stale one is to see to it, and somebody else when that came to nothing.
func TestClaim(t *testing.T) {
	source, dir := t.TempDir(), t.TempDir()
	write(t, source, map[string]string{"ja/va/acme_java": row("acme/java", "1.0.0", "1", false)})
	write(t, dir, map[string]string{"registries.toml": "[[registries]]\nname = 'ours'\nurl = '" + source + "'\n"})
	claims := func() int32 {
		var n atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := index.OpenSet(dir)
				if err != nil {
					t.Error(err)
				} else if s.Claim("ours") {
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return n.Load()
	}
	if n := claims(); n != 0 {
		t.Errorf("never synced: %d claims", n)
	}
	s, err := index.OpenSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Refresh(t.Context(), "ours", index.Stale); err != nil || !ok {
		t.Errorf("never synced: %t %v", ok, err)
	}
	if n := claims(); n != 0 {
		t.Errorf("just synced: %d claims", n)
	}
	old(t, filepath.Join(dir, "ours", "model"), 2*index.Stale)
	for _, want := range []int32{1, 0} {
		if n := claims(); n != want {
			t.Errorf("stale: %d claims, want %d", n, want)
		}
	}
	old(t, filepath.Join(dir, "ours", "claim"), 2*index.Again)
	if n := claims(); n != 1 {
		t.Errorf("nobody kept the claim: %d claims, want 1", n)
	}
	for _, want := range []bool{true, false} {
		if _, ok, err := s.Refresh(t.Context(), "ours", index.Stale); err != nil || ok != want {
			t.Errorf("refreshed: %t %v, want %t", ok, err, want)
		}
	}
	if _, _, err := s.Refresh(t.Context(), "theirs", index.Stale); err == nil {
		t.Error("an index that there is not")
	}
}

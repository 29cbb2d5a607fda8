package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScrub damages a kept layer: it is removed, the operator hears of it once, and the next build makes it anew.
func TestScrub(t *testing.T) {
	t.Parallel()
	s, err := copiedYard(t).start(filepath.Join(t.TempDir(), "data"), nil) // no other test's layers
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(s.stop(), s.faulty()); err != nil {
			t.Error(err)
		}
	}()
	a := s.newApp(t, nil)
	a.commit("build.sh", `l=$CNB_LAYERS_DIR/kept
if [ -e $l/it ]; then echo "it is there"; else echo "it is not there"; mkdir -p $l; head -c 700000 /dev/urandom >$l/it; fi
printf '[types]\ncache = true\nbuild = true\n' >$l.toml
`)
	a.push(true, []string{"slipway", "main"}, "it is not there")
	if err := s.daemon.Scrub(t.Context()); err != nil || s.faulty() != nil {
		t.Fatalf("nothing is wrong: %v, %v", err, s.faulty())
	}
	layers := damage(t, s)
	if err := s.daemon.Scrub(t.Context()); err != nil {
		t.Error(err)
	}
	s.mu.Lock()
	faults := s.faults
	s.faults = nil
	s.mu.Unlock()
	if len(faults) != len(layers) {
		t.Errorf("%d layers were damaged, and the operator hears %v", len(layers), faults)
	}
	for _, f := range faults {
		if !strings.Contains(f.Error(), "is damaged and was removed") {
			t.Error(f)
		}
	}
	for _, l := range layers {
		if _, err := os.Stat(l); err == nil {
			t.Errorf("%s is there", l)
		}
	}
	a.commit("index.txt", "2")
	a.push(true, []string{"slipway", "main"}, "it is not there", "Released v2")
}

// damage changes a byte of each layer that is as large as the one of the test.
func damage(t *testing.T, s *server) (layers []string) {
	t.Helper()
	all, _ := filepath.Glob(filepath.Join(s.daemon.Layers(), "blobs", "sha256", "*"))
	for _, l := range all {
		b, err := os.ReadFile(l)
		if err != nil || len(b) < 700_000 || len(b) > 710_000 {
			continue
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(l, b, 0o644); err != nil {
			t.Fatal(err)
		}
		layers = append(layers, l)
	}
	if len(layers) == 0 {
		t.Fatalf("no layer in %s", s.daemon.Layers())
	}
	return layers
}

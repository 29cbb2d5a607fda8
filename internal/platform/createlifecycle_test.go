package platform

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/lifecycle"
	"github.com/slipway-build/slipway/internal/platform/platformtest"
)

// TestLifecycleOfBuilder: a builder gets our own lifecycle, whole, unless its recipe names a directory or a tarball.
func TestLifecycleOfBuilder(t *testing.T) {
	t.Parallel()
	program, err := platformtest.Tool(filepath.Join("..", ".."), t.TempDir(), "launcher") // a small one, for both
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{Tools: Tools{Lifecycle: program, Launcher: program, Version: "0.21.17-slipway-test"}}
	recipe := t.TempDir()
	d := lifecycle.Distribution{Version: "0.20.0", Lifecycle: program, Launcher: program}
	f, err := os.Create(filepath.Join(recipe, "other.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	unpacked := filepath.Join(recipe, "unpacked")
	if err := errors.Join(d.WriteArchive(f), f.Close(), os.Mkdir(unpacked, 0o755), lifecycle.Unpack(f.Name(), unpacked)); err != nil {
		t.Fatal(err)
	}
	for uri, version := range map[string]string{"": "0.21.17-slipway-test", "other.tgz": "0.20.0", "unpacked": "0.20.0", "file://" + unpacked: "0.20.0"} {
		at, describe, err := m.lifecycle(t.TempDir(), recipe, uri)
		if err != nil {
			t.Errorf("%q: %v", uri, err)
			continue
		}
		if describe.Version != version || !slices.Equal(describe.APIs.Platform.Supported, cnb.PlatformAPIs()) {
			t.Errorf("%q: %+v", uri, describe)
		}
		for _, name := range append(lifecycle.Phases(), "launcher", "launcher.sbom.cdx.json", "../lifecycle.toml") {
			if _, err := os.Stat(filepath.Join(at, "lifecycle", name)); err != nil {
				t.Errorf("%q: %v", uri, err)
			}
		}
	}
	for uri, want := range map[string]string{"gone": "want a directory or a .tgz", "/etc/passwd": "gzip"} {
		if _, _, err := m.lifecycle(t.TempDir(), recipe, uri); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", uri, err, want)
		}
	}
	m.Tools.Version = "c0ffee"
	if _, _, err := m.lifecycle(t.TempDir(), recipe, ""); err == nil || !strings.Contains(err.Error(), "MAJOR.MINOR.PATCH") {
		t.Errorf("a version that no platform reads: %v", err)
	}
}

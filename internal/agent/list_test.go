package agent

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder"
)

// TestList has every kind of file in a layer, and links that lead out of it.
func TestList(t *testing.T) {
	t.Parallel()
	d := builder.Dirs{Root: t.TempDir(), Layers: "/layers"}
	layer := filepath.Join(d.Root, "layers", "acme_x", "dep")
	for name, text := range map[string]string{
		"bin/tool": "tool", "env/A": "a", "env.build/PATH.prepend": "/b", "env.launch/web/C.default": "c",
		"env/deep/no": "is not read", "env.launch/web/deep/no": "nor is this",
	} {
		at := filepath.Join(layer, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.Symlink("/etc", filepath.Join(layer, "out")), unix.Mkfifo(filepath.Join(layer, "pipe"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := list(t.Context(), listRequest{d, "/layers/acme_x/dep"})
	if err != nil {
		t.Fatal(err)
	}
	want := []ListedFile{
		{Path: "bin/tool", Mode: 0o644, Size: 4, Sum: "7c9bbe5ec9b3fb774e8fa0f54247e93c34ddf8e5d16fe3073420de0ae81a262d"},
		{Path: "env.build/PATH.prepend"}, {Path: "env.launch/web/C.default"}, {Path: "env.launch/web/deep/no"}, {Path: "env/A"}, {Path: "env/deep/no"},
		{Path: "out", Mode: os.ModeSymlink | 0o777, Link: "/etc"},
		{Path: "pipe", Mode: os.ModeNamedPipe | 0o644},
	}
	if got.Count != len(want) || len(got.Files) != len(want) || got.Bytes != 30 {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		if f := got.Files[i]; f.Path != w.Path || w.Mode != 0 && f != w {
			t.Errorf("file %+v, want %+v", f, w)
		}
	}
	if e := got.Env; len(e) != 3 || e["env/A"] != "a" || e["env.build/PATH.prepend"] != "/b" || e["env.launch/web/C.default"] != "c" {
		t.Errorf("variables %q", e)
	}
	for _, outside := range []string{"/etc", "/layers", "/layers/../etc", "/layers/acme_x/dep/out"} {
		if got, err := list(t.Context(), listRequest{d, outside}); err == nil {
			t.Errorf("%s: %+v", outside, got)
		}
	}
}

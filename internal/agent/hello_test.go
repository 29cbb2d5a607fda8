package agent

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// builderRoot is a builder image's files below a directory.
func builderRoot(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestHelloBuildConfig(t *testing.T) {
	root := builderRoot(t, map[string]string{
		"cnb/build-config/env/A": "one", "cnb/build-config/env/B.append": "two", "cnb/build-config/env/B.delim": ":", "cnb/build-config/other": "x",
		"cnb/build-config/env/dir/file": "x", "cnb/system.toml": "[system]\n", "cnb/build-config/env/HUGE": strings.Repeat("x", maxEnvValue+1),
	})
	if err := syscall.Mkfifo(filepath.Join(root, "cnb/build-config/env/PIPE"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := readHello(root, nil)
	if want := map[string]string{"A": "one", "B.append": "two", "B.delim": ":"}; !maps.Equal(h.BuildConfig(), want) {
		t.Errorf("got %q, want %q", h.BuildConfig(), want)
	}
	if string(h.Files["system.toml"]) != "[system]\n" {
		t.Errorf("system.toml is %q", h.Files["system.toml"])
	}
	warned := strings.Join(h.Warnings, "\n")
	for _, name := range []string{"HUGE", "PIPE", "dir"} {
		if !strings.Contains(warned, "env/"+name+":") {
			t.Errorf("no warning about %s: %q", name, h.Warnings)
		}
	}
}

// TestHelloCaps reads a builder that has too much of everything: what is told fits into a greeting.
func TestHelloCaps(t *testing.T) {
	files := map[string]string{}
	for i := range maxEnvFiles + 10 {
		files[fmt.Sprintf("cnb/build-config/env/V%04d", i)] = strings.Repeat("x", 4<<10)
	}
	h := readHello(builderRoot(t, files), nil)
	size := 0
	for _, v := range h.BuildConfig() {
		size += len(v)
	}
	if len(h.BuildConfig()) > maxEnvFiles || size > maxConfigEnv || len(h.Warnings) != 2 {
		t.Errorf("%d variables of %d bytes, warnings %q", len(h.BuildConfig()), size, h.Warnings)
	}
	b, err := encode(h)
	if err != nil {
		t.Fatal(err)
	}
	var back Hello
	if err := decodeHello(b, &back); err != nil || !maps.Equal(back.BuildConfig(), h.BuildConfig()) {
		t.Errorf("the greeting is not understood: %v", err)
	}
}

package main

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/slipway-build/slipway/internal/platform"
)

// embedded holds the tools that make build put there: tools/linux-<arch>/{lifecycle,launcher}.
//
//go:embed tools
var embedded embed.FS

// tools puts the embedded binaries below the state directory, named by their content, so that containers
// can mount them and two versions of slipway do not disturb each other. Without embedded tools (go run, go
// test) the binaries beside the executable are used.
func tools(state, self string) (platform.Tools, error) {
	var t platform.Tools
	for _, tool := range []struct {
		name string
		path *string
	}{{"lifecycle", &t.Lifecycle}, {"launcher", &t.Launcher}} {
		at, err := tool1(state, self, tool.name)
		if err != nil {
			return t, err
		}
		*tool.path = at
	}
	return t, nil
}

func tool1(state, self, name string) (string, error) {
	b, err := embedded.ReadFile("tools/linux-" + runtime.GOARCH + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(filepath.Dir(self), name), nil
	}
	if err != nil {
		return "", err
	}
	dir := filepath.Join(state, "tools")
	at := filepath.Join(dir, fmt.Sprintf("%s-%.16x", name, sha256.Sum256(b)))
	if have, err := os.ReadFile(at); err == nil && bytes.Equal(have, b) {
		return at, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	tmp, err := os.CreateTemp(dir, name+"-")
	if err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Chmod(0o755), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), at)
	}
	if err != nil {
		return "", fmt.Errorf("unpack %s: %w", name, err)
	}
	return at, nil
}

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
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/internal/platform"
)

// embedded holds the tools that make build put there: tools/linux-<arch>/{agent,lifecycle,launcher,classic}.
//
//go:embed tools
var embedded embed.FS

// tools puts the embedded binaries below the state directory, named by their content, so that containers
// can mount them and two versions of slipway do not disturb each other. Without embedded tools (go run, go
// test) the binaries in the directory tools beside the executable are used.
func tools(state, self string) (platform.Tools, error) {
	var t platform.Tools
	for _, tool := range []struct {
		name string
		path *string
	}{{"agent", &t.Agent}, {"lifecycle", &t.Lifecycle}, {"launcher", &t.Launcher}, {"classic", &t.Classic}} {
		at, err := tool1(state, self, tool.name)
		if err != nil {
			return t, err
		}
		*tool.path = at
	}
	return t, nil
}

func tool1(state, self, name string) (string, error) {
	marker := filepath.Join(state, "tools", name+".of")
	if at, ok := unpacked(marker, self); ok {
		return at, nil
	}
	at, err := unpackTool(state, self, name)
	if err == nil && filepath.Dir(at) == filepath.Dir(marker) {
		noteUnpacked(marker, self, at)
	}
	return at, err
}

// unpacked finds the tool that this very executable has unpacked before: the marker names both by size, time and
// inode, so that a start need not read and hash some megabytes. What is wrong with it costs only that.
func unpacked(marker, self string) (string, bool) {
	b, err := os.ReadFile(marker)
	if err != nil {
		return "", false
	}
	name, _, ok := strings.Cut(string(b), "\n")
	at := filepath.Join(filepath.Dir(marker), filepath.Base(name))
	text, err := unpackedText(self, at)
	return at, ok && err == nil && text == string(b)
}

func noteUnpacked(marker, self, at string) {
	text, err := unpackedText(self, at)
	if err != nil {
		return
	}
	tmp := fmt.Sprintf("%s-%d", marker, os.Getpid())
	if os.WriteFile(tmp, []byte(text), 0o644) != nil || os.Rename(tmp, marker) != nil {
		_ = os.Remove(tmp) // the next start hashes again
	}
}

func unpackedText(self, at string) (string, error) {
	var text strings.Builder
	text.WriteString(filepath.Base(at) + "\n")
	for _, p := range []string{self, at} {
		fi, err := os.Stat(p)
		if err != nil {
			return "", err
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok || !fi.Mode().IsRegular() {
			return "", errors.New("not a regular file")
		}
		text.WriteString(fmt.Sprintf("%d %d %d %o\n", fi.Size(), fi.ModTime().UnixNano(), st.Ino, fi.Mode()))
	}
	return text.String(), nil
}

func unpackTool(state, self, name string) (string, error) {
	b, err := embedded.ReadFile("tools/linux-" + runtime.GOARCH + "/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(filepath.Dir(self), "tools", name), nil
	}
	if err != nil {
		return "", err
	}
	dir := filepath.Join(state, "tools")
	at := filepath.Join(dir, fmt.Sprintf("%s-%.16x", name, sha256.Sum256(b)))
	if have, err := os.ReadFile(at); err == nil && bytes.Equal(have, b) {
		return at, nil
	}
	// Nobody else may put another binary there: it runs with more rights than its user has.
	if err := os.MkdirAll(dir, 0o700); err != nil {
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

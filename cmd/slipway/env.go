package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/transcript"
)

// maxEnvFile bounds an --env-file.
const maxEnvFile = 1 << 20

// environment is the user's variables of a build: --env-file in order, --env over them.
func (a *app) environment(files, list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, f := range files {
		b, err := cnb.ReadFile(splitPath(f))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("--env-file %s: there is no such file", f)
		}
		if err != nil {
			return nil, usagef("--env-file %s: %w", f, err)
		}
		for i, l := range strings.Split(string(b), "\n") {
			l = strings.TrimRight(l, "\r")
			if t := strings.TrimSpace(l); t == "" || strings.HasPrefix(t, "#") {
				continue
			}
			if err := a.setEnv(out, strings.TrimLeft(l, " \t")); err != nil {
				return nil, usagef("--env-file %s: line %d: %w", f, i+1, err)
			}
		}
	}
	for _, e := range list {
		if err := a.setEnv(out, e); err != nil {
			return nil, usagef("--env %s: %w", e, err)
		}
	}
	return out, nil
}

// setEnv reads NAME=value, or NAME for the value that this process has (empty where it has none, as pack does).
func (a *app) setEnv(out map[string]string, e string) error {
	name, value, ok := strings.Cut(e, "=")
	if _, err := cnb.ParseEnvName(name); err != nil {
		return err
	}
	if !ok {
		value = a.getenv(name)
	}
	out[name] = value
	return nil
}

// bindings reads --binding NAME=DIR. The directory has a file "type" (servicebinding.io).
func bindings(list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, b := range list {
		name, dir, ok := strings.Cut(b, "=")
		if !ok || dir == "" {
			return nil, usagef("--binding %s: want NAME=DIR", b)
		}
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\") || transcript.Clean(name, false) != name {
			return nil, usagef("--binding %s: %q is no name of a directory", b, name)
		}
		if out[name] != "" {
			return nil, usagef("--binding %s: there are two bindings of that name", b)
		}
		if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
			return nil, usagef("--binding %s: %s is no directory", b, dir)
		}
		if fi, err := os.Stat(filepath.Join(dir, "type")); err != nil || !fi.Mode().IsRegular() {
			return nil, usagef("--binding %s: %s has no file named type, which says what kind of service it is", b, dir)
		}
		out[name] = dir
	}
	return out, nil
}

// splitPath gives cnb.ReadFile a file that the user named.
func splitPath(path string) (dir, name string, most int64) {
	dir, name = filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	return dir, name, maxEnvFile
}

// keyValues reads "key=value" fields separated by sep.
func keyValues(s, sep string) ([][2]string, error) {
	var out [][2]string
	for f := range strings.SplitSeq(s, sep) {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want key=value", f)
		}
		out = append(out, [2]string{strings.TrimSpace(k), strings.TrimSpace(v)})
	}
	return out, nil
}

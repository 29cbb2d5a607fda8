package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// Bounds of what a user hands to a build.
const (
	maxEnvFiles     = 512
	maxEnvValue     = 128 << 10
	maxBindings     = 100
	maxBindingFiles = 1000
	maxBindingFile  = 4 << 20
)

// prepare runs in the collector.
func prepare(p Preparation) error {
	if err := p.check(); err != nil {
		return err
	}
	d := p.Dirs
	if err := os.Mkdir(d.Host("/"), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the build's directory: %w", err)
	}
	root, err := os.OpenRoot(d.Host("/"))
	if err != nil {
		return fmt.Errorf("open the build's directory: %w", err)
	}
	defer root.Close()
	s := stage{root, d}
	return s.fill(p)
}

// check finds what the spec does not allow, before anything is made.
func (p Preparation) check() error {
	d := p.Dirs
	for _, dir := range []string{d.App, d.Layers, d.Platform} {
		if !path.IsAbs(dir) || path.Clean(dir) == "/" {
			return fmt.Errorf("directory of a build %q: want an absolute path other than /", dir)
		}
	}
	if !filepath.IsAbs(d.Root) || filepath.Clean(d.Root) == "/" {
		return fmt.Errorf("root of a build %q: want an absolute path other than /", d.Root)
	}
	if len(p.Env) > maxEnvFiles || len(p.BuildConfig) > maxEnvFiles {
		return fmt.Errorf("%d environment variables for the build, at most %d are allowed", max(len(p.Env), len(p.BuildConfig)), maxEnvFiles)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		if err := checkEnv(name, p.Env[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.BuildConfig)) {
		base, suffix, _ := strings.Cut(name, ".")
		if !slices.Contains([]string{"", "append", "default", "delim", "override", "prepend"}, suffix) {
			return fmt.Errorf("build configuration: environment variable %q: unknown suffix .%s", name, suffix)
		}
		if err := checkEnv(base, p.BuildConfig[name]); err != nil {
			return fmt.Errorf("build configuration: %w", err)
		}
	}
	if len(p.Bindings) > maxBindings {
		return fmt.Errorf("%d service bindings, at most %d are allowed", len(p.Bindings), maxBindings)
	}
	for name := range p.Bindings {
		if !isFileName(name) {
			return fmt.Errorf("service binding %q: its name cannot be a directory's", name)
		}
	}
	return nil
}

func checkEnv(name, value string) error {
	if _, err := cnb.ParseEnvName(name); err != nil {
		return err
	}
	if strings.Contains(name, "/") || name == "." || name == ".." || len(name) > 255 {
		return fmt.Errorf("environment variable %q: its name cannot be a file's", name)
	}
	if len(value) > maxEnvValue {
		return fmt.Errorf("environment variable %s: its value has %d bytes, at most %d are allowed", name, len(value), maxEnvValue)
	}
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("environment variable %s: its value holds a zero byte", name)
	}
	return nil
}

// isFileName reports whether s is a plain name: visible, printable, one path element.
func isFileName(s string) bool {
	return s != "" && len(s) <= 253 && s[0] != '.' && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || r < ' ' || r == 0x7f || r == 0xfffd
	})
}

// A stage is the root of a build while it is filled; only trusted processes have it until then.
type stage struct {
	root *os.Root
	d    builder.Dirs
}

func (s stage) fill(p Preparation) error {
	d := s.d
	platform := []string{d.Platform, path.Join(d.Platform, "env"), path.Join(d.Platform, "bindings"), d.Scratch, d.BuildConfig, d.Generated}
	for _, dir := range platform {
		if dir == "" {
			continue
		}
		if err := s.dir(dir); err != nil {
			return err
		}
		if os.Geteuid() != 0 {
			continue
		}
		// Whoever made them: what the CNB user owned it could change.
		if err := s.root.Lchown(rel(dir), 0, 0); err != nil {
			return fmt.Errorf("take %s of the build: %w", dir, err)
		}
	}
	for _, dir := range []string{d.App, d.Layers} {
		if err := s.dir(dir); err != nil {
			return err
		}
		uid, gid := d.Owner()
		if err := s.root.Lchown(rel(dir), uid, gid); err != nil {
			return fmt.Errorf("give %s to the user of the build: %w", dir, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		if err := s.file(path.Join(d.Platform, "env", name), []byte(p.Env[name])); err != nil {
			return err
		}
	}
	if d.BuildConfig != "" {
		for _, name := range slices.Sorted(maps.Keys(p.BuildConfig)) {
			if err := s.file(path.Join(d.BuildConfig, "env", name), []byte(p.BuildConfig[name])); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Bindings)) {
		if err := s.binding(name, p.Bindings[name]); err != nil {
			return fmt.Errorf("service binding %q: %w", name, err)
		}
	}
	for _, f := range p.Files {
		if err := s.file(f.Path, f.Data); err != nil {
			return err
		}
	}
	return nil
}

// rel is a path as executables see it, below the root.
func rel(p string) string { return strings.TrimPrefix(path.Clean("/"+p), "/") }

func (s stage) dir(p string) error {
	if err := s.root.MkdirAll(rel(p), 0o755); err != nil {
		return fmt.Errorf("make directory %s of the build: %w", p, err)
	}
	return nil
}

// file writes a file of the platform: owned by root, readable by all who can reach it.
func (s stage) file(p string, data []byte) error {
	if err := s.dir(path.Dir(p)); err != nil {
		return err
	}
	f, err := s.root.OpenFile(rel(p), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return fmt.Errorf("make %s of the build: %w", p, err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s of the build: %w", p, err)
	}
	return nil
}

// binding copies one service binding (service binding specification, "Application Projection"). Names that begin with
// a dot are how Kubernetes keeps versions of a secret; the visible names link to them.
func (s stage) binding(name, from string) error {
	src, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dir, err := src.Open(".")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(maxBindingFiles + 1)
	dir.Close()
	if err != nil && err != io.EOF {
		return err
	}
	if len(names) > maxBindingFiles {
		return fmt.Errorf("it has more than %d files", maxBindingFiles)
	}
	if !slices.Contains(names, "type") {
		return fmt.Errorf(`%s has no file "type" that says what kind of service it is`, from)
	}
	slices.Sort(names)
	for _, file := range names {
		if strings.HasPrefix(file, ".") {
			continue
		}
		if !isFileName(file) {
			return fmt.Errorf("file name %q is not allowed", file)
		}
		b, err := readBindingFile(src, file)
		if err != nil {
			return fmt.Errorf("file %s: %w", filepath.Join(from, file), err)
		}
		if (file == "type" || file == "provider") && !isLine(b) {
			return fmt.Errorf("file %q: want one line of text", file)
		}
		if err := s.file(path.Join(s.d.Platform, "bindings", name, file), b); err != nil {
			return err
		}
	}
	return s.dir(path.Join(s.d.Platform, "bindings", name))
}

func readBindingFile(src *os.Root, name string) ([]byte, error) {
	f, err := src.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file; a binding holds files only")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBindingFile+1))
	if err == nil && len(b) > maxBindingFile {
		err = fmt.Errorf("it is larger than %d bytes", maxBindingFile)
	}
	return b, err
}

// isLine reports whether b is one line that is not empty.
func isLine(b []byte) bool {
	s := strings.TrimSpace(string(b))
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// Package classic makes Cloud Native Buildpacks of classic ones: directories with bin/detect, bin/compile and perhaps
// bin/release, as they were before there was a buildpack.toml. What comes out is a buildpack as any other: it keeps the
// classic one unchanged beside a program of ours (buildpacks/classic), which is its bin/detect and bin/build.
package classic

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// Dir is where in the converted buildpack the classic one lies.
const Dir = "classic"

// An Origin is where a classic buildpack is from, for its id and for what its images say of it.
type Origin struct {
	Name   string // of its directory, repository or archive; ID makes an id of it
	URL    string // "" is a directory
	Ref    string // that was asked for; one that is a version becomes the buildpack's
	Commit string
}

// Is tells a classic buildpack: a directory that has bin/compile and bin/detect, and no buildpack.toml with an api. Old ones
// have a buildpack.toml of another kind, without one.
func Is(dir string) bool {
	for _, name := range []string{"detect", "compile"} {
		if fi, err := os.Stat(filepath.Join(dir, "bin", name)); err != nil || !fi.Mode().IsRegular() {
			return false
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "buildpack.toml"))
	return errors.Is(err, fs.ErrNotExist) || err == nil && !api.Match(text)
}

var (
	api     = regexp.MustCompile(`(?m)^\s*api\s*=`)
	version = regexp.MustCompile(`^v?((?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*))$`)
	unfit   = regexp.MustCompile(`[^a-z0-9.-]+`)
)

// ID is the id of what is made of it: classic/NAME.
func (o Origin) ID() string {
	name := strings.Trim(unfit.ReplaceAllString(strings.ToLower(o.Name), "-"), "-.")
	if name == "" || name == "app" || name == "config" || name == "sbom" {
		name = "buildpack"
	}
	return "classic/" + name
}

// Version is the one of a ref such as v1.2.3, else 0.0.0: classic buildpacks have none.
func (o Origin) Version() string {
	if m := version.FindStringSubmatch(path.Base(o.Ref)); m != nil {
		return m[1]
	}
	return "0.0.0"
}

// Convert writes the buildpack to a directory that is made, with the program of ours at shim. It is for this machine's
// architecture, as the program is. A file that is no regular one, a directory or a link within is an error.
func Convert(dir string, o Origin, shim, to string) error {
	if err := check(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(to, "bin"), 0o755); err != nil {
		return err
	}
	if err := copyTree(dir, filepath.Join(to, Dir)); err != nil {
		return fmt.Errorf("copy the classic buildpack: %w", err)
	}
	if err := copyFile(shim, filepath.Join(to, "bin", "detect"), 0o755); err != nil {
		return fmt.Errorf("copy what runs classic buildpacks: %w", err)
	}
	if err := os.Symlink("detect", filepath.Join(to, "bin", "build")); err != nil {
		return err
	}
	text := fmt.Sprintf(`api = "0.10"

[buildpack]
id = %q
version = %q
name = %q
homepage = %q
description = "a classic buildpack"
clear-env = true
sbom-formats = ["application/vnd.cyclonedx+json"]

[[targets]]
os = "linux"
arch = %q

[metadata]
url = %q
ref = %q
commit = %q
`, o.ID(), o.Version(), o.Name, o.URL, runtime.GOARCH, o.URL, o.Ref, o.Commit)
	return os.WriteFile(filepath.Join(to, "buildpack.toml"), []byte(text), 0o644)
}

// check says in one line what would keep the executables from running.
func check(dir string) error {
	for _, name := range []string{"detect", "compile", "release", "test-compile", "test"} {
		at := filepath.Join("bin", name)
		f, err := os.Open(filepath.Join(dir, at))
		if errors.Is(err, fs.ErrNotExist) && name != "detect" && name != "compile" {
			continue
		}
		if err != nil {
			return err
		}
		fi, err := f.Stat()
		head := make([]byte, 256)
		n, _ := io.ReadFull(f, head)
		f.Close()
		first, _, _ := strings.Cut(string(head[:n]), "\n")
		switch {
		case err != nil:
			return err
		case fi.Mode()&0o001 == 0:
			return fmt.Errorf("%s has mode %v: everyone has to be able to run it (chmod 755)", at, fi.Mode().Perm())
		case strings.HasPrefix(first, "#!") && strings.HasSuffix(first, "\r"):
			return fmt.Errorf("%s, line 1: it ends as lines of Windows do, so that %q is looked for (dos2unix)", at, strings.TrimSpace(first[2:])+`\r`)
		}
	}
	return nil
}

// copyTree copies a tree without its .git, readable by everyone: the container's user is nobody of this machine.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, at)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		switch {
		case e.IsDir() && e.Name() == ".git":
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(dest, 0o755)
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(at)
			if err != nil {
				return err
			}
			if !filepath.IsLocal(filepath.Join(filepath.Dir(rel), target)) {
				return fmt.Errorf("%s is a link to %s, which is not in the buildpack", rel, target)
			}
			return os.Symlink(target, dest)
		case !e.Type().IsRegular():
			return fmt.Errorf("%s is neither a file, a directory nor a link", rel)
		case e.Name() == ".git": // of a submodule
			return nil
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		return copyFile(at, dest, 0o644|fi.Mode().Perm()&0o111)
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chmod(to, mode))
}

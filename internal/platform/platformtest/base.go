// Package platformtest has what tests that build need of the host: our own tools for a container, and base images of a
// shell and little else, made of this machine's programs, so that no test needs a registry.
package platformtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The CNB user of the base images.
const (
	User  = 1234
	Group = 1235
)

// Tools builds the tools that every build needs, of the module whose directory is root, into dir/tools.
func Tools(root, dir string) error {
	for _, name := range []string{"agent", "lifecycle", "launcher"} {
		if _, err := Tool(root, dir, name); err != nil {
			return err
		}
	}
	return nil
}

// Tool builds one of the tools, into dir/tools.
func Tool(root, dir, name string) (string, error) {
	at, err := filepath.Abs(filepath.Join(dir, "tools", name))
	if err != nil {
		return "", err
	}
	pkg := "./cmd/" + name
	if name == "classic" {
		pkg = "./buildpacks/classic"
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", at, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s for tests: %w: %s", name, err, out)
	}
	return at, nil
}

// BaseImages are the build and the run image: a shell and the usual small programs of Debian packages, in one layer.
func BaseImages() (build, run v1.Image, err error) {
	layer, err := rootfs()
	if err != nil {
		return nil, nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
		tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
	if err != nil {
		return nil, nil, err
	}
	build, err = baseImage(l, true)
	if err != nil {
		return nil, nil, err
	}
	run, err = baseImage(l, false)
	return build, run, err
}

func baseImage(l v1.Layer, build bool) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	cf.Config.User = fmt.Sprintf("%d:%d", User, Group)
	cf.Config.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	cf.Config.Labels = map[string]string{"io.buildpacks.base.distro.name": "debian", "io.buildpacks.base.distro.version": "13", "base": "run"}
	if build {
		cf.Config.Env = append(cf.Config.Env, fmt.Sprintf("CNB_USER_ID=%d", User), fmt.Sprintf("CNB_GROUP_ID=%d", Group), "OF_BUILD_IMAGE=yes")
		cf.Config.Labels["base"] = "build"
	}
	return mutate.ConfigFile(img, cf)
}

// rootfs is a tar of a shell, some small programs of this machine, and the libraries that they need.
func rootfs() ([]byte, error) {
	var buf bytes.Buffer
	t := tarWriter{Writer: tar.NewWriter(&buf), dirs: map[string]bool{}}
	for dir, mode := range map[string]int64{"tmp": 0o1777, "proc": 0o755, "sys": 0o755, "dev": 0o755, "etc/ssl/certs": 0o755, "home/cnb": 0o755} {
		t.dir(dir, mode)
	}
	t.text("etc/passwd", fmt.Sprintf("root:x:0:0::/root:/bin/sh\ncnb:x:%d:%d::/home/cnb:/bin/bash\n", User, Group))
	t.text("etc/group", fmt.Sprintf("root:x:0:\ncnb:x:%d:\n", Group))
	t.text("etc/os-release", "ID=debian\nVERSION_ID=13\n")
	t.text("etc/ssl/certs/ca-certificates.crt", "")
	for _, p := range []string{"bash", "env", "sort", "cat", "mkdir", "ls", "find", "grep", "sed", "tr", "head", "id", "rm", "ln", "chmod", "stat", "sleep", "touch", "cp", "mv", "wc", "sh"} {
		if err := t.program(p); err != nil {
			return nil, err
		}
	}
	t.link("bin", "usr/bin")
	return buf.Bytes(), errors.Join(append(t.errs, t.Close())...)
}

type tarWriter struct {
	*tar.Writer
	dirs map[string]bool
	errs []error
}

func (t *tarWriter) add(h *tar.Header, b []byte) {
	h.Size, h.ModTime = int64(len(b)), v1.Time{}.Time
	err := t.WriteHeader(h)
	if err == nil {
		_, err = t.Write(b)
	}
	if err != nil {
		t.errs = append(t.errs, err)
	}
}

func (t *tarWriter) dir(name string, mode int64) {
	if name == "." || t.dirs[name] {
		return
	}
	t.dir(path.Dir(name), 0o755)
	t.dirs[name] = true
	t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (t *tarWriter) text(name, text string) { t.file(name, 0o644, []byte(text)) }

func (t *tarWriter) file(name string, mode int64, b []byte) {
	if t.dirs[name] {
		return
	}
	t.dir(path.Dir(name), 0o755)
	t.dirs[name] = true
	t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, b)
}

func (t *tarWriter) link(name, to string) {
	t.dir(path.Dir(name), 0o755)
	t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
}

// program copies a program of this machine to /usr/bin, with its libraries where its loader looks for them.
func (t *tarWriter) program(name string) error {
	at, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("a base image for tests needs %s: %w", name, err)
	}
	if at, err = filepath.EvalSymlinks(at); err != nil {
		return err
	}
	return t.binary("usr/bin/"+name, at)
}

func (t *tarWriter) binary(name, at string) error {
	b, err := os.ReadFile(at)
	if err != nil {
		return err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	t.file(name, 0o755, b)
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		interp, err := io.ReadAll(p.Open())
		if err != nil {
			return err
		}
		loader := strings.TrimRight(string(interp), "\x00")
		if b, err = os.ReadFile(loader); err != nil {
			return err
		}
		t.file(strings.TrimPrefix(loader, "/"), 0o755, b)
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := t.library(lib); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

func (t *tarWriter) library(name string) error {
	for _, pattern := range []string{"/lib/*-linux-gnu*/", "/usr/lib/*-linux-gnu*/", "/lib64/", "/usr/lib64/", "/lib/", "/usr/lib/"} {
		found, _ := filepath.Glob(pattern + name)
		if len(found) == 0 {
			continue
		}
		to := strings.TrimPrefix(found[0], "/")
		if t.dirs[to] {
			return nil
		}
		return t.binary(to, found[0])
	}
	return fmt.Errorf("library %s is nowhere", name)
}

package platform_test

import (
	"archive/tar"
	"bytes"
	"context"
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

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// The CNB user of the base images.
const (
	cnbUser  = 1234
	cnbGroup = 1235
)

// baseImage is a run or build image: a shell and the usual small programs of Debian packages.
func baseImage(build bool) (v1.Image, error) {
	layer, err := rootfs()
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return nil, err
	}
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
	cf.Config.User = fmt.Sprintf("%d:%d", cnbUser, cnbGroup)
	cf.Config.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}
	cf.Config.Labels = map[string]string{"io.buildpacks.base.distro.name": "debian", "io.buildpacks.base.distro.version": "13", "base": "run"}
	if build {
		cf.Config.Env = append(cf.Config.Env, fmt.Sprintf("CNB_USER_ID=%d", cnbUser), fmt.Sprintf("CNB_GROUP_ID=%d", cnbGroup), "OF_BUILD_IMAGE=yes")
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
	t.text("etc/passwd", fmt.Sprintf("root:x:0:0::/root:/bin/sh\ncnb:x:%d:%d::/home/cnb:/bin/bash\n", cnbUser, cnbGroup))
	t.text("etc/group", fmt.Sprintf("root:x:0:\ncnb:x:%d:\n", cnbGroup))
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

// makeBuilder puts the base images into the yard's store and makes the builder of them.
func (y *yard) makeBuilder() error {
	ctx := context.Background()
	if y.borrowed() {
		return y.borrowBuilder(ctx)
	}
	for _, kind := range []string{"build", "run"} {
		img, err := baseImage(kind == "build")
		if err != nil {
			return err
		}
		if _, err := y.put(ctx, "test/"+kind, img); err != nil {
			return err
		}
		if _, err := y.layout(ctx, kind, img); err != nil {
			return err
		}
	}
	config := filepath.Join(y.dir, "builder.toml")
	if err := os.WriteFile(config, []byte(builderConfig), 0o644); err != nil {
		return err
	}
	if _, err := platform.CreateBuilder(ctx, y.machine, platform.CreateOptions{Name: y.name, Config: config}); err != nil {
		return err
	}
	_, err := platform.CreateBuilder(ctx, y.machine, platform.CreateOptions{Name: y.name, Config: config, Output: platform.Output{OCI: filepath.Join(y.dir, "oci", "builder")}})
	return err
}

// borrowBuilder brings the images of the yard's owner into this user's own store.
func (y *yard) borrowBuilder(ctx context.Context) error {
	r := image.Resolver{}
	for from, to := range map[string]string{"run": "test/run", "builder": y.name} {
		img, err := r.Resolve(ctx, y.oci(from))
		if err != nil {
			return err
		}
		if _, err := y.put(ctx, to, img); err != nil {
			return err
		}
	}
	return nil
}

func (y *yard) put(ctx context.Context, name string, img v1.Image) (image.Written, error) {
	ref, err := image.ParseRef(name)
	if err != nil {
		return image.Written{}, err
	}
	return y.machine.Images.Put(ctx, []image.Ref{ref}, img, nil)
}

func (y *yard) layout(ctx context.Context, name string, img v1.Image) (image.Written, error) {
	ref, err := image.ParseRef(y.oci(name))
	if err != nil {
		return image.Written{}, err
	}
	return image.WriteLayout(ctx, ref, nil, img, nil)
}

// builderConfig is the yard's builder.toml.
const builderConfig = `
description = "tests"
[build]
image = "test/build"
[[build.env]]
name = "OF_OPERATOR"
value = "plain"
[[build.env]]
name = "OF_IMAGE_AND_OPERATOR"
value = "operator"
suffix = "override"
[run]
[[run.images]]
image = "test/run"
mirrors = ["localhost:1/test/run"]
[[buildpacks]]
uri = "buildpacks/noop"
[[buildpacks]]
uri = "buildpacks/one-layer"
[[buildpacks]]
uri = "buildpacks/composite"
[[order]]
[[order.group]]
id = "sample/composite"
`

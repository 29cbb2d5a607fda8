package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// A yard is what the builds of these tests stand on: a builder of four megabytes, made once.
type yard struct {
	prefix   string // of the names of all images
	template string // SLIPWAY_HOME with builder and run image in it
	builder  string // names of images in it
	runImage string
	base     string // OCI layout of the base image
	app      string // a source that builds

	runtime string // that the builds run with

	built func() (string, error) // the slipway binary

	mu    sync.Mutex
	works int // how many tests have had a copy
}

// newYard makes the builder, with the sample buildpack one-layer in its order.
func newYard(t *testing.T) *yard {
	t.Helper()
	dir := t.TempDir()
	prefix := fmt.Sprintf("slipway.test/bad-%d", os.Getpid())
	y := &yard{
		prefix: prefix, template: filepath.Join(dir, "home"), builder: prefix + "/builder", runImage: prefix + "/run",
		base: filepath.Join(dir, "base"), app: filepath.Join(dir, "app"), runtime: testRuntime(), built: buildBinary(openDir(t)),
	}
	write(t, filepath.Join(y.app, "hello.txt"), "hello\n")
	writeLayout(t, y.base, miniImage(t))
	config := filepath.Join(dir, "builder.toml")
	write(t, config, fmt.Sprintf(`
[build]
image = "oci:%s"
[run]
[[run.images]]
image = %q
mirrors = ["127.0.0.1:1/mirror/run"]
[[buildpacks]]
uri = %q
[[order]]
[[order.group]]
id = "sample/one-layer"
`, y.base, y.runImage, fixture(t, "one-layer")))

	write(t, filepath.Join(y.template, "registries", "registries.toml"), "registries = []\n") // none that would be fetched
	w := &work{t: t, y: y, home: y.template, name: prefix + "/app"}
	for _, args := range [][]string{
		{"images", "import", "--store-only", y.runImage, "oci:" + y.base},
		{"builder", "create", y.builder, "--config", config},
	} {
		if code, stdout, stderr := w.slipway(nil, args...); code != 0 {
			t.Fatalf("slipway %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
		}
	}
	t.Cleanup(func() {
		if _, err := engineAPI(http.MethodDelete, "/images/"+y.builder+":latest?force=1"); err != nil {
			t.Error(err)
		}
	})
	w.good() // also unpacks the tools
	return y
}

// on is the yard for builds with another runtime.
func (y *yard) on(runtime string) *yard {
	return &yard{
		prefix: y.prefix + "-" + runtime, template: y.template, builder: y.builder, runImage: y.runImage, base: y.base, app: y.app,
		runtime: runtime, built: y.built,
	}
}

// fixture is the path of a sample buildpack.
func fixture(t testing.TB, name string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "fixtures", "buildpacks", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyState copies a state directory; what never changes is linked.
func copyState(to, from string) error { return copied(to, from, os.Link) }

// copyTree copies a state directory to another disk.
func copyTree(to, from string) error {
	return copied(to, from, func(path, at string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, b, 0o755)
	})
}

func copied(to, from string, tool func(path, at string) error) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		switch {
		case rel == "rootfs" || rel == "oci" || rel == "images/trees": // unpacked: not ours to copy, and made again
			return filepath.SkipDir
		case d.IsDir():
			fi, err := d.Info()
			if err != nil {
				return err
			}
			return os.MkdirAll(at, fi.Mode().Perm())
		case strings.HasPrefix(rel, "tools/"):
			return tool(path, at)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, b, 0o644)
	})
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// miniImage is a build and run image in one: static busybox and bash, which make setup installs.
func miniImage(t testing.TB) v1.Image {
	t.Helper()
	img, err := mutate.Append(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1),
		mutate.Addendum{Layer: static.NewLayer(miniRoot(t), types.OCIUncompressedLayer)})
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	cf.Config = v1.Config{
		User: "1000:1000", Env: []string{"PATH=/usr/bin:/bin", "CNB_USER_ID=1000", "CNB_GROUP_ID=1000"},
		Labels: map[string]string{
			"io.buildpacks.base.distro.name": "mini", "io.buildpacks.base.distro.version": "1",
			"io.buildpacks.base.maintainer": "Slipway's tests",
		},
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

// miniRoot is the tar of a root filesystem.
func miniRoot(t testing.TB) []byte {
	t.Helper()
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatalf("%v (make setup installs busybox-static and bash-static)", err)
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	add := func(h tar.Header, data []byte) {
		h.Size, h.Format = int64(len(data)), tar.FormatPAX
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(tw, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin/", "etc/", "home/", "usr/", "usr/bin/", "root/", "dev/", "proc/", "sys/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}, nil)
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	add(tar.Header{Typeflag: tar.TypeDir, Name: "home/cnb/", Mode: 0o755, Uid: 1000, Gid: 1000}, nil)
	for _, f := range [][2]string{{"bin/busybox", "/bin/busybox"}, {"bin/bash", "/bin/bash-static"}} {
		b, err := os.ReadFile(f[1])
		if err != nil {
			t.Fatalf("%v (make setup installs busybox-static and bash-static)", err)
		}
		add(tar.Header{Typeflag: tar.TypeReg, Name: f[0], Mode: 0o755}, b)
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" && name != "bash" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox"}, nil)
		}
	}
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/env", Linkname: "/bin/busybox"}, nil)
	for name, text := range map[string]string{
		"etc/passwd":     "root:x:0:0::/root:/bin/sh\ncnb:x:1000:1000::/home/cnb:/bin/sh\n",
		"etc/group":      "root:x:0:\ncnb:x:1000:\n",
		"etc/os-release": "ID=mini\nVERSION_ID=1\n",
	} {
		add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, []byte(text))
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// writeLayout writes an image as an OCI layout.
func writeLayout(t testing.TB, dir string, img v1.Image) {
	t.Helper()
	ref, err := image.ParseRef("oci:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.WriteLayout(t.Context(), ref, nil, img, nil); err != nil {
		t.Fatal(err)
	}
}

// relabelled writes a changed copy of the base image and returns it as an image argument.
func (y *yard) relabelled(t testing.TB, change func(*v1.ConfigFile)) string {
	t.Helper()
	img := miniImage(t)
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	change(cf)
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "image")
	writeLayout(t, dir, img)
	return "oci:" + dir
}

// buildpack writes a buildpack of shell scripts and returns its directory. An empty script passes.
func buildpack(t testing.TB, name, detect, build string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	write(t, filepath.Join(dir, "buildpack.toml"), fmt.Sprintf("api = %q\n[buildpack]\nid = \"test/%s\"\nversion = \"1.2.3\"\n[[targets]]\nos = \"linux\"\n", cnb.NewestBuildpackAPI, name))
	for file, script := range map[string]string{"bin/detect": detect, "bin/build": build} {
		if !strings.HasPrefix(script, "#!") {
			script = "#!/bin/sh\nset -e\n" + script + "\n"
		}
		at := filepath.Join(dir, file)
		write(t, at, script)
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// image is the result of the test's last build.
func (w *work) image() v1.Image {
	w.t.Helper()
	store, err := layerstore.Open(filepath.Join(w.home, "images"))
	if err != nil {
		w.t.Fatal(err)
	}
	images, err := image.OpenImages(store)
	if err != nil {
		w.t.Fatal(err)
	}
	ref, err := image.ParseRef(w.name)
	if err != nil {
		w.t.Fatal(err)
	}
	img, err := images.Get(w.t.Context(), ref, v1.Platform{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		w.t.Fatal(err)
	}
	return img
}

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
)

// The user of the tests' base images.
const testUser, testGroup = 1234, 1235

// A stage is what all scripts share: our tools, base images of almost nothing, and a builder of the sample
// buildpack. SLIPWAY_HOME of a script is the stage's, unless the script wants its own.
type stage struct {
	dir string
	run string // part of every name in Docker that this run of the tests makes
}

// newStage makes the stage and has it removed when the test ends.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{dir: t.TempDir(), run: "slipway-test-" + strings.ToLower(rand.Text()[:8])}
	t.Cleanup(func() { s.clean(t) })
	for out, pkg := range map[string]string{
		"tools/agent": "../agent", "tools/lifecycle": "../lifecycle", "tools/launcher": "../launcher", "sample/bin/main": "./testdata/sample",
	} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", s.path(out), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, b)
		}
	}
	for _, name := range []string{"detect", "build"} {
		check(t, os.Symlink("main", s.path("sample/bin/"+name)))
	}
	check(t, os.WriteFile(s.path("sample/buildpack.toml"), []byte("api = \"0.10\"\n[buildpack]\nid = \"sample/app\"\nversion = \"1.0.0\"\nname = \"Sample\"\nsbom-formats = [\"application/vnd.cyclonedx+json\"]\n[[targets]]\nos = \"linux\"\n"), 0o644))
	for _, kind := range []string{"build", "run", "newer", "foreign", "other"} {
		check(t, s.base(t.Context(), kind))
	}
	check(t, os.WriteFile(s.path("builder.toml"), fmt.Appendf(nil,
		"description = \"for tests\"\n[build]\nimage = %q\n[[run.images]]\nimage = %q\n[[buildpacks]]\nuri = \"sample\"\n[[order]]\n[[order.group]]\nid = \"sample/app\"\n",
		s.name("build"), s.name("run")), 0o644))
	write(t, s.path("home/registries/registries.toml"), "registries = []\n") // no index that would be fetched
	for _, args := range [][]string{
		{"images", "import", s.name("build"), "oci:" + s.path("base/build")},
		{"images", "import", s.name("run"), "oci:" + s.path("base/run")},
		{"builder", "create", s.name("builder"), "--config", s.path("builder.toml")},
		{"config", "default-builder", s.name("builder")},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, s.environ(), strings.NewReader(""), &out, &errs); code != 0 {
			t.Fatalf("slipway %q: exit %d\n%s%s", args, code, out.String(), errs.String())
		}
	}
	return s
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// name is a name in Docker.
func (s *stage) name(what string) string { return s.run + "/" + what }

// environ is the environment of the command.
func (s *stage) environ() []string {
	return append(os.Environ(), "SLIPWAY_RUNTIME="+testRuntime(), "SLIPWAY_HOME="+s.path("home"), "SLIPWAY_TOOLS="+s.path("tools"))
}

// base writes a base image as an OCI layout: directories, a user, no program. Newer, foreign (of another
// architecture) and other (of another distribution) are run images for rebases.
func (s *stage) base(ctx context.Context, kind string) error {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	passwd := fmt.Sprintf("root:x:0:0::/root:/bin/sh\ncnb:x:%d:%d::/home/cnb:/bin/sh\n", testUser, testGroup)
	err := errors.Join(
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}),
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755}),
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "home/cnb/", Mode: 0o755, Uid: testUser, Gid: testGroup}),
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644, Size: int64(len(passwd))}),
	)
	_, werr := io.WriteString(tw, passwd)
	if kind != "build" && kind != "run" {
		werr = errors.Join(werr, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "etc/" + kind, Mode: 0o755}))
	}
	if err = errors.Join(err, werr, tw.Close()); err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	cf.Config = v1.Config{
		User: fmt.Sprintf("%d:%d", testUser, testGroup), Env: []string{"PATH=/bin", "KIND=" + s.run},
		Labels: map[string]string{"io.buildpacks.base.distro.name": "none", "io.buildpacks.base.distro.version": "1"},
	}
	switch kind {
	case "foreign":
		cf.Architecture = "s390x"
	case "other":
		cf.Config.Labels[cnb.LabelDistroVersion] = "2"
	case "build":
		cf.Config.Env = append(cf.Config.Env, fmt.Sprintf("CNB_USER_ID=%d", testUser), fmt.Sprintf("CNB_GROUP_ID=%d", testGroup))
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return err
	}
	ref, err := image.ParseRef("oci:" + s.path("base/"+kind))
	if err != nil {
		return err
	}
	_, err = image.WriteLayout(ctx, ref, nil, img, nil)
	return err
}

// clean takes the tests' images out of Docker.
func (s *stage) clean(t *testing.T) {
	ctx := context.WithoutCancel(t.Context())
	rt, err := docker.New(ctx, docker.FromEnv(os.Environ(), os.Getenv("HOME")))
	if err != nil {
		t.Error(err)
		return
	}
	defer rt.Close()
	for _, n := range []string{"build", "run", "builder"} {
		_ = rt.Remove(ctx, s.name(n)) // a stage that was not finished lacks some
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testRuntime is what the tests' builds run with, where the runtime is not the matter: what SLIPWAY_TEST_RUNTIME says, or
// the one that takes less time of those that this user may use.
func testRuntime() string {
	if r := os.Getenv("SLIPWAY_TEST_RUNTIME"); r != "" {
		return r
	}
	if os.Geteuid() == 0 {
		return "oci"
	}
	return "docker"
}

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
)

// A site is a build's directories and a run image in Docker.
type site struct {
	t        *testing.T
	dir      string
	engine   *docker.Runtime
	run      string
	uid, gid int
}

// newSite makes the directories, two buildpacks and a run image. Where the tests run as root the phases become another
// user, as in a build container.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, uid: os.Getuid(), gid: os.Getgid()}
	var err error
	if s.dir, err = os.MkdirTemp("", "site-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if s.uid == 0 {
		s.uid, s.gid = 2345, 3456
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"app", "layers", "platform", "cache", "launch-cache"} {
		s.mkdir(d)
	}
	s.write("app/hello", 0o644, "hello\n")
	s.write("launcher", 0o755, "not really\n")
	s.buildpack("one", `mkdir -p "$CNB_LAYERS_DIR/first"; cat "$PWD/../first" >"$CNB_LAYERS_DIR/first/f"
printf '[types]\nlaunch = true\n' >"$CNB_LAYERS_DIR/first.toml"
echo "environ: $(cat /proc/$PPID/environ 2>&1 | tr '\0' ' ')"
echo "groups: $(id -G)"`)
	s.buildpack("two", `mkdir -p "$CNB_LAYERS_DIR/second"; echo second >"$CNB_LAYERS_DIR/second/f"
printf '[types]\nlaunch = true\ncache = true\n' >"$CNB_LAYERS_DIR/second.toml"
printf '[[processes]]\ntype = "web"\ncommand = ["true"]\ndefault = true\n' >"$CNB_LAYERS_DIR/launch.toml"`)
	s.write("first", 0o644, "1\n")
	s.write("order.toml", 0o644, "[[order]]\n[[order.group]]\nid = \"one\"\nversion = \"1\"\n[[order.group]]\nid = \"two\"\nversion = \"1\"\n")
	if s.engine, err = docker.New(t.Context(), docker.FromEnv(os.Environ(), os.Getenv("HOME"))); err != nil {
		t.Fatal(err)
	}
	s.run = s.name("run")
	s.load(s.run, s.base())
	return s
}

// name is an image's name that no other test has; it is removed in the end.
func (s *site) name(kind string) string {
	n := fmt.Sprintf("slipway-test/lifecycle-%s-%d:latest", kind, os.Getpid())
	s.t.Cleanup(func() {
		if _, err := s.engine.Inspect(context.Background(), n); err == nil {
			if err := s.engine.Remove(context.Background(), n); err != nil {
				s.t.Error(err)
			}
		}
	})
	return n
}

func (s *site) base() v1.Image {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	body := "run image of process " + strconv.Itoa(os.Getpid())
	if err := tw.WriteHeader(&tar.Header{Name: "base", Mode: 0o644, Size: int64(len(body))}); err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.WriteString(tw, body)
	tw.Close()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		s.t.Fatal(err)
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "base step"}})
	if err != nil {
		s.t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		s.t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", goarch
	cf.Config.Env = []string{"PATH=/usr/bin:/bin"}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		s.t.Fatal(err)
	}
	return img
}

func (s *site) load(name string, img v1.Image) {
	ref, err := image.ParseRef(name)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := image.LoadEngine(s.t.Context(), s.engine.Images(), []image.Ref{ref}, img, image.LoadOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) mkdir(name string) {
	if err := os.MkdirAll(filepath.Join(s.dir, name), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) write(name string, mode os.FileMode, text string) {
	s.mkdir(filepath.Dir(name))
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) buildpack(id, build string) {
	dir := "buildpacks/" + id + "/1/"
	s.write(dir+"buildpack.toml", 0o644, "api = \"0.10\"\n[buildpack]\nid = \""+id+"\"\nversion = \"1\"\n[[targets]]\nos = \"linux\"\n")
	s.write(dir+"bin/detect", 0o755, "#!/bin/bash\nexit 0\n")
	s.write(dir+"bin/build", 0o755, "#!/bin/bash\nset -eu\n"+build+"\n")
}

// phase runs a phase as a process of its own and returns its output.
func (s *site) phase(name string, args ...string) (output string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), os.Args[0], args...)
	cmd.Args[0] = name
	cmd.Env = []string{
		"TEST_LIFECYCLE=1", "CNB_PLATFORM_API=0.12", "CNB_NO_COLOR=true", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"DOCKER_HOST=" + os.Getenv("DOCKER_HOST"), `CNB_REGISTRY_AUTH={"registry.example": "Basic c2VjcmV0OmNhbmFyeQ=="}`,
	}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// create runs creator on the site, against Docker.
func (s *site) create(name string, more ...string) string {
	s.t.Helper()
	at := func(f string) string { return filepath.Join(s.dir, f) }
	args := append([]string{
		"-app", at("app"), "-layers", at("layers"), "-platform", at("platform"), "-buildpacks", at("buildpacks"),
		"-order", at("order.toml"), "-launcher", at("launcher"), "-cache-dir", at("cache"), "-launch-cache", at("launch-cache"),
		"-run-image", s.run, "-daemon", "-uid", strconv.Itoa(s.uid), "-gid", strconv.Itoa(s.gid),
	}, more...)
	out, code := s.phase("creator", append(args, name)...)
	if code != 0 {
		s.t.Fatalf("exit %d\n%s", code, out)
	}
	return out
}

func (s *site) id(name string) string {
	s.t.Helper()
	img, err := s.engine.Inspect(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	return img.ID
}

// TestCreatorDaemon builds into Docker with caches, as the user that buildpacks run as, and builds again: unchanged,
// and with a layer below the others changed, so that the engine has to be sent layers it knows from another image.
func TestCreatorDaemon(t *testing.T) {
	s := newSite(t)
	name := s.name("app")
	out := s.create(name)
	for _, want := range []string{"===> ANALYZING", "===> DETECTING", "===> RESTORING", "===> BUILDING", "===> EXPORTING", "Adding layer 'one:first'", "Adding layer 'two:second'", "Adding cache layer 'two:second'", "Added 1/1 app layer(s)", "Saving " + name + "...", "Setting default process type 'web'"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output has no %q\n%s", want, out)
		}
	}
	if strings.Contains(out, "c2VjcmV0") {
		t.Errorf("a buildpack could read the lifecycle's environment:\n%s", out)
	}
	if os.Getuid() == 0 && !strings.Contains(out, fmt.Sprintf("groups: %d\n", s.gid)) {
		t.Errorf("the buildpack has groups of another user:\n%s", out)
	}
	first := s.id(name)

	out = s.create(name)
	for _, want := range []string{"Restoring data for \"two:second\" from cache", "Reusing layer 'one:first'", "Reusing layer 'two:second'", "Reusing cache layer 'two:second'", "Reused 1/1 app layer(s)"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output of the second build has no %q\n%s", want, out)
		}
	}
	if again := s.id(name); again != first {
		t.Errorf("the second build made another image: %s, %s", first, again)
	}

	s.write("first", 0o644, "2\n")
	out = s.create(name)
	if !strings.Contains(out, "Adding layer 'one:first'") || !strings.Contains(out, "Reusing layer 'two:second'") {
		t.Errorf("output of the third build:\n%s", out)
	}
	changed := s.id(name)
	if changed == first {
		t.Error("the third build made the same image")
	}
	// The launch cache is gone while the previous image stays: a layer that must be sent comes out of the engine.
	if err := os.RemoveAll(filepath.Join(s.dir, "launch-cache")); err != nil {
		t.Fatal(err)
	}
	s.write("first", 0o644, "1\n")
	s.create(name)
	if again := s.id(name); again != first {
		t.Errorf("without the launch cache the build made %s, not %s", again, first)
	}
	if owner := ownerOf(t, filepath.Join(s.dir, "layers", "report.toml")); owner != s.uid {
		t.Errorf("report.toml belongs to %d", owner)
	}
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(fi.Sys().(*syscall.Stat_t).Uid)
}

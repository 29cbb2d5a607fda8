package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// appsFlag is "all" in make same.
var appsFlag = flag.String("apps", "", "which of fixtures/apps TestAppsSame builds in every way, by comma; all: every one; none: static, in a few ways")

// TestAppsSame builds the sample apps with the default builder, which make builder has put into the user's own store: one
// digest for each app, on every output, with and without cache, mounted and copied, with every runtime. Those beside
// static need the registries of npm and Go.
func TestAppsSame(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join("..", "..", "fixtures", "apps"))
	check(t, err)
	names := strings.Split(*appsFlag, ",")
	if *appsFlag == "all" {
		list, err := os.ReadDir(dir)
		check(t, err)
		names = nil
		for _, e := range list {
			names = append(names, e.Name())
		}
	}
	bin := openDir(t)
	binary, err := buildBinary(bin)()
	check(t, err)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	own, err := (&app{environ: os.Environ()}).state()
	check(t, err)
	all := *appsFlag != ""
	if !all {
		names = []string{"static"}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { // its state, which may be gigabytes, is gone when it ends
			s := &sameApp{binary: binary, home: filepath.Join(t.TempDir(), "home"), host: strings.TrimPrefix(server.URL, "http://"), name: name, source: filepath.Join(dir, name)}
			check(t, linkStore(s.home, own))
			if !all {
				s.few(t)
				return
			}
			t.Run("everywhere", s.everywhere)
			s.source = s.changed(t) // a package manager runs again, on what was restored
			t.Run("changed", s.both)
		})
	}
}

// A sameApp is one app and the digest that it has.
type sameApp struct {
	binary, home, host string
	name, source       string
	want               built
}

type built struct {
	Digest  string `json:"digest"`
	ImageID string `json:"imageID"`
}

// runtimesHere is what can run builds on this machine for this user.
func runtimesHere() []string {
	if os.Geteuid() == 0 {
		return []string{"oci", "docker"}
	}
	return []string{"docker"}
}

// few is each output and each runtime once, and the cache.
func (s *sameApp) few(t *testing.T) {
	runtimes := runtimesHere()
	image, last := "slipway-test/same", runtimes[len(runtimes)-1]
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", image).Run() })
	s.build(t, runtimes[0], "", image, "--output", "store")
	s.build(t, runtimes[0], "copy", image, "--output", "store")
	s.build(t, runtimes[0], "", image, "--output", "oci:"+t.TempDir())
	s.build(t, last, "", s.host+"/"+image, "--publish")
	s.build(t, last, "", image, "--clear-cache")
}

func (s *sameApp) everywhere(t *testing.T) {
	for _, runtime := range runtimesHere() {
		image := "slipway-test/same-" + s.name + "-" + runtime
		t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", image).Run() })
		for _, out := range [][]string{
			{image, "--output", "store"}, {image, "--output", "oci:" + t.TempDir()}, {image}, {s.host + "/" + image, "--publish"},
		} {
			s.build(t, runtime, "", append(out, "--clear-cache")...)
			s.build(t, runtime, "", out...)
		}
		s.build(t, runtime, "copy", image, "--output", "store")
	}
}

// both builds what was changed on the layers of the app as it was, mounted and copied.
func (s *sameApp) both(t *testing.T) {
	s.want = built{}
	for _, runtime := range runtimesHere() {
		image := "slipway-test/same-" + s.name + "-" + runtime
		s.build(t, runtime, "", image, "--output", "store")
		s.build(t, runtime, "copy", s.host+"/"+image, "--publish")
	}
}

func (s *sameApp) build(t *testing.T, runtime, restore string, args ...string) {
	t.Helper()
	args = append([]string{"build", "--path", s.source, "--builder", "slipway/builder", "--env", "BP_NODE_MIRROR", "--output-format", "json"}, args...)
	cmd := exec.CommandContext(t.Context(), s.binary, args...)
	cmd.Env = append(os.Environ(), "SLIPWAY_HOME="+s.home, "SLIPWAY_RUNTIME="+runtime, "SLIPWAY_RESTORE="+restore)
	out, err := cmd.Output()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var got built
	if err == nil {
		err = json.Unmarshal(lines[len(lines)-1], &got)
	}
	if err != nil {
		t.Fatalf("%s %s: slipway %q: %v (make builder makes slipway/builder)\n%s", runtime, restore, args, err, out)
	}
	if s.want == (built{}) {
		s.want = got
	}
	if got != s.want || !strings.HasPrefix(got.Digest, "sha256:") {
		t.Fatalf("%s %s: slipway %q: %+v, want %+v\n%s", runtime, restore, args, got, s.want, out)
	}
}

// changed is a copy of the app in which the file that its buildpacks look at first says something else.
func (s *sameApp) changed(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	check(t, os.CopyFS(dir, os.DirFS(s.source)))
	for file, change := range map[string][2]string{
		"package.json":      {`"version": "1.0.0"`, `"version": "1.0.1"`},
		"main.go":           {"package main", "// Package main is changed.\npackage main"},
		"public/about.html": {"<", "<!-- changed --><"},
	} {
		at := filepath.Join(dir, file)
		b, err := os.ReadFile(at)
		if os.IsNotExist(err) {
			continue
		}
		check(t, err)
		after := bytes.Replace(b, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(b, after) {
			t.Fatalf("%s has no %q", at, change[0])
		}
		check(t, os.WriteFile(at, after, 0o644))
		return dir
	}
	t.Fatalf("nothing to change in %s", s.source)
	return ""
}

// linkStore makes a state directory with the images of another. Blobs, which never change, are linked where that can be.
func linkStore(to, from string) error {
	return filepath.WalkDir(filepath.Join(from, "images"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		switch {
		case rel == "images/trees" || rel == "images/caches" || rel == "images/staging":
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(at, 0o755)
		case strings.HasPrefix(rel, "images/blobs/") && os.Link(path, at) == nil:
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, b, 0o644)
	})
}

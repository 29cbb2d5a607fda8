package builder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A site is a place to run phases in: directories, buildpacks made of shell scripts, and what was reported. Paths
// are the same for executables and for this process.
type site struct {
	t          *testing.T
	dir        string
	dirs       Dirs
	order      cnb.Order
	events     []Event
	mu         sync.Mutex
	out        bytes.Buffer
	buildpacks string
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, dir: dir, buildpacks: filepath.Join(dir, "buildpacks")}
	for _, d := range []string{"workspace", "layers", "platform/env", "build-config/env", "scratch", "buildpacks"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.dirs = Dirs{
		App: dir + "/workspace", Layers: dir + "/layers", Platform: dir + "/platform",
		BuildConfig: dir + "/build-config", Scratch: dir + "/scratch", UID: os.Geteuid(), GID: os.Getegid(),
	}
	return s
}

// write makes a file below the site's directory.
func (s *site) write(name, text string, mode os.FileMode) {
	s.t.Helper()
	p := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// A bp is a buildpack of a site. Detect and build are the bodies of shell scripts.
type bp struct {
	ref           string // "id@version"
	api           string // "" is 0.10
	keys          string // more lines in [buildpack]
	toml          string // more tables
	detect, build string
}

// add makes a buildpack. Scripts find the site's directory in $site.
func (s *site) add(b bp) cnb.Ref {
	s.t.Helper()
	ref, err := cnb.ParseRef(b.ref)
	if err != nil {
		s.t.Fatal(err)
	}
	if b.api == "" {
		b.api = "0.10"
	}
	dir := filepath.Join("buildpacks", ref.ID.Dir(), ref.Version)
	s.write(dir+"/buildpack.toml", fmt.Sprintf("api = %q\n[buildpack]\nid = %q\nversion = %q\n%s\n%s\n", b.api, ref.ID, ref.Version, b.keys, b.toml), 0o644)
	if strings.Contains(b.toml, "[[order]]") {
		return ref
	}
	script := func(body string) string { return "#!/bin/sh\nset -e\nsite=" + s.dir + "\n" + body + "\n" }
	if b.detect != "none" {
		s.write(dir+"/bin/detect", script(b.detect), 0o755)
	}
	s.write(dir+"/bin/build", script(b.build), 0o755)
	return ref
}

// group adds a group to the order: ids with versions, '?' behind an optional one.
func (s *site) group(refs ...string) {
	s.order = append(s.order, cnb.Group{Elements: elements(s.t, refs...)})
}

func elements(t *testing.T, refs ...string) []cnb.GroupElement {
	t.Helper()
	var out []cnb.GroupElement
	for _, r := range refs {
		name, optional := strings.CutSuffix(r, "?")
		ref, err := cnb.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, cnb.GroupElement{Ref: ref, Optional: optional})
	}
	return out
}

// Write collects the output of all buildpacks.
func (s *site) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *site) detectInput() DetectInput {
	return DetectInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: s.dirs, Order: s.order,
		Target:  cnb.Target{OS: "linux", Arch: "amd64", Distros: []cnb.Distro{{Name: "debian", Version: "13"}}},
		Env:     []string{"PATH=/usr/bin:/bin", "HOME=/home/cnb", "SECRET=x"},
		Catalog: DirCatalog(s.buildpacks), Runner: ExecRunner(os.Geteuid(), os.Getegid()),
		Emit:  func(e Event) { s.events = append(s.events, e) },
		Stdio: func(cnb.Ref) (io.Writer, io.Writer) { return s, s },
	}
}

func (s *site) detect(change ...func(*DetectInput)) (*Detected, error) {
	in := s.detectInput()
	for _, c := range change {
		c(&in)
	}
	return Detect(s.t.Context(), in)
}

func (s *site) buildInput(refs ...string) BuildInput {
	d := s.detectInput()
	in := BuildInput{
		PlatformAPI: d.PlatformAPI, Dirs: d.Dirs, Target: d.Target, Env: d.Env, Catalog: d.Catalog, Runner: d.Runner, Emit: d.Emit, Stdio: d.Stdio,
		Group: cnb.Group{Elements: elements(s.t, refs...)},
	}
	return in
}

func groupText(g cnb.Group) string {
	var out []string
	for _, e := range g.Elements {
		out = append(out, e.Ref.String())
	}
	return strings.Join(out, " ")
}

func hasEvent(events []Event, kind EventKind, bp, text string) bool {
	return slices.ContainsFunc(events, func(e Event) bool {
		return e.Kind == kind && (bp == "" || e.Buildpack.String() == bp) && strings.Contains(e.Text, text)
	})
}

// A runnerFunc runs nothing real: it is for questions about the order of things only.
type runnerFunc func(ctx context.Context, cmd Cmd) error

func (f runnerFunc) Run(ctx context.Context, cmd Cmd) error { return f(ctx, cmd) }

package cnb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseNames(t *testing.T) {
	process := func(s string) error { _, err := ParseProcessType(s); return err }
	layer := func(s string) error { _, err := ParseLayerName(s); return err }
	env := func(s string) error { _, err := ParseEnvName(s); return err }
	label := func(s string) error { _, err := ParseLabelKey(s); return err }
	version := func(s string) error { _, err := ParseVersion(s); return err }
	for _, c := range []struct {
		kind  string
		parse func(string) error
		good  []string
		bad   []string
	}{
		{"process", process, []string{"web", "a.b", "a_b-c", "9"}, []string{"", ".", "..", "a b", "a/b", "a\n", "é", strings.Repeat("a", 129)}},
		{"layer", layer, []string{"a", "node modules", "a.b", "é", "launcher"}, []string{"", ".", "..", "a/b", "build", "launch", "store", "a\x00", ".wh.x"}},
		{"env", env, []string{"A", "a.b", "é", "A B"}, []string{"", "A=B", "A\x00", "A\n"}},
		{"label", label, []string{"a.b/c", "x"}, []string{"", " a", "a\n"}},
		{"version", version, []string{"1.2.3", "1", "v1", "1.0.0-rc.1+b", "simple_version"}, []string{"", ".", "..", "../1", "a b", "-x"}},
	} {
		for _, s := range c.good {
			if err := c.parse(s); err != nil {
				t.Errorf("%s %q: %v", c.kind, s, err)
			}
		}
		for _, s := range c.bad {
			if err := c.parse(s); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %q: got %v, want an error of one line", c.kind, s, err)
			}
		}
	}
	for s, want := range map[string]bool{"1.2.3": true, "0.0.0": true, "1.2": false, "01.2.3": false, "1.2.x": false, "1.2.3-a": false, "": false} {
		if IsStrictVersion(s) != want {
			t.Errorf("IsStrictVersion(%q) is %v", s, !want)
		}
	}
}

func TestSupports(t *testing.T) {
	debian := Target{OS: "linux", Arch: "amd64", Distros: []Distro{{"debian", "13"}}}
	for _, c := range []struct {
		name  string
		d     Descriptor
		image Target
		stack string
		want  string
	}{
		{"no targets", Descriptor{}, debian, "", ""},
		{"no targets, windows", Descriptor{Windows: true}, debian, "", "it is made for windows, the run image is linux/amd64 (debian 13)"},
		{"same", Descriptor{Targets: []Target{debian}}, debian, "", ""},
		{"open fields", Descriptor{Targets: []Target{{OS: "linux"}}}, debian, "", ""},
		{"any", Descriptor{Targets: []Target{{}}}, debian, "", ""},
		{"arch", Descriptor{Targets: []Target{{OS: "linux", Arch: "arm64"}}}, debian, "", "it is made for linux/arm64, the run image is linux/amd64 (debian 13)"},
		{"second target", Descriptor{Targets: []Target{{Arch: "arm64"}, {Arch: "amd64"}}}, debian, "", ""},
		{"variant", Descriptor{Targets: []Target{{OS: "linux", Variant: "v7"}}}, Target{OS: "linux", Variant: "v6"}, "", "it is made for linux/v7, the run image is linux/v6"},
		{"distro", Descriptor{Targets: []Target{{OS: "linux", Distros: []Distro{{"ubuntu", "24.04"}, {"debian", ""}}}}}, debian, "", ""},
		{"other distro", Descriptor{Targets: []Target{{OS: "linux", Distros: []Distro{{"ubuntu", "24.04"}}}}}, debian, "", "it is made for linux (ubuntu 24.04), the run image is linux/amd64 (debian 13)"},
		{"distro unknown", Descriptor{Targets: []Target{{Distros: []Distro{{"ubuntu", ""}}}}}, Target{OS: "linux"}, "", "it is made for any (ubuntu), the run image is linux"},
		{"stack any", Descriptor{Stacks: []Stack{{ID: "*"}}}, Target{OS: "plan9"}, "", ""},
		{"stack by id", Descriptor{Stacks: []Stack{{ID: "my.stack"}}, Windows: true}, debian, "my.stack", ""},
		{"stack bionic", Descriptor{Stacks: []Stack{{ID: bionic}}}, debian, "", "it is made for linux/amd64 (ubuntu 18.04), the run image is linux/amd64 (debian 13)"},
		{"stack other", Descriptor{Stacks: []Stack{{ID: "other"}}}, debian, "", ""},
		{"composite", Descriptor{Order: Order{{}}}, Target{OS: "windows"}, "", ""},
	} {
		ok, why := c.d.Supports(c.image, c.stack)
		if ok != (c.want == "") || why != c.want {
			t.Errorf("%s: got %v %q, want %q", c.name, ok, why, c.want)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(out, "secret"), "s")
	write(filepath.Join(dir, "file"), "text")
	if err := errors.Join(
		os.Symlink("file", filepath.Join(dir, "link")),
		os.Symlink(filepath.Join(out, "secret"), filepath.Join(dir, "absolute")),
		os.Symlink("../"+filepath.Base(out)+"/secret", filepath.Join(dir, "relative")),
		os.Mkdir(filepath.Join(dir, "dir"), 0o755),
		syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "link"} {
		if b, err := ReadFile(dir, name, 4); err != nil || string(b) != "text" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := ReadFile(dir, "absent", 4); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"absolute", "relative", "../" + filepath.Base(out) + "/secret", "dir", "fifo"} {
			if b, err := ReadFile(dir, name, 4); err == nil || errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %q, %v", name, b, err)
			}
		}
		if _, err := ReadFile(dir, "file", 3); err == nil || !strings.Contains(err.Error(), "the limit is 3") {
			t.Errorf("too large: %v", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("reading blocks")
	}
}

func TestSBOMNames(t *testing.T) {
	for file, want := range map[string][2]string{
		"launch.sbom.cdx.json": {"launch", "cdx.json"}, "a.b.sbom.spdx.json": {"a.b", "spdx.json"},
		"x.sbom.foo": {"x", "foo"}, "layer.toml": {}, ".sbom.cdx.json": {},
	} {
		name, ext, ok := SBOMName(file)
		if name != want[0] || ext != want[1] || ok != (want[0] != "") {
			t.Errorf("%s: %q %q %v", file, name, ext, ok)
		}
	}
	d := &Descriptor{Ref: Ref{ID: "a", Version: "1.0.0"}, SBOMFormats: []string{MediaTypeCycloneDX + ";version=1.4"}}
	check(t, d.DeclaresSBOM("launch.sbom.cdx.json", "cdx.json"), "")
	check(t, d.DeclaresSBOM("launch.sbom.spdx.json", "spdx.json"), `buildpack a@1.0.0: SBOM file "launch.sbom.spdx.json": buildpack.toml does not declare "application/spdx+json"`)
	check(t, d.DeclaresSBOM("launch.sbom.xml", "xml"), `buildpack a@1.0.0: SBOM file "launch.sbom.xml": unknown format`)
}

func TestBuildpackLayersLabelFind(t *testing.T) {
	l := BuildpackLayersLabel{"a": {"1.0.0": {LayerDiffID: "x"}}, "b": {"1.0.0": {}, "2.0.0": {LayerDiffID: "y"}}}
	if r, i, ok := l.Find(Ref{ID: "a"}); !ok || r.Version != "1.0.0" || i.LayerDiffID != "x" {
		t.Errorf("%v %v %v", r, i, ok)
	}
	if _, _, ok := l.Find(Ref{ID: "b"}); ok {
		t.Error("b without a version is two buildpacks")
	}
	if _, i, ok := l.Find(Ref{ID: "b", Version: "2.0.0"}); !ok || i.LayerDiffID != "y" {
		t.Error("b@2.0.0 not found")
	}
}

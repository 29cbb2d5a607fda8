package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
	"github.com/slipway-build/slipway/buildpacks/internal/parceltest"
)

// pkg is a package of the test's repository.
type pkg struct {
	name, version, depends string
	files                  map[string]string // "->" before the text makes a link
}

// newSystem is a build image with one essential package and a repository of a few: the tools are the real ones.
func newSystem(t *testing.T) system {
	t.Helper()
	repo, etc := t.TempDir(), t.TempDir()
	var index strings.Builder
	for _, p := range []pkg{
		{"hello", "1:2.0-1", "libhello1 (>= 1.0), basething", map[string]string{"usr/bin/hello": "#!/bin/sh\n", "usr/bin/hi": "->/usr/bin/hello", "usr/share/x": "->/etc/base"}},
		{"libhello1", "1.0", "", map[string]string{"usr/lib/x86_64-linux-gnu/libhello.so.1": "so", "usr/lib/x86_64-linux-gnu/blas/libblas.so.3": "so"}},
		{"libhello-dev", "1.0", "libhello1", map[string]string{"usr/include/hello.h": "h", "usr/lib/x86_64-linux-gnu/pkgconfig/hello.pc": "prefix=/usr\nlibdir=${prefix}/lib\n"}},
		{"basething", "1.0", "", map[string]string{"etc/base": "b"}},
		{"broken", "1.0", "no-such-thing", nil},
	} {
		index.WriteString(makeDeb(t, repo, p))
	}
	parceltest.Write(t, repo, map[string]string{"Packages": index.String()})
	parceltest.Write(t, etc, map[string]string{"sources.list": "deb [trusted=yes] file:" + repo + " ./\n"})
	status := filepath.Join(t.TempDir(), "status")
	text := "Package: basething\nEssential: yes\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\nMaintainer: a <a@b.c>\nDescription: x\n\n" +
		"Package: libhello1\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\nMaintainer: a <a@b.c>\nDescription: only in the build image\n"
	if err := os.WriteFile(status, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return system{etc: etc, status: status, bin: "/usr/bin"}
}

// makeDeb builds a package and gives its paragraph of the index.
func makeDeb(t *testing.T, repo string, p pkg) string {
	t.Helper()
	dir := t.TempDir()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: a <a@b.c>\nDescription: test\n", p.name, p.version)
	if p.depends != "" {
		control += "Depends: " + p.depends + "\n"
	}
	parceltest.Write(t, dir, map[string]string{"DEBIAN/control": control})
	for name, text := range p.files {
		target, ok := strings.CutPrefix(text, "->")
		if !ok {
			parceltest.Write(t, dir, map[string]string{name: text})
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(dir, 0o755)
	file := filepath.Join(repo, p.name+".deb")
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "--build", dir, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%sFilename: ./%s.deb\nSize: %d\nSHA256: %x\n\n", control, p.name, len(b), sha256.Sum256(b))
}

func environ() parcel.Env { return parcel.Env{"PATH": os.Getenv("PATH"), "HOME": "/nonexistent"} }

func TestBuild(t *testing.T) {
	s := newSystem(t)
	c := parceltest.Context(t, parceltest.App(t, map[string]string{"Aptfile": "hello # greets\nlibhello-dev\n"}))
	w, out := parceltest.Work(environ())
	r, err := build(t.Context(), c, w, s)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l := parceltest.Layer(t, r, "packages")
	if l.LayerTypes != (libcnb.LayerTypes{Build: true, Launch: true, Cache: true}) {
		t.Errorf("%+v", l.LayerTypes)
	}
	for name, want := range map[string]bool{"usr/bin/hello": true, "usr/lib/x86_64-linux-gnu/libhello.so.1": true, "etc/base": false} {
		if _, err := os.Stat(filepath.Join(l.Path, name)); (err == nil) != want {
			t.Errorf("%s in the layer: %t (what only the build image has must be, what every image has must not)", name, !want)
		}
	}
	for link, want := range map[string]string{"usr/bin/hi": "hello", "usr/share/x": "/etc/base"} {
		if got, err := os.Readlink(filepath.Join(l.Path, link)); got != want {
			t.Errorf("%s -> %s, want %s (%v)", link, got, want, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(l.Path, "usr/lib/x86_64-linux-gnu/pkgconfig/hello.pc")); err != nil || !strings.HasPrefix(string(b), "prefix="+l.Path+"/usr\n") {
		t.Errorf("%q, %v", b, err)
	}
	lib := l.Path + "/usr/lib/x86_64-linux-gnu"
	for name, want := range map[string]string{"PATH": l.Path + "/usr/bin", "LD_LIBRARY_PATH": lib + ":" + l.Path + "/usr/lib:" + lib + "/blas"} {
		if got := l.SharedEnvironment[name+".prepend"]; got != want || l.SharedEnvironment[name+".delim"] != ":" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"CPATH": l.Path + "/usr/include", "PKG_CONFIG_PATH": lib + "/pkgconfig"} {
		if got := l.BuildEnvironment[name+".prepend"]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if b, err := os.ReadFile(l.SBOMPath(libcnb.CycloneDXJSON)); err != nil || !strings.Contains(string(b), "pkg:deb/debian/hello@1%3A2.0-1?arch=amd64") {
		t.Errorf("SBOM: %v\n%s", err, b)
	}

	parceltest.Restore(t, c, r)
	s.bin = "/nonexistent" // no tool is needed
	if _, err = build(t.Context(), c, w, s); err != nil || !strings.Contains(out.String(), "reused, the list has not changed") {
		t.Fatalf("%v\n%s", err, out)
	}
	parceltest.Write(t, c.ApplicationPath, map[string]string{"Aptfile": "hello\n"})
	if _, err = build(t.Context(), c, w, s); err == nil {
		t.Error("a changed list is not installed")
	}
}

func TestFaults(t *testing.T) {
	s := newSystem(t)
	for _, c := range []struct {
		list string
		ours bool
		want string
		do   string
	}{
		{"helo", false, "there is no Debian package helo in this release", "did you mean hello?"},
		{"zzzzzz", false, "there is no Debian package zzzzzz", "correct the name"},
		{"hello=9", false, "there is no version 9 of the Debian package hello", "name a version"},
		{"broken", false, "your packages conflict", "can be installed together"},
		{"no-such-thing", false, "only a name that others provide", "name a package that provides it"},
	} {
		t.Run(c.list, func(t *testing.T) {
			w, out := parceltest.Work(environ())
			_, err := build(t.Context(), parceltest.Context(t, parceltest.App(t, map[string]string{"Aptfile": c.list})), w, s)
			f, ok := errors.AsType[*parcel.Fault](err)
			if !ok || f.Ours != c.ours || !strings.Contains(err.Error(), c.want) || !strings.Contains(f.Do, c.do) {
				t.Errorf("%v (%+v)\n%s", err, f, out)
			}
		})
	}
	t.Run("mirror down", func(t *testing.T) {
		parceltest.Write(t, s.etc, map[string]string{"sources.list": "deb [trusted=yes] http://127.0.0.1:1 ./\n"})
		w, _ := parceltest.Work(environ())
		_, err := build(t.Context(), parceltest.Context(t, parceltest.App(t, map[string]string{"Aptfile": "hello"})), w, s)
		if f, ok := errors.AsType[*parcel.Fault](err); !ok || !f.Ours || !strings.Contains(err.Error(), "download failed") {
			t.Errorf("%v", err)
		}
	})
}

func TestLists(t *testing.T) {
	const project = "[com.slipway.deb-packages]\ninstall = [\"libvips42\", \"ffmpeg=7:7.1-1\", \"libvips42\"]\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
		err   string
	}{
		{"none", map[string]string{"project.toml": "[_]\nschema-version = \"0.2\"\n"}, "", ""},
		{"project", map[string]string{"project.toml": project, "Aptfile": "other"}, "libvips42 ffmpeg=7:7.1-1", ""},
		{"heroku", map[string]string{"project.toml": "[com.heroku.buildpacks.deb-packages]\ninstall = [\"a1\", {name = \"b2\"}]\n"}, "a1 b2", ""},
		{"heroku option", map[string]string{"project.toml": "[com.heroku.buildpacks.deb-packages]\ninstall = [{name = \"b2\", force = true}]\n"}, "", `entry 1: "force" is not supported`},
		{"aptfile", map[string]string{"Aptfile": "# x\n\nlibpq-dev jq # both\r\n"}, "libpq-dev jq", ""},
		{"option", map[string]string{"Aptfile": "jq\n-oDir=/\n"}, "", `your Aptfile, line 2: "-oDir=/" is not a package name`},
		{"url", map[string]string{"Aptfile": "https://x/y.deb\n"}, "", "line 1 names a URL"},
		{"repo", map[string]string{"Aptfile": ":repo:deb http://x y\n"}, "", "another package repository"},
		{"upper case", map[string]string{"Aptfile": "LibPQ\n"}, "", "is not a package name"},
		{"number", map[string]string{"project.toml": "[com.slipway.deb-packages]\ninstall = [1]\n"}, "", "entry 1 is no package name"},
		{"syntax", map[string]string{"project.toml": "a = 1\n[x\n"}, "", "your project.toml, line 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pass, said, err := parceltest.Detect(t, detect, nil, c.files)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || pass != (c.want != "") || pass && !strings.HasSuffix(said, " names "+c.want+"\n") {
				t.Errorf("%t, %q, %v", pass, said, err)
			}
		})
	}
}

func TestBaseStatus(t *testing.T) {
	const status = `Package: base-files
Essential: yes
Status: install ok installed
Depends: awk | gawk, libc6 (>= 2.0)
Description: x
 Essential: yes

Package: mawk
Status: install ok installed
Provides: awk

Package: libc6
Status: install ok installed

Package: gcc
Status: install ok installed
Depends: libc6

Package: removed
Essential: yes
Status: deinstall ok config-files
`
	got := baseStatus(status)
	for name, want := range map[string]bool{"base-files": true, "mawk": true, "libc6": true, "gcc": false, "removed": false} {
		if strings.Contains(got, "Package: "+name+"\n") != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

func FuzzLists(f *testing.F) {
	f.Add("jq\n", "[com.slipway.deb-packages]\ninstall = [\"a1\"]\n")
	f.Add(":repo:", "[com.heroku.buildpacks.deb-packages]\ninstall = [{}, 1, []]\n")
	f.Fuzz(func(t *testing.T, aptfile, project string) {
		a, _ := parseAptfile(aptfile)
		p, _, _ := parseProject(project)
		for _, n := range append(a, p...) {
			if n == "" || n[0] == '-' || strings.ContainsAny(n, " /\n\x00") {
				t.Errorf("%q is taken for a package", n)
			}
		}
	})
}

func FuzzBaseStatus(f *testing.F) {
	f.Add("Package: a\nEssential: yes\nStatus: install ok installed\nDepends: a | b, c\n\nPackage: c\nStatus: x installed\nProvides: b\n")
	f.Fuzz(func(t *testing.T, s string) { baseStatus(s) })
}

package index_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/index"
)

// address is the image of one letter.
func address(letter string) string {
	return "registry.example/acme/bp@sha256:" + strings.Repeat(letter, 64)
}

func row(name, version, letter string, yanked bool) string {
	ns, n, _ := strings.Cut(name, "/")
	return fmt.Sprintf(`{"ns":%q,"name":%q,"version":%q,"yanked":%t,"addr":%q}`+"\n", ns, n, version, yanked, address(letter))
}

// write puts files, by their paths, below dir.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for p, text := range files {
		at := filepath.Join(dir, p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// set has one index, of the files, that was synced.
func set(t *testing.T, files map[string]string) *index.Set {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, files)
	s := emptySet(t)
	if err := s.Add(index.Source{Name: "ours", URL: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(t.Context(), "ours", false); err != nil {
		t.Fatal(err)
	}
	return s
}

func emptySet(t *testing.T) *index.Set {
	t.Helper()
	s, err := index.OpenSet(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("official"); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPaths(t *testing.T) {
	for name, want := range map[string]string{
		"a/b": "1/a_b", "heroku/go": "2/heroku_go", "x/apt": "3/ap/x_apt", "x/java": "ja/va/x_java", "x/nodejs-yarn": "no/de/x_nodejs-yarn",
		"Initializ-buildpacks/mri": "3/mr/Initializ-buildpacks_mri",
	} {
		n, err := index.ParseName(name)
		if err != nil || n.Path() != want || n.String() != name {
			t.Errorf("%s: %s %v, want %s", name, n.Path(), err, want)
		}
	}
	for _, bad := range []string{
		"", "a", "a/", "/a", "a/b/c", "a/....", "a/..xy", "../..", "a/.xyz", ".a/b", "a/-x", "a/b c", "a/b\n", "a/ü", "a/b_c", "a_b/c", "a/b%2f",
		"a/" + strings.Repeat("x", 254), strings.Repeat("x", 254) + "/a",
	} {
		if n, err := index.ParseName(bad); err == nil {
			t.Errorf("%q was taken: %s", bad, n.Path())
		}
	}
}

func TestResolve(t *testing.T) {
	s := set(t, map[string]string{
		"ja/va/acme_java": row("acme/java", "1.2.9", "1", false) + row("acme/java", "1.10.0", "2", false) + row("acme/java", "1.11.0", "3", true) +
			row("acme/java", "2.0.0-rc.1", "4", false) + row("acme/java", "1.2.10", "5", false),
		"no/de/acme_nodejs": row("acme/nodejs", "0.1.0-alpha", "6", false) + row("acme/nodejs", "0.1.0", "7", true),
	})
	for ref, want := range map[string]string{
		"acme/java": "2", "urn:cnb:registry:acme/java": "2", "acme/java@1": "2", "acme/java@1.2": "5", "acme/java@1.2.9": "1", "acme/java@~1.2.9": "5",
		"acme/java@^1.2": "2", "acme/java@>=1, <1.10": "5", "acme/java@1.11.0": "3", "acme/java@2.0.0-rc.1": "4", "acme/nodejs@0.1.0-alpha": "6",
	} {
		r, err := s.Resolve(ref, "")
		if err != nil || r.Image != address(want) || r.Index != "ours" {
			t.Errorf("%s: %s %v, want image %s", ref, r.Image, err, want)
		}
		if yanked := want == "3"; r.Yanked != yanked {
			t.Errorf("%s: yanked is %t", ref, r.Yanked)
		}
	}
	for ref, want := range map[string]string{
		"acme/java@2":      "buildpack acme/java has no version 2: it has 2.0.0-rc.1, 1.10.0, 1.2.10, 1.2.9",
		"acme/java@1.11":   "buildpack acme/java has no version 1.11: it has 2.0.0-rc.1, 1.10.0, 1.2.10, 1.2.9",
		"acme/java@3.0.0":  "buildpack acme/java has no version 3.0.0: it has",
		"acme/java@banana": `version "banana": want one such as 1.2.3, its beginning such as 1.2, or a range such as ^1.2`,
		"acme/nodejs":      "buildpack acme/nodejs has no release: it has 0.1.0-alpha (name a version exactly to get a pre-release)",
		"acme/jaava":       "no buildpack acme/jaava in index ours; there is acme/java",
		"else/java":        "no buildpack else/java in index ours; there is acme/java",
		"acme":             `buildpack "acme": want NAMESPACE/NAME`,
	} {
		if _, err := s.Resolve(ref, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
	if err := s.Add(index.Source{Name: "later", URL: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	s.Registries[0], s.Registries[1] = s.Registries[1], s.Registries[0] // before the one that was synced
	if _, err := s.Resolve("acme/java", ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the first was never synced: %v", err)
	}
	if r, err := s.ResolveKnown("acme/java"); err != nil || r.Index != "ours" {
		t.Errorf("among the synced: %+v %v", r, err)
	}
	if _, err := s.ResolveKnown("acme/nothing"); !errors.Is(err, index.ErrUnknown) {
		t.Errorf("unknown among the synced: %v", err)
	}
	s.Registries = s.Registries[1:]
	if _, err := s.Resolve("acme/java", "theirs"); err == nil || !strings.Contains(err.Error(), `there is no index "theirs": there are ours`) {
		t.Errorf("another index: %v", err)
	}
}

// What is wrong in an index is told with its place, and hides nothing else.
func TestFaults(t *testing.T) {
	good := row("acme/java", "1.0.0", "1", false)
	for name, tc := range map[string]struct{ path, text, fault string }{
		"tag":             {"ja/va/acme_java", `{"ns":"acme","name":"java","version":"2.0.0","yanked":false,"addr":"r.example/a/b:2"}`, `ja/va/acme_java:2: address "r.example/a/b:2" is no HOST/REPOSITORY@sha256:DIGEST`},
		"short digest":    {"ja/va/acme_java", `{"ns":"acme","name":"java","version":"2.0.0","yanked":false,"addr":"r.example/a/b@sha256:12"}`, "ja/va/acme_java:2: address"},
		"no host":         {"ja/va/acme_java", `{"ns":"acme","name":"java","version":"2.0.0","yanked":false,"addr":"@sha256:` + strings.Repeat("1", 64) + `"}`, "ja/va/acme_java:2: address"},
		"long line":       {"ja/va/acme_java", `{"ns":"acme","name":"java","x":"` + strings.Repeat("x", 64<<10) + `"}`, "ja/va/acme_java:2: the line has 65536 bytes or more"},
		"no JSON":         {"ja/va/acme_java", `<html>`, "ja/va/acme_java:2: it is not a JSON object of a version"},
		"another's":       {"ja/va/acme_java", row("evil/java", "2.0.0", "2", false), `ja/va/acme_java:2: it is of "evil/java", which belongs into another file`},
		"version":         {"ja/va/acme_java", row("acme/java", "v2", "2", false), `ja/va/acme_java:2: version "v2" is no semantic version`},
		"twice":           {"ja/va/acme_java", row("acme/java", "1.0.0", "2", false), "ja/va/acme_java: version 1.0.0 is there twice, with another address: the first counts"},
		"wrong directory": {"xx/yy/acme_java", row("acme/java", "2.0.0", "2", false), "xx/yy/acme_java: the versions of acme/java belong into ja/va/acme_java"},
		"name":            {"xx/acme_..xy", good, `xx/acme_..xy: buildpack "acme/..xy": "..xy" begins with '.' or '-', or has two dots in a row`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			text := good
			if tc.path == "ja/va/acme_java" {
				text += tc.text + "\n" + row("acme/java", "1.5.0", "5", false)
			} else {
				write(t, dir, map[string]string{tc.path: tc.text})
				text += row("acme/java", "1.5.0", "5", false)
			}
			write(t, dir, map[string]string{"ja/va/acme_java": text})
			tree, err := index.ReadDir(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(tree.Faults) != 1 || !strings.Contains(tree.Faults[0].String(), tc.fault) {
				t.Fatalf("faults %v, want %q", tree.Faults, tc.fault)
			}
			if len(tree.Buildpacks) != 1 || len(tree.Buildpacks[0].Versions) != 2 {
				t.Fatalf("%+v, want both good versions", tree.Buildpacks)
			}
			if v, err := tree.Buildpacks[0].Choose(""); err != nil || v.Address != address("5") {
				t.Errorf("%v %v, want the newest good one", v, err)
			}
		})
	}
}

// A row in any other JSON form is the same row.
func TestRowForms(t *testing.T) {
	s := set(t, map[string]string{"ja/va/acme_java": `{ "addr": "` + address("1") + `", "version":"1.0.0", "n\u0061me":"java", "ns":"acme", "more": 1}` + "\r\n\n" +
		`{"ns":"acme","name":"java","version":"1.0.1","yanked":true,"addr":"` + address("2") + `"}`})
	for ref, want := range map[string]string{"acme/java": "1", "acme/java@1.0.1": "2"} {
		if r, err := s.Resolve(ref, ""); err != nil || r.Image != address(want) {
			t.Errorf("%s: %s %v", ref, r.Image, err)
		}
	}
}

func TestTars(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for p, text := range map[string]string{
		"./top/ja/va/acme_java": row("acme/java", "1.0.0", "1", false), "./top/README.md": "hello", "../../ja/va/evil_java": row("evil/java", "1.0.0", "2", false),
	} {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: p, Size: int64(len(text)), Mode: 0o644, Typeflag: tar.TypeReg}), func() error { _, err := w.Write([]byte(text)); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tree, err := index.ReadTar(t.Context(), bytes.NewReader(b.Bytes()))
	if err != nil || len(tree.Buildpacks) != 1 || tree.Buildpacks[0].Name.String() != "acme/java" {
		t.Errorf("%+v %v", tree, err)
	}
	for name, bad := range map[string][]byte{"cut": b.Bytes()[:300], "no tar": bytes.Repeat([]byte("x"), 2000)} {
		if _, err := index.ReadTar(t.Context(), bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}

func TestSearch(t *testing.T) {
	s := set(t, map[string]string{
		"2/acme_go": row("acme/go", "1.0.0", "1", false), "go/ml/acme_goml": row("acme/goml", "1.0.0", "1", false), "go-m/od/x": "",
		"ga/mi/gogo_gaming": row("gogo/gaming", "1.0.0", "1", false), "3/ar/acme_argo": "", "ma/in/acme_main-go": row("acme/main-go", "1.0.0", "1", false),
	})
	x, err := s.Index("ours")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]string{
		"go": {"acme/go", "acme/goml", "gogo/gaming", "acme/main-go"}, "acme go": {"acme/go", "acme/goml", "acme/main-go"}, "GOML": {"acme/goml"}, "zzz": {},
	} {
		var got []string
		for _, n := range x.Search(text) {
			got = append(got, n.Name.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestMirrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"registries.toml":       "[[registries]]\nname = 'ours'\nurl = '" + dir + "/index'\n[[mirrors]]\nfrom = 'registry.example/acme'\nto = 'mirror.example/kept/acme'\n",
		"index/ja/va/acme_java": row("acme/java", "1.0.0", "1", false),
	})
	s, err := index.OpenSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.Find(t.Context(), "acme/java", ""); err != nil || r.Image != "mirror.example/kept/acme/bp@sha256:"+strings.Repeat("1", 64) {
		t.Errorf("%s %v", r.Image, err)
	}
	for text, want := range map[string]string{
		"registries = 3":                              "line 1",
		"[[registries]]\nname = 'a'\nurk = 'x'":       "line 3: unknown key registries.urk",
		"[[registries]]\nname = 'a'\nurl = '-x'":      `index a: "-x" is no URL and no path`,
		"[[registries]]\nname = '../a'\nurl = '/x'":   `index name "../a"`,
		"[[registries]]\nname = 'a'\nurl = 'x/y/z'\n": "is neither a URL nor an absolute path",
	} {
		write(t, dir, map[string]string{"registries.toml": text})
		if _, err := index.OpenSet(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

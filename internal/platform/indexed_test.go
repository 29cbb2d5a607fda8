package platform_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

// An indexed is a machine with an index of its own, "ours", of the buildpack test/indexed in three versions, the last of
// them yanked, and of test/liar, whose images are of test/indexed.
type indexed struct {
	*yard
	machine *platform.Machine
	host    string            // of the registry
	digest  map[string]string // by version
}

func openIndexed(t *testing.T) indexed {
	t.Helper()
	y := open(t)
	m := *y.machine
	m.State = t.TempDir()
	if err := os.Chmod(m.State, 0o755); err != nil {
		t.Fatal(err)
	}
	x := indexed{y, &m, registry(t, ""), map[string]string{}}
	var rows strings.Builder
	for _, version := range []string{"1.0.0", "1.1.0", "2.0.0"} {
		dir := script(t, "test/indexed", "echo this is "+version)
		toml := filepath.Join(dir, "buildpack.toml")
		b, err := os.ReadFile(toml)
		if err == nil {
			err = os.WriteFile(toml, []byte(strings.Replace(string(b), `version = "1"`, `version = "`+version+`"`, 1)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		img := packageImage(t, dir, "test/indexed", version)
		ref, _ := image.ParseRef(x.host + "/bp:" + version)
		w, err := m.Registry.Push(t.Context(), []image.Ref{ref}, img, image.PushOptions{})
		if err != nil {
			t.Fatal(err)
		}
		x.digest[version] = w.Digest.String()
		fmt.Fprintf(&rows, `{"ns":"test","name":"indexed","version":%q,"yanked":%t,"addr":"%s/bp@%s"}`+"\n", version, version == "2.0.0", x.host, w.Digest)
	}
	dir := t.TempDir()
	write(t, dir, 0o644, "in/de/test_indexed", rows.String(), "li/ar/test_liar", strings.ReplaceAll(rows.String(), "indexed", "liar"))
	x.list(t, "[[registries]]\nname = 'ours'\nurl = '"+dir+"'\n")
	return x
}

// list writes which indexes there are.
func (x indexed) list(t *testing.T, text string) {
	t.Helper()
	write(t, filepath.Join(x.machine.State, platform.IndexDir), 0o644, "registries.toml", text)
}

// build builds, and says with which buildpacks.
func (x indexed) build(t *testing.T, o platform.Options) (string, *record, error) {
	t.Helper()
	r := &record{}
	o.Image, o.Output = name(t), platform.Output{Store: true}
	res, err := x.try(t, x.machine, o, r)
	if err != nil {
		return "", r, err
	}
	return strings.Trim(fmt.Sprint(res.Buildpacks), "[]"), r, nil
}

// TestIndexed builds with buildpacks that an index names: by URN and by plain name, the version chosen; a yanked one is
// warned of, and an image that is not what the index says is refused.
func TestIndexed(t *testing.T) {
	t.Parallel()
	x := openIndexed(t)
	built := 0
	const project = "[_]\nschema-version = \"0.2\"\n[[io.buildpacks.group]]\n"
	for _, tc := range []struct{ arg, project, want, fault string }{
		{arg: x.host + "/test/none", fault: "/test/none"}, // an image, for which no index is asked
		{arg: "test/indexed", want: "1.1.0"},              // nothing was synced yet
		{arg: "urn:cnb:registry:test/indexed@1.0.0", want: "1.0.0"},
		{arg: "urn:cnb:registry:test/indexed", want: "1.1.0"},
		{arg: "test/indexed@^1.0", want: "1.1.0"},
		{arg: "urn:cnb:registry:test/indexed@>=1.0 <1.1", want: "1.0.0"},
		{arg: platform.Named("urn:cnb:registry:test/indexed@>=1.0 <1.1"), want: "1.0.0"},
		{arg: "urn:cnb:registry:test/indexed@2.0.0", want: "2.0.0"},
		{arg: platform.Named("test/indexed@1.0"), want: "1.0.0"}, // the service's setting of an app
		{arg: platform.Named("urn:cnb:registry:test/indexed@1.0"), want: "1.0.0"},
		{arg: "urn:cnb:registry:test/liar", fault: "which is of buildpack test/indexed@1.1.0"},
		{arg: "urn:cnb:registry:test/indexes", fault: "no buildpack test/indexes in index ours; there is test/indexed"},
		{arg: "test/indexes", fault: "it is neither a path nor in builder " + x.name + "; no buildpack test/indexes in index ours; there is test/indexed"},
		{arg: "test/indexed@3", fault: "buildpack test/indexed has no version 3: it has 1.1.0, 1.0.0"},
		{arg: "test/indexed@sha256:" + strings.Repeat("0", 64), fault: "sha256:000"},
		{project: project + "id = \"test/indexed\"\nversion = \"1.0.0\"\n", want: "1.0.0"},
		{project: project + "id = \"test/indexed\"\n", want: "1.1.0"},
		{project: project + "uri = \"urn:cnb:registry:test/indexed@~1.0.0\"\n", want: "1.0.0"},
		{project: project + "uri = \"test/indexed@1\"\n", want: "1.1.0"},
		{project: project + "id = \"test/none\"\n", fault: "buildpack test/none: it is not in builder " + x.name + "; no buildpack test/none in index ours"},
	} {
		o := platform.Options{Source: app(t)}
		if tc.arg != "" {
			o.Buildpacks = []string{tc.arg}
		} else {
			write(t, o.Source, 0o644, "project.toml", tc.project)
		}
		got, r, err := x.build(t, o)
		if tc.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("%s%s: %v, want %q", tc.arg, tc.project, err, tc.fault)
			}
			continue
		}
		if err != nil || got != "test/indexed@"+tc.want {
			t.Errorf("%s%s: %s %v, want version %s", tc.arg, tc.project, got, err, tc.want)
		}
		built++
		if yanked := strings.Contains(fmt.Sprint(r), "is yanked in index ours"); yanked != (tc.want == "2.0.0") {
			t.Errorf("%s: warned of a yanked one: %t\n%s", tc.arg, yanked, r)
		}
	}
	set, err := index.OpenSet(filepath.Join(x.machine.State, platform.IndexDir))
	if err != nil {
		t.Fatal(err)
	}
	if f := set.Facts()["test/indexed"]; f.Uses != built || f.Version != "1.1.0" || f.Seen.IsZero() {
		t.Errorf("after %d builds it is noted: %+v", built, f)
	}
}

// TestIndexedRecipes makes builders and packages of what an index names.
func TestIndexedRecipes(t *testing.T) {
	t.Parallel()
	x := openIndexed(t)
	dir := t.TempDir()
	write(t, dir, 0o644, "all/buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/all\"\nversion = \"2\"\n[[order]]\n[[order.group]]\nid = \"test/indexed\"\nversion = \"1.0.0\"\n")
	for _, tc := range []struct{ source, want, fault string }{
		{source: `uri = "urn:cnb:registry:test/indexed@1.0"`, want: "1.0.0"},
		{source: `uri = "test/indexed@1.0"`, want: "1.0.0"},
		{source: "uri = \"test/indexed@^1.0, <1.1\"\nid = \"test/indexed\"\nversion = \"1.0.0\"", want: "1.0.0"},
		{source: `uri = "` + x.host + `/bp:1.0.0"`, want: "1.0.0"},
		{source: "uri = \"test/indexed\"\nversion = \"1.0.0\"", fault: "it is test/indexed@1.1.0, not @1.0.0 as the recipe says"},
		{source: "image = \"" + x.host + "/bp:1.0.0\"\nid = \"test/other\"", fault: "it is test/indexed@1.0.0, not test/other as the recipe says"},
		{source: `uri = "urn:cnb:registry:test/liar@1.0"`, fault: "index ours says that test/liar@1.0.0 is "},
		{source: `uri = "test/nowhere"`, fault: "buildpack test/nowhere: there is no such directory, file or image here, and no buildpack test/nowhere in index ours"},
		{source: `uri = "./test/indexed"`, fault: "there is no such directory"},
	} {
		builder := "[build]\nimage = \"test/build\"\n[[run.images]]\nimage = \"test/run\"\n[[buildpacks]]\n" + tc.source + "\n[[order]]\n[[order.group]]\nid = \"test/indexed\"\n"
		write(t, dir, 0o644, "builder.toml", builder, "package.toml", "[buildpack]\nuri = \"all\"\n[[dependencies]]\n"+tc.source+"\n")
		made, packed := name(t), name(t)
		_, err := platform.CreateBuilder(t.Context(), x.machine, platform.CreateOptions{Name: made, Config: filepath.Join(dir, "builder.toml"), Output: platform.Output{Store: true}})
		_, perr := platform.PackageBuildpack(t.Context(), x.machine, platform.PackageOptions{Name: packed, Config: filepath.Join(dir, "package.toml"), Output: platform.Output{Store: true}})
		if tc.fault != "" {
			for what, err := range map[string]error{"builder": err, "package": perr} {
				if err == nil || !strings.Contains(err.Error(), tc.fault) {
					t.Errorf("%s: %s: %v, want %q", what, tc.source, err, tc.fault)
				}
			}
			continue
		}
		if err != nil || perr != nil {
			t.Errorf("%s: %v, %v", tc.source, err, perr)
			continue
		}
		for _, n := range []string{made, packed} {
			if label := x.find(t, n).Label(cnb.LabelBuildpackLayers); !strings.Contains(label, `"`+tc.want+`"`) || !strings.Contains(label, "test/indexed") {
				t.Errorf("%s: in it is %s", tc.source, label)
			}
		}
	}
}

// lockOf is a lock file: pairs of what is asked for and the version that it is.
func (x indexed) lockOf(t *testing.T, pairs ...string) string {
	t.Helper()
	var l index.Lock
	for p := range slices.Chunk(pairs, 2) {
		ref, err := index.ParseRef(p[0])
		if err != nil {
			t.Fatal(err)
		}
		l.Buildpacks = append(l.Buildpacks, index.Locked{Ref: ref, Version: p[1], Address: x.host + "/bp@" + x.digest[p[1]], Index: "ours"})
	}
	return string(l.Text())
}

// TestLocked builds sources with a lock file: they take what is in it without any index, and say what is wrong with it.
func TestLocked(t *testing.T) {
	t.Parallel()
	x := openIndexed(t)
	lock := x.lockOf(t, "test/indexed@^1.0", "1.0.0")
	both := x.lockOf(t, "test/indexed@^1.0", "1.0.0", "test/indexed", "1.1.0")
	const project = "[_]\nschema-version = \"0.2\"\n[[io.buildpacks.group]]\nuri = \"urn:cnb:registry:test/indexed@^1.0\"\n"
	for _, tc := range []struct {
		what, arg, lock string
		want, fault     string
	}{
		{"by URN", "urn:cnb:registry:test/indexed@^1.0", lock, "1.0.0", ""},
		{"by name", "test/indexed@^1.0", lock, "1.0.0", ""},
		{"other text that admits it", "test/indexed", lock, "1.0.0", ""},
		{"its own text first", "test/indexed@^1.0", both, "1.0.0", ""},
		{"project.toml", "", lock, "1.0.0", ""},
		{"stale", "urn:cnb:registry:test/indexed@~1.1", lock, "", "slipway.lock:4 has test/indexed in version 1.0.0, which is not ~1.1: slipway registry lock brings"},
		{"not in it", "urn:cnb:registry:test/liar@1", lock, "", "no buildpack test/liar: there is no index"},
		{"not the image that it says", "test/indexed@^1.0", strings.Replace(lock, x.digest["1.0.0"], x.digest["1.1.0"], 1), "", "slipway.lock:4 says that it is " + x.host},
		{"no such image", "test/indexed@^1.0", strings.Replace(lock, x.digest["1.0.0"], "sha256:"+strings.Repeat("0", 64), 1), "", "slipway.lock:4 says that it is " + x.host},
		{"broken", "test/indexed@^1.0", "<<<<<<< HEAD\n" + lock, "", `slipway.lock:1: "<<<<<<< HEAD" is no line of a lock file`},
		{"broken, and nobody asks for it", x.host + "/bp:1.1.0", "<<<<<<< HEAD\n" + lock, "1.1.0", ""},
	} {
		x.list(t, "registries = []\n")
		o := platform.Options{Source: app(t, "slipway.lock", tc.lock)}
		if tc.arg != "" {
			o.Buildpacks = []string{tc.arg}
		} else {
			write(t, o.Source, 0o644, "project.toml", project)
		}
		got, r, err := x.build(t, o)
		if tc.fault != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fault) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %q", tc.what, err, tc.fault)
			}
			continue
		}
		if err != nil || got != "test/indexed@"+tc.want || len(r.lacks("this is "+tc.want)) > 0 {
			t.Errorf("%s: %s %v, want version %s\n%s", tc.what, got, err, tc.want, r)
		}
	}
	packed := filepath.Join(t.TempDir(), "app.tar")
	packTar(t, packed, "app/index.txt", "hello\n", "app/project.toml", project, "app/slipway.lock", lock)
	if got, _, err := x.build(t, platform.Options{Source: packed, Unwrap: true}); err != nil || got != "test/indexed@1.0.0" {
		t.Errorf("an archive of a directory: %s %v", got, err)
	}
}

// packTar writes a tar of pairs of name and text.
func packTar(t *testing.T, at string, files ...string) {
	t.Helper()
	f, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	for p := range slices.Chunk(files, 2) {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: p[0], Mode: 0o644, Size: int64(len(p[1])), Typeflag: tar.TypeReg}))
		_, werr := w.Write([]byte(p[1]))
		err = errors.Join(err, werr)
	}
	if err := errors.Join(err, w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

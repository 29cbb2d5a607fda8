package platform_test

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestProjectDescriptor builds by a project.toml alone: builder, files, variables, buildpacks before and after.
func TestProjectDescriptor(t *testing.T) {
	t.Parallel()
	y := open(t)
	text := func(files string) string {
		return `
[_]
schema-version = "0.2"
id = "test"
[io.buildpacks]
builder = "` + y.name + `"
` + files + `
[[io.buildpacks.pre.group]]
id = "test/before"
version = "7"
[io.buildpacks.pre.group.script]
api = "0.10"
inline = "echo before: $(ls | tr '\n' ' ')"
[[io.buildpacks.group]]
id = "sample/one-layer"
[[io.buildpacks.group]]
uri = "own"
[[io.buildpacks.post.group]]
id = "test/after"
[io.buildpacks.post.group.script]
api = "0.10"
shell = "/bin/bash"
inline = "[[ -n $BASH_VERSION ]] && echo after: $OF_PROJECT $OF_BOTH"
[[io.buildpacks.build.env]]
name = "OF_PROJECT"
value = "project"
[[io.buildpacks.build.env]]
name = "OF_BOTH"
value = "project"
`
	}
	own := script(t, "test/own", "echo own: $OF_PROJECT")
	for _, tc := range []struct{ what, files, want string }{
		{"exclude", `exclude = ["*.md", "skip/"]`, "before: index.txt own project.toml src"},
		{"include", `include = ["src", "*.md"]`, "before: README.md src"},
		{"all", ``, "before: README.md index.txt own project.toml skip src"},
	} {
		src := app(t, "project.toml", text(tc.files), "README.md", "x", "skip/file", "x", "src/main", "x")
		if err := os.CopyFS(filepath.Join(src, "own"), os.DirFS(own)); err != nil {
			t.Fatal(err)
		}
		o := platform.Options{Image: name(t), Source: src, Output: platform.Output{Store: true}, Env: map[string]string{"OF_BOTH": "user"}}
		r := &record{}
		res, err := platform.Build(t.Context(), y.machine, o, r)
		if err != nil {
			t.Fatalf("%s: %v\n%s", tc.what, err, r)
		}
		if missing := r.lacks(tc.want, "after: project user", "own: project"); len(missing) > 0 {
			t.Errorf("%s, not there: %q\n%s", tc.what, missing, r)
		}
		if got := fmt.Sprint(res.Buildpacks); got != "[test/before@7 sample/one-layer@0.0.1 test/own@1 test/after@0.0.0]" {
			t.Errorf("%s: buildpacks %s", tc.what, got)
		}
	}
	other := filepath.Join(t.TempDir(), "other.toml")
	write(t, filepath.Dir(other), 0o644, "other.toml", "[_]\nschema-version = \"0.2\"\n[io.buildpacks]\nbuilder = \""+y.name+"\"\n[[io.buildpacks.group]]\nid = \"sample/noop\"\n")
	o := platform.Options{Image: name(t), Source: app(t, "project.toml", "broken ["), Output: platform.Output{Store: true}, Descriptor: other}
	if res, err := platform.Build(t.Context(), y.machine, o, &record{}); err != nil || fmt.Sprint(res.Buildpacks) != "[sample/noop@0.0.1]" {
		t.Errorf("another descriptor: %+v, %v", res, err)
	}
}

// TestBuildpackArguments gives buildpacks in every form: by id, as directory, file and image, around the
// builder's own.
func TestBuildpackArguments(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, "")
	dir := script(t, "test/packed", "echo packed speaks")
	img := packageImage(t, dir, "test/packed", "1")
	ref, _ := image.ParseRef(host + "/bp:1")
	if _, err := y.machine.Registry.Push(t.Context(), []image.Ref{ref}, img, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(t.TempDir(), "bp")
	ref, _ = image.ParseRef("oci:" + layout)
	if _, err := image.WriteLayout(t.Context(), ref, nil, img, nil); err != nil {
		t.Fatal(err)
	}
	cnbFile := pack(t, layout, "bp.cnb")

	composite := "sample/noop@0.0.1 sample/one-layer@0.0.1"
	for _, tc := range []struct {
		args, pre, post []string
		want            string
	}{
		{nil, nil, nil, composite},
		{[]string{"sample/noop"}, nil, nil, "sample/noop@0.0.1"},
		{[]string{"sample/noop@0.0.1"}, nil, nil, "sample/noop@0.0.1"},
		{[]string{"urn:cnb:builder:sample/noop@0.0.1"}, nil, nil, "sample/noop@0.0.1"},
		{[]string{dir}, nil, nil, "test/packed@1"},
		{[]string{"file://" + dir}, nil, nil, "test/packed@1"},
		{[]string{cnbFile}, nil, nil, "test/packed@1"},
		{[]string{host + "/bp:1"}, nil, nil, "test/packed@1"},
		{[]string{"docker://" + host + "/bp:1"}, nil, nil, "test/packed@1"},
		{[]string{"from=builder", dir}, nil, nil, composite + " test/packed@1"},
		{[]string{cnbFile, "from=builder"}, nil, nil, "test/packed@1 " + composite},
		{nil, nil, []string{dir}, composite + " test/packed@1"},
		// A buildpack runs once in a group, where it comes first.
		{nil, []string{dir}, []string{"sample/noop"}, "test/packed@1 " + composite},
		{[]string{y.fixture("composite")}, nil, nil, composite},
	} {
		o := platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Buildpacks: tc.args, Pre: tc.pre, Post: tc.post}
		r := &record{}
		res, err := y.try(t, y.machine, o, r)
		if err != nil {
			t.Errorf("%v %v %v: %v", tc.args, tc.pre, tc.post, err)
			continue
		}
		if got := strings.Trim(fmt.Sprint(res.Buildpacks), "[]"); got != tc.want {
			t.Errorf("%v %v %v: %s, want %s", tc.args, tc.pre, tc.post, got, tc.want)
		}
		if strings.Contains(tc.want, "packed") && len(r.lacks("packed speaks")) > 0 {
			t.Errorf("%v: it said nothing\n%s", tc.args, r)
		}
	}
}

// packageImage is a buildpack package (distribution, "Buildpackage").
func packageImage(t *testing.T, dir, id, version string) v1.Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "layer.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	at := "cnb/buildpacks/" + strings.ReplaceAll(id, "/", "_") + "/" + version
	err = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, _ := e.Info()
		h, err := tar.FileInfoHeader(fi, "")
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = filepath.Join(at, rel), 0, 0, "", ""
		if err := w.WriteHeader(h); err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	})
	if err != nil || w.Close() != nil || f.Close() != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	diffID, _ := l.DiffID()
	cf, _ := img.ConfigFile()
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	cf.Config.Labels = map[string]string{
		"io.buildpacks.buildpackage.metadata": fmt.Sprintf(`{"id":%q,"version":%q}`, id, version),
		"io.buildpacks.buildpack.layers":      fmt.Sprintf(`{%q:{%q:{"api":"0.12","layerDiffID":%q}}}`, id, version, diffID),
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

// TestSystemBuildpacks makes a builder with system buildpacks: one in front, optional ones that say no, one behind.
func TestSystemBuildpacks(t *testing.T) {
	t.Parallel()
	y := open(t)
	dir := t.TempDir()
	builder := name(t)
	write(t, dir, 0o644, "builder.toml", strings.Replace(builderConfig, "buildpacks/", y.dir+"/buildpacks/", -1)+fmt.Sprintf(`
[[buildpacks]]
uri = %q
[[buildpacks]]
uri = %q
[[buildpacks]]
uri = %q
[[system.pre.buildpacks]]
id = "test/first"
[[system.pre.buildpacks]]
id = "sample/detect-no"
optional = true
[[system.post.buildpacks]]
id = "test/last"
`, script(t, "test/first", "echo first"), script(t, "test/last", "echo last"), y.fixture("detect-no")))
	if _, err := platform.CreateBuilder(t.Context(), y.machine, platform.CreateOptions{Name: builder, Config: filepath.Join(dir, "builder.toml")}); err != nil {
		t.Fatal(err)
	}
	forget(t, y.machine, builder)
	// The same builder as other tools may leave it: without the label, with the file.
	labelless := builder + "-file"
	cf := y.find(t, builder)
	full, err := cf.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	plain := full.DeepCopy()
	delete(plain.Config.Labels, "io.buildpacks.buildpack.system")
	img, err := mutate.ConfigFile(cf.Image, plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := y.put(t.Context(), labelless, img); err != nil {
		t.Fatal(err)
	}
	forget(t, y.machine, labelless)

	for _, tc := range []struct {
		builder string
		without bool
		want    []string
	}{
		{builder, false, []string{"test/first@1", "sample/noop@0.0.1", "test/last@1"}},
		{labelless, false, []string{"test/first@1", "sample/noop@0.0.1", "test/last@1"}},
		{builder, true, []string{"sample/noop@0.0.1"}},
		{labelless, true, []string{"sample/noop@0.0.1"}},
	} {
		o := platform.Options{Image: name(t), Source: app(t), Output: platform.Output{Store: true}, Builder: tc.builder, Buildpacks: []string{"sample/noop"}, NoSystemBuildpacks: tc.without}
		res, r := y.build(t, o)
		var got []string
		for _, b := range res.Buildpacks {
			got = append(got, b.String())
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s, without: %v: %q, want %q\n%s", tc.builder, tc.without, got, tc.want, r)
		}
	}
}

package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A buildDir is the directories of one build with what its buildpacks left.
type buildDir struct {
	Dirs
	group  cnb.Group
	built  *Built
	sink   *DirSink
	events []Event
}

func newBuildDir(t *testing.T) *buildDir {
	t.Helper()
	root := t.TempDir()
	b := &buildDir{
		Dirs: Dirs{Root: root, App: "/workspace", Layers: "/layers", UID: os.Geteuid(), GID: os.Getegid()},
		sink: NewDirSink(t.TempDir(), nil),
	}
	put(t, root, "workspace/", "layers/", "launcher")
	return b
}

// sample is a build of two buildpacks with every kind of layer.
func sample(t *testing.T) *buildDir {
	b := newBuildDir(t)
	put(t, b.Host("/workspace"), "app.js", "static/logo", "a/x", "a-b/y")
	put(t, b.Host("/layers"), "a_b/both/bin/tool", "a_b/both/lib/x -> ../bin/tool", "a_b/both/hard = a_b/both/bin/tool",
		"a_b/cached/data", "a_b/launched/f", "a_b/both.sbom.cdx.json", "a_b/launched.sbom.spdx.json", "a_b/build.sbom.syft.json", "second/")
	first := cnb.GroupElement{Ref: cnb.Ref{ID: "a/b", Version: "1.0.0"}, API: cnb.API{Major: 0, Minor: 10}}
	second := cnb.GroupElement{Ref: cnb.Ref{ID: "second", Version: "2.0.0"}, API: cnb.API{Major: 0, Minor: 10}}
	b.group = cnb.Group{Elements: []cnb.GroupElement{first, second}}
	b.built = &Built{
		Metadata: cnb.Metadata{
			Buildpacks: b.group.Elements,
			Processes: []cnb.Process{
				{Type: "task", Command: []string{"t"}, Direct: true, BuildpackID: "a/b"},
				{Type: "web", Command: []string{"node"}, Direct: true, BuildpackID: "a/b"},
			},
			Slices:               []cnb.Slice{{Paths: []string{"static"}}},
			BuildpackDefaultType: "web",
			Labels:               []cnb.Label{{Key: "l", Value: "one"}, {Key: "l", Value: "two"}},
		},
		Buildpacks: []BuiltBuildpack{
			{GroupElement: first, Store: &cnb.StoreTOML{Data: map[string]any{"k": "v"}}, Layers: []BuiltLayer{
				{Name: "both", Types: cnb.LayerTypes{Launch: true, Cache: true}, Metadata: map[string]any{"v": "1"}, Contents: true},
				{Name: "cached", Types: cnb.LayerTypes{Build: true, Cache: true}, Metadata: map[string]any{"n": int64(3)}, Contents: true},
				{Name: "launched", Types: cnb.LayerTypes{Launch: true}, Contents: true},
			}},
			{GroupElement: second},
		},
		SBOMs: []BuiltSBOM{
			{Buildpack: first.Ref, Build: true, Path: "/layers/a_b/build.sbom.syft.json", Extension: "syft.json"},
			{Buildpack: first.Ref, Layer: "both", Launch: true, Cache: true, Path: "/layers/a_b/both.sbom.cdx.json", Extension: "cdx.json"},
			{Buildpack: first.Ref, Layer: "launched", Launch: true, Path: "/layers/a_b/launched.sbom.spdx.json", Extension: "spdx.json"},
		},
	}
	return b
}

func (b *buildDir) input() ExportInput {
	return ExportInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: b.Dirs, Group: b.group, Built: b.built, Cache: true,
		Launcher: Launcher{Path: b.Host("/launcher"), Metadata: cnb.LauncherMetadata{Version: "1.2.3"}},
		ExecEnv:  "production",
		Emit:     func(e Event) { b.events = append(b.events, e) },
	}
}

func (b *buildDir) export(t *testing.T, change func(*ExportInput)) *Exported {
	t.Helper()
	in := b.input()
	if change != nil {
		change(&in)
	}
	out, err := Export(t.Context(), in, b.sink)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (b *buildDir) texts(kind EventKind) []string {
	var out []string
	for _, e := range b.events {
		if e.Kind == kind {
			out = append(out, e.Text)
		}
	}
	return out
}

func runImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(64, 2)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Container = "linux", "amd64", "c0ffee"
	cf.Config.Env = []string{"A=b=c", "PATH=/bin", "CNB_APP_DIR=/old"}
	cf.Config.Cmd = []string{"/bin/sh"}
	cf.Config.User = "1000:1000"
	cf.Config.Labels = map[string]string{cnb.LabelDistroName: "debian", cnb.LabelDistroVersion: "13", cnb.LabelRebasable: "true"}
	cf.History = []v1.History{{CreatedBy: "one"}, {CreatedBy: "none", EmptyLayer: true}, {CreatedBy: "two"}}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

func (b *buildDir) compose(t *testing.T, run v1.Image, ex *Exported, layer func(string) (v1.Layer, error)) v1.Image {
	t.Helper()
	if layer == nil {
		layer = b.sink.Get
	}
	img, err := Compose(ComposeInput{
		Run: run, RunReference: "example.com/run:1", RunImage: cnb.RunImageName{Image: "example.com/run:1", Mirrors: []string{"m.example.com/run:1"}},
		Exported: ex, Layer: layer,
	})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func config(t *testing.T, img v1.Image) *v1.ConfigFile {
	t.Helper()
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return cf
}

func TestExportOrderAndHistory(t *testing.T) {
	b := sample(t)
	ex := b.export(t, nil)
	want := []string{
		"a/b:both|Layer: 'both', Created by buildpack: a/b@1.0.0",
		"a/b:launched|Layer: 'launched', Created by buildpack: a/b@1.0.0",
		"buildpacksio/lifecycle:launch.sbom|Software Bill-of-Materials",
		"slice-1|Application Slice: 1",
		"slice-2|Application Slice: 2",
		"buildpacksio/lifecycle:launcher|Buildpacks Application Launcher",
		"buildpacksio/lifecycle:config|Buildpacks Launcher Config",
		"buildpacksio/lifecycle:process-types|Buildpacks Process Types",
	}
	var got []string
	for _, l := range ex.Layers {
		got = append(got, l.ID+"|"+l.CreatedBy)
	}
	if !slices.Equal(got, want) {
		t.Errorf("layers:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	got = nil
	for _, l := range ex.CacheLayers {
		got = append(got, l.ID)
	}
	if want := []string{"a/b:both", "a/b:cached", "buildpacksio/lifecycle:cache.sbom"}; !slices.Equal(got, want) {
		t.Errorf("cache: %q, want %q", got, want)
	}
	if _, err := os.Stat(b.Host("/layers/sbom/build/a_b/sbom.syft.json")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(b.Host("/layers/sbom/launch/sbom.legacy.json")); err != nil || string(b) != "null\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestExportSameBytes(t *testing.T) {
	one, two := sample(t), sample(t)
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	past := time.Unix(1e9, 7)
	err := filepath.WalkDir(two.Root, func(p string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(p, past, past))
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	run := runImage(t)
	a := one.compose(t, run, one.export(t, nil), nil)
	b := two.compose(t, run, two.export(t, nil), nil)
	x, err1 := a.Digest()
	y, err2 := b.Digest()
	if err := errors.Join(err1, err2); err != nil || x != y {
		t.Errorf("%v and %v (%v)", x, y, err)
	}
}

func TestExportedCrossesAProcessBoundary(t *testing.T) {
	b := sample(t)
	ex := b.export(t, nil)
	text, err := json.Marshal(ex)
	if err != nil {
		t.Fatal(err)
	}
	var back Exported
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	run := runImage(t)
	x, err1 := b.compose(t, run, ex, nil).Digest()
	y, err2 := b.compose(t, run, &back, nil).Digest()
	if err := errors.Join(err1, err2); err != nil || x != y {
		t.Errorf("%v and %v (%v)", x, y, err)
	}
}

func TestExportReuse(t *testing.T) {
	b := sample(t)
	first := b.export(t, nil)
	b.events = nil
	put(t, b.Host("/workspace"), "new")
	// The buildpack is happy with its launch layer as it was: metadata and no directory.
	b.built.Buildpacks[0].Layers[2].Contents = false
	if err := os.RemoveAll(b.Host("/layers/a_b/launched")); err != nil {
		t.Fatal(err)
	}
	second := b.export(t, func(in *ExportInput) { in.Previous, in.PreviousCache = first.Metadata, *first.Cache })
	if got := b.texts(EventLayerAdded); !slices.Equal(got, []string{"slice-2"}) {
		t.Errorf("added: %q", got)
	}
	if got := len(b.texts(EventLayerReused)); got != 7 {
		t.Errorf("%d layers reused", got)
	}
	if got := b.texts(EventCacheAdded); len(got) != 0 {
		t.Errorf("added to the cache: %q", got)
	}
	l := second.Layers[1]
	if !l.Kept || l.DiffID != first.Layers[1].DiffID {
		t.Errorf("the layer without contents is %+v", l)
	}
}

func TestExportWarnsOnce(t *testing.T) {
	b := sample(t)
	if err := os.Chmod(b.Host("/workspace/app.js"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	old := "sha256:" + strings.Repeat("0", 64)
	b.sink = NewDirSink(t.TempDir(), func(string) bool { return true }) // hashes first and then writes
	b.export(t, func(in *ExportInput) { in.Previous.App = []cnb.LayerSHA{{SHA: old}, {SHA: old}} })
	if w := b.texts(EventWarning); len(w) != 1 || !strings.Contains(w[0], `"/workspace/app.js": setuid`) {
		t.Errorf("warnings: %q", w)
	}
}

func TestExportErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *buildDir, in *ExportInput)
		want   string
	}{
		{"default process", func(b *buildDir, in *ExportInput) { in.ProcessType = "wev" }, `default process "wev" does not exist: choose one of task, web`},
		{"no process at all", func(b *buildDir, in *ExportInput) {
			in.ProcessType = "web"
			b.built.Metadata.Processes = nil
		}, `default process "web" does not exist: no buildpack contributed any process type`},
		{"cached without contents", func(b *buildDir, in *ExportInput) { b.built.Buildpacks[0].Layers[0].Contents = false }, `buildpack a/b@1.0.0: layer "both" is cache=true but has no contents`},
		{"nothing to reuse", func(b *buildDir, in *ExportInput) { b.built.Buildpacks[0].Layers[2].Contents = false }, `buildpack a/b@1.0.0: layer "launched" has no contents and the previous image has no such layer to reuse`},
		{"no launcher", func(b *buildDir, in *ExportInput) { in.Launcher.Path += "x" }, "write layer buildpacksio/lifecycle:launcher: open "},
		{"platform API", func(b *buildDir, in *ExportInput) { in.PlatformAPI = cnb.API{Major: 0, Minor: 6} }, "platform API 0.6 is not supported"},
		{"not built", func(b *buildDir, in *ExportInput) { b.built.Buildpacks = nil }, "buildpack a/b@1.0.0 has not been built"},
		{"SBOM is a pipe", func(b *buildDir, in *ExportInput) {
			os.Remove(b.Host("/layers/a_b/both.sbom.cdx.json"))
			syscall.Mkfifo(b.Host("/layers/a_b/both.sbom.cdx.json"), 0o600)
		}, "/layers/a_b/both.sbom.cdx.json: "},
		{"sparse SBOMs", func(b *buildDir, in *ExportInput) {
			for i := range 12 {
				put(t, b.Host(fmt.Sprintf("/layers/a_b/sparse%d.sbom.cdx.json", i)), "")
				os.Truncate(b.Host(fmt.Sprintf("/layers/a_b/sparse%d.sbom.cdx.json", i)), 16<<20)
				b.built.SBOMs = append(b.built.SBOMs, BuiltSBOM{Buildpack: b.built.SBOMs[0].Buildpack, Layer: cnb.LayerName(fmt.Sprintf("sparse%d", i)), Build: true, Path: fmt.Sprintf("/layers/a_b/sparse%d.sbom.cdx.json", i), Extension: "cdx.json"})
			}
		}, "the SBOM files of this build have more than 134217728 bytes"},
		{"layer is a link", func(b *buildDir, in *ExportInput) {
			os.RemoveAll(b.Host("/layers/a_b/both"))
			os.Symlink("/etc", b.Host("/layers/a_b/both"))
		}, "write layer a/b:both: open directory a_b/both of "},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sample(t)
			in := b.input()
			c.change(b, &in)
			_, err := Export(t.Context(), in, b.sink)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got  %v\nwant %s", err, c.want)
			}
			if code := ExitCode(err); code != 62 && code != 11 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

func TestExportCacheFailureIsAWarning(t *testing.T) {
	b := sample(t)
	put(t, b.Host("/layers/a_b/cached"), ".wh.x")
	ex := b.export(t, nil)
	if w := b.texts(EventWarning); len(w) != 1 || !strings.Contains(w[0], "layer a/b:cached is not cached") {
		t.Errorf("warnings: %q", w)
	}
	if _, ok := ex.Cache.Buildpacks[0].Layers["cached"]; ok {
		t.Error("the cache's metadata has the layer that could not be cached")
	}
}

func TestExportIgnoresTheSBOMDirectoryOfBuildpacks(t *testing.T) {
	b := sample(t)
	put(t, b.Root, "outside/precious", "layers/sbom/launch -> ../../outside", "layers/sbom/evil")
	b.export(t, nil)
	if _, err := os.Stat(filepath.Join(b.Root, "outside/precious")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.Host("/layers/sbom/evil")); err == nil {
		t.Error("a file that a buildpack put below <layers>/sbom is still there")
	}
	if entries, _ := os.ReadDir(filepath.Join(b.Root, "outside")); len(entries) != 1 {
		t.Errorf("written outside: %v", entries)
	}
}

func TestExportKeepsTheEnginesLabels(t *testing.T) {
	b := sample(t)
	b.built.Metadata.Labels = []cnb.Label{{Key: cnb.LabelLifecycleMetadata, Value: "{}"}, {Key: cnb.LabelBuildMetadata, Value: "x"}}
	ex := b.export(t, nil)
	if c := config(t, b.compose(t, runImage(t), ex, nil)).Config; len(c.Labels[cnb.LabelLifecycleMetadata]) < 100 || c.Labels[cnb.LabelBuildMetadata] == "x" {
		t.Error("a buildpack replaced a label of the engine")
	}
	if w := b.texts(EventWarning); len(w) != 2 {
		t.Errorf("warnings: %q", w)
	}
}

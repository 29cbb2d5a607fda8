package cnb

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func api(s string) API {
	a, err := ParseAPI(s)
	if err != nil {
		panic(err)
	}
	return a
}

// sample uses every field of metadata.toml, and the characters whose escapes differ between TOML and JSON.
func sample() Metadata {
	return Metadata{
		BOM: []BOMEntry{{
			Require: Require{Name: "dep", Version: "1", Metadata: map[string]any{
				"k": "v", "n": int64(3), "t": map[string]any{"a": []any{int64(1), "x"}},
			}},
			Buildpack: GroupElement{Ref: Ref{ID: "a/one", Version: "1.0.0"}},
		}},
		Buildpacks: []GroupElement{
			{Ref: Ref{ID: "a/one", Version: "1.0.0"}, API: api("0.8"), Homepage: "https://a.example"},
			{Ref: Ref{ID: "b.two", Version: "2.0.0"}, API: api("0.12")},
		},
		Extensions: []GroupElement{{Ref: Ref{ID: "ext", Version: "0.1.0"}, API: api("0.10")}},
		Labels:     []Label{{"a.b", "x \"y\" \\ \t\n é \x01\x7f"}, {"c", ""}},
		Processes: []Process{
			{Type: "web", Command: []string{"node", "server.js <&>"}, Args: []string{"--port", "80"}, Direct: true, BuildpackID: "b.two", WorkingDir: "/workspace/x", ExecEnv: []string{"production", "test"}},
			{Type: "worker", Command: []string{"echo \"hi\" && \u2028 'q'\n\t\x02"}, BuildpackID: "a/one"},
			{Type: "z", Command: []string{"z"}, Args: []string{}, Direct: true, BuildpackID: "b.two", ExecEnv: []string{}},
		},
		Slices:               []Slice{{Paths: []string{"static/*", "b"}}, {Paths: []string{}}, {}},
		BuildpackDefaultType: "web",
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestEncodeMetadataBytes(t *testing.T) {
	launcher := LauncherMetadata{Version: "1.2.3"}
	launcher.Source.Git.Repository, launcher.Source.Git.Commit = "example.com/r", "abc"
	empty := Metadata{Buildpacks: []GroupElement{{Ref: Ref{ID: "x", Version: "1.0.0"}, API: api("0.10")}}}
	for _, version := range []string{"0.7", "0.8", "0.9", "0.10", "0.15"} {
		for name, m := range map[string]Metadata{"full": sample(), "empty": empty} {
			b, err := EncodeMetadata(m, api(version))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+"-"+version+".toml", b)
			back, err := DecodeMetadata("metadata.toml", b)
			if err != nil {
				t.Fatalf("%s %s: %v", name, version, err)
			}
			again, err := EncodeMetadata(back, api(version))
			if err != nil || string(again) != string(b) {
				t.Errorf("%s %s: written, read and written again it differs: %v\n%s", name, version, err, cmp.Diff(string(b), string(again)))
			}
			label, err := EncodeBuildMetadata(m, launcher, api(version))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+"-"+version+".json", label)
			var bm BuildMetadata
			if err := json.Unmarshal(label, &bm); err != nil {
				t.Errorf("%s %s: label: %v", name, version, err)
			}
		}
	}
}

func TestEncodeAnyTable(t *testing.T) {
	md := map[string]any{
		"f": 1.0, "e": 1e30,
		"mixed":  []any{int64(1), map[string]any{"b": int64(2), "a": map[string]any{"q": true}}},
		"tt":     []any{map[string]any{"x": "y"}, map[string]any{"l": []any{map[string]any{"deep": "er"}}}},
		"sp ace": map[string]any{"": "v", "é": int64(1)},
		"empty":  map[string]any{}, "no": []any{},
	}
	b, err := EncodeStore(StoreTOML{Data: md})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "generic.toml", b)
	back, err := DecodeStore("store.toml", b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(md, back.Data); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}
}

func TestEncodeRefusesNull(t *testing.T) {
	_, err := EncodeLayer(LayerTOML{Metadata: map[string]any{"a": []any{nil}}})
	if err == nil || !strings.Contains(err.Error(), "null") {
		t.Errorf("got %v", err)
	}
}

func TestLayerMetadataKeepsIntegers(t *testing.T) {
	m, err := DecodeLayersMetadata(`{"buildpacks":[{"key":"a","version":"1","layers":{"l":{"sha":"s","data":{"n":3,"f":1.5}}}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := m.Buildpacks[0].Layers["l"].Data.(map[string]any)
	b, err := EncodeLayer(LayerTOML{Metadata: data})
	if want := "[metadata]\n  f = 1.5\n  n = 3\n"; err != nil || string(b) != want {
		t.Errorf("got %q, %v; want %q", b, err, want)
	}
}

func TestFilesReadBack(t *testing.T) {
	group := Group{Elements: []GroupElement{
		{Ref: Ref{ID: "e", Version: "1.0.0"}, API: api("0.10"), Extension: true, Optional: true},
		{Ref: Ref{ID: "a/b", Version: "1.0.0"}, API: api("0.8"), Homepage: "h"},
	}}
	roundTrip(t, group, EncodeGroup, DecodeGroup)
	roundTrip(t, Plan{Entries: []PlanEntry{{
		Providers: []Provider{{Ref: Ref{ID: "a", Version: "1.0.0"}}, {Ref: Ref{ID: "e", Version: "1.0.0"}, Extension: true}},
		Requires:  []Require{{Name: "node", Metadata: map[string]any{"v": "1"}}, {Name: "node", Version: "1.2"}},
	}}}, EncodePlan, DecodePlan)
	roundTrip(t, BuildpackPlan{Entries: []Require{{Name: "x", Metadata: map[string]any{"b": true}}}}, EncodeBuildpackPlan, DecodeBuildpackPlan)
	roundTrip(t, System{Pre: group.Elements[1:], Post: group.Elements[1:]}, EncodeSystem, DecodeSystem)
	roundTrip(t, []RunImageName{{Image: "run", Mirrors: []string{"m/run"}}}, EncodeRun, DecodeRun)
	roundTrip(t, RunImageName{Image: "run", Mirrors: []string{"m/run"}}, EncodeStack, DecodeStack)
	roundTrip(t, ProjectMetadata{Source: &ProjectSource{Type: "git", Version: map[string]any{"commit": "c"}}}, EncodeProjectMetadata, DecodeProjectMetadata)
	roundTrip(t, Analyzed{
		Image: &ImageRef{"x@sha256:1"}, BuildImage: &ImageRef{"b"},
		RunImage: &RunImage{Reference: "r@sha256:2", Image: "r", Extend: true, Target: &Target{
			ID: "id", OS: "linux", Arch: "arm", Variant: "v7", Distros: []Distro{{"debian", "13"}}}},
		Metadata: LayersMetadata{
			App: []LayerSHA{{"a"}}, BOM: &LayerSHA{"b"}, Config: LayerSHA{"c"}, Launcher: LayerSHA{"d"}, ProcessTypes: LayerSHA{"e"},
			Buildpacks: []BuildpackLayers{{ID: "a/b", Version: "1", Store: &StoreTOML{Data: map[string]any{"s": "t"}}, Layers: map[string]LayerMetadata{
				"l": {SHA: "f", LayerMetadataFile: LayerMetadataFile{Data: map[string]any{"k": int64(1)}, Launch: true, Cache: true}}}}},
			RunImage: RunImageMetadata{TopLayer: "g", Reference: "h", Image: "i", Mirrors: []string{"j"}},
			Stack:    &StackLabel{RunImageName{Image: "i"}},
		},
	}, EncodeAnalyzed, DecodeAnalyzed)
	order := Order{group, {Elements: []GroupElement{{Ref: Ref{ID: "c"}, Optional: true, ExecEnv: []string{"test"}}}}}
	order[0].Elements = group.Elements[1:]
	roundTrip(t, order, func(o Order) ([]byte, error) { return EncodeOrder(o, nil) }, DecodeOrder)
}

func roundTrip[T any](t *testing.T, v T, enc func(T) ([]byte, error), dec func(string, []byte) (T, error)) {
	t.Helper()
	b, err := enc(v)
	if err != nil {
		t.Errorf("%T: %v", v, err)
		return
	}
	got, err := dec("file.toml", b)
	if err != nil {
		t.Errorf("%T: %v\n%s", v, err, b)
		return
	}
	if d := cmp.Diff(v, got); d != "" {
		t.Errorf("%T (-want +got):\n%s\n%s", v, d, b)
	}
}

func TestEncodeReport(t *testing.T) {
	b, err := EncodeReport(Report{Image: ImageReport{Tags: []string{"a:1", "b:2"}, Digest: "sha256:x", ManifestSize: 12}})
	want := "[image]\n  tags = [\"a:1\", \"b:2\"]\n  digest = \"sha256:x\"\n  manifest-size = 12\n"
	if err != nil || string(b) != want {
		t.Errorf("got %q, %v; want %q", b, err, want)
	}
}

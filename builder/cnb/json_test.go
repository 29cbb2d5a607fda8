package cnb

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

func TestTableSurvivesJSON(t *testing.T) {
	want := Plan{Entries: []PlanEntry{{Requires: []Require{{Name: "n", Metadata: Table{
		"int": int64(1) << 60, "float": 1.0, "date": toml.LocalDate{Year: 2020, Month: 1, Day: 2}, "time": time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC),
		"list": []any{int64(1), 2.0}, "t": map[string]any{"a": "b"},
	}}, {Name: "bare"}}}}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Plan
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\n%s", d, b)
	}
	var r Require
	if err := json.Unmarshal([]byte(`{"name":"x","metadata":{"n":3}}`), &r); err != nil || r.Metadata["n"] != json.Number("3") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNumbersSurviveJSON(t *testing.T) {
	const text = `{"key":"a","version":"1","layers":{"l":{"sha":"sha256:ab","data":{"n":9007199254740993},"build":true,"launch":false,"cache":true}},"store":{"metadata":{"n":3}}}`
	var bp BuildpackLayers
	if err := json.Unmarshal([]byte(text), &bp); err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(bp); err != nil || string(b) != text {
		t.Errorf("got %s, %v", b, err)
	}
}

func TestHostileLabels(t *testing.T) {
	for text, want := range map[string]string{
		`{"buildpacks":3}`: "label io.buildpacks.lifecycle.metadata: json:",
		`{`:                "label io.buildpacks.lifecycle.metadata: unexpected end",
		``:                 "label io.buildpacks.lifecycle.metadata: unexpected end",
		`{}`:               "",
	} {
		_, err := DecodeLayersMetadata(text)
		check(t, err, want)
	}
	for text, want := range map[string]string{
		`{"buildpacks":[{"key":"../x","layers":{}}]}`:                            "buildpack id",
		`{"buildpacks":[{"key":"a","layers":{"../../etc":{"sha":"sha256:a"}}}]}`: `buildpack a: layer name "../../etc" is not a file name`,
		`{"buildpacks":[{"key":"a","layers":{"l":{"sha":"sha256:../../x"}}}]}`:   `buildpack a: layer "l": "sha256:../../x" is not a digest`,
		`{`: "unexpected end",
	} {
		_, err := DecodeCacheMetadata([]byte(text))
		check(t, err, "io.buildpacks.lifecycle.cache.metadata: "+want)
	}
}

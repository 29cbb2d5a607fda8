package cnb

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeProject(t *testing.T) {
	const v1 = `
[project]
id = "i"
name = "n"
[[project.licenses]]
type = "MIT"
[build]
builder = "b"
include = ["src"]
[[build.buildpacks]]
id = "a/b"
version = "1.0.0"
[[build.env]]
name = "A"
value = "1"
exec-env = ["test"]
[metadata]
k = 1
[other.tool]
x = 1
`
	const v2 = `
[_]
schema-version = "0.2"
id = "i"
name = "n"
[[_.licenses]]
type = "MIT"
[_.metadata]
k = 1
[io.buildpacks]
builder = "b"
include = ["src"]
[[io.buildpacks.group]]
id = "a/b"
version = "1.0.0"
[[io.buildpacks.build.env]]
name = "A"
value = "1"
exec-env = ["test"]
`
	want := Project{
		ID: "i", Name: "n", Licenses: []License{{Type: "MIT"}}, Metadata: map[string]any{"k": int64(1)},
		Builder: "b", Include: []string{"src"}, Buildpacks: []ProjectBuildpack{{ID: "a/b", Version: "1.0.0"}},
		Env: []ProjectEnv{{Name: "A", Value: "1"}},
	}
	for text, version := range map[string]string{v1: "0.1", v2: "0.2"} {
		p, err := DecodeProject("project.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Warnings) != 1 {
			t.Errorf("%s: warnings %q", version, p.Warnings)
		}
		want.SchemaVersion, want.Warnings = version, p.Warnings
		if d := cmp.Diff(&want, p); d != "" {
			t.Errorf("%s (-want +got):\n%s", version, d)
		}
	}
}

func TestProjectExecEnv(t *testing.T) {
	p, err := DecodeProject("project.toml", []byte(`
[_]
schema-version = "0.3"
[[io.buildpacks.group]]
id = "all"
[[io.buildpacks.group]]
id = "testing"
exec-env = ["test"]
[[io.buildpacks.pre.group]]
uri = "./pre"
exec-env = ["*"]
[[io.buildpacks.post.group]]
id = "script"
[io.buildpacks.post.group.script]
api = "0.9"
inline = "echo"
[[io.buildpacks.build.env]]
name = "A"
value = "1"
exec-env = ["test", "development"]
`))
	if err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string][4]int{"production": {1, 1, 1, 0}, "test": {2, 1, 1, 1}, "development": {1, 1, 1, 1}} {
		f := p.For(env)
		if got := [4]int{len(f.Buildpacks), len(f.Pre), len(f.Post), len(f.Env)}; got != want {
			t.Errorf("%s: got %v, want %v", env, got, want)
		}
	}
	if s := p.Post[0].Script; s == nil || s.Inline != "echo" || s.API != api("0.9") {
		t.Errorf("script %+v", s)
	}
}

func TestDecodeProjectRefuses(t *testing.T) {
	const head = "[_]\nschema-version = \"0.2\"\n"
	for text, want := range map[string]string{
		"[_]\nschema-version = \"1\"\n":                                                             `project.toml:2: _.schema-version: unknown project descriptor schema version "1"`,
		head + "[io.buildpacks]\ninclude = []\nexclude = []\n":                                      `project.toml:5: io.buildpacks.exclude: cannot have both include and exclude`,
		head + "[io.buildpacks]\nexclude = \"x\"\n":                                                 `project.toml:4: io.buildpacks.exclude: want an array of strings, found a string`,
		head + "[[io.buildpacks.group]]\nversion = \"1\"\n":                                         `project.toml:3: io.buildpacks.group: must have an id or uri`,
		head + "[[io.buildpacks.group]]\nuri = \"u\"\nversion = \"1\"\n":                            `project.toml:5: io.buildpacks.group.version: cannot have both uri and version`,
		head + "[[io.buildpacks.build.env]]\nname = \"A=B\"\n":                                      `project.toml:4: io.buildpacks.build.env.name: environment variable name "A=B" has a '='`,
		head + "[[_.licenses]]\n":                                                                   `project.toml:3: _.licenses: must have a type or uri`,
		head + "[[io.buildpacks.group]]\nid = \"a\"\n[io.buildpacks.group.script]\napi = \"0.9\"\n": `project.toml:5: io.buildpacks.group.script.inline: is missing`,
		"x = [": `project.toml:1: not valid TOML`,
	} {
		_, err := DecodeProject("project.toml", []byte(text))
		check(t, err, want)
	}
	p, err := DecodeProject("project.toml", []byte("[[io.buildpacks.env.build]]\nname = \"A\"\n"))
	if err != nil || len(p.Warnings) != 1 {
		t.Errorf("no schema version: %+v, %v", p, err)
	}
	p, err = DecodeProject("project.toml", []byte(head+"[[io.buildpacks.env.build]]\nname = \"A\"\nvalue = \"1\"\n"))
	if err != nil || len(p.Env) != 1 {
		t.Errorf("older spelling: %+v, %v", p, err)
	}
}

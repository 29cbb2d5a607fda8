package cnb

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Project is a project descriptor, project.toml (extension spec "project descriptor", schema 0.1 and 0.2;
// 0.3 adds execution environments). Text of other tools' tables is ignored.
type Project struct {
	SchemaVersion    string
	ID               string
	Name             string
	Version          string
	Authors          []string
	DocumentationURL string
	SourceURL        string
	Licenses         []License
	Metadata         map[string]any

	Builder string
	// Include and Exclude are gitignore patterns; one of them is empty.
	Include, Exclude []string
	Buildpacks       []ProjectBuildpack
	Pre, Post        []ProjectBuildpack
	Env              []ProjectEnv
	// Warnings tell of keys that this schema version does not have, one line each.
	Warnings []string
}

// A ProjectBuildpack is an element of a group: a buildpack by ID or URI, or a script.
type ProjectBuildpack struct {
	ID      ID
	Version string
	URI     string
	Script  *ProjectScript
	ExecEnv []string
}

// A ProjectScript is a buildpack given as the text of its bin/build.
type ProjectScript struct {
	API    API
	Inline string
	Shell  string
}

// A ProjectEnv is a variable for the build.
type ProjectEnv struct {
	Name    EnvName
	Value   string
	ExecEnv []string
}

// For is the project as it is in one execution environment: buildpacks and variables of others are left out.
func (p *Project) For(execEnv string) *Project {
	out := *p
	bps := func(in []ProjectBuildpack) []ProjectBuildpack {
		return slices.DeleteFunc(slices.Clone(in), func(b ProjectBuildpack) bool { return !InExecEnv(b.ExecEnv, execEnv) })
	}
	out.Buildpacks, out.Pre, out.Post = bps(p.Buildpacks), bps(p.Pre), bps(p.Post)
	out.Env = slices.DeleteFunc(slices.Clone(p.Env), func(e ProjectEnv) bool { return !InExecEnv(e.ExecEnv, execEnv) })
	return &out
}

// BuildpackLine is where buildpack i of Buildpacks ("group"), Pre ("pre") or Post ("post") stands in b, the text that p was
// decoded from; 0 where it is not known.
func (p *Project) BuildpackLine(b []byte, list string, i int) int {
	steps := []step{{key: "io"}, {key: "buildpacks"}, {key: "group"}, {i: i}}
	switch {
	case p.SchemaVersion == "0.1":
		steps = []step{{key: "build"}, {key: "buildpacks"}, {i: i}}
	case list != "group":
		steps = []step{{key: "io"}, {key: "buildpacks"}, {key: list}, {key: "group"}, {i: i}}
	}
	return locate(b, steps)
}

// DecodeProject reads project.toml. A missing schema version means 0.1, as in pack.
func DecodeProject(name string, b []byte) (*Project, error) {
	d, t, err := parse(name, b, MaxDescriptor)
	if err != nil {
		return nil, err
	}
	p := &Project{SchemaVersion: t.sub("_").str("schema-version")}
	switch p.SchemaVersion {
	case "", "0.1":
		if p.SchemaVersion == "" && t.has("io") {
			p.Warnings = append(p.Warnings, name+`: no schema-version is given, so [io.buildpacks] is ignored: add [_] with schema-version = "0.2"`)
		}
		p.SchemaVersion = "0.1"
		p.schema01(t)
	case "0.2", "0.3":
		p.schema02(t)
	default:
		t.sub("_").fail("schema-version", "unknown project descriptor schema version %s (known: 0.1, 0.2, 0.3)", quote(p.SchemaVersion))
	}
	if d.err != nil {
		return nil, d.err
	}
	return p, nil
}

func (p *Project) schema01(t table) {
	info, build := t.sub("project"), t.sub("build")
	p.info(info)
	p.Metadata = t.sub("metadata").m
	p.sources(build)
	p.Buildpacks = p.buildpacks(build, "buildpacks")
	p.Env = p.env(build, "env")
	p.unknown(info, "id", "name", "version", "authors", "documentation-url", "source-url", "licenses")
	p.unknown(build, "include", "exclude", "builder", "buildpacks", "env")
}

func (p *Project) schema02(t table) {
	info, bp := t.sub("_"), t.sub("io").sub("buildpacks")
	p.info(info)
	p.Metadata = info.sub("metadata").m
	p.sources(bp)
	p.Buildpacks = p.buildpacks(bp, "group")
	p.Pre, p.Post = p.buildpacks(bp.sub("pre"), "group"), p.buildpacks(bp.sub("post"), "group")
	p.Env = p.env(bp.sub("build"), "env")
	if p.Env == nil && bp.has("env") { // an older spelling, still in use
		p.Env = p.env(bp.sub("env"), "build")
	}
	p.unknown(info, "schema-version", "id", "name", "version", "authors", "documentation-url", "source-url", "licenses", "metadata")
	p.unknown(bp, "include", "exclude", "builder", "group", "pre", "post", "build", "env")
}

func (p *Project) info(t table) {
	p.ID, p.Name, p.Version = t.str("id"), t.str("name"), t.str("version")
	p.Authors = t.strs("authors", "")
	p.DocumentationURL, p.SourceURL = t.str("documentation-url"), t.str("source-url")
	for _, l := range t.subs("licenses", 0) {
		p.Licenses = append(p.Licenses, License{Type: l.str("type"), URI: l.str("uri")})
		if l.str("type") == "" && l.str("uri") == "" {
			l.fail("", "must have a type or uri")
		}
	}
}

func (p *Project) sources(t table) {
	p.Builder = t.str("builder")
	p.Include, p.Exclude = t.strs("include", ""), t.strs("exclude", "")
	if t.has("include") && t.has("exclude") {
		t.fail("exclude", "cannot have both include and exclude defined: keep one")
	}
}

func (p *Project) buildpacks(t table, key string) []ProjectBuildpack {
	var out []ProjectBuildpack
	for _, e := range t.subs(key, maxGroupEntries) {
		b := ProjectBuildpack{Version: e.str("version"), URI: e.str("uri"), ExecEnv: p.execEnv(e)}
		if e.str("id") != "" {
			b.ID = parsed(e, "id", ParseID)
		}
		if b.Version != "" {
			b.Version = parsed(e, "version", ParseVersion)
		}
		if e.has("script") {
			s := e.sub("script")
			b.Script = &ProjectScript{API: apiAt(s, "api"), Inline: s.need("inline"), Shell: s.str("shell")}
		}
		switch {
		case b.ID == "" && b.URI == "":
			e.fail("", "must have an id or uri")
		case b.URI != "" && b.Version != "":
			e.fail("version", "cannot have both uri and version: remove version")
		}
		out = append(out, b)
	}
	return out
}

func (p *Project) env(t table, key string) []ProjectEnv {
	var out []ProjectEnv
	for _, e := range t.subs(key, 512) {
		v := ProjectEnv{Name: parsed(e, "name", ParseEnvName), Value: e.str("value"), ExecEnv: p.execEnv(e)}
		if strings.ContainsRune(v.Value, 0) {
			e.fail("value", "has a NUL byte in it")
		}
		out = append(out, v)
	}
	return out
}

// execEnv reads exec-env, which schema 0.3 has and older ones ignore.
func (p *Project) execEnv(t table) []string {
	if p.SchemaVersion != "0.3" {
		if t.has("exec-env") {
			p.Warnings = append(p.Warnings, fmt.Sprintf(`%s: %s is ignored: it needs schema-version = "0.3"`, t.d.name, show(t.at("exec-env"))))
		}
		return nil
	}
	list := t.strs("exec-env", "")
	execEnvs(t, "exec-env", list)
	return list
}

// unknown warns of keys that are not in the list.
func (p *Project) unknown(t table, known ...string) {
	for _, k := range slices.Sorted(maps.Keys(t.m)) {
		if !slices.Contains(known, k) && len(p.Warnings) < 20 {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s: %s is ignored: schema version %s has no such key", t.d.name, show(t.at(k)), p.SchemaVersion))
		}
	}
}

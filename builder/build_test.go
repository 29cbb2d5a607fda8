package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// layer is the script that makes a layer with the given types.
func layer(name string, types ...string) string {
	text := strings.Join(append(slices.Clone(types), ""), " = true\\n")
	return fmt.Sprintf("mkdir -p $CNB_LAYERS_DIR/%[1]s\nprintf '[types]\\n%[2]s' > $CNB_LAYERS_DIR/%[1]s.toml\n", name, text)
}

// file is the script that writes a file below the layers directory.
func file(name, text string) string {
	return fmt.Sprintf("mkdir -p $(dirname \"$CNB_LAYERS_DIR/%[1]s\")\ncat > \"$CNB_LAYERS_DIR/%[1]s\" <<'END'\n%[2]s\nEND\n", name, text)
}

func (s *site) build(in BuildInput) *Built {
	s.t.Helper()
	built, err := Build(s.t.Context(), in)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.out.String())
	}
	return built
}

func TestBuildGathers(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a/node@1.2.3", keys: "homepage = \"https://a.example\"\nsbom-formats = [\"application/vnd.cyclonedx+json;version=1.4\", \"application/spdx+json\"]",
		build: layer("runtime", "launch", "build", "cache") + layer("only-cache", "cache") + layer("tmp") +
			"rm -r $CNB_LAYERS_DIR/only-cache; mkdir $CNB_LAYERS_DIR/own\n" +
			"printf '[metadata]\\nversion = \"22\"\\n[metadata.n]\\ni = 9007199254740993\\n' >> $CNB_LAYERS_DIR/runtime.toml\n" +
			file("runtime.sbom.cdx.json", "{}") + file("launch.sbom.spdx.json", "{}") + file("build.sbom.cdx.json", "{}") + file("nothing.sbom.foo.json", "{}") +
			file("launch.toml", "[[labels]]\nkey = \"k\"\nvalue = \"a\"\n[[processes]]\ntype = \"web\"\ncommand = [\"node\", \"x.js\"]\nargs = [\"-v\"]\ndefault = true\n[[slices]]\npaths = [\"static/*\"]\n[[bom]]\nname = \"node\"") +
			file("build.toml", "[[bom]]\nname = \"npm\"") + file("store.toml", "[metadata]\nkey = \"kept\"")})
	s.add(bp{ref: "b@2", api: "0.7",
		build: file("launch.toml", "[[labels]]\nkey = \"k\"\nvalue = \"b\"\n[[processes]]\ntype = \"task\"\ncommand = \"rake\"\nworking-dir = \"/x\"")})
	in := s.buildInput("a/node@1.2.3", "b@2")
	if err := os.MkdirAll(s.dirs.Layers+"/sbom/launch", 0o755); err != nil {
		t.Fatal(err)
	}
	built := s.build(in)
	md := built.Metadata
	if len(md.Processes) != 2 || md.Processes[0].Type != "task" || md.Processes[1].Type != "web" || md.BuildpackDefaultType != "web" {
		t.Errorf("processes %+v, default %q", md.Processes, md.BuildpackDefaultType)
	}
	if task, web := md.Processes[0], md.Processes[1]; task.BuildpackID != "b" || task.WorkingDir != "" || task.Direct || !web.Direct || web.Default || web.BuildpackID != "a/node" || web.API != (cnb.API{Major: 0, Minor: 10}) {
		t.Errorf("processes %+v", md.Processes)
	}
	if want := []cnb.Label{{Key: "k", Value: "a"}, {Key: "k", Value: "b"}}; !slices.Equal(md.Labels, want) {
		t.Errorf("labels %v", md.Labels)
	}
	if len(md.Slices) != 1 || len(md.BOM) != 1 || md.BOM[0].Buildpack.ID != "a/node" || len(built.BuildBOM) != 1 || built.BuildBOM[0].Name != "npm" {
		t.Errorf("slices %v, bom %v, build bom %v", md.Slices, md.BOM, built.BuildBOM)
	}
	if len(md.Buildpacks) != 2 || md.Buildpacks[0].Homepage != "https://a.example" || md.Buildpacks[1].API != (cnb.API{Major: 0, Minor: 7}) {
		t.Errorf("buildpacks %+v", md.Buildpacks)
	}
	got := built.Buildpacks[0]
	if len(got.Layers) != 2 || got.Layers[0].Name != "only-cache" || got.Layers[0].Contents || got.Layers[1].Name != "runtime" || !got.Layers[1].Contents ||
		got.Layers[1].Types != (cnb.LayerTypes{Launch: true, Build: true, Cache: true}) || got.Layers[1].Metadata["version"] != "22" {
		t.Errorf("layers %+v", got.Layers)
	}
	if got.Store == nil || got.Store.Data["key"] != "kept" || built.Buildpacks[1].Store != nil {
		t.Errorf("store %+v", got.Store)
	}
	var sboms []string
	for _, b := range built.SBOMs {
		sboms = append(sboms, fmt.Sprint(filepath.Base(b.Path), b.Layer, b.Launch, b.Build, b.Cache))
	}
	if want := []string{"build.sbom.cdx.jsonfalse true false", "launch.sbom.spdx.jsontrue false false", "runtime.sbom.cdx.jsonruntimetrue false true"}; !slices.Equal(sboms, want) {
		t.Errorf("SBOMs %q", sboms)
	}
	for name, there := range map[string]bool{"tmp": false, "tmp.ignore": true, "tmp.toml": true, "own": true, "runtime": true, "../sbom": false} {
		if _, err := os.Lstat(filepath.Join(s.dirs.Layers, "a_node", name)); (err == nil) != there {
			t.Errorf("%s is there: %v, want %v", name, err == nil, there)
		}
	}
	if !hasEvent(s.events, EventWarning, "b@2", "working-dir") || !hasEvent(s.events, EventBuildDone, "b@2", "") {
		t.Errorf("events %v", s.events)
	}
	if left, _ := os.ReadDir(s.dirs.Scratch); len(left) > 0 {
		t.Errorf("left in scratch: %v", left)
	}
}

func TestBuiltCrossesJSON(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a@1", build: layer("x", "launch") + file("launch.toml", "[[processes]]\ntype = \"web\"\ncommand = [\"x\"]") + file("store.toml", "[metadata]\na = [1]")})
	built := s.build(s.buildInput("a@1"))
	b, err := json.Marshal(built)
	if err != nil {
		t.Fatal(err)
	}
	var again Built
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if again.Buildpacks[0].Layers[0].Name != "x" || !reflect.DeepEqual(again.Metadata.Processes, built.Metadata.Processes) || again.Buildpacks[0].Ref != built.Buildpacks[0].Ref {
		t.Errorf("came back as %+v", again)
	}
}

func TestBuildProcesses(t *testing.T) {
	proc := func(name string, isDefault bool) string {
		return fmt.Sprintf("[[processes]]\ntype = %q\ncommand = [\"%s\"]\ndefault = %v\n", name, name, isDefault)
	}
	for _, c := range []struct {
		name, a, b, want string
		warns            bool
	}{
		{"one default", proc("web", true), "", "web", false},
		{"last default", proc("web", true), proc("worker", true), "worker", false},
		{"default is overridden", proc("web", true), proc("web", false), "", true},
		{"overridden, but another default", proc("web", true), proc("web", false) + proc("worker", true), "worker", false},
		{"overridden by a default", proc("web", true), proc("web", true), "web", false},
		{"none", proc("web", false), proc("worker", false), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.add(bp{ref: "a@1", build: file("launch.toml", c.a)})
			s.add(bp{ref: "b@1", build: file("launch.toml", c.b)})
			built := s.build(s.buildInput("a@1", "b@1"))
			if got := string(built.Metadata.BuildpackDefaultType); got != c.want {
				t.Errorf("default %q, want %q", got, c.want)
			}
			if hasEvent(s.events, EventWarning, "b@1", "no default process now") != c.warns {
				t.Errorf("events %v", s.events)
			}
		})
	}
}

// Later buildpacks see what build layers of earlier ones set, in the spec's order; launch layers do not count.
func TestBuildEnvironment(t *testing.T) {
	s := newSite(t)
	s.write("platform/env/PATH", "/user", 0o644)
	s.write("platform/env/OVER", "user", 0o644)
	s.write("build-config/env/OP.append", "op", 0o644)
	s.write("build-config/env/OP.delim", ":", 0o644)
	write := func(name, text string) string {
		return fmt.Sprintf("mkdir -p $(dirname $1/%[1]s); printf %%s '%[2]s' > $1/%[1]s\n", name, text)
	}
	s.add(bp{ref: "a@1", build: layer("b", "build") + layer("a", "build") + layer("c", "launch") +
		"mkdir $1/a/bin $1/a/lib $1/b/bin $1/b/include $1/a/pkgconfig $1/c/bin; ln -s /usr/bin $1/a/include; touch $1/b/lib\n" +
		write("a/env/OVER", "a") + write("b/env.build/OVER", "b") +
		write("a/env/JOIN.append", "1") + write("a/env/JOIN.delim", "-") + write("a/env.build/JOIN.append", "2") + write("b/env/JOIN.append", "3") + write("b/env/JOIN.delim", "+") +
		write("a/env/PRE.prepend", "1") + write("b/env/PRE.prepend", "2") + write("b/env/PRE.delim", ",") +
		write("a/env/DEF.default", "1") + write("b/env/DEF.default", "2") +
		write("a/env/OP", "a") + write("a/env/ODD.unknown", "x") + write("c/env/LAUNCH", "x") + write("a/env.launch/LAUNCH", "x") +
		write("a/env/CNB_LAYERS_DIR", "/elsewhere") + write("a/env/HOME", "/moved")})
	s.add(bp{ref: "b@1", api: "0.9", build: `env > $site/env; echo "$#|$1|$2|$3|$(pwd)" > $site/args; echo "$CNB_BP_PLAN_PATH" > $site/plan; cat "$3" > $site/entries`})
	in := s.buildInput("a@1", "b@1")
	in.Plan = cnb.Plan{Entries: []cnb.PlanEntry{{Providers: []cnb.Provider{{Ref: cnb.Ref{ID: "b", Version: "1"}}}, Requires: []cnb.Require{{Name: "x", Metadata: map[string]any{"version": "7"}}}}}}
	s.build(in)
	plan, layers := strings.TrimSpace(s.read("plan")), s.dirs.Layers
	wantEnv(t, s.read("env"),
		"PATH=/user:"+layers+"/a/b/bin:"+layers+"/a/a/bin:/usr/bin:/bin", "LD_LIBRARY_PATH="+layers+"/a/a/lib", "LIBRARY_PATH="+layers+"/a/a/lib",
		"CPATH="+layers+"/a/b/include:"+layers+"/a/a/include", "PKG_CONFIG_PATH="+layers+"/a/a/pkgconfig",
		"OVER=user", "JOIN=1-2+3", "PRE=2,1", "DEF=1", "OP=a:op", "HOME=/moved",
		"CNB_LAYERS_DIR="+layers+"/b", "CNB_PLATFORM_DIR="+s.dirs.Platform, "CNB_BP_PLAN_PATH="+plan, "CNB_BUILDPACK_DIR="+s.buildpacks+"/b/1")
	if got, want := strings.TrimSpace(s.read("args")), "3|"+layers+"/b|"+s.dirs.Platform+"|"+plan+"|"+s.dirs.App; got != want {
		t.Errorf("arguments %q, want %q", got, want)
	}
	if got := s.read("entries"); !strings.Contains(got, `name = "x"`) || !strings.Contains(got, `version = "7"`) {
		t.Errorf("plan %s", got)
	}
}

func TestBuildUnmetGoesToTheNextProvider(t *testing.T) {
	s := newSite(t)
	keep := func(me string) string { return "cat $CNB_BP_PLAN_PATH > $site/" + me + "\n" }
	s.add(bp{ref: "a@1", build: keep("a") + file("build.toml", "[[unmet]]\nname = \"y\"")})
	s.add(bp{ref: "b@1", build: keep("b")})
	s.add(bp{ref: "c@1", build: keep("c")})
	entry := func(name string, providers ...cnb.ID) cnb.PlanEntry {
		e := cnb.PlanEntry{Requires: []cnb.Require{{Name: name}}}
		for _, p := range providers {
			e.Providers = append(e.Providers, cnb.Provider{Ref: cnb.Ref{ID: p, Version: "1"}})
		}
		return e
	}
	in := s.buildInput("a@1", "b@1", "c@1")
	in.Plan = cnb.Plan{Entries: []cnb.PlanEntry{entry("x", "a", "b"), entry("y", "a", "b", "c"), entry("z", "c")}}
	s.build(in)
	for me, want := range map[string]string{"a": "x y", "b": "y", "c": "z"} {
		p, err := cnb.DecodeBuildpackPlan(me, []byte(s.read(me)))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range p.Entries {
			names = append(names, e.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s was given %q, want %q", me, got, want)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, c := range []struct {
		name, api, keys, build string
		code                   int
		want                   string // part of the error; $L is the layers directory
	}{
		{name: "exit status", build: "exit 3", code: 51, want: "build of buildpack a@1 exited with status 3"},
		{name: "signal", build: "kill -KILL $$", code: 51, want: "build of buildpack a@1 was ended by signal SIGKILL"},
		{name: "API", api: "0.6", code: 12, want: "buildpack a@1: buildpack API 0.6"},
		{name: "process type ..", build: file("launch.toml", "[[processes]]\ntype = \"..\"\ncommand = [\"x\"]"), code: 51, want: "buildpack a@1: $L/launch.toml"},
		{name: "process type with a space", build: file("launch.toml", "[[processes]]\ntype = \"a b\"\ncommand = [\"x\"]"), code: 51, want: `"a b"`},
		{name: "two defaults", build: file("launch.toml", "[[processes]]\ntype = \"a\"\ncommand = [\"x\"]\ndefault = true\n[[processes]]\ntype = \"b\"\ncommand = [\"x\"]\ndefault = true"), code: 51, want: "both the default"},
		{name: "command is a string", build: file("launch.toml", "[[processes]]\ntype = \"a\"\ncommand = \"x\""), code: 51, want: `command`},
		{name: "direct", build: file("launch.toml", "[[processes]]\ntype = \"a\"\ncommand = [\"x\"]\ndirect = true"), code: 51, want: "process.direct is not supported on this buildpack version"},
		{name: "unmet of another", build: file("build.toml", "[[unmet]]\nname = \"y\""), code: 51, want: `buildpack a@1: $L/build.toml: unmet "y" is not in the buildpack's plan`},
		{name: "not TOML", build: file("store.toml", "x = ["), code: 51, want: "buildpack a@1: $L/store.toml:"},
		{name: "types at the top level", build: file("x.toml", "launch = true"), code: 51, want: "buildpack a@1: $L/x.toml"},
		{name: "layer build", build: "mkdir $1/build", code: 51, want: `buildpack a@1: $L/build: layer name "build" is reserved`},
		{name: "layer launch", build: "mkdir $1/launch", code: 51, want: "$L/launch: layer name"},
		{name: "layer store", build: "mkdir $1/store", code: 51, want: "$L/store: layer name"},
		{name: "pipe", build: "mkfifo $1/launch.toml", code: 51, want: "buildpack a@1: $L/launch.toml: is a named pipe, not a regular file"},
		{name: "pipe as a layer", build: "mkfifo $1/x.toml", code: 51, want: "buildpack a@1: $L/x.toml: is a named pipe, not a regular file"},
		{name: "directory", build: "mkdir $1/build.toml", code: 51, want: "$L/build.toml: is a directory, not a regular file"},
		{name: "link to a device", build: "ln -s /dev/zero $1/store.toml", code: 51, want: "$L/store.toml: is a symbolic link, not a regular file"},
		{name: "link out", build: "ln -s /etc/passwd $1/x.toml", code: 51, want: "$L/x.toml: is a symbolic link, not a regular file"},
		{name: "huge", build: "truncate -s 1T $1/x.toml", code: 51, want: "$L/x.toml: the file has 1099511627776 bytes, the limit is 65536"},
		{name: "layer is a link", build: layer("x", "build") + "rmdir $1/x; ln -s /usr $1/x", code: 51, want: "buildpack a@1: $L/x: is a symbolic link, but a layer is a directory"},
		{name: "layers directory is a link", build: "rmdir $1; ln -s /etc $1", code: 51, want: "buildpack a@1: $L: is a symbolic link, not a directory"},
		{name: "layers directory is gone", build: "rmdir $1", code: 51, want: "buildpack a@1: $L: "},
		{name: "env name", build: layer("x", "launch") + "mkdir $1/x/env; touch $1/x/env/A=B", code: 51, want: `buildpack a@1: $L/x: env: env file "A=B"`},
		{name: "env name for a process", build: layer("x", "launch") + "mkdir -p $1/x/env.launch/web; touch $1/x/env.launch/web/A=B.append", code: 51, want: `env.launch/web: env file "A=B.append"`},
		{name: "env pipe", build: layer("x", "build") + "mkdir $1/x/env.build; mkfifo $1/x/env.build/A", code: 51, want: "not a regular file"},
		{name: "env link out", build: layer("x", "build") + "mkdir $1/x/env; ln -s /etc/passwd $1/x/env/A", code: 51, want: "buildpack a@1: $L/x: env: "},
		{name: "SBOM not declared", build: layer("x", "launch") + file("x.sbom.cdx.json", "{}"), code: 51, want: `buildpack a@1: $L/x.sbom.cdx.json`},
		{name: "SBOM of an unknown format", keys: `sbom-formats = ["application/spdx+json"]`, build: file("launch.sbom.foo.json", "{}"), code: 51, want: "unknown format"},
		{name: "SBOM pipe", keys: `sbom-formats = ["application/spdx+json"]`, build: "mkfifo $1/launch.sbom.spdx.json", code: 51, want: "is a named pipe, not a regular file"},
		{name: "SBOM huge", keys: `sbom-formats = ["application/spdx+json"]`, build: "truncate -s 1G $1/launch.sbom.spdx.json", code: 51, want: "the limit for an SBOM is"},
		{name: "labels", build: "{ for i in 1 2 3; do printf '[[labels]]\\nkey = \"k%s\"\\nvalue = \"%015000d\"\\n' $i 7; done; } > $1/launch.toml", code: 51, want: "more than 32768 bytes"},
		{name: "in the way of .ignore", build: layer("x") + layer("x.ignore", "cache"), code: 51, want: "$L/x.ignore: a layer of this name is in the way"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.add(bp{ref: "a@1", api: c.api, keys: c.keys, build: c.build})
			start := time.Now()
			_, err := Build(t.Context(), s.buildInput("a@1"))
			if err == nil {
				t.Fatal("no error")
			}
			want := strings.ReplaceAll(c.want, "$L", s.dirs.Layers+"/a")
			if ExitCode(err) != c.code || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("exit %d: %s; want %d: %s", ExitCode(err), err, c.code, want)
			}
			if strings.Count(err.Error(), "a@1") != 1 {
				t.Errorf("names the buildpack other than once: %s", err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestBuildStopsAtTheFirstFailure(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a@1", build: "echo sorry >&2; exit 9"})
	s.add(bp{ref: "b@1", build: "touch $site/ran"})
	_, err := Build(t.Context(), s.buildInput("a@1", "b@1"))
	exit, ok := errors.AsType[*ExitError](err)
	if !ok || exit.Code != 9 || exit.Buildpack.String() != "a@1" || exit.Phase != PhaseBuild {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(s.dir + "/ran"); err == nil {
		t.Error("the next buildpack ran")
	}
	if s.out.String() != "sorry\n" {
		t.Errorf("output %q", s.out.String())
	}
}

func TestBuildRefusesSharedDirectories(t *testing.T) {
	s := newSite(t)
	_, err := Build(t.Context(), s.buildInput("a/b@1", "a_b@2"))
	if err == nil || !strings.Contains(err.Error(), "buildpacks a/b@1 and a_b@2 would share the layers directory a_b") || ExitCode(err) != 52 {
		t.Errorf("exit %d: %v", ExitCode(err), err)
	}
}

// A buildpack puts a link where the next one's layers directory will be.
func TestBuildLinkInPlaceOfTheNextLayersDirectory(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a@1", build: "ln -s /etc $(dirname $1)/b"})
	s.add(bp{ref: "b@1", build: "touch $site/ran"})
	_, err := Build(t.Context(), s.buildInput("a@1", "b@1"))
	if err == nil || !strings.Contains(err.Error(), "is in the way: a directory has to be here, not a symbolic link") {
		t.Errorf("error %v", err)
	}
}

func TestBuildAsAnotherUser(t *testing.T) {
	s := newSite(t)
	uid := os.Geteuid()
	if uid == 0 {
		uid = 65534
		openToAll(t, s.dir)
	}
	s.add(bp{ref: "a@1", build: fmt.Sprintf("[ $(id -u) = %d ]\n", uid) + layer("x", "build") + "cat $3"})
	in := s.buildInput("a@1")
	in.Dirs.UID, in.Runner = uid, ExecRunner(uid, os.Getegid())
	if built := s.build(in); len(built.Buildpacks[0].Layers) != 1 {
		t.Errorf("built %+v", built)
	}
}

package cnb

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeLaunchRefuses(t *testing.T) {
	for _, c := range []struct{ name, api, text, want string }{
		{"args string", "0.10", "[[processes]]\ntype = \"web\"\ncommand = [\"x\"]\nargs = \"--port\"\n",
			`launch.toml:4: processes.args: want an array of strings, found a string (write args = ["--port"])`},
		{"command string", "0.9", "[[processes]]\ntype = \"web\"\ncommand = \"npm start\"\n",
			`launch.toml:3: processes.command: want an array of strings, found a string (from Buildpack API 0.9 on write command = ["npm start"])`},
		{"command array", "0.8", "[[processes]]\ntype = \"web\"\ncommand = [\"npm\"]\n",
			`launch.toml:3: processes.command: want a string, found an array (an array is for Buildpack API 0.9 and newer, this buildpack has 0.8)`},
		{"command missing", "0.9", "[[processes]]\ntype = \"web\"\n", `launch.toml:1: processes.command: is missing`},
		{"command empty", "0.9", "[[processes]]\ntype = \"web\"\ncommand = []\n", `launch.toml:3: processes.command: is empty`},
		{"direct", "0.9", "[[processes]]\ntype = \"web\"\ncommand = [\"x\"]\ndirect = true\n",
			`launch.toml:4: processes.direct: process.direct is not supported on this buildpack version`},
		{"dot dot", "0.9", "[[processes]]\ntype = \"..\"\ncommand = [\"x\"]\n", `launch.toml:2: processes.type: process type ".." is not a name`},
		{"space", "0.9", "[[processes]]\ntype = \"a b\"\ncommand = [\"x\"]\n", `launch.toml:2: processes.type: process type "a b": only letters`},
		{"no type", "0.9", "[[processes]]\ncommand = [\"x\"]\n", `launch.toml:1: processes.type: is missing`},
		{"same type", "0.9", "[[processes]]\ntype = \"w\"\ncommand = [\"x\"]\n\n[[processes]]\ntype = \"w\"\ncommand = [\"y\"]\n",
			`launch.toml:6: processes.type: process type "w" is given twice`},
		{"two defaults", "0.9", "[[processes]]\ntype = \"a\"\ncommand = [\"x\"]\ndefault = true\n[[processes]]\ntype = \"b\"\ncommand = [\"y\"]\ndefault = true\n",
			`launch.toml:8: processes.default: processes "a" and "b" are both the default`},
		{"same label", "0.9", "[[labels]]\nkey = \"k\"\nvalue = \"1\"\n[[labels]]\nkey = \"k\"\nvalue = \"2\"\n", `launch.toml:5: labels.key: label "k" is given twice`},
		{"label without key", "0.9", "[[labels]]\nvalue = \"1\"\n", `launch.toml:1: labels.key: is missing`},
		{"mixed args", "0.9", "processes = [\n {type=\"a\", command=[\"x\"]},\n {type=\"b\", command=[\"x\",\n 3]}]\n", `launch.toml:4: processes.command: want an array of strings, found an integer in it`},
		{"processes table", "0.9", "[processes]\ntype = \"a\"\n", `launch.toml:1: processes: want an array of tables, found a table (write each under [[processes]])`},
		{"default string", "0.9", "[[processes]]\ntype = \"a\"\ncommand = [\"x\"]\ndefault = \"yes\"\n", `launch.toml:4: processes.default: want true or false, found a string`},
		{"exec-env slash", "0.12", "[[processes]]\ntype = \"a\"\ncommand = [\"x\"]\nexec-env = [\"a/b\"]\n", `launch.toml:4: processes.exec-env: execution environment "a/b" is not a name`},
		{"syntax", "0.9", "a = 1\nb = = 2\n", `launch.toml:2: not valid TOML: `},
		{"same key", "0.9", "a = 1\na = 2\n", `launch.toml:2: not valid TOML: `},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeLaunch("launch.toml", []byte(c.text), api(c.api))
			check(t, err, c.want)
		})
	}
}

// check wants a one-line error that begins with want; an empty want wants none.
func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v", err)
	case want == "":
	case err == nil:
		t.Errorf("no error, want %s", want)
	case !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n"):
		t.Errorf("\n got %s\nwant %s...", err, want)
	}
}

func TestDecodeLaunch(t *testing.T) {
	text := `
[[processes]]
type = "web"
command = ["node", "a.js"]
args = []
default = true
working-dir = "/x"
exec-env = ["*"]
unknown = 1
[[labels]]
key = "k"
value = "v"
[[slices]]
paths = ["a/*"]
`
	got, err := DecodeLaunch("launch.toml", []byte(text), api("0.12"))
	want := Launch{
		Processes: []Process{{Type: "web", Command: []string{"node", "a.js"}, Args: []string{}, Default: true, WorkingDir: "/x", ExecEnv: []string{"*"}, Direct: true, API: api("0.12")}},
		Labels:    []Label{{"k", "v"}},
		Slices:    []Slice{{[]string{"a/*"}}},
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got, err = DecodeLaunch("launch.toml", []byte("[[processes]]\ntype = \"web\"\ncommand = \"a && b\"\n"), api("0.8"))
	if err != nil || got.Processes[0].Direct || got.Processes[0].Args != nil || got.Processes[0].Command[0] != "a && b" {
		t.Errorf("Buildpack API 0.8: %+v, %v", got, err)
	}
}

func TestDecodeDescriptor(t *testing.T) {
	const head = "api = \"0.10\"\n[buildpack]\nid = \"a/b\"\nversion = \"1.2.3\"\n"
	for _, c := range []struct{ name, text, want string }{
		{"fine", head, ""},
		{"no api", "[buildpack]\nid = \"a\"\nversion = \"1.0.0\"\n", "buildpack.toml: api: is missing"},
		{"bad api", "api = \"x\"\n[buildpack]\nid = \"a\"\nversion = \"1.0.0\"\n", `buildpack.toml:1: api: API version "x"`},
		{"float api", "api = 0.10\n", "buildpack.toml:1: api: want a string, found a float"},
		{"no table", "api = \"0.10\"\n", "buildpack.toml: buildpack: the table [buildpack] is missing"},
		{"no id", "api = \"0.10\"\n[buildpack]\nversion = \"1.0.0\"\n", "buildpack.toml:2: buildpack.id: is missing"},
		{"reserved id", "api = \"0.10\"\n[buildpack]\nid = \"config\"\nversion = \"1.0.0\"\n", `buildpack.toml:3: buildpack.id: buildpack id "config" is reserved`},
		{"id leaves", "api = \"0.10\"\n[buildpack]\nid = \"a/../b\"\nversion = \"1.0.0\"\n", `buildpack.toml:3: buildpack.id: buildpack id "a/../b"`},
		{"version leaves", "api = \"0.10\"\n[buildpack]\nid = \"a\"\nversion = \"../x\"\n", `buildpack.toml:4: buildpack.version: version "../x" is not a version`},
		{"sbom", head + "sbom-formats = [\"text/plain\"]\n", `buildpack.toml:5: buildpack.sbom-formats: unknown media type "text/plain"`},
		{"order without id", head + "[[order]]\n[[order.group]]\nversion = \"1\"\n", "buildpack.toml:6: order.group.id: is missing"},
		{"group string", head + "[[order]]\ngroup = \"a\"\n", "buildpack.toml:6: order.group: want an array of tables, found a string"},
		{"empty", "", "buildpack.toml: api: is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeDescriptor("buildpack.toml", []byte(c.text))
			check(t, err, c.want)
		})
	}
}

func TestDescriptorBothForms(t *testing.T) {
	const head = "api = \"0.12\"\n[buildpack]\nid = \"a\"\nversion = \"1.0.0\"\n"
	want := []string{"production", "test"}
	for _, text := range []string{
		head + "exec-env = [\"production\", \"test\"]\n[[targets]]\nos = \"linux\"\nvariant = \"v7\"\n",
		head + "[[buildpack.exec-env]]\nname = \"production\"\n[[buildpack.exec-env]]\nname = \"test\"\n[[targets]]\nos = \"linux\"\narch-variant = \"v7\"\n",
	} {
		d, err := DecodeDescriptor("buildpack.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(d.ExecEnv, want) || len(d.Targets) != 1 || d.Targets[0].Variant != "v7" {
			t.Errorf("exec-env %v, targets %v", d.ExecEnv, d.Targets)
		}
	}
}

func TestDecodeLayer(t *testing.T) {
	l, err := DecodeLayer("l.toml", []byte("[types]\nlaunch = true\n[metadata]\na = 1\n"), api("0.8"))
	if err != nil || !l.Types.Launch || l.Types.Build || l.Metadata["a"] != int64(1) {
		t.Errorf("%+v, %v", l, err)
	}
	_, err = DecodeLayer("l.toml", []byte("launch = true\n"), api("0.8"))
	check(t, err, "l.toml:1: launch: belongs in the table [types]")
	_, err = DecodeLayer("l.toml", []byte("metadata = \"x\"\n"), api("0.8"))
	check(t, err, "l.toml:1: metadata: want a table, found a string")
}

func TestCheckPlan(t *testing.T) {
	p, err := DecodeBuildPlan("plan", []byte("[[provides]]\nname = \"a\"\n[[or]]\n[[or.requires]]\nname = \"b\"\nversion = \"1\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{
		"0.10": "", "0.11": `buildpack x@1.0.0: build plan: requires "b": top-level version is not supported`,
	} {
		d := &Descriptor{API: api(version), Ref: Ref{ID: "x", Version: "1.0.0"}}
		check(t, d.CheckPlan(p), want)
	}
	_, err = DecodeBuildPlan("plan", []byte("[[requires]]\nmetadata = {}\n"))
	check(t, err, "plan:1: requires.name: is missing")
}

func TestDecodePlatformFiles(t *testing.T) {
	_, err := DecodeOrder("order.toml", []byte("[[order]]\n[[order.group]]\nid = \"\"\n"))
	check(t, err, "order.toml:3: order.group.id: is missing")
	_, err = DecodeRun("run.toml", []byte("[[images]]\nmirrors = [\"m\"]\n"))
	check(t, err, "run.toml:2: images.mirrors: mirrors of no image")
	ext, err := DecodeOrderExtensions("order.toml", []byte("[[order-extensions]]\n[[order-extensions.group]]\nid = \"e\"\nversion = \"1.0.0\"\n"))
	if err != nil || !ext[0].Elements[0].Extension || !ext[0].Elements[0].Optional {
		t.Errorf("%+v %v", ext, err)
	}
	s, err := DecodeSystem("system.toml", []byte("[[system.pre.buildpacks]]\nid = \"a\"\nversion = \"1.0.0\"\noptional = true\n"))
	if err != nil || !s.Pre[0].Optional {
		t.Errorf("%+v %v", s, err)
	}
}

// TestHostileText holds that text made to hurt a parser costs next to nothing.
func TestHostileText(t *testing.T) {
	many := func(s string, n int) string { return strings.Repeat(s, n) }
	for _, c := range []struct{ name, text, want string }{
		{"dotted key of 20 KB", many("a.", 10000) + "a = 1\n", "f:1: nested deeper than 32 levels"},
		{"dotted header", "[" + many("a.", 10000) + "a]\n", "f:1: nested deeper"},
		{"quoted dots", many(`"a".`, 8000) + "a = 1\n", "f:1: nested deeper"},
		{"arrays", "\na = " + many("[", 60000), "f:2: nested deeper"},
		{"inline tables", "a = " + many("{a=", 20000), "f:1: nested deeper"},
		{"inline dotted", "a = {" + many("b.", 5000) + "c=1}", "f:1: nested deeper"},
		{"header and key", "[" + many("a.", 20) + "a]\n" + many("b.", 20) + "b = 1\n", "f:2: nested deeper"},
		{"keys", many("[[a]]\n", 10000), ""},
		{"too large", many("#", MaxBuildFile+1), "f: the file has 65537 bytes, the limit is 65536"},
		{"control characters", "a = \"\x01\"", "f:1: not valid TOML"},
		{"not text", "\xff\xfe\x00", "f:1: not valid TOML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			_, err := DecodeStore("f", []byte(c.text))
			check(t, err, c.want)
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestManyKeysAreQuick(t *testing.T) {
	keys := func(n int) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "key-%d = 1\n", i)
		}
		return []byte(b.String())
	}
	start := time.Now()
	_, err := DecodeDescriptor("f", keys(17000))
	check(t, err, "f:16385: more than 16384 keys")
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v to refuse", d)
	}
	// The parser's time grows with the square of the number of keys, which is why there is a limit: about
	// 0.3 s there. Fewer are tried here for the race detector's sake.
	if _, err = DecodeRun("f", keys(2000)); err != nil {
		t.Error(err)
	}
}

// A build's metadata has the labels of all buildpacks, in order: two may have one key.
func TestDecodeMetadataLabels(t *testing.T) {
	m, err := DecodeMetadata("metadata.toml", []byte("[[labels]]\nkey = \"k\"\nvalue = \"1\"\n[[labels]]\nkey = \"k\"\nvalue = \"2\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Label{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}}, m.Labels); diff != "" {
		t.Error(diff)
	}
}

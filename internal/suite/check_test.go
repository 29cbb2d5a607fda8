package suite

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
	"github.com/slipway-build/slipway/internal/platform"
)

// seen is a build of which everything is known.
func seen() Seen {
	return Seen{
		Result: Built, ID: "acme/one", Log: "one\ninstalling tool 1.2.3\nthree\n",
		Tried: &platform.Tried{
			Buildpacks: []platform.TriedBuildpack{{Buildpack: cnb.Ref{ID: "acme/one", Version: "1.0.0"}, Layers: []platform.TriedLayer{
				{Name: "tools", Launch: true, How: platform.LayerKept, Listing: agent.Listing{Env: map[string]string{"env.launch/PORT.default": "8080"}}},
				{Name: "again", Cache: true, How: platform.LayerSame},
			}}},
			Processes: []platform.TriedProcess{{Type: "web", Command: []string{"serve"}, Args: []string{"-a"}, Default: true}},
		},
		Image: &Image{
			Files:  map[string]ImageFile{"/bin/tool": {0o755, "#!/bin/sh\n"}},
			Labels: map[string]string{"of": "acme"}, Env: map[string]string{"PORT": "8080"},
			SBOMs: map[string]string{"launch/acme_one/tools/sbom.cdx.json": `{"name":"tool"}`},
			Bytes: 1000, HTTP: []Answer{{Status: 200, Body: "hello\n"}},
		},
	}
}

// TestExpectations has every kind of expectation green, and red with what a reader needs to know.
func TestExpectations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ green, red, diff string }{
		"result":         {`result = "built"`, `result = "not-detected"`, "result of the build\n  expected: not-detected\n  actual:   built\n  nearest:  one"},
		"log contains":   {`log.contains = ["installing"]`, `log.contains = ["installing tool 2"]`, "expected: \"installing tool 2\"\n  actual:   nothing like it\n  nearest:  line 2: installing tool 1.2.3"},
		"log matches":    {`log.matches = ['^installing tool [\d.]+$']`, `log.matches = ['^installing tool [a-z]+$']`, "actual:   no line matches\n  nearest:  line 2: installing tool 1.2.3"},
		"log absent":     {`log.absent = ["ERROR"]`, `log.absent = ["three"]`, "expected: nowhere \"three\"\n  actual:   line 3: three"},
		"layer":          {`layer = [{ name = "tools" }]`, `layer = [{ name = "libs" }]`, "layer libs\n  expected: is there\n  actual:   layers: again, tools"},
		"layer's flags":  {`layer = [{ name = "tools", launch = true, build = false, cache = false }]`, `layer = [{ name = "tools", cache = true }]`, "layer tools, cache\n  expected: true\n  actual:   false"},
		"layer's env":    {`layer = [{ name = "tools", env = { "env.launch/PORT.default" = "8080" } }]`, `layer = [{ name = "tools", env = { "env.launch/PORT.default" = "80" } }]`, "expected: 80\n  actual:   8080"},
		"no layer":       {`no-layers = ["libs"]`, `no-layers = ["tools"]`, "layer tools\n  expected: is not there"},
		"process":        {`process = [{ type = "web", command = ["serve", "-a"], default = true }]`, `process = [{ type = "web", command = ["serve"] }]`, "expected: [\"serve\"]\n  actual:   [\"serve\" \"-a\"]"},
		"default":        {`process = [{ type = "web" }]`, `process = [{ type = "web", default = false }]`, "process web, default\n  expected: false\n  actual:   true"},
		"another":        {`no-processes = ["worker"]`, `process = [{ type = "worker" }]`, "process worker\n  expected: is there\n  actual:   processes: web"},
		"no process":     {`no-processes = ["worker"]`, `no-processes = ["web"]`, "process web\n  expected: is not there"},
		"file":           {`file = [{ path = "bin/tool" }]`, `file = [{ path = "/bin/other" }]`, "file /bin/other\n  expected: is there\n  actual:   is not there"},
		"file's mode":    {`file = [{ path = "/bin/tool", mode = "755" }]`, `file = [{ path = "/bin/tool", mode = "0644" }]`, "mode\n  expected: 0644\n  actual:   0755"},
		"file's content": {`file = [{ path = "/bin/tool", content = { contains = ["#!"] } }]`, `file = [{ path = "/bin/tool", content = { contains = ["#!/bin/bash"] } }]`, "nearest:  line 1: #!/bin/sh"},
		"no file":        {`file = [{ path = "/bin/other", absent = true }]`, `file = [{ path = "/bin/tool", absent = true }]`, "file /bin/tool\n  expected: is not there\n  actual:   is there, mode 0755"},
		"SBOM":           {`sbom = [{ layer = "tools", format = "cdx.json" }]`, `sbom = [{ layer = "libs" }]`, "SBOM libs\n  expected: is there\n  actual:   SBOM files: launch/acme_one/tools/sbom.cdx.json"},
		"SBOM's content": {`sbom = [{ content = { contains = ["tool"] } }]`, `sbom = [{ content = { contains = ["other tool"] } }]`, "expected: \"other tool\"\n  actual:   nothing like it\n  nearest:  line 1: {\"name\":\"tool\"}"},
		"label":          {`labels = { of = "acme" }`, `labels = { of = "us" }`, "label of\n  expected: us\n  actual:   acme"},
		"no label":       {`labels = { of = "acme" }`, `labels = { by = "us" }`, "label by\n  expected: us\n  actual:   not there; there are of"},
		"env":            {`env = { PORT = "8080" }`, `env = { PORT = "80" }`, "variable PORT\n  expected: 80\n  actual:   8080"},
		"size":           {`max-size = 1000`, `max-size = 999`, "expected: at most 999 bytes\n  actual:   1000 bytes, 1 too many"},
		"status":         {`http = [{ path = "/" }]`, `http = [{ path = "/", status = 404 }]`, "GET /, status\n  expected: 404\n  actual:   200"},
		"body":           {`http = [{ path = "/", body = { contains = ["hello"] } }]`, `http = [{ path = "/", body = { contains = ["hello you"] } }]`, "nearest:  line 1: hello"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := check(expect(t, c.green), seen()); len(got) > 0 {
				t.Errorf("green is %v", got)
			}
			got := check(expect(t, c.red), seen())
			if len(got) != 1 || !strings.Contains(got[0].String(), c.diff) {
				t.Errorf("red is\n%v\nwant it to have\n%s", got, c.diff)
			}
		})
	}
}

func expect(t *testing.T, e string) Expect {
	t.Helper()
	s, err := Decode(FileName, []byte("[[case]]\nname = \"a\"\napp = \"app\"\n[case.expect]\n"+e+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return s.Cases[0].Expect
}

// TestReuse wants a layer that was made again, with the same files, not to count as reused.
func TestReuse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		r    Rebuild
		want string
	}{
		"reused":     {Rebuild{Reused: []string{"tools"}}, ""},
		"made":       {Rebuild{Made: []string{"again"}}, ""},
		"not reused": {Rebuild{Reused: []string{"again"}}, "layer again\n  expected: reused\n  actual:   made again, with the same files\n"},
		"not made":   {Rebuild{Made: []string{"tools"}}, "layer tools\n  expected: made again\n  actual:   reused (kept)\n"},
		"no layer":   {Rebuild{Reused: []string{"libs"}}, "layer libs\n  expected: reused\n  actual:   there is no such layer\n"},
	} {
		var got strings.Builder
		for _, f := range checkReuse(c.r, seen()) {
			got.WriteString(f.String())
		}
		if got.String() != c.want {
			t.Errorf("%s: %q, want %q", name, got.String(), c.want)
		}
	}
}

// TestNoAnswer tells of an app that does not answer with the end of what it printed.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	s := seen()
	s.Image.HTTP[0] = Answer{Error: "it has ended", Body: "no such file\n"}
	got := check(expect(t, `http = [{ path = "/" }]`), s)
	if len(got) != 1 || got[0].String() != "GET /\n  expected: an answer\n  actual:   it has ended\n  nearest:  no such file\n" {
		t.Errorf("%v", got)
	}
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                       "buildpack.test.toml: case: is missing",
		"a = ":                                   "buildpack.test.toml:1: not valid TOML",
		"[[case]]\nnam = \"a\"":                  "buildpack.test.toml:2: case.nam: is no key of a suite",
		"[[case]]\nname = 1":                     "buildpack.test.toml:2: ",
		"[[case]]\napp = \"a\"":                  "buildpack.test.toml:1: case: has no name",
		"[[case]]\nname = \"a\"":                 `buildpack.test.toml:1: case: "a" has no app`,
		one + "\n" + one:                         `buildpack.test.toml:5: case.name: "a" is the name of a case above`,
		one + "expect.result = \"x\"":            `"a": result "x" is none of built`,
		one + "expect.log.matches = [\"(\"]":     `"a": matches "("`,
		one + "expect.http = [{ path = \"x\" }]": "does not begin with /",
		one + "rebuild = [{ write = { \"../x\" = \"\" } }]":      `writes "../x", which is not below the app`,
		one + "expect.result = \"not-detected\"\nrebuild = [{}]": "what is not built cannot be built again",
		"[[case]]\nname = \"a\"\napp = \"../a\"":                 `app "../a" is not below the suite's directory`,
		strings.Repeat("#", maxFile+1):                           "the limit is",
	} {
		_, err := Decode(FileName, []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60q: error %v, want %q", text, err, want)
		}
	}
}

const one = "[[case]]\nname = \"a\"\napp = \"a\"\n"

func TestRuns(t *testing.T) {
	t.Parallel()
	s, err := Decode(FileName, []byte("builders = [\"b1\", \"b2\"]\nversions = [\".\", \"old\"]\n"+one+"[[case]]\nname = \"c\"\napp = \"a\"\nbuilders = [\"b3\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range s.Runs() {
		names = append(names, r.Name())
	}
	if got, want := strings.Join(names, "; "), "a on b1; a on b1 with old; a on b2; a on b2 with old; c on b3; c on b3 with old"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	err := WriteJUnit(&b, "suite", []Outcome{{Name: "good"}, {Name: "bad", Failures: []Failure{{"log", "log contains", "\x01]]>", "<", nil}}, Log: "x\x00y"}, {Name: "worse", Error: "no builder"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`tests="3" failures="1" errors="1"`, `<failure message="log contains">`, `<error message="no builder">`, `<system-out>xy</system-out>`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s\nhas no %s", b.String(), want)
		}
	}
	if strings.ContainsAny(b.String(), "\x00\x01") {
		t.Error("there are characters that XML cannot hold")
	}
}

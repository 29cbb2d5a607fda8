package builder

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

const (
	buildFile = "ARG base_image\nFROM ${base_image}\nRUN true\n"
	runFile   = "ARG base_image\nFROM ${base_image}\nUSER 0\nRUN true\n"
)

// leave is a script that writes files into the output directory.
func leave(files ...string) string {
	var b strings.Builder
	for i := 0; i < len(files); i += 2 {
		b.WriteString("mkdir -p \"$(dirname \"$CNB_OUTPUT_DIR/" + files[i] + "\")\"\ncat > \"$CNB_OUTPUT_DIR/" + files[i] + "\" <<'END'\n" + files[i+1] + "\nEND\n")
	}
	return b.String()
}

func (s *site) generate(api int, refs []string, change ...func(*GenerateInput)) (*Generated, error) {
	s.t.Helper()
	d := s.detectInput()
	in := GenerateInput{
		PlatformAPI: cnb.API{Major: 0, Minor: api}, Dirs: d.Dirs, Target: d.Target, Env: d.Env, Runner: d.Runner, Emit: d.Emit, Stdio: d.Stdio,
		Catalog:  DirExtensions(filepath.Join(s.dir, "extensions")),
		Group:    cnb.Group{Elements: append(asExtensions(cnb.Order{{Elements: elements(s.t, refs...)}})[0].Elements, elements(s.t, "bp@1")...)},
		Analyzed: cnb.Analyzed{RunImage: &cnb.RunImage{Reference: "r.example/run@sha256:" + strings.Repeat("a", 64), Image: "r.example/run", Target: &cnb.Target{OS: "linux"}}},
	}
	in.Dirs.Generated = s.dirs.Layers + "/generated"
	for _, c := range change {
		c(&in)
	}
	return Generate(s.t.Context(), in)
}

// tree lists the files of a directory, sorted; what is no regular file has a mark behind it.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		if !d.Type().IsRegular() {
			name += "@"
		}
		out = append(out, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestGenerate(t *testing.T) {
	const args = "[[build.args]]\nname = \"a\"\nvalue = \"1\"\n"
	for _, c := range []struct {
		name     string
		exts     []ext
		refs     []string
		old, new string // what lies in <generated> before Platform API 0.13, and from it on
		run      string // image, then "+" where it is to be extended
	}{
		{name: "nothing", exts: []ext{{ref: "e@1"}}, refs: []string{"e@1"}, run: "r.example/run"},
		{name: "build", exts: []ext{{ref: "v/e@1", generate: leave("build.Dockerfile", buildFile, "extend-config.toml", args)}}, refs: []string{"v/e@1"},
			old: "build/v_e/Dockerfile build/v_e/extend-config.toml", new: "v_e/build.Dockerfile v_e/extend-config.toml", run: "r.example/run"},
		{name: "run", exts: []ext{{ref: "e@1", generate: leave("run.Dockerfile", runFile)}}, refs: []string{"e@1"},
			old: "run/e/Dockerfile", new: "e/run.Dockerfile", run: "r.example/run +"},
		{name: "run without an instruction", exts: []ext{{ref: "e@1", generate: leave("run.Dockerfile", "FROM ${base_image}")}}, refs: []string{"e@1"},
			old: "run/e/Dockerfile", new: "e/run.Dockerfile", run: "r.example/run"},
		{name: "switch", exts: []ext{{ref: "e@1", generate: leave("run.Dockerfile", "FROM other.example/run:2")}}, refs: []string{"e@1"},
			old: "run/e/Dockerfile", new: "e/run.Dockerfile", run: "other.example/run:2"},
		{name: "switch and extend", exts: []ext{{ref: "e@1", generate: leave("run.Dockerfile", "FROM other.example/run\nUSER 1")}}, refs: []string{"e@1"},
			old: "run/e/Dockerfile", new: "e/run.Dockerfile", run: "other.example/run +"},
		{name: "the last switch wins", refs: []string{"e@1", "f@1", "g@1"}, exts: []ext{
			{ref: "e@1", generate: leave("run.Dockerfile", "FROM first.example/run\nUSER 1", "build.Dockerfile", buildFile, "extend-config.toml", args)},
			{ref: "f@1", generate: leave("run.Dockerfile", "FROM second.example/run")}, {ref: "g@1", generate: leave("build.Dockerfile", buildFile)}},
			old: "build/e/Dockerfile build/e/extend-config.toml build/g/Dockerfile run/e/Dockerfile.ignore run/e/extend-config.toml run/f/Dockerfile",
			new: "e/build.Dockerfile e/extend-config.toml e/run.Dockerfile.ignore f/run.Dockerfile g/build.Dockerfile", run: "second.example/run"},
		{name: "extended after the switch", refs: []string{"e@1", "f@1"}, exts: []ext{
			{ref: "e@1", generate: leave("run.Dockerfile", "FROM other.example/run")}, {ref: "f@1", generate: leave("run.Dockerfile", runFile)}},
			old: "run/e/Dockerfile run/f/Dockerfile", new: "e/run.Dockerfile f/run.Dockerfile", run: "other.example/run +"},
		{name: "the same image", exts: []ext{{ref: "e@1", generate: leave("run.Dockerfile", "FROM r.example/run")}}, refs: []string{"e@1"},
			old: "run/e/Dockerfile", new: "e/run.Dockerfile", run: "r.example/run"},
		{name: "contexts", exts: []ext{{ref: "e@1", generate: leave("build.Dockerfile", buildFile, "context.build/a/b", "x", "context.run/c", "y", "other", "z")}}, refs: []string{"e@1"},
			old: "build/e/Dockerfile", new: "e/build.Dockerfile e/context.build/a/b e/context.run/c e/other", run: "r.example/run"},
		{name: "prepared", exts: []ext{{ref: "e@1", generate: "none", files: map[string]string{
			"generate/build.Dockerfile": buildFile, "generate/extend-config.toml": args, "generate/context/sub/file": "x", "generate/more": "left out"}}}, refs: []string{"e@1"},
			old: "build/e/Dockerfile build/e/extend-config.toml", new: "e/build.Dockerfile e/context/sub/file e/extend-config.toml", run: "r.example/run"},
		{name: "prepared and without effect", exts: []ext{{ref: "e@1", generate: "none", files: map[string]string{"generate/run.Dockerfile": runFile}},
			{ref: "f@1", generate: leave("run.Dockerfile", "FROM other.example/run")}}, refs: []string{"e@1", "f@1"},
			old: "run/e/Dockerfile.ignore run/f/Dockerfile", new: "e/run.Dockerfile.ignore f/run.Dockerfile", run: "other.example/run"},
		{name: "prepared with nothing", exts: []ext{{ref: "e@1", generate: "none"}}, refs: []string{"e@1"}, run: "r.example/run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, api := range []int{10, 12, 13, 15} {
				s := newSite(t)
				for _, e := range c.exts {
					s.addExtension(e)
				}
				g, err := s.generate(api, c.refs)
				if err != nil {
					t.Fatalf("0.%d: %v", api, err)
				}
				want := c.old
				if api >= 13 {
					want = c.new
				}
				if got := tree(t, s.dirs.Layers+"/generated"); got != want {
					t.Errorf("0.%d: %q, want %q", api, got, want)
				}
				run := g.Analyzed.RunImage.Image
				if g.Analyzed.RunImage.Extend {
					run += " +"
				}
				if run != c.run {
					t.Errorf("0.%d: run image %q, want %q", api, run, c.run)
				}
				if left, _ := os.ReadDir(s.dirs.Scratch); len(left) > 0 {
					t.Errorf("left in scratch: %v", left)
				}
			}
		})
	}
}

func TestGenerateAnalyzed(t *testing.T) {
	s := newSite(t)
	s.addExtension(ext{ref: "new@1", generate: leave("run.Dockerfile", "FROM mirror.example/known:latest@sha256:"+strings.Repeat("b", 64))})
	s.addExtension(ext{ref: "same@1", generate: leave("run.Dockerfile", "FROM r.example/run\nUSER 1")})
	known := func(in *GenerateInput) {
		in.RunImages = []cnb.RunImageName{{Image: "x"}, {Image: "y", Mirrors: []string{"mirror.example/known"}}}
	}
	before := cnb.RunImage{Reference: "r.example/run@sha256:" + strings.Repeat("a", 64), Image: "r.example/run", Extend: true}
	for _, c := range []struct {
		ref    string
		api    int
		change func(*GenerateInput)
		want   cnb.RunImage
		target bool
		warns  bool
	}{
		{ref: "new@1", api: 15, want: cnb.RunImage{Reference: "mirror.example/known:latest@sha256:" + strings.Repeat("b", 64)}, warns: true},
		{ref: "new@1", api: 15, change: known, want: cnb.RunImage{Reference: "mirror.example/known:latest@sha256:" + strings.Repeat("b", 64)}},
		{ref: "same@1", api: 12, want: before, target: true},
		{ref: "same@1", api: 11, want: cnb.RunImage{Reference: "r.example/run", Extend: true}, warns: true},
	} {
		s.events = nil
		var input *cnb.RunImage
		g, err := s.generate(c.api, []string{c.ref}, func(in *GenerateInput) {
			if c.change != nil {
				c.change(in)
			}
			input = in.Analyzed.RunImage
		})
		if err != nil {
			t.Fatal(err)
		}
		r := g.Analyzed.RunImage
		if c.want.Image == "" {
			c.want.Image = c.want.Reference
		}
		if r.Reference != c.want.Reference || r.Image != c.want.Image || r.Extend != c.want.Extend || (r.Target != nil) != c.target {
			t.Errorf("%s on 0.%d: %+v, want %+v", c.ref, c.api, r, c.want)
		}
		if input.Extend || input == r {
			t.Errorf("%s on 0.%d changed its input", c.ref, c.api)
		}
		if warned := slices.ContainsFunc(s.events, func(e Event) bool {
			return e.Kind == EventWarning && strings.Contains(e.Text, "not found in run metadata")
		}); warned != c.warns {
			t.Errorf("%s on 0.%d: warned %v", c.ref, c.api, warned)
		}
	}
}

func TestGeneratePlan(t *testing.T) {
	s := newSite(t)
	keep := `cat "$CNB_BP_PLAN_PATH" > $site/plan-$(basename "$(dirname "$CNB_EXTENSION_DIR")")` + "\n"
	s.addExtension(ext{ref: "e@1", generate: keep + "echo \"$@\" > $site/args; env > $site/env; pwd > $site/pwd"})
	s.addExtension(ext{ref: "f@1", generate: keep})
	entry := func(name string, ps ...cnb.Provider) cnb.PlanEntry {
		return cnb.PlanEntry{Providers: ps, Requires: []cnb.Require{{Name: name}}}
	}
	provider := func(id cnb.ID, extension bool) cnb.Provider {
		return cnb.Provider{Ref: cnb.Ref{ID: id, Version: "1"}, Extension: extension}
	}
	plan := cnb.Plan{Entries: []cnb.PlanEntry{
		entry("both", provider("e", true), provider("f", true)), entry("second", provider("f", true)),
		entry("buildpack's", provider("e", false)), entry("shared", provider("f", true), provider("bp", false)),
	}}
	g, err := s.generate(15, []string{"e@1", "f@1"}, func(in *GenerateInput) { in.Plan = plan })
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Plan.Entries) != 1 || g.Plan.Entries[0].Requires[0].Name != "buildpack's" || len(plan.Entries) != 4 {
		t.Errorf("plan %+v", g.Plan)
	}
	if e := s.read("plan-e"); !strings.Contains(e, `name = "both"`) || strings.Contains(e, "second") || strings.Contains(e, "buildpack") {
		t.Errorf("plan of e: %s", e)
	}
	if f := s.read("plan-f"); strings.Contains(f, `"both"`) || !strings.Contains(f, `"second"`) || !strings.Contains(f, `"shared"`) {
		t.Errorf("plan of f: %s", f)
	}
	env := s.read("env")
	for _, want := range []string{
		"CNB_OUTPUT_DIR=" + s.dirs.Layers + "/generated/e\n", "CNB_EXTENSION_DIR=" + s.dir + "/extensions/e/1\n",
		"CNB_PLATFORM_DIR=" + s.dirs.Platform + "\n", "CNB_BP_PLAN_PATH=" + s.dirs.Scratch, "CNB_TARGET_ARCH=amd64\n",
	} {
		if !strings.Contains(env, want) {
			t.Errorf("no %q in\n%s", want, env)
		}
	}
	if strings.Contains(env, "CNB_BUILDPACK_DIR") || strings.Contains(env, "CNB_LAYERS_DIR") || s.read("pwd") != s.dirs.App+"\n" || len(strings.Fields(s.read("args"))) != 3 {
		t.Errorf("in %s, %s, with\n%s", s.read("pwd"), s.read("args"), env)
	}
}

func TestGenerateStale(t *testing.T) {
	s := newSite(t)
	s.addExtension(ext{ref: "e@1", generate: leave("build.Dockerfile", buildFile)})
	for _, api := range []int{12, 13} {
		s.write("layers/generated/e/run.Dockerfile", runFile, 0o644)
		s.write("layers/generated/run/e/Dockerfile", runFile, 0o644)
		if _, err := s.generate(api, []string{"e@1"}); err != nil {
			t.Fatal(err)
		}
		want := map[int]string{12: "build/e/Dockerfile e/run.Dockerfile", 13: "build/e/Dockerfile e/build.Dockerfile run/e/Dockerfile"}[api]
		if got := tree(t, s.dirs.Layers+"/generated"); got != want {
			t.Errorf("0.%d: %q, want %q", api, got, want)
		}
	}
}

func TestGenerateWarns(t *testing.T) {
	s := newSite(t)
	s.addExtension(ext{ref: "e@1", generate: leave("build.Dockerfile", buildFile+"\nCMD x\n# a comment\nEXPOSE 1", "run.Dockerfile", "FROM ${base_image}\nENTRYPOINT [\"a\"]")})
	if _, err := s.generate(15, []string{"e@1"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range s.events {
		if e.Kind == EventWarning {
			got = append(got, e.Text)
		}
	}
	want := []string{"run.Dockerfile command ENTRYPOINT on line 2 is not recommended", "build.Dockerfile command CMD on line 5 is not recommended", "build.Dockerfile command EXPOSE on line 7 is not recommended"}
	if !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
}

func TestGenerateRefuses(t *testing.T) {
	long := strings.Repeat("x.", 10_000)
	for name, c := range map[string]struct {
		script string
		code   int
		want   string
	}{
		"failure":           {"exit 3", 91, "generate of extension e@1 exited with status 3"},
		"FIFO":              {`mkfifo "$CNB_OUTPUT_DIR/run.Dockerfile"`, 92, "run.Dockerfile: not a regular file"},
		"FIFO config":       {`mkfifo "$CNB_OUTPUT_DIR/extend-config.toml"`, 92, "extend-config.toml: not a regular file"},
		"directory":         {`mkdir "$CNB_OUTPUT_DIR/build.Dockerfile"`, 92, "build.Dockerfile: not a regular file"},
		"link out":          {`ln -s /etc/passwd "$CNB_OUTPUT_DIR/build.Dockerfile"`, 92, "build.Dockerfile: openat build.Dockerfile: path escapes from parent"},
		"link to FIFO":      {`mkfifo "$CNB_OUTPUT_DIR/p"; ln -s p "$CNB_OUTPUT_DIR/build.Dockerfile"`, 92, "not a regular file"},
		"huge":              {`head -c 2000000 /dev/zero > "$CNB_OUTPUT_DIR/build.Dockerfile"`, 92, "the limit is 1048576"},
		"endless":           {`truncate -s 1T "$CNB_OUTPUT_DIR/extend-config.toml"`, 92, "the limit is 65536"},
		"linked context":    {`ln -s /etc "$CNB_OUTPUT_DIR/context"`, 92, "a build context is a directory, not a symbolic link"},
		"FIFO context":      {`mkfifo "$CNB_OUTPUT_DIR/context.run"`, 92, "a build context is a directory, not a named pipe"},
		"two contexts":      {`mkdir "$CNB_OUTPUT_DIR/context" "$CNB_OUTPUT_DIR/context.run"`, 92, "context stands beside it"},
		"other directory":   {`mv "$CNB_OUTPUT_DIR" "$CNB_OUTPUT_DIR.old"; ln -s /etc "$CNB_OUTPUT_DIR"`, 92, "is not the one that was there"},
		"directory is gone": {`rmdir "$CNB_OUTPUT_DIR"`, 92, "is not the one that was there"},
		"config":            {leave("extend-config.toml", "[build]\nargs = 1"), 92, "extend-config.toml:2: build.args: want an array of tables"},
		"reserved arg":      {leave("extend-config.toml", "[[run.args]]\nname = \"user_id\"\nvalue = \"0\""), 92, `run.args.name: "user_id" is given by the lifecycle`},
		"20 KB key":         {leave("extend-config.toml", long+"x = 1"), 92, "nested deeper than 32 levels"},
		"20 KB name":        {leave("run.Dockerfile", "FROM "+long), 92, "write ${base_image} or the name of a run image"},
		"20 KB instruction": {leave("run.Dockerfile", "FROM ${base_image}\n"+long), 92, "there is no instruction"},
		"no ARG":            {leave("build.Dockerfile", "FROM ${base_image}"), 92, "it has to begin with ARG base_image"},
		"another ARG":       {leave("build.Dockerfile", "ARG base\nFROM ${base}"), 92, "it has to begin with ARG base_image"},
		"two ARGs":          {leave("build.Dockerfile", "ARG base_image\nARG b\nFROM ${base_image}"), 92, "it has to begin with ARG base_image"},
		"no FROM":           {leave("build.Dockerfile", "ARG base_image"), 92, "it has no FROM"},
		"another FROM":      {leave("build.Dockerfile", "ARG base_image\nFROM busybox"), 92, "it has to say FROM ${base_image}"},
		"stages":            {leave("run.Dockerfile", "FROM ${base_image}\nFROM x"), 92, "it has more than one FROM"},
		"variable":          {leave("run.Dockerfile", "ARG x=1\nFROM $x"), 92, `FROM "$x": write ${base_image} or the name of a run image`},
		"empty":             {`: > "$CNB_OUTPUT_DIR/run.Dockerfile"`, 92, "it has no instructions"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, api := range []int{12, 15} {
				s := newSite(t)
				s.addExtension(ext{ref: "e@1", generate: c.script})
				_, err := s.generate(api, []string{"e@1"})
				if err == nil || ExitCode(err) != c.code || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "extension e@1") {
					t.Fatalf("0.%d: %v (%d)", api, err, ExitCode(err))
				}
				if strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 {
					t.Errorf("0.%d: %d bytes: %v", api, len(err.Error()), err)
				}
				if left, _ := os.ReadDir(s.dirs.Scratch); len(left) > 0 {
					t.Errorf("left in scratch: %v", left)
				}
			}
		})
	}
}

func TestGenerateRefusesPlaces(t *testing.T) {
	s := newSite(t)
	s.addExtension(ext{ref: "a/b@1"})
	s.addExtension(ext{ref: "a_b@1"})
	if _, err := s.generate(15, []string{"a/b@1", "a_b@1"}); err == nil || !strings.Contains(err.Error(), "would share the directory a_b") {
		t.Errorf("%v", err)
	}
	if err := os.RemoveAll(s.dirs.Layers + "/generated"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), s.dirs.Layers+"/generated"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.generate(15, []string{"a_b@1"}); err == nil || ExitCode(err) != 92 || !strings.Contains(err.Error(), "a directory has to be here, not a symbolic link") {
		t.Errorf("%v", err)
	}
}

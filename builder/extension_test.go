package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

// An ext is an image extension of a site. Detect and generate are the bodies of shell scripts, "none" for no
// executable; files lie in its directory.
type ext struct {
	ref              string
	api              string // "" is 0.10
	keys             string // more lines in [extension]
	toml             string // more tables
	detect, generate string
	files            map[string]string
}

func (s *site) addExtension(e ext) {
	s.t.Helper()
	ref, err := cnb.ParseRef(e.ref)
	if err != nil {
		s.t.Fatal(err)
	}
	if e.api == "" {
		e.api = "0.10"
	}
	dir := filepath.Join("extensions", ref.ID.Dir(), ref.Version)
	s.write(dir+"/extension.toml", fmt.Sprintf("api = %q\n[extension]\nid = %q\nversion = %q\n%s\n%s\n", e.api, ref.ID, ref.Version, e.keys, e.toml), 0o644)
	for name, body := range map[string]string{"detect": e.detect, "generate": e.generate} {
		if body != "none" {
			s.write(dir+"/bin/"+name, "#!/bin/sh\nset -e\nsite="+s.dir+"\n"+body+"\n", 0o755)
		}
	}
	for name, text := range e.files {
		s.write(filepath.Join(dir, name), text, 0o644)
	}
}

// extend puts orders of extensions into a DetectInput: one string per group.
func (s *site) extend(in *DetectInput, groups ...string) {
	in.ExtensionCatalog = DirExtensions(filepath.Join(s.dir, "extensions"))
	for _, g := range groups {
		in.Extensions = append(in.Extensions, cnb.Group{Elements: elements(s.t, strings.Fields(g)...)})
	}
}

// moduleText writes a group with "+" before extensions.
func moduleText(g cnb.Group) string {
	var out []string
	for _, e := range g.Elements {
		name := e.Ref.String()
		if e.Extension {
			name = "+" + name
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

func TestDetectExtensions(t *testing.T) {
	for _, c := range []struct {
		name       string
		exts       []ext
		extensions []string
		bps        []bp
		groups     []string
		change     func(*DetectInput)
		want, plan string
	}{
		{name: "an empty plan", exts: []ext{{ref: "e@1"}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "+e@1 a@1"},
		{name: "provides", exts: []ext{{ref: "e@1", detect: provides}}, extensions: []string{"e@1"}, bps: []bp{{ref: "b@1", detect: requires}}, groups: []string{"b@1"},
			want: "+e@1 b@1", plan: "x<-e:1"},
		{name: "provides in vain", exts: []ext{{ref: "e@1", detect: provides}}, extensions: []string{"e@1"}, bps: []bp{{ref: "b@1"}}, groups: []string{"b@1"}, want: "b@1"},
		{name: "prepared plan", exts: []ext{{ref: "e@1", detect: "none", files: map[string]string{"detect/plan.toml": "[[provides]]\nname = \"x\"\n"}}}, extensions: []string{"e@1"},
			bps: []bp{{ref: "b@1", detect: requires}}, groups: []string{"b@1"}, want: "+e@1 b@1", plan: "x<-e:1"},
		{name: "no plan and no executable", exts: []ext{{ref: "e@1", detect: "none", generate: "none"}}, extensions: []string{"e@1"}, bps: []bp{{ref: "b@1"}}, groups: []string{"b@1"}, want: "+e@1 b@1"},
		{name: "says no", exts: []ext{{ref: "e@1", detect: no}}, extensions: []string{"e@1"}, bps: []bp{{ref: "b@1"}}, groups: []string{"b@1"}, want: "b@1"},
		{name: "goes wrong", exts: []ext{{ref: "e@1", detect: "exit 7"}}, extensions: []string{"e@1"}, bps: []bp{{ref: "b@1"}}, groups: []string{"b@1"}, want: "b@1"},
		{name: "requires, which is wrong", exts: []ext{{ref: "e@1", detect: provides + "\n" + strings.Replace(requires, `> "$2"`, `>> "$2"`, 1)}}, extensions: []string{"e@1"}, bps: []bp{{ref: "b@1"}}, groups: []string{"b@1"}, want: "b@1"},
		{name: "every group of buildpacks", exts: []ext{{ref: "e@1"}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1", detect: no}, {ref: "b@1"}}, groups: []string{"a@1", "b@1"}, want: "+e@1 b@1"},
		{name: "first group of extensions that fits", exts: []ext{{ref: "e@1"}, {ref: "f@1"}}, extensions: []string{"e@1", "f@1"}, bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "+e@1 a@1"},
		{name: "second group of extensions provides", exts: []ext{{ref: "e@1"}, {ref: "f@1", detect: provides}}, extensions: []string{"e@1", "f@1"}, bps: []bp{{ref: "a@1", detect: requires}}, groups: []string{"a@1"},
			want: "+f@1 a@1", plan: "x<-f:1"},
		{name: "without extensions at the end", exts: []ext{{ref: "e@1"}}, extensions: []string{"e@1"}, bps: []bp{{ref: "b@1"}, {ref: "a@1", detect: no}}, groups: []string{"a@1", "b@1"}, want: "+e@1 b@1"},
		{name: "several in a group", exts: []ext{{ref: "e@1", detect: provides}, {ref: "f@1", detect: no}, {ref: "g@1", detect: provides}}, extensions: []string{"e@1 f@1 g@1"},
			bps: []bp{{ref: "a@1", detect: provides}, {ref: "b@1", detect: requires}}, groups: []string{"a@1 b@1"}, want: "+e@1 +g@1 a@1 b@1", plan: "x<-e,g,a:1"},
		{name: "a buildpack and an extension of one id", exts: []ext{{ref: "a@1", detect: provides}}, extensions: []string{"a@1"}, bps: []bp{{ref: "a@1", detect: requires}}, groups: []string{"a@1"},
			want: "+a@1 a@1", plan: "x<-a:1"},
		{name: "no buildpack is left", exts: []ext{{ref: "e@1"}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1", detect: requires}, {ref: "b@1"}}, groups: []string{"a@1?", "b@1"}, want: "+e@1 b@1"},
		{name: "system buildpacks come after", exts: []ext{{ref: "e@1"}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1"}, {ref: "pre@1"}}, groups: []string{"a@1"}, want: "+e@1 pre@1 a@1",
			change: func(in *DetectInput) { in.System.Pre = elements(t, "pre@1") }},
		{name: "another execution environment", exts: []ext{{ref: "e@1", api: "0.12", keys: `exec-env = ["test"]`}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "a@1"},
		{name: "the same execution environment", exts: []ext{{ref: "e@1", api: "0.12", keys: `exec-env = ["test"]`}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "+e@1 a@1",
			change: func(in *DetectInput) { in.ExecEnv = "test" }},
		{name: "execution environments do not count before 0.15", exts: []ext{{ref: "e@1", api: "0.12", keys: `exec-env = ["test"]`}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "+e@1 a@1",
			change: func(in *DetectInput) { in.PlatformAPI = cnb.API{Major: 0, Minor: 14} }},
		{name: "another target is no obstacle", exts: []ext{{ref: "e@1", toml: "[[targets]]\narch = \"s390x\""}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "+e@1 a@1"}, // as any optional one
		{name: "targets do not count before 0.12", exts: []ext{{ref: "e@1", toml: "[[targets]]\narch = \"s390x\""}}, extensions: []string{"e@1"}, bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "+e@1 a@1",
			change: func(in *DetectInput) { in.PlatformAPI = cnb.API{Major: 0, Minor: 11} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			for _, e := range c.exts {
				s.addExtension(e)
			}
			for _, b := range c.bps {
				s.add(b)
			}
			for _, g := range c.groups {
				s.group(strings.Fields(g)...)
			}
			found, err := s.detect(func(in *DetectInput) {
				s.extend(in, c.extensions...)
				if c.change != nil {
					c.change(in)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := moduleText(found.Group); got != c.want || planText(found.Plan) != c.plan {
				t.Errorf("group %q, plan %q; want %q, %q", got, planText(found.Plan), c.want, c.plan)
			}
			text, err := cnb.EncodeGroup(found.Group)
			if err != nil {
				t.Fatal(err)
			}
			if g, err := cnb.DecodeGroup("group.toml", text); err != nil || moduleText(g) != c.want {
				t.Errorf("read back from group.toml: %q, %v", moduleText(g), err)
			}
			for _, e := range found.Group.Elements {
				if e.Extension != e.Optional {
					t.Errorf("element %+v", e)
				}
			}
		})
	}
}

func TestDetectExtensionsFail(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a@1", detect: no})
	s.group("a@1")
	s.addExtension(ext{ref: "wrong@1", detect: "exit 3"})
	s.addExtension(ext{ref: "old@1", api: "0.6"})
	for _, c := range []struct {
		order string
		code  int
		want  string
	}{
		{"wrong@1", 20, "wrong@1: bin/detect exited with status 3"}, // no buildpack went wrong
		{"old@1", 12, "extension old@1: buildpack API 0.6 is not supported"},
		{"absent@1", 22, "extension absent@1 is not in the builder"},
		{"wrong@2", 22, "extension wrong@2 is not in the builder (it has 1)"},
	} {
		_, err := s.detect(func(in *DetectInput) { s.extend(in, c.order) })
		if err == nil || ExitCode(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v (%d)", c.order, err, ExitCode(err))
		}
	}
}

// Groups by brute force: what the reference rule says, an order of extensions before each group of buildpacks, that
// order itself optional.
func TestDetectExtensionsEqualsTryingEverything(t *testing.T) {
	s := newSite(t)
	for _, pass := range []string{"p", "q"} {
		s.addExtension(ext{ref: pass + "@1"})
		s.add(bp{ref: pass + "@1"})
	}
	s.addExtension(ext{ref: "n@1", detect: no})
	s.add(bp{ref: "n@1", detect: no})
	s.addExtension(ext{ref: "x@1", detect: provides})
	s.add(bp{ref: "r@1", detect: requires})
	extensionGroups := []string{"p@1", "n@1", "x@1", "x@1 p@1", "n@1 q@1"}
	buildpackGroups := []string{"p@1", "n@1", "r@1", "p@1 r@1", "p@1 n@1?", "r@1?"}
	for _, e1 := range extensionGroups {
		for _, e2 := range append([]string{""}, extensionGroups...) {
			for _, b1 := range buildpackGroups {
				for _, b2 := range []string{"n@1", "q@1"} {
					extensions, groups := slices.DeleteFunc([]string{e1, e2}, func(s string) bool { return s == "" }), []string{b1, b2}
					want := prependedByHand(extensions, groups)
					s.order = nil
					for _, g := range groups {
						s.group(strings.Fields(g)...)
					}
					found, err := s.detect(func(in *DetectInput) { s.extend(in, extensions...); in.Emit, in.Runner = nil, byName{} })
					got := ""
					if err == nil {
						got = moduleText(found.Group)
					} else if _, ok := errors.AsType[*NoGroupError](err); !ok {
						t.Fatal(err)
					}
					if got != want {
						t.Errorf("extensions %q, buildpacks %q: %q, want %q", extensions, groups, got, want)
					}
				}
			}
		}
	}
}

// byName plays the modules of the test above without a process for each.
type byName struct{}

func (byName) Run(_ context.Context, c Cmd) error {
	plan := map[cnb.ID]string{"x": "[[provides]]\nname = \"x\"\n", "r": "[[requires]]\nname = \"x\"\n"}[c.Buildpack.ID]
	if c.Buildpack.ID == "n" {
		return &ExitError{Phase: c.Phase, Buildpack: c.Buildpack, Code: 100}
	}
	return os.WriteFile(c.Args[1], []byte(plan), 0o644)
}

// prependedByHand knows the modules of the test above: n says no, x provides what r requires, the rest pass.
func prependedByHand(extensions, groups []string) string {
	for _, g := range groups {
		for _, e := range append(slices.Clone(extensions), "") {
			var out []string
			has := func(list, name string) bool {
				return slices.Contains(strings.Fields(strings.ReplaceAll(list, "?", "")), name)
			}
			for name := range strings.FieldsSeq(e) {
				if name != "n@1" && (name != "x@1" || has(g, "r@1")) {
					out = append(out, "+"+name)
				}
			}
			ok, buildpacks := true, 0
			for f := range strings.FieldsSeq(g) {
				name, optional := strings.CutSuffix(f, "?")
				if name == "n@1" || name == "r@1" && !has(e, "x@1") {
					ok = ok && optional
					continue
				}
				out = append(out, name)
				buildpacks++
			}
			if ok && buildpacks > 0 {
				return strings.Join(out, " ")
			}
		}
	}
	return ""
}

func TestExtensionEnvironment(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a@1", detect: requires})
	s.group("a@1")
	s.addExtension(ext{ref: "v/e@1", api: "0.12", detect: `env | sort > $site/env; pwd > $site/pwd` + "\n" + provides})
	s.write("platform/env/COLOR", "red", 0o644)
	if _, err := s.detect(func(in *DetectInput) { s.extend(in, "v/e@1") }); err != nil {
		t.Fatal(err)
	}
	env := s.read("env")
	for _, want := range []string{
		"CNB_EXTENSION_DIR=" + s.dir + "/extensions/v_e/1\n", "CNB_TARGET_OS=linux\n", "CNB_EXEC_ENV=production\n", "COLOR=red\n",
		"CNB_PLATFORM_DIR=" + s.dir + "/platform\n", "CNB_BUILD_PLAN_PATH=" + s.dir + "/scratch/",
	} {
		if !strings.Contains(env, want) {
			t.Errorf("no %q in:\n%s", want, env)
		}
	}
	if strings.Contains(env, "CNB_BUILDPACK_DIR") || s.read("pwd") != s.dirs.App+"\n" {
		t.Errorf("in %s with\n%s", s.read("pwd"), env)
	}
}

func TestDirExtensions(t *testing.T) {
	s := newSite(t)
	s.addExtension(ext{ref: "e@1", detect: "none"})
	s.addExtension(ext{ref: "bare@1", detect: "none", generate: "none"})
	c := DirExtensions(filepath.Join(s.dir, "extensions"))
	d, err := c.Extension(cnb.Ref{ID: "e"})
	if err != nil || !d.Extension || d.HasDetect || !d.HasGenerate || d.Version != "1" || d.EffectiveTargets()[0].OS != "linux" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := c.Extension(cnb.Ref{ID: "bare", Version: "1"}); err != nil || d.EffectiveTargets()[0].OS != "" {
		t.Errorf("%+v, %v", d, err)
	}
	s.write("extensions/bad/1/extension.toml", "api = \"0.10\"\n[buildpack]\nid = \"bad\"\nversion = \"1\"\n", 0o644)
	if _, err := c.Extension(cnb.Ref{ID: "bad", Version: "1"}); err == nil || !strings.Contains(err.Error(), "the table [extension] is missing") {
		t.Errorf("%v", err)
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "extensions/none"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Extension(cnb.Ref{ID: "none", Version: "../e"}); err == nil {
		t.Error("a version that leaves the directory")
	}
}

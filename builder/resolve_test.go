package builder

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/builder/cnb"
)

// section reads "+a +b -c": provides a and b, requires c.
func section(s string) cnb.PlanSections {
	var out cnb.PlanSections
	for f := range strings.FieldsSeq(s) {
		if f[0] == '+' {
			out.Provides = append(out.Provides, cnb.Provide{Name: f[1:]})
		} else {
			out.Requires = append(out.Requires, cnb.Require{Name: f[1:]})
		}
	}
	return out
}

// candidatesOf reads one buildpack per string, "name[?]: +a -b | -c"; '?' marks it optional, '!' an extension,
// '|' divides alternatives.
func candidatesOf(lines ...string) []candidate {
	var out []candidate
	for i, l := range lines {
		name, plan, _ := strings.Cut(l, ":")
		c := candidate{index: i, ref: cnb.Ref{ID: cnb.ID(strings.TrimRight(name, "?!")), Version: "1"}}
		c.extension = strings.HasSuffix(name, "!")
		c.optional = c.extension || strings.HasSuffix(name, "?")
		for k, alt := range strings.Split(plan, "|") {
			if k == 0 {
				c.plan.PlanSections = section(alt)
			} else {
				c.plan.Or = append(c.plan.Or, section(alt))
			}
		}
		out = append(out, c)
	}
	return out
}

// planText writes a plan as "a<-x,y:2": name, providers, number of requires.
func planText(p cnb.Plan) string {
	var out []string
	for _, e := range p.Entries {
		var providers []string
		for _, r := range e.Providers {
			providers = append(providers, string(r.ID))
		}
		out = append(out, fmt.Sprintf("%s<-%s:%d", e.Requires[0].Name, strings.Join(providers, ","), len(e.Requires)))
	}
	return strings.Join(out, " ")
}

func keptText(r resolution) string {
	var out []string
	for _, c := range r.kept {
		out = append(out, string(c.ref.ID))
	}
	return strings.Join(out, " ")
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name, kept, plan, why string
		lines                 []string
	}{
		{name: "no plans", lines: []string{"a:", "b:"}, kept: "a b"},
		{name: "provider and requirer", lines: []string{"a: +x", "b: -x"}, kept: "a b", plan: "x<-a:1"},
		{name: "own requirement", lines: []string{"a: +x -x"}, kept: "a", plan: "x<-a:1"},
		{name: "two providers", lines: []string{"a: +x", "b: +x", "c: -x -x"}, kept: "a b c", plan: "x<-a,b:2"},
		{name: "required too early", lines: []string{"a: -x", "b: +x"}, why: `a@1 requires "x", which neither it nor a buildpack before it provides`},
		{name: "provided in vain", lines: []string{"a:", "b: +x"}, why: `b@1 provides "x", which neither it nor a buildpack after it requires`},
		{name: "optional left out", lines: []string{"a:", "b?: +x"}, kept: "a"},
		{name: "optional left out, then what it provided for", lines: []string{"a?: +x -y", "b?: -x", "c:"}, kept: "c"},
		{name: "removal fails a required one", lines: []string{"a?: +x -y", "b: -x"}, why: `b@1 requires "x", which neither it nor a buildpack before it provides`},
		{name: "nothing left", lines: []string{"a?: +x", "b?: -y"}, why: "the plan leaves no buildpack in the group"},
		{name: "second alternative", lines: []string{"a: +x | +y", "b: -y"}, kept: "a b", plan: "y<-a:1"},
		{name: "first alternative of an optional one may not be left out", lines: []string{"a?: +x | ", "b:"}, kept: "a b"},
		{name: "last alternative may", lines: []string{"a?: +x | +y", "b:"}, kept: "b"},
		{name: "late provider does not count for an early requirer", lines: []string{"a: +x", "b: -x", "c: +x", "d: -x"}, kept: "a b c d", plan: "x<-a,c:2"},
		{name: "no alternative works", lines: []string{"a: +x | +y", "b: -z | -w"}, why: `a@1 provides "x", which neither it nor a buildpack after it requires (and no alternative of the plans works)`},
		{name: "extension provides", lines: []string{"e!: +x", "b: -x"}, kept: "e b", plan: "x<-e:1"},
		{name: "extension and buildpack provide", lines: []string{"e!: +x", "a: +x", "b: -x"}, kept: "e a b", plan: "x<-e,a:1"},
		{name: "extension provides in vain", lines: []string{"e!: +x", "b:"}, kept: "b"},
		{name: "an extension is no group", lines: []string{"e!:", "b?: -x"}, why: "the plan leaves no buildpack in the group"},
		{name: "another alternative leaves a buildpack", lines: []string{"e!: +x | +y", "b?: -z | -y"}, kept: "e b", plan: "y<-e:1"},
		{name: "entries in order of first mention", lines: []string{"a: +y +x", "b: -x -y"}, kept: "a b", plan: "y<-a:1 x<-a:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := resolve(t.Context(), candidatesOf(c.lines...), defaultTrials, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.ok != (c.why == "") || r.why != c.why || keptText(r) != c.kept || planText(r.plan) != c.plan {
				t.Errorf("ok %v, kept %q, plan %q, why %q", r.ok, keptText(r), planText(r.plan), r.why)
			}
		})
	}
}

// trial is one alternative of one buildpack in the oracle.
type trial struct {
	c         candidate
	sections  cnb.PlanSections
	droppable bool
}

// oracle tries every combination as the spec words it, with no cleverness at all.
func oracle(candidates []candidate) (kept []trial, ok bool) {
	return oracleFrom(nil, candidates)
}

func oracleFrom(prefix []trial, rest []candidate) ([]trial, bool) {
	if len(rest) == 0 {
		return oracleTrial(prefix)
	}
	all := append([]cnb.PlanSections{rest[0].plan.PlanSections}, rest[0].plan.Or...)
	for i, s := range all {
		t := trial{rest[0], s, rest[0].optional && i == len(all)-1}
		if kept, ok := oracleFrom(append(slices.Clone(prefix), t), rest[1:]); ok {
			return kept, true
		}
	}
	return nil, false
}

// oracleTrial removes one offender at a time until there is none.
func oracleTrial(ts []trial) ([]trial, bool) {
	for {
		bad := oracleOffender(ts)
		if bad < 0 {
			return ts, slices.ContainsFunc(ts, func(t trial) bool { return !t.c.extension })
		}
		if !ts[bad].droppable {
			return nil, false
		}
		ts = slices.Delete(slices.Clone(ts), bad, bad+1)
	}
}

func oracleOffender(ts []trial) int {
	for i, t := range ts {
		for _, r := range t.sections.Requires {
			if !slices.ContainsFunc(ts[:i+1], func(o trial) bool {
				return slices.Contains(o.sections.Provides, cnb.Provide{Name: r.Name})
			}) {
				return i
			}
		}
		for _, p := range t.sections.Provides {
			if !slices.ContainsFunc(ts[i:], func(o trial) bool {
				return slices.ContainsFunc(o.sections.Requires, func(r cnb.Require) bool { return r.Name == p.Name })
			}) {
				return i
			}
		}
	}
	return -1
}

func TestResolveEqualsTryingEverything(t *testing.T) {
	name := rapid.SampledFrom([]string{"+a", "-a", "+b", "-b", "+c", "-c", "+d", "-d"})
	rapid.Check(t, func(t *rapid.T) {
		var candidates []candidate
		for i := range rapid.IntRange(1, 6).Draw(t, "buildpacks") {
			c := candidate{index: i, ref: cnb.Ref{ID: cnb.ID(fmt.Sprint("bp", i)), Version: "1"}, optional: rapid.Bool().Draw(t, "optional")}
			c.extension = c.optional && rapid.Bool().Draw(t, "extension")
			for k := range rapid.IntRange(1, 3).Draw(t, "alternatives") {
				s := section(strings.Join(rapid.SliceOfN(name, 0, 3).Draw(t, "plan"), " "))
				if k == 0 {
					c.plan.PlanSections = s
				} else {
					c.plan.Or = append(c.plan.Or, s)
				}
			}
			candidates = append(candidates, c)
		}
		want, ok := oracle(candidates)
		got, err := resolve(t.Context(), candidates, defaultTrials, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.ok != ok {
			t.Fatalf("ok %v (%s), trying everything gives %v", got.ok, got.why, ok)
		}
		if !ok && got.why == "" {
			t.Fatal("no reason given")
		}
		var kept []candidate
		var chosen []*cnb.PlanSections
		for _, w := range want {
			kept = append(kept, w.c)
			chosen = append(chosen, &w.sections)
		}
		if ok && (!reflect.DeepEqual(got.kept, kept) || !reflect.DeepEqual(got.plan, makePlan(kept, chosen))) {
			t.Fatalf("kept %s plan %s, trying everything keeps %v", keptText(got), planText(got.plan), kept)
		}
		for _, e := range got.plan.Entries {
			if len(e.Providers) == 0 || len(e.Requires) == 0 {
				t.Fatalf("entry without provider or requirer: %+v", e)
			}
		}
	})
}

// Plans that would take 4^24 trials one by one.
func TestResolveManyAlternatives(t *testing.T) {
	plans := map[string]func(i int) string{
		"the last requirement is never met":    func(i int) string { return fmt.Sprintf("b%d: +a%d -a%d | +b -b | +c -c | ", i, i, i) },
		"no alternative is ever required":      func(i int) string { return fmt.Sprintf("b%d: +a%d | +b%d | +c%d | +d%d", i, i, i, i, i) },
		"every prefix looks the same to later": func(i int) string { return fmt.Sprintf("b%d: +x%d -x%d | +y%d -y%d | +z%d -z%d", i, i, i, i, i, i, i) },
	}
	for name, f := range plans {
		t.Run(name, func(t *testing.T) {
			var lines []string
			for i := range 24 {
				lines = append(lines, f(i))
			}
			// p can be met and q can be met, but never both: no alternative is hopeless by itself.
			lines = append(lines, "p: +p | +q", "r: -p -q")
			start := time.Now()
			r, err := resolve(t.Context(), candidatesOf(lines...), defaultTrials, nil)
			if err != nil || r.ok {
				t.Fatalf("ok %v, %v", r.ok, err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestResolveGivesUp(t *testing.T) {
	// Each buildpack chooses one of two names; the last wants them all, in a way no prefix can tell is hopeless.
	var lines []string
	var want strings.Builder
	want.WriteString("z:")
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("b%d: +n%d | +m%d", i, i, i))
		want.WriteString(fmt.Sprintf(" -n%d", i))
	}
	lines = append(lines, "y: "+strings.ReplaceAll(strings.TrimPrefix(want.String(), "z:"), "-n", "-m"), want.String())
	start := time.Now()
	_, err := resolve(t.Context(), candidatesOf(lines...), defaultTrials, nil)
	if err == nil || !strings.Contains(err.Error(), "gave up after") {
		t.Fatalf("error %v", err)
	}
	if d := time.Since(start); d > 60*time.Second {
		t.Errorf("took %v", d)
	}
	if errors.Is(err, errors.ErrUnsupported) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q", err)
	}
}

// A thousand optional buildpacks that fall one after the other, each with many names.
func TestResolveLargePlans(t *testing.T) {
	for _, names := range []int{0, 60, 400} {
		var lines []string
		var more strings.Builder
		for k := range names {
			fmt.Fprintf(&more, " +m%d -m%d", k, k)
		}
		lines = append(lines, "first:")
		for i := range 1000 {
			lines = append(lines, fmt.Sprintf("b%d?: +n%d -n%d%s", i, i, i+1, more.String()))
		}
		lines = append(lines, "z:")
		candidates := candidatesOf(lines...)
		start := time.Now()
		r, err := resolve(t.Context(), candidates, defaultTrials, nil)
		if err == nil && keptText(r) != "first z" {
			t.Errorf("%d names: kept %s", names, keptText(r))
		}
		if names == 0 && err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > 30*time.Second {
			t.Errorf("%d names: took %v", names, d)
		}
	}
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{"a: +x\nb: -x", "a?: +x | \nb: -x | -y", "a: | |\nb?:", "a?: +x -y\nb?: -x +y\nc:", "e!: +x\na?: -x\nb?: -x -y", "e!:\na?: -x", ": +"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		if len(lines) > 5 || strings.Count(text, "|") > 8 {
			return
		}
		candidates := candidatesOf(lines...)
		want, ok := oracle(candidates)
		got, err := resolve(t.Context(), candidates, defaultTrials, nil)
		if err != nil || got.ok != ok || len(got.kept) != len(want) {
			t.Errorf("%q: ok %v, kept %s, %v; trying everything: %v, %d kept", text, got.ok, keptText(got), err, ok, len(want))
		}
	})
}

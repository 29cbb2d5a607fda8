package builder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A world is everything that decides a detection, with buildpacks that only an exit status and a plan are left of.
type world struct {
	api     cnb.API
	execEnv string // "" is production
	order   cnb.Order
	system  cnb.System
	packs   map[cnb.ID]*cnb.Descriptor
	status  map[cnb.ID]int
	plan    map[cnb.ID]cnb.BuildPlan
}

// drawWorld makes components c0 to c5 and composites m0 to m2, each of which holds only what was made before it.
func drawWorld(t *rapid.T) world {
	w := world{
		api:     rapid.SampledFrom([]cnb.API{{Major: 0, Minor: 11}, {Major: 0, Minor: 12}, {Major: 0, Minor: 14}, {Major: 0, Minor: 15}, {Major: 0, Minor: 15}}).Draw(t, "api"),
		execEnv: rapid.SampledFrom([]string{"", "production", "test"}).Draw(t, "exec-env"),
		packs:   map[cnb.ID]*cnb.Descriptor{}, status: map[cnb.ID]int{}, plan: map[cnb.ID]cnb.BuildPlan{},
	}
	execEnvs := rapid.SampledFrom([][]string{nil, nil, nil, nil, {"*"}, {"production"}, {"test"}, {"test", "production"}})
	name := rapid.SampledFrom([]string{"+a", "-a", "+a -a", "+b", "-b", "+b -a", "-c", ""})
	var refs []cnb.Ref
	pack := func(id string) *cnb.Descriptor {
		d := &cnb.Descriptor{API: cnb.NewestBuildpackAPI, Ref: cnb.Ref{ID: cnb.ID(id), Version: "1"}, HasDetect: true, ExecEnv: execEnvs.Draw(t, "for")}
		w.packs[d.ID] = d
		return d
	}
	group := func(most int, composites bool) cnb.Group {
		var g cnb.Group
		for range rapid.IntRange(1, most).Draw(t, "elements") {
			from := refs
			if !composites {
				from = refs[:6]
			}
			g.Elements = append(g.Elements, cnb.GroupElement{
				Ref: rapid.SampledFrom(from).Draw(t, "element"), Optional: rapid.Bool().Draw(t, "optional"), ExecEnv: execEnvs.Draw(t, "place for"),
			})
		}
		return g
	}
	for i := range 6 {
		d := pack(fmt.Sprint("c", i))
		d.Targets = rapid.SampledFrom([][]cnb.Target{nil, nil, nil, nil, {{OS: "linux"}}, {{OS: "plan9"}}}).Draw(t, "targets")
		w.status[d.ID] = rapid.SampledFrom([]int{0, 0, 0, 0, 0, 100, 1}).Draw(t, "status")
		var p cnb.BuildPlan
		for k := range rapid.SampledFrom([]int{0, 0, 1, 1, 2, 3}).Draw(t, "alternatives") {
			if s := section(name.Draw(t, "plan")); k == 0 {
				p.PlanSections = s
			} else {
				p.Or = append(p.Or, s)
			}
		}
		w.plan[d.ID] = p
		refs = append(refs, d.Ref)
	}
	for i := range 3 {
		d := pack(fmt.Sprint("m", i))
		for range rapid.IntRange(1, 2).Draw(t, "groups") {
			d.Order = append(d.Order, group(2, true))
		}
		refs = append(refs, d.Ref)
	}
	for range rapid.IntRange(1, 3).Draw(t, "groups") {
		w.order = append(w.order, group(3, true))
	}
	for _, end := range []*[]cnb.GroupElement{&w.system.Pre, &w.system.Post} {
		if rapid.IntRange(0, 3).Draw(t, "system") == 0 {
			*end = group(1, rapid.Bool().Draw(t, "composite")).Elements
		}
	}
	return w
}

// A verdictOf is what a detection comes to.
type verdictOf struct {
	Group string
	Plan  cnb.Plan
	Code  int
}

// bySpec enumerates: every group of the order becomes a list of flat groups, of which the first that passes and
// whose plan resolves is the answer.
func (w world) bySpec() verdictOf {
	verdict := verdictOf{Code: 20}
	for _, g := range w.order {
		for _, flat := range w.flatten(w.withSystem(g.Elements)) {
			ok, passed, errored := w.run(flat)
			if errored {
				verdict.Code = 21
			}
			if !ok || len(passed) == 0 {
				continue
			}
			if kept, ok := oracle(passed); ok {
				var names []string
				for _, k := range kept {
					names = append(names, k.c.ref.String())
				}
				return verdictOf{Group: strings.Join(names, " "), Plan: planBySpec(kept)}
			}
		}
	}
	return verdict
}

// withSystem is a group between the system buildpacks that it does not have itself (platform 0.15, "detector").
func (w world) withSystem(g []cnb.GroupElement) []cnb.GroupElement {
	if !w.api.AtLeast(0, 15) {
		return g
	}
	has := func(id cnb.ID) bool {
		return slices.ContainsFunc(g, func(e cnb.GroupElement) bool { return e.ID == id })
	}
	var all []cnb.GroupElement
	for _, e := range w.system.Pre {
		if !has(e.ID) {
			all = append(all, e)
		}
	}
	all = append(all, g...)
	for _, e := range w.system.Post {
		if !has(e.ID) {
			all = append(all, e)
		}
	}
	return all
}

// flatten writes a group out as the matrices of the spec do (buildpack, "Order Resolution"). What is not for this
// execution environment is not there, and a buildpack counts at its first place.
func (w world) flatten(g []cnb.GroupElement) [][]cnb.GroupElement {
	for i, e := range g {
		d := w.packs[e.ID]
		without := slices.Concat(g[:i], g[i+1:])
		if w.api.AtLeast(0, 15) && !(w.applies(e.ExecEnv) && w.applies(d.ExecEnv)) {
			return w.flatten(without)
		}
		if slices.ContainsFunc(g[:i], func(f cnb.GroupElement) bool { return f.ID == e.ID }) {
			return w.flatten(without)
		}
		if len(d.Order) == 0 {
			continue
		}
		var out [][]cnb.GroupElement
		for _, inner := range d.Order {
			out = append(out, w.flatten(slices.Concat(g[:i], inner.Elements, g[i+1:]))...)
		}
		if e.Optional {
			out = append(out, w.flatten(without)...)
		}
		return out
	}
	return [][]cnb.GroupElement{g}
}

func (w world) applies(list []string) bool {
	env := w.execEnv
	if env == "" {
		env = "production"
	}
	return len(list) == 0 || slices.Contains(list, "*") || slices.Contains(list, env)
}

// run says whether the required buildpacks of a flat group all pass, which pass at all, and whether one of those
// that ran went wrong.
func (w world) run(flat []cnb.GroupElement) (ok bool, passed []candidate, errored bool) {
	ok = true
	for i, e := range flat {
		fits := true
		for _, t := range w.packs[e.ID].Targets {
			fits = t.OS == "linux" || e.Optional || !w.api.AtLeast(0, 12)
		}
		errored = errored || fits && w.status[e.ID] == 1
		if fits && w.status[e.ID] == 0 {
			passed = append(passed, candidate{index: i, ref: e.Ref, optional: e.Optional, plan: w.plan[e.ID]})
		} else {
			ok = ok && e.Optional
		}
	}
	return ok, passed, errored
}

// planBySpec has an entry for each name with all its providers and all its requirements; entries come in order of
// the first mention of their names.
func planBySpec(kept []trial) cnb.Plan {
	var names []string
	for _, k := range kept {
		for _, p := range k.sections.Provides {
			names = append(names, p.Name)
		}
		for _, r := range k.sections.Requires {
			names = append(names, r.Name)
		}
	}
	var plan cnb.Plan
	for i, n := range names {
		if slices.Contains(names[:i], n) {
			continue
		}
		var e cnb.PlanEntry
		for _, k := range kept {
			if slices.Contains(k.sections.Provides, cnb.Provide{Name: n}) {
				e.Providers = append(e.Providers, cnb.Provider{Ref: k.c.ref})
			}
			for _, r := range k.sections.Requires {
				if r.Name == n {
					e.Requires = append(e.Requires, r)
				}
			}
		}
		plan.Entries = append(plan.Entries, e)
	}
	return plan
}

// planFileText is a build plan as bin/detect writes it.
func planFileText(p cnb.BuildPlan) string {
	var b strings.Builder
	sections := func(prefix string, s cnb.PlanSections) {
		for _, x := range s.Provides {
			fmt.Fprintf(&b, "[[%sprovides]]\nname = %q\n", prefix, x.Name)
		}
		for _, x := range s.Requires {
			fmt.Fprintf(&b, "[[%srequires]]\nname = %q\n", prefix, x.Name)
		}
	}
	sections("", p.PlanSections)
	for _, o := range p.Or {
		b.WriteString("[[or]]\n")
		sections("or.", o)
	}
	return b.String()
}

// A trialOf is what one group of an order comes to by itself.
type trialOf struct {
	Of   string // who was asked
	Kept string // who takes part; "" where the group does not work
	Plan cnb.Plan
}

// trialsBySpec are all groups, also those after the first that works.
func (w world) trialsBySpec() (out []trialOf) {
	for _, g := range w.order {
		for _, flat := range w.flatten(w.withSystem(g.Elements)) {
			var asked, names []string
			for _, e := range flat {
				asked = append(asked, e.Ref.String())
			}
			trial := trialOf{Of: strings.Join(asked, " ")}
			if ok, passed, _ := w.run(flat); ok && len(passed) > 0 {
				if kept, ok := oracle(passed); ok {
					for _, k := range kept {
						names = append(names, k.c.ref.String())
					}
					trial.Kept, trial.Plan = strings.Join(names, " "), planBySpec(kept)
				}
			}
			out = append(out, trial)
		}
	}
	return out
}

// trialsOf are the trials as Detect tells them. The chosen one has to be the first that works.
func trialsOf(t *rapid.T, groups []GroupVerdict) (out []trialOf) {
	works := 0
	for _, g := range groups {
		var trial trialOf
		var asked []string
		for _, v := range g.Buildpacks {
			asked = append(asked, v.Buildpack.String())
		}
		trial.Of, trial.Kept = strings.Join(asked, " "), joinRefs(g.Kept, " ")
		if g.Plan != nil {
			works++
			trial.Plan = *g.Plan
		}
		if g.Chosen != (works == 1 && g.Plan != nil) || (g.Plan != nil) != (g.Reason == "") {
			t.Fatalf("trial %+v is chosen: %t", g, g.Chosen)
		}
		out = append(out, trial)
	}
	return out
}

// detect asks Detect, and counts how often each buildpack ran. The trials are there where every group was tried.
func (w world) detect(dirs Dirs, every bool) (verdictOf, []GroupVerdict, map[cnb.ID]int, error) {
	var mu sync.Mutex
	runs := map[cnb.ID]int{}
	found, err := Detect(context.Background(), DetectInput{
		PlatformAPI: w.api, Dirs: dirs, Order: w.order, System: w.system, ExecEnv: w.execEnv, Target: cnb.Target{OS: "linux", Arch: "amd64"},
		Catalog: MapCatalog(slices.Collect(maps.Values(w.packs))), Every: every,
		Runner: runnerFunc(func(_ context.Context, c Cmd) error {
			mu.Lock()
			runs[c.Buildpack.ID]++
			mu.Unlock()
			if code := w.status[c.Buildpack.ID]; code != 0 {
				return &ExitError{Phase: c.Phase, Buildpack: c.Buildpack, Code: code}
			}
			return os.WriteFile(filepath.Join(dirs.Root, c.Args[1]), []byte(planFileText(w.plan[c.Buildpack.ID])), 0o644)
		}),
	})
	if err != nil {
		if none, ok := errors.AsType[*NoGroupError](err); ok {
			return verdictOf{Code: ExitCode(err)}, none.Groups, runs, nil
		}
		if wrong, ok := errors.AsType[*DetectError](err); ok {
			return verdictOf{Code: ExitCode(err)}, wrong.Groups, runs, nil
		}
		return verdictOf{}, nil, runs, err
	}
	return verdictOf{Group: groupText(found.Group), Plan: found.Plan}, found.Trials, runs, nil
}

func (w world) String() string {
	var b strings.Builder
	group := func(g []cnb.GroupElement) {
		for _, e := range g {
			fmt.Fprintf(&b, " %s", e.ID)
			if e.Optional {
				b.WriteByte('?')
			}
			if e.ExecEnv != nil {
				fmt.Fprint(&b, e.ExecEnv)
			}
		}
	}
	fmt.Fprintf(&b, "platform %s, %q, system", w.api, w.execEnv)
	group(w.system.Pre)
	b.WriteString(" ...")
	group(w.system.Post)
	for _, g := range w.order {
		b.WriteString("\n  ")
		group(g.Elements)
	}
	for _, id := range slices.Sorted(maps.Keys(w.packs)) {
		d := w.packs[id]
		fmt.Fprintf(&b, "\n%s for %v on %v: status %d, plan %q", id, d.ExecEnv, d.Targets, w.status[id], planFileText(w.plan[id]))
		for _, g := range d.Order {
			b.WriteString("\n  ")
			group(g.Elements)
		}
	}
	return b.String()
}

// TestDetectAgainstTheSpec compares the group, the plan and the exit code, and where every group is tried each of them.
func TestDetectAgainstTheSpec(t *testing.T) {
	dirs := Dirs{Scratch: t.TempDir(), UID: os.Geteuid(), GID: os.Getegid()}
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		want := w.bySpec()
		got, _, runs, err := w.detect(dirs, false)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\ngot  %+v %v\nwant %+v", w, got, err, want)
		}
		got, groups, _, err := w.detect(dirs, true)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\ngot  %+v %v where every group is tried\nwant %+v", w, got, err, want)
		}
		if got, want := trialsOf(t, groups), w.trialsBySpec(); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\ngot  trials %+v\nwant trials %+v", w, got, want)
		}
		for id, n := range runs {
			if n > 1 {
				t.Fatalf("%s ran %d times", id, n)
			}
		}
	})
}

package builder

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A candidate is a buildpack or an extension that passed, with the plan it wrote.
type candidate struct {
	index     int // the caller's own number
	ref       cnb.Ref
	extension bool
	optional  bool
	plan      cnb.BuildPlan
}

// A resolution is the plan of a group, or why there is none.
type resolution struct {
	ok   bool
	kept []candidate // what takes part, in order
	plan cnb.Plan
	why  string
}

// resolve finds the first trial that works: one alternative of each candidate's plan, tried left to right and depth
// first (buildpack, "Phase #1: Detection"). In a trial every name that is provided has to be required by the same
// or a later buildpack, and every name that is required has to be provided by the same or an earlier one. A
// buildpack that breaks this fails the trial, unless it is optional and its last alternative is on trial: then it
// is left out, and so on until nothing is left to remove. A trial that keeps no buildpack fails.
//
// The result is the one that trying every combination would give. The search leaves out only what cannot work: an
// alternative that no choice of the others can save, and the rest below a prefix that is broken already or that
// looks to later buildpacks exactly like one that failed. tell, which may be nil, hears of what was tried.
func resolve(ctx context.Context, candidates []candidate, maxTrials int, tell func(PlanTrial)) (resolution, error) {
	s := newPlanSearch(candidates, maxTrials)
	s.ctx, s.tell = ctx, tell
	ok := s.prune() && s.search(0)
	switch {
	case s.err != nil:
		return resolution{}, s.err
	case !ok:
		return resolution{why: s.explain()}, nil
	}
	res := resolution{ok: true}
	var chosen []*cnb.PlanSections
	for i, c := range candidates {
		if s.kept[i] {
			res.kept = append(res.kept, c)
			chosen = append(chosen, s.nodes[i].options[s.choice[i]].sections)
		}
	}
	res.plan = makePlan(res.kept, chosen)
	return res, nil
}

// makePlan joins provides and requires of a trial that works. Entries are in order of the first mention of their
// names; a provider is in the entry when something at or after it requires the name.
func makePlan(kept []candidate, chosen []*cnb.PlanSections) cnb.Plan {
	var plan cnb.Plan
	entry := map[string]int{}
	waiting := map[string][]cnb.Provider{} // provided, and not yet required
	at := func(name string) int {
		if _, ok := entry[name]; !ok {
			entry[name] = len(plan.Entries)
			plan.Entries = append(plan.Entries, cnb.PlanEntry{})
		}
		return entry[name]
	}
	for i, c := range kept {
		for _, p := range chosen[i].Provides {
			at(p.Name)
			provider := cnb.Provider{Ref: c.ref, Extension: c.extension}
			if !slices.Contains(waiting[p.Name], provider) {
				waiting[p.Name] = append(waiting[p.Name], provider)
			}
		}
		for _, r := range chosen[i].Requires {
			e := &plan.Entries[at(r.Name)]
			e.Providers = append(e.Providers, waiting[r.Name]...)
			waiting[r.Name] = nil
			e.Requires = append(e.Requires, r)
		}
	}
	return plan
}

// A planNode is a candidate inside a search, its names numbered.
type planNode struct {
	optional  bool
	extension bool // it cannot be a group on its own
	options   []planOption
}

// A planOption is one alternative of a plan.
type planOption struct {
	provides, requires []int // numbers of names
	droppable          bool  // left out of the trial instead of failing it
	dead               bool  // no trial with it works
	sections           *cnb.PlanSections
}

// planSearch is the state of one resolve.
type planSearch struct {
	ctx        context.Context
	candidates []candidate
	nodes      []planNode
	names      []string
	lastUse    []int // for each name: the last node with a live option that requires it, -1 for none
	choice     []int
	kept       []bool
	mark       []int // for each name: the last pass that saw it
	pass       int
	failed     map[string]bool // states below which nothing works
	trials     int
	maxTrials  int
	work       int
	firstWhy   string // why the first trial failed
	tell       func(PlanTrial)
	err        error
}

// told passes on how alternatives of the nodes from first to last fared, as they are chosen now.
func (s *planSearch) told(first, last int, why string) {
	if s.tell == nil {
		return
	}
	t := PlanTrial{Why: why}
	for i := first; i <= last; i++ {
		c := PlanChoice{Buildpack: s.candidates[i].ref, Extension: s.candidates[i].extension, Alternative: s.choice[i]}
		c.LeftOut = why == "" && !s.kept[i]
		t.Choices = append(t.Choices, c)
	}
	s.tell(t)
}

// maxPlanWork bounds the names looked at in one search; well below a second.
const maxPlanWork = 100_000_000

func newPlanSearch(candidates []candidate, maxTrials int) *planSearch {
	s := &planSearch{candidates: candidates, maxTrials: maxTrials, failed: map[string]bool{}}
	numbers := map[string]int{}
	number := func(name string) int {
		n, ok := numbers[name]
		if !ok {
			n = len(s.names)
			numbers[name] = n
			s.names = append(s.names, name)
		}
		return n
	}
	for i := range candidates {
		c := &candidates[i]
		node := planNode{optional: c.optional, extension: c.extension}
		for k := range 1 + len(c.plan.Or) {
			sections := &c.plan.PlanSections
			if k > 0 {
				sections = &c.plan.Or[k-1]
			}
			o := planOption{sections: sections, droppable: c.optional && k == len(c.plan.Or)}
			for _, p := range sections.Provides {
				o.provides = append(o.provides, number(p.Name))
			}
			for _, r := range sections.Requires {
				o.requires = append(o.requires, number(r.Name))
			}
			node.options = append(node.options, o)
		}
		s.nodes = append(s.nodes, node)
	}
	s.mark = make([]int, len(s.names))
	s.lastUse = make([]int, len(s.names))
	s.choice = make([]int, len(s.nodes))
	s.kept = make([]bool, len(s.nodes))
	return s
}

// tooMany is the error for a plan with more alternatives than can be tried.
func (s *planSearch) tooMany() error {
	var refs []cnb.Ref
	for i, n := range s.nodes {
		if len(n.options) > 1 {
			refs = append(refs, s.candidates[i].ref)
		}
	}
	if len(refs) == 0 {
		return fmt.Errorf("resolve the build plan: gave up, because what %d buildpacks provide and require is too much", len(s.nodes))
	}
	return fmt.Errorf("resolve the build plan: gave up after %d trials of alternatives ([[or]]) of %s", s.trials, joinRefs(refs, ", "))
}

package builder

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A moduleKey names a buildpack or an extension: the two kinds may share an id.
type moduleKey struct {
	ref       cnb.Ref
	extension bool
}

func keyOf(d *cnb.Descriptor) moduleKey { return moduleKey{d.Ref, d.Extension} }

func (v Verdict) key() moduleKey { return moduleKey{v.Buildpack, v.Extension} }

// A member is a component buildpack or an extension of a group that is being put together.
type member struct {
	descriptor *cnb.Descriptor
	optional   bool
	unfit      string // why it cannot run on the run image; "" when it can or is optional
}

// all tries the groups of the whole order, each behind the groups of the order of extensions and then without
// any (buildpack, "Order Resolution").
func (d *detection) all(ctx context.Context, order cnb.Order) (*Detected, error) {
	if len(d.in.Extensions) == 0 {
		return d.order(ctx, order, nil, nil, false)
	}
	for _, g := range order {
		found, err := d.order(ctx, asExtensions(d.in.Extensions), nil, g.Elements, true)
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}

// order tries the groups of an order one after the other, each followed by next, behind the members found so far.
// Where none is chosen and the order belongs to an optional composite buildpack, next is tried alone. The result
// is nil where nothing was chosen (buildpack, "Order Resolution").
func (d *detection) order(ctx context.Context, order cnb.Order, done []member, next []cnb.GroupElement, optional bool) (*Detected, error) {
	for _, g := range order {
		found, err := d.group(ctx, append(slices.Clip(g.Elements), next...), done)
		if err != nil || found != nil {
			return found, err
		}
	}
	if optional {
		return d.group(ctx, next, done)
	}
	return nil, nil
}

// group adds elements to done until there are none left, then tries that group. The first composite buildpack
// splits it into the groups of its order.
func (d *detection) group(ctx context.Context, elements []cnb.GroupElement, done []member) (*Detected, error) {
	done = slices.Clip(done)
	for i, el := range elements {
		if slices.ContainsFunc(done, func(m member) bool { return m.descriptor.ID == el.ID && m.descriptor.Extension == el.Extension }) {
			continue
		}
		desc, err := d.find(el)
		if err != nil {
			return nil, err
		}
		if why := d.otherExecEnv(el, desc); why != "" {
			d.skip(Verdict{Buildpack: desc.Ref, Extension: desc.Extension, Kind: EventDetectSkip, Optional: el.Optional, Reason: why})
			continue
		}
		if len(desc.Order) > 0 {
			return d.order(ctx, desc.Order, done, elements[i+1:], el.Optional)
		}
		if err := checkAPI(desc); err != nil {
			return nil, err
		}
		m := member{descriptor: desc, optional: el.Optional}
		if !m.optional {
			m.unfit = d.unfit(desc)
		}
		done = append(done, m)
		if len(done) > maxElements {
			return nil, &OrderError{Reason: fmt.Sprintf("a group of more than %d buildpacks", maxElements)}
		}
	}
	return d.try(ctx, done)
}

func (d *detection) find(el cnb.GroupElement) (*cnb.Descriptor, error) {
	if el.Extension {
		return d.in.ExtensionCatalog.Extension(el.Ref)
	}
	return d.in.Catalog.Buildpack(el.Ref)
}

// skip reports once that a buildpack is left out.
func (d *detection) skip(v Verdict) {
	if d.log.skipped[v] {
		return
	}
	d.log.skipped[v] = true
	if _, ok := d.log.seen[v.key()]; !ok {
		d.log.seen[v.key()] = len(d.log.verdicts)
		d.log.verdicts = append(d.log.verdicts, v)
	}
	d.emit(Event{Kind: EventDetectSkip, Buildpack: v.Buildpack, Extension: v.Extension, Text: v.Reason})
}

// otherExecEnv says why a buildpack takes no part in this execution environment, "" where it does. The list of
// the group's element counts as well as the buildpack's own (buildpack, "Order"; platform 0.15, "detector").
func (d *detection) otherExecEnv(el cnb.GroupElement, desc *cnb.Descriptor) string {
	if !d.in.PlatformAPI.AtLeast(0, 15) {
		return ""
	}
	env := d.in.ExecEnv
	if env == "" {
		env = defaultExecEnv
	}
	if !cnb.InExecEnv(el.ExecEnv, env) {
		return fmt.Sprintf("its place in the order is for %s, this build is for %s", strings.Join(el.ExecEnv, ", "), env)
	}
	if desc.API.AtLeast(0, 12) && !cnb.InExecEnv(desc.ExecEnv, env) {
		return fmt.Sprintf("it is for %s, this build is for %s", strings.Join(desc.ExecEnv, ", "), env)
	}
	return ""
}

// unfit says why a buildpack cannot be used for this run image (buildpack, "Targets"); targets count from
// Platform API 0.12 on. They count for required buildpacks only: an optional one is asked like any other, as the
// spec wants it ("Phase #1: Detection") and as the reference does.
func (d *detection) unfit(desc *cnb.Descriptor) string {
	if !d.in.PlatformAPI.AtLeast(0, 12) {
		return ""
	}
	if ok, why := desc.Supports(d.in.Target, d.in.StackID); !ok {
		return why
	}
	return ""
}

// try runs the detects of one whole group and resolves its plan. The result is nil where the group fails.
func (d *detection) try(ctx context.Context, members []member) (*Detected, error) {
	d.groups++
	if d.groups > d.in.MaxTrials && d.chosen != nil {
		return d.chosen, nil // which ends the walk
	}
	if d.groups > d.in.MaxTrials {
		return nil, &OrderError{Reason: fmt.Sprintf("more than %d groups were tried and none was chosen", d.in.MaxTrials)}
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	fresh, err := d.run.all(ctx, members)
	if err != nil {
		return nil, err
	}
	for _, key := range fresh {
		o := d.run.done[key]
		d.emit(Event{Kind: o.kind, Buildpack: key.ref, Extension: key.extension, Text: o.reason, Code: o.code, Duration: o.duration})
	}
	verdict, candidates := d.judge(members)
	if verdict.Reason != "" {
		return nil, d.fail(verdict)
	}
	res, err := resolve(ctx, candidates, d.in.MaxTrials, d.plans(&verdict))
	if err != nil {
		return nil, err
	}
	if !res.ok {
		verdict.Reason = res.why
		return nil, d.fail(verdict)
	}
	if !d.in.Every {
		return d.choose(members, res), nil
	}
	d.pass(verdict, members, res)
	return nil, nil // so that the walk goes on
}

// maxPlanTrials bounds what is told of the alternatives of one group's plans.
const maxPlanTrials = 100

// plans gives what notes the trials of a group's plans; nil where nobody wants to hear of them.
func (d *detection) plans(g *GroupVerdict) func(PlanTrial) {
	if !d.in.Every {
		return nil
	}
	return func(t PlanTrial) {
		if len(g.Plans) < maxPlanTrials {
			g.Plans = append(g.Plans, t)
		}
	}
}

// pass notes a group that works while every group is tried. The first one is chosen.
func (d *detection) pass(g GroupVerdict, members []member, res resolution) {
	g.Plan = &res.plan
	for _, c := range res.kept {
		g.Kept = append(g.Kept, c.ref)
	}
	if d.chosen == nil {
		g.Chosen = true
		d.chosen = d.choose(members, res)
	}
	d.log.add(g)
}

// judge looks at each member's outcome. It gives a reason where the group fails by that alone, and otherwise the
// members that passed, for the plan.
func (d *detection) judge(members []member) (GroupVerdict, []candidate) {
	var g GroupVerdict
	var passed []candidate
	for i, m := range members {
		v := Verdict{Buildpack: m.descriptor.Ref, Extension: m.descriptor.Extension, Optional: m.optional}
		if m.unfit != "" {
			v.Kind, v.Reason = EventDetectFail, m.unfit
			d.skip(Verdict{Buildpack: v.Buildpack, Extension: v.Extension, Kind: EventDetectSkip, Optional: m.optional, Reason: m.unfit})
		} else {
			o := d.run.done[keyOf(m.descriptor)]
			v.Kind, v.Code, v.Reason, v.Duration = o.kind, o.code, o.reason, o.duration
			if d.in.Every && o.kind == EventDetectPass {
				v.Plan = &o.plan
			}
			if o.kind == EventDetectPass {
				passed = append(passed, candidate{index: i, ref: m.descriptor.Ref, extension: v.Extension, optional: m.optional, plan: o.plan})
			}
		}
		g.Buildpacks = append(g.Buildpacks, v)
		if v.Kind != EventDetectPass && !m.optional && g.Reason == "" {
			g.Reason = fmt.Sprintf("%s: %s", v.Buildpack, v.Reason)
		}
	}
	if g.Reason == "" && !slices.ContainsFunc(passed, func(c candidate) bool { return !c.extension }) {
		g.Reason = "no buildpack of the group passed"
	}
	return g, passed
}

func (d *detection) fail(g GroupVerdict) error {
	d.log.add(g)
	d.emit(Event{Kind: EventGroupFailed, Text: g.Reason})
	return nil
}

// choose makes the result of the members that the plan kept.
func (d *detection) choose(members []member, res resolution) *Detected {
	found := &Detected{Plan: res.plan, Tried: len(members)}
	kept := map[int]bool{}
	var refs []cnb.Ref
	for _, c := range res.kept {
		desc := members[c.index].descriptor
		kept[c.index] = true
		refs = append(refs, desc.Ref)
		found.Group.Elements = append(found.Group.Elements, cnb.GroupElement{
			Ref: desc.Ref, API: desc.API, Homepage: desc.Homepage, ClearEnv: desc.ClearEnv,
			Extension: desc.Extension, Optional: desc.Extension,
		})
	}
	for i, m := range members {
		if !kept[i] && m.unfit == "" && d.run.done[keyOf(m.descriptor)].kind == EventDetectPass {
			d.emit(Event{Kind: EventDetectSkip, Buildpack: m.descriptor.Ref, Extension: m.descriptor.Extension, Text: "it is optional and its part of the plan is not met or not needed"})
		}
	}
	d.emit(Event{Kind: EventGroupChosen, Text: joinRefs(refs, ", ")})
	return found
}

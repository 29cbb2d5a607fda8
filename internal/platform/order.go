package platform

import (
	"slices"

	"github.com/slipway-build/slipway/builder/cnb"
)

// An entry is one item of --buildpack or of project.toml's group, resolved: a buildpack, or the builder's
// whole order ("from=builder").
type entry struct {
	ref         cnb.Ref
	fromBuilder bool
}

// composeOrder gives the order of a build: the builder's, or the explicit entries instead of it, with pre
// and post around every group. An explicit "from=builder" stands for each group of the builder's order in turn.
func composeOrder(builders cnb.Order, explicit, pre, post []entry) cnb.Order {
	order := builders
	if len(explicit) > 0 {
		order = cnb.Order{{}}
		for _, e := range explicit {
			order = extend(order, e, builders)
		}
	}
	if len(pre)+len(post) == 0 {
		return order
	}
	out := make(cnb.Order, 0, len(order))
	for _, g := range order {
		out = append(out, cnb.Group{Elements: slices.Concat(elements(pre), g.Elements, elements(post))})
	}
	return out
}

// extend appends e to every group of order.
func extend(order cnb.Order, e entry, builders cnb.Order) cnb.Order {
	tails := cnb.Order{{Elements: elements([]entry{e})}}
	if e.fromBuilder {
		tails = builders
	}
	var out cnb.Order
	for _, g := range order {
		for _, t := range tails {
			out = append(out, cnb.Group{Elements: slices.Concat(g.Elements, t.Elements)})
		}
	}
	return out
}

func elements(es []entry) []cnb.GroupElement {
	var out []cnb.GroupElement
	for _, e := range es {
		if !e.fromBuilder {
			out = append(out, cnb.GroupElement{Ref: e.ref})
		}
	}
	return out
}

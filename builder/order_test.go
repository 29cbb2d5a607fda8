package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/builder/cnb"
)

func TestOrderLimits(t *testing.T) {
	ref := func(i int) cnb.Ref { return cnb.Ref{ID: cnb.ID(fmt.Sprint("bp", i)), Version: "1"} }
	group := func(refs ...cnb.Ref) cnb.Group {
		var g cnb.Group
		for _, r := range refs {
			g.Elements = append(g.Elements, cnb.GroupElement{Ref: r})
		}
		return g
	}
	chain := func(n int) cnb.Order { return cnb.Order{group(ref(n))} }
	var ds []*cnb.Descriptor
	for i := range 40 { // bp0 is a component, bp<i> contains bp<i-1>
		d := &cnb.Descriptor{API: cnb.NewestBuildpackAPI, Ref: ref(i)}
		if i > 0 {
			d.Order = chain(i - 1)
		}
		ds = append(ds, d)
	}
	for _, c := range []struct {
		name  string
		order cnb.Order
		want  string
	}{
		{"nesting at the limit", chain(15), ""},
		{"nesting too deep", chain(16), "orders nest deeper than 16"},
		{"nesting much too deep", chain(39), "orders nest deeper than 16"},
		{"deep and shared", cnb.Order{group(ref(15)), group(ref(16))}, "orders nest deeper than 16"},
		{"groups", slices.Repeat(chain(0), 257), "257 groups, the limit is 256"},
		{"elements", cnb.Order{group(slices.Repeat([]cnb.Ref{ref(0)}, 1025)...)}, "a group of 1025 buildpacks, the limit is 1024"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkOrder(c.order, MapCatalog(ds))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// Ten composite buildpacks of ten groups each are 10^10 groups.
func TestOrderOfTooManyGroups(t *testing.T) {
	leaf := &cnb.Descriptor{API: cnb.NewestBuildpackAPI, Ref: cnb.Ref{ID: "leaf", Version: "1"}, HasDetect: true}
	ds := []*cnb.Descriptor{leaf}
	var top cnb.Group
	for i := range 10 {
		d := &cnb.Descriptor{API: cnb.NewestBuildpackAPI, Ref: cnb.Ref{ID: cnb.ID(fmt.Sprint("all", i)), Version: "1"}}
		for range 10 {
			d.Order = append(d.Order, cnb.Group{Elements: []cnb.GroupElement{{Ref: leaf.Ref}}})
		}
		ds = append(ds, d)
		top.Elements = append(top.Elements, cnb.GroupElement{Ref: d.Ref})
	}
	_, err := Detect(t.Context(), DetectInput{
		PlatformAPI: cnb.NewestPlatformAPI, Dirs: Dirs{Scratch: t.TempDir(), UID: os.Geteuid(), GID: os.Getegid()}, Order: cnb.Order{top}, Catalog: MapCatalog(ds), MaxTrials: 500,
		Runner: runnerFunc(func(context.Context, Cmd) error {
			return &ExitError{Phase: PhaseDetect, Buildpack: leaf.Ref, Code: 100}
		}),
	})
	if err == nil || !strings.Contains(err.Error(), "more than 500 groups were tried") || ExitCode(err) != 22 {
		t.Errorf("error %v", err)
	}
}

// expand writes an order out as flat groups, as the matrices of the spec do.
func expand(c Catalog, elements []cnb.GroupElement) [][]cnb.GroupElement {
	for i, e := range elements {
		d, err := c.Buildpack(e.Ref)
		if err != nil {
			panic(err)
		}
		if len(d.Order) == 0 {
			continue
		}
		var out [][]cnb.GroupElement
		for _, g := range d.Order {
			out = append(out, expand(c, slices.Concat(elements[:i], g.Elements, elements[i+1:]))...)
		}
		if e.Optional {
			out = append(out, expand(c, slices.Concat(elements[:i], elements[i+1:]))...)
		}
		return out
	}
	return [][]cnb.GroupElement{elements}
}

// firstOf is the first flat group whose required buildpacks all pass, with those that pass.
func firstOf(groups [][]cnb.GroupElement, pass map[cnb.ID]bool) string {
	for _, g := range groups {
		var kept []string
		seen := map[cnb.ID]bool{}
		ok := true
		for _, e := range g {
			if seen[e.ID] {
				continue
			}
			seen[e.ID] = true
			if pass[e.ID] {
				kept = append(kept, e.Ref.String())
			}
			ok = ok && (pass[e.ID] || e.Optional)
		}
		if ok && len(kept) > 0 {
			return strings.Join(kept, " ")
		}
	}
	return ""
}

func TestOrderEqualsItsExpansion(t *testing.T) {
	dirs := Dirs{Scratch: t.TempDir(), UID: os.Geteuid(), GID: os.Getegid()}
	rapid.Check(t, func(t *rapid.T) {
		pass := map[cnb.ID]bool{}
		var ds []*cnb.Descriptor
		component := func(i int) cnb.Ref { return cnb.Ref{ID: cnb.ID(fmt.Sprint("c", i)), Version: "1"} }
		for i := range 5 {
			ds = append(ds, &cnb.Descriptor{API: cnb.NewestBuildpackAPI, Ref: component(i), HasDetect: true})
			pass[component(i).ID] = rapid.Bool().Draw(t, "pass")
		}
		order := func(below int, label string) cnb.Order { // of components and of composites before number below
			var o cnb.Order
			for range rapid.IntRange(1, 2).Draw(t, label) {
				var g cnb.Group
				for range rapid.IntRange(1, 2).Draw(t, "elements") {
					e := cnb.GroupElement{Ref: component(rapid.IntRange(0, 4).Draw(t, "component")), Optional: rapid.Bool().Draw(t, "optional")}
					if below > 0 && rapid.Bool().Draw(t, "nested") {
						e.Ref = cnb.Ref{ID: cnb.ID(fmt.Sprint("all", rapid.IntRange(0, below-1).Draw(t, "composite"))), Version: "1"}
					}
					g.Elements = append(g.Elements, e)
				}
				o = append(o, g)
			}
			return o
		}
		for i := range 2 {
			ds = append(ds, &cnb.Descriptor{API: cnb.NewestBuildpackAPI, Ref: cnb.Ref{ID: cnb.ID(fmt.Sprint("all", i)), Version: "1"}, Order: order(i, "groups")})
		}
		catalog := MapCatalog(ds)
		top := order(2, "top")
		var flat [][]cnb.GroupElement
		for _, g := range top {
			flat = append(flat, expand(catalog, g.Elements)...)
		}
		want := firstOf(flat, pass)
		found, err := Detect(context.Background(), DetectInput{
			PlatformAPI: cnb.NewestPlatformAPI, Dirs: dirs, Order: top, Catalog: catalog,
			Runner: runnerFunc(func(_ context.Context, c Cmd) error {
				if pass[c.Buildpack.ID] {
					return nil
				}
				return &ExitError{Phase: c.Phase, Buildpack: c.Buildpack, Code: 100}
			}),
		})
		got := ""
		if err == nil {
			got = groupText(found.Group)
		} else if _, ok := errors.AsType[*NoGroupError](err); !ok {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("chose %q, the expansion gives %q", got, want)
		}
	})
}

package builder

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

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

package platform

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

func group(ids ...string) cnb.Group {
	var g cnb.Group
	for _, id := range ids {
		g.Elements = append(g.Elements, cnb.GroupElement{Ref: cnb.Ref{ID: cnb.ID(id), Version: "1"}})
	}
	return g
}

func show(o cnb.Order) string {
	var gs []string
	for _, g := range o {
		var es []string
		for _, e := range g.Elements {
			es = append(es, string(e.ID))
		}
		gs = append(gs, strings.Join(es, " "))
	}
	return strings.Join(gs, " | ")
}

func TestComposeOrder(t *testing.T) {
	builders := cnb.Order{group("a", "b"), group("c")}
	bp := func(ids ...string) (es []entry) {
		for _, id := range ids {
			es = append(es, entry{ref: cnb.Ref{ID: cnb.ID(id), Version: "1"}, fromBuilder: id == "from=builder"})
		}
		return es
	}
	for _, tc := range []struct {
		explicit, pre, post []entry
		want                string
	}{
		{nil, nil, nil, "a b | c"},
		{bp("x", "y"), nil, nil, "x y"},
		{bp("x", "from=builder", "y"), nil, nil, "x a b y | x c y"},
		{nil, bp("p"), bp("q"), "p a b q | p c q"},
		{bp("x"), bp("p"), bp("q", "r"), "p x q r"},
	} {
		if got := show(composeOrder(builders, tc.explicit, tc.pre, tc.post)); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
	if show(builders) != "a b | c" {
		t.Error("the builder's order was changed")
	}
}

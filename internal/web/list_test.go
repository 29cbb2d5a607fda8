package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
)

// all reads a list to its end, by Next-Range.
func (h *house) all(path, token, span string) (list []map[string]any) {
	h.t.Helper()
	for range 100 {
		var headers []string
		if span != "" {
			headers = []string{"Range: " + span}
		}
		r := h.do("GET", path, token, "", headers...)
		var page []map[string]any
		r.into(&page)
		list = append(list, page...)
		span = r.header.Get("Next-Range")
		if (r.status == 206) != (span != "") || r.header.Get("Accept-Ranges") == "" {
			h.t.Fatalf("%s: %d with Next-Range %q, Accept-Ranges %q", path, r.status, span, r.header.Get("Accept-Ranges"))
		}
		if span == "" {
			return list
		}
	}
	h.t.Fatalf("%s does not end", path)
	return nil
}

// TestRange reads lists in parts of every size, in both orders, by every attribute: all of it comes, once, in order.
func TestRange(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	const n = 7
	id := build.ID(h.do("GET", "/apps/shop", h.alice, "").str("id"))
	for i := range n {
		b := build.Build{App: id, User: h.who(h.alice), Trigger: build.Trigger{Kind: build.TriggerAPI}, Source: build.Source{Stored: "x"}}
		if _, err := h.Service.Submit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		h.succeed(h.claim(), strings.Replace(digest, "0", fmt.Sprint(i), 1))
		if i > 0 {
			h.newApp(fmt.Sprintf("app-%d", i))
		}
	}
	for _, list := range []struct{ path, key, attributes string }{
		{"/apps/shop/builds", "number", "number id created_at started_at"}, {"/apps/shop/releases", "version", "version id created_at"}, {"/apps", "name", "name"}, {"/apps", "id", "id"},
	} {
		want := keys(h.all(list.path, h.alice, ""), list.key)
		if len(want) != n {
			t.Fatalf("%s: %v", list.path, want)
		}
		if list.key == "id" {
			slices.Sort(want)
		}
		for attribute := range strings.FieldsSeq(list.attributes) {
			for size := 1; size <= n+1; size++ {
				up := keys(h.all(list.path, h.alice, fmt.Sprintf("%s ..; max=%d", attribute, size)), list.key)
				down := keys(h.all(list.path, h.alice, fmt.Sprintf("%s ..; order=desc, max=%d", attribute, size)), list.key)
				slices.Reverse(down)
				if !slices.Equal(up, want) || !slices.Equal(down, want) {
					t.Errorf("%s by %s, %d at a time: %v and %v, want %v", list.path, attribute, size, up, down, want)
				}
			}
		}
	}
	for span, want := range map[string]string{
		"number 3..5": "[3 4 5]", "number ]3..5": "[4 5]", "number 5..3; order=desc": "[5 4 3]", "number ]5..3;order=desc,max=9": "[4 3]", "number 6..": "[6 7]",
		"number ]1..; order=desc": "[]", "number ]7..": "[]", "number 9..2": "[]", "number ..2": "[1 2]", "number ..6; order=desc": "[7 6]", "number": "[1 2 3 4 5 6 7]", "number 0..1": "[1]",
	} {
		if got := fmt.Sprint(keys(h.all("/apps/shop/builds", h.alice, span), "number")); got != want {
			t.Errorf("%s: %s, want %s", span, got, want)
		}
	}
	r := h.do("GET", "/apps/shop/builds", h.alice, "", "Range: number 2..; max=2").want(206)
	if got := r.header.Get("Content-Range") + "|" + r.header.Get("Next-Range"); got != "number 2..3|number ]3..; max=2" {
		t.Errorf("headers: %s", got)
	}
	for _, bad := range []string{
		"bytes=0-10", "name a..b", "number x..", "number -1..", "number 1-2", "number ..; max=0", "number ..; max=1001", "number ..; max=x", "number ..; order=up", "number ..; by=3",
		"id nonsense..", "created_at 2026-01-01..", "number 99999999999999999999..", "number " + strings.Repeat("1", 2000) + "..",
	} {
		h.do("GET", "/apps/shop/builds", h.alice, "", "Range: "+bad).refused(422, "invalid_params", "Range")
	}
}

func keys(list []map[string]any, key string) []string {
	out := []string{}
	for _, m := range list {
		out = append(out, fmt.Sprint(m[key]))
	}
	return out
}

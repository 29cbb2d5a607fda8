package console

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/index"
)

// TestEcosystemCounts builds forty times and holds the page's numbers to those counted by hand: 25 passed, 10 failed by the
// app, of which 8 at nodejs, and 5 by the platform, of which 2 at nodejs.
func TestEcosystemCounts(t *testing.T) {
	y := newYard(t, nil)
	a := y.app("shop")
	for i := range 40 {
		y.submit(a, "one")
		j := y.claim()
		switch {
		case i < 25:
			o := good()
			o.Result.Phases[6].Elapsed = time.Duration(i+1) * time.Second
			y.finish(j, o)
		case i < 33:
			y.print(j, fmt.Sprintf("[slipway/nodejs] npm ERR! code E%d\nERROR: failed\n", i))
			y.finish(j, failed(build.BlameApp, "slipway/nodejs@1.4.0", "exit code 1"))
		case i < 35:
			y.finish(j, notDetected())
		default:
			at := ""
			if i < 37 {
				at = "slipway/nodejs@1.4.0"
			}
			for range build.MaxAttempts { // the platform's failures are tried again
				y.finish(j, failed(build.BlamePlatform, at, "the registry answered 503"))
				if b := must(y.store.BuildByID(t.Context(), j.Build))(t); b.State == build.Queued {
					j = y.claim()
				}
			}
		}
	}
	e := must(y.console.trends.of(t.Context(), build.Actor{User: y.admin, Token: build.Token{Verbs: build.Verbs()}}, 30))(t)
	if want := (tally{25, 10, 5, 0}); e.All.tally != want {
		t.Errorf("all: %+v, want %+v", e.All.tally, want)
	}
	by := map[string]performance{}
	for _, p := range e.Packs {
		by[p.ID] = p
	}
	node, proc, golang := by["slipway/nodejs"], by["slipway/procfile"], by["slipway/go"]
	if want := (tally{25, 8, 2, 0}); node.tally != want || node.P50 != 13*time.Second || node.P95 != 24*time.Second || node.Detected != 35 || node.Tried != 37 {
		t.Errorf("nodejs: %+v %v %v %d of %d", node.tally, node.P50, node.P95, node.Detected, node.Tried)
	}
	if want := (tally{25, 0, 0, 0}); proc.tally != want || golang.tally != (tally{}) || golang.Tried != 37 || golang.Detected != 0 {
		t.Errorf("procfile %+v, go %+v %d of %d", proc.tally, golang.tally, golang.Detected, golang.Tried)
	}
	if len(e.Failures) != 3 || e.Failures[0].Count != 8 || !strings.HasPrefix(e.Failures[0].Line, "npm ERR! code E") || e.Failures[1].Count != 5 || e.Failures[1].Blame != build.BlamePlatform {
		t.Errorf("failures: %+v", e.Failures)
	}
	if e.Slow[0].Phase != "build" || e.Slow[0].Buildpack != "slipway/nodejs@1.4.0" || e.Slow[0].P95 != 24*time.Second {
		t.Errorf("slow: %+v", e.Slow[0])
	}
	b := y.signIn(y.token)
	b.get("/console/ecosystem").want(200).has("71.4 %", "75.8 %", "94.6 %", "npm ERR! code E32", "the registry answered 503", "/console/apps/shop/builds/40")
	b.get("/console/ecosystem?days=8").want(404)
	b.get("/console/buildpacks/slipway/nodejs").want(200).has("75.8 %", "1 app", "1.4.0", `href="/console/apps/shop"`)
	b.get("/console/buildpacks?q=proc").want(200).has("slipway/procfile", "1 buildpack")
	b.get("/console/buildpacks?q=nothing-like-it").want(200).has("No buildpack has")
	b.get("/console/buildpacks/slipway/nothing").want(404)
	b.get("/console/admin").want(200).has("Nothing runs and nothing waits", "ada@example.com", "0 of 2")

	u := must(y.store.CreateUser(t.Context(), "eve", false))(t)
	_, text, err := y.store.CreateToken(t.Context(), build.Token{User: u.ID, Verbs: build.Verbs()})
	if err != nil {
		t.Fatal(err)
	}
	eve := y.signIn(text)
	eve.get("/console/ecosystem").want(200).has("No build has ended")
	eve.get("/console/admin").want(403)
	eve.get("/console/buildpacks/slipway/nodejs").want(404)
}

func TestQuantile(t *testing.T) {
	of := func(n int) (all []time.Duration) {
		for i := range n {
			all = append(all, time.Duration(n-i))
		}
		return all
	}
	for _, c := range []struct{ n, percent, want int }{{0, 50, 0}, {1, 50, 1}, {1, 95, 1}, {2, 50, 1}, {2, 95, 2}, {20, 95, 19}, {100, 95, 95}, {101, 50, 51}} {
		if got := quantile(of(c.n), c.percent); got != time.Duration(c.want) {
			t.Errorf("%d%% of %d: %d, want %d", c.percent, c.n, got, c.want)
		}
	}
}

func TestKindOfError(t *testing.T) {
	for _, c := range [][2]string{
		{"exit status 12 after 3.5s", "exit status # after #s"}, {"layer deadbeef12: no", "layer #: no"}, {"Cannot find module 'left-pad'", "Cannot find module 'left-pad'"},
	} {
		if got := kindOf(c[0]); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

func TestBuildpacksOfTheIndex(t *testing.T) {
	y := newYard(t, withIndex(t))
	y.publish("acme/static", "1.0.0", "1.1.0")
	y.publish("acme/cobol", "0.1.0")
	who := build.Actor{User: y.admin, Token: build.Token{Verbs: build.Verbs()}}
	must(y.console.Registrar.Yank(t.Context(), who, must(index.ParseName("acme/cobol"))(t), "0.1.0", true, ""))(t)
	b := y.signIn(y.token)
	b.get("/console/buildpacks").want(200).has("acme/static", "1.1.0", "acme/cobol", "yanked", "Builds what is in acme/static", "slipway buildpack register", "/registry-index.git")
	b.get("/console/buildpacks?q=STATIC+acme").want(200).has("1 buildpack for", "acme/static")
	b.get("/console/buildpacks?q=what+is+in+acme/cobol").want(200).has("1 buildpack for", "acme/cobol")
	b.get("/console/buildpacks/acme/static").want(200).has("1.0.0", "1.1.0", digest, "linux/arm64 debian 13", "Apache-2.0", `href="https://example.com/acme/static" rel="noopener`, "urn:cnb:registry:acme/static")
	b.get("/console/buildpacks/acme/cobol").want(200).has("0.1.0", "yanked")
	b.get("/console/buildpacks/acme/none").want(404)
	b.get("/console/buildpacks/a..b/none").want(404)
}

// TestBuildpacksOfApps holds that whatever a page links to has a page: a buildpack that is in no index may be called otherwise.
func TestBuildpacksOfApps(t *testing.T) {
	y := newYard(t, withIndex(t))
	y.submit(y.app("shop"), "one")
	o := good()
	for _, id := range []string{"my-own", "io.example.cobol", "acme/web/static"} {
		o.Result.Buildpacks = append(o.Result.Buildpacks, build.Buildpack{ID: id, Version: "0.0.1"})
	}
	y.finish(y.claim(), o)
	b := y.signIn(y.token)
	for _, made := range o.Result.Buildpacks {
		link := "/console/buildpacks/" + made.ID
		for _, path := range []string{"/console/apps/shop", "/console/apps/shop/builds/1", "/console/ecosystem", "/console/buildpacks"} {
			b.get(path).want(200).has(`href="` + link + `"`)
		}
		b.get(link).want(200).has(made.ID, made.Version, `href="/console/apps/shop"`)
	}
	b.get("/console/buildpacks/my-other").want(404).has("my-other")
}

package web

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestPlatform is what clients of the Platform API ask for beside apps, builds and releases.
func TestPlatform(t *testing.T) {
	h := newHouse(t)
	app := h.newApp("shop").is("stack.name", "cnb", "region.name", "local", "generation.name", "cnb", "create_status", "complete", "acm", false)
	h.do("GET", "/stacks/cnb", h.alice, "").want(200).is("id", app.str("stack.id"), "default", true, "state", "public")
	h.do("GET", "/stacks/"+app.str("stack.id"), h.alice, "").want(200).is("name", "cnb")
	h.do("GET", "/stacks/heroku-24", h.alice, "").refused(404, "not_found", "the only one is cnb")
	h.do("GET", "/regions/local", h.alice, "").want(200).is("id", app.str("region.id"))
	h.do("PATCH", "/apps/shop", h.alice, `{"build_stack":"cnb","region":"`+app.str("region.id")+`"}`).want(200)
	for body, part := range map[string]string{`{"build_stack":"heroku-24"}`: "build_stack: the only one here is cnb", `{"region":"eu"}`: "region: the only one here is local"} {
		h.do("PATCH", "/apps/shop", h.alice, body).refused(422, "invalid_params", part)
	}
	var people []struct {
		User userRef
		Role string
	}
	h.do("GET", "/apps/shop/collaborators", h.root, "").want(200).into(&people)
	if len(people) != 1 || people[0].User.Email != "alice" || people[0].Role != "owner" {
		t.Errorf("collaborators %+v", people)
	}
	for _, r := range (&server{Options: h.Options}).nothings() {
		if got := h.do("GET", pathOf(r.path, map[string]string{"app": "shop"}), h.alice, "").want(200); got.text != "[]\n" {
			t.Errorf("%s: %s", r.path, got.text)
		}
	}

	h.do("PUT", "/apps/shop/buildpack-installations", h.alice, `{"updates":[{"buildpack":"urn:buildpack:acme/web"},{"buildpack":"acme/db@1.2"},{"buildpack":"docker://ghcr.io/acme/x"}]}`).want(200)
	h.do("GET", "/apps/shop", h.alice, "").want(200).is("buildpacks", "[acme/web acme/db@1.2 docker://ghcr.io/acme/x]")
	for body, part := range map[string]string{
		`{}`: "updates", `{"updates":[{}]}`: "it names none", `{"updates":[{"buildpack":"https://github.com/heroku/x"}]}`: "by URL", `{"updates":[{"buildpack":"../x"}]}`: "buildpacks[0]",
		`{"updates":[{"buildpack":"urn:buildpack:/etc"}]}`: "buildpacks[0]",
	} {
		h.do("PUT", "/apps/shop/buildpack-installations", h.alice, body).refused(422, "invalid_params", part)
	}
	h.do("PUT", "/apps/shop/buildpack-installations", h.alice, `{"updates":[]}`).want(200)
	h.do("GET", "/apps/shop", h.alice, "").want(200).is("buildpacks", "[]")
}

// TestReleasesFromTheBeginning: an app that was never built has a release of nothing, and none of its images.
func TestReleasesFromTheBeginning(t *testing.T) {
	h := newHouse(t)
	app := h.newApp("shop")
	list := func(path string) (all []map[string]any) {
		t.Helper()
		h.do("GET", path, h.alice, "").want(200).into(&all)
		return all
	}
	if all := list("/apps/shop/releases"); len(all) != 1 || all[0]["version"] != 0.0 || all[0]["oci_image"] != nil || all[0]["current"] != true || all[0]["eligible_for_rollback"] != false {
		t.Errorf("releases %v", all)
	}
	for _, name := range []string{"0", "v0", app.str("id")} {
		h.do("GET", "/apps/shop/releases/"+name, h.alice, "").want(200).is("description", "Initial release")
	}
	h.do("PATCH", "/apps/shop/config-vars", h.alice, `{"A":"1"}`).want(200)
	h.do("GET", "/apps/shop/releases/0/config-vars", h.alice, "").want(200).is("A", "1")
	h.do("POST", "/apps/shop/releases", h.alice, `{"release":0}`).refused(404, "not_found", "no release 0")
	h.newBuild("shop")
	j := h.claim()
	h.say(j, "hello\nand \x1b[1mgood\x1b[0m bye")
	h.do("GET", "/apps/shop/builds/1/result", h.alice, "").want(200).is("exit_code", nil, "build.status", "pending")
	h.succeed(j, digest)
	var result buildOutcome
	h.do("GET", "/apps/shop/builds/1/result", h.alice, "").want(200).into(&result)
	var text strings.Builder
	for _, l := range result.Lines {
		text.WriteString(l.Stream + " " + l.Line)
	}
	if *result.ExitCode != 0 || !strings.HasPrefix(text.String(), "STDOUT hello\nSTDOUT and good bye") {
		t.Errorf("the result is %d, %q", *result.ExitCode, text.String())
	}
	h.newBuild("shop")
	h.fail(h.claim())
	h.do("GET", "/apps/shop/builds/2/result", h.alice, "").want(200).is("exit_code", 1, "build.status", "failed")
	h.newBuild("shop")
	h.succeed(h.claim(), strings.Replace(digest, "0", "f", 1))
	h.do("POST", "/apps/shop/releases", h.alice, `{"release":1}`).want(201).is("version", 3, "description", "Rollback to v1", "artifacts", "[map[id:"+digest+" type:oci-image]]")
	h.do("POST", "/apps/shop/releases", h.alice, `{"release":true}`).refused(422, "invalid_params", "release")
	h.do("GET", "/apps/shop/releases/0", h.alice, "").refused(404, "not_found", "no release 0")
	if all := list("/apps/shop/releases"); len(all) != 3 {
		t.Errorf("%d releases", len(all))
	}
	if all := list("/apps/shop/oci-images"); len(all) != 2 || all[0]["digest"] != digest {
		t.Errorf("images %v", all)
	}
	h.do("GET", "/apps/shop/releases/9/config-vars", h.alice, "").refused(404, "not_found", "no release 9")
}

// TestCatalog is the default builder as a registry of buildpacks.
func TestCatalog(t *testing.T) {
	offers, fails := []Offer{
		{ID: "acme/web", Version: "1.0", Description: "Web apps", Homepage: "https://acme.test", Licenses: []string{"MIT"}},
		{ID: "acme/web", Version: "1.1", Description: "Apps for the web", Homepage: "https://acme.test", Licenses: []string{"MIT", "BSD"}, Yanked: true, CreatedAt: time.Unix(1e9, 0)},
		{ID: "other/db", Version: "2.0", Description: "Databases"},
	}, error(nil)
	h := newHouse(t, func(o *Options) { o.Offers = func(context.Context) ([]Offer, error) { return offers, fails } })
	for query, want := range map[string]string{
		"": "acme/web other/db", "?in[namespace][]=acme": "acme/web", "?in[name][]=db&in[name][]=x": "other/db", "?like[description]=WEB": "acme/web", "?in[name][]=nothing": "",
	} {
		var all []catalogEntry
		h.do("GET", "/buildpacks"+query, "", "").want(200).into(&all)
		var ids []string
		for _, e := range all {
			ids = append(ids, e.ID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	h.do("GET", "/buildpacks/acme%2Fweb", "", "").want(200).is("blob_url", "urn:buildpack:acme/web", "namespace", "acme", "name", "web", "support.method", "website")
	h.do("GET", "/buildpacks/acme%2Fweb/readme", "", "").want(200).is("content", "")
	got := h.do("GET", "/buildpacks/acme%2Fweb/revisions", "", "").want(200).text
	for _, want := range []string{`"release":"1.0","status":"published","license":"MIT","created_at":null`, `"release":"1.1","status":"yanked","license":"MIT, BSD","created_at":"2001-09-09T01:46:40Z"`} {
		if !strings.Contains(got, want) {
			t.Errorf("versions %s, want %s", got, want)
		}
	}
	for _, path := range []string{"/buildpacks/acme%2Fnothing", "/buildpacks/acme%2Fnothing/revisions", "/buildpacks/acme%2Fnothing/readme"} {
		h.do("GET", path, "", "").refused(404, "not_found", "neither the default builder nor the service's index has a buildpack acme/nothing")
	}
	h.faulty, fails = true, errors.New("gone")
	h.do("GET", "/buildpacks", "", "").refused(500, "internal", "")
}

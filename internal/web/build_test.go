package web

import (
	"strings"
	"testing"
)

// TestLife is the life of an app, from its making to its end, with a build that works and one that does not.
func TestLife(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop").is("name", "shop", "owner.email", "alice", "branch", "main", "on_disconnect", "continue", "image", "registry.test/shop",
		"git_url", h.url+"/shop.git", "released_at", nil, "build_stack.name", "cnb", "stack.name", "cnb", "region.name", "local", "web_url", h.url+"/apps/shop", "team", nil, "space", nil)
	h.do("PATCH", "/apps/shop", h.alice, `{"branch":"live","limits":{"time":90,"memory":1000000},"buildpacks":["acme/web@1.0"],"on_disconnect":"cancel","image":"ghcr.io/acme/shop","builder":"ghcr.io/acme/builder:1"}`).
		want(200).is("branch", "live", "limits.time", 90, "limits.memory", 1e6, "buildpacks", "[acme/web@1.0]", "on_disconnect", "cancel", "image", "ghcr.io/acme/shop", "builder", "ghcr.io/acme/builder:1")
	h.do("PATCH", "/apps/shop", h.alice, `{"image":""}`).want(200).is("image", "registry.test/shop", "branch", "live")

	b := h.newBuild("shop").is("number", 1, "state", "queued", "status", "pending", "trigger", "api", "place.ahead", 0, "user.email", "alice",
		"source_blob.version", "v1", "source_blob.url", nil, "release", nil, "attempt", 0, "started_at", nil)
	if !strings.HasPrefix(b.str("source_blob.checksum"), "SHA256:") {
		t.Errorf("checksum %s", b.str("source_blob.checksum"))
	}
	second := h.newBuild("shop").is("place.ahead", 1)
	j := h.claim()
	h.do("GET", "/apps/shop/builds/1", h.alice, "").want(200).is("state", "running", "id", b.str("id"), "place", nil, "attempt", 1)
	h.do("DELETE", "/apps/shop", h.alice, "").refused(409, "conflict", "running")
	h.do("POST", "/apps/shop/builds/1/retry", h.alice, "").refused(409, "conflict", "running")
	h.say(j, "-----> hello\n")
	h.succeed(j, digest)
	h.do("GET", "/apps/shop/builds/"+b.str("id"), h.alice, "").want(200).is("state", "succeeded", "status", "succeeded", "release.version", 1, "release.status", "succeeded",
		"result.digest", digest, "failure", nil)

	h.fail(h.claim())
	h.do("GET", "/apps/shop/builds/2", h.alice, "").want(200).is("state", "failed", "status", "failed", "failure.blame", "app", "failure.next", "do better", "id", second.str("id"))
	h.do("POST", "/apps/shop/builds/2/retry", h.alice, "").want(201).is("number", 3, "trigger", "retry", "state", "queued", "source_blob.version", "v1")
	h.do("POST", "/apps/shop/builds/3/cancel", h.alice, "").want(200).is("state", "cancelled", "status", "failed", "cancel_reason", "alice asked for it")
	h.do("DELETE", "/apps/shop/builds/3", h.alice, "").refused(409, "conflict", "ended")

	h.do("GET", "/apps/shop/releases/v1", h.alice, "").want(200).is("version", 1, "current", true, "image", "registry.test/shop@"+digest, "oci_image.id", digest, "build.number", 1, "status", "succeeded")
	if at := h.do("GET", "/apps/shop", h.alice, "").want(200).str("released_at"); at == "" {
		t.Error("no released_at")
	}
	h.newBuild("shop")
	h.succeed(h.claim(), strings.Replace(digest, "0", "f", 1))
	h.do("POST", "/apps/shop/releases", h.alice, `{"release":"1"}`).want(201).is("version", 3, "description", "Rollback to v1", "current", true, "oci_image.id", digest, "build", nil)
	if got := h.tags.at["registry.test/shop:latest"]; got != digest {
		t.Errorf("after the rollback the app's name is at %s", got)
	}
	h.do("POST", "/apps/shop/releases", h.alice, `{"release":"9"}`).refused(404, "not_found", "app shop has no release 9")
	h.tags.gone = digest
	h.do("POST", "/apps/shop/releases", h.alice, `{"release":"1"}`).refused(409, "conflict", "the image of release v1 is not kept any more")
	h.tags.gone = ""
	h.do("GET", "/apps/shop/releases/1", h.alice, "").want(200).is("current", false)
	h.do("GET", "/apps/shop/oci-images/"+digest, h.alice, "").want(200).is("digest", digest, "process_types.web", "serve", "base_image", "run@sha256:1")
	h.do("GET", "/apps/shop/oci-images/sha256:00", h.alice, "").refused(404, "not_found", "image")
	h.do("DELETE", "/apps/shop/build-cache", h.alice, "").want(200).str("purged_at")

	waits := h.newBuild("shop")
	stream := waits.str("output_stream_url")
	followed := make(chan reply)
	go func() { followed <- h.do("GET", stream, "", "") }()
	h.do("DELETE", "/apps/shop", h.alice, "").want(200).is("name", "shop")
	if r := <-followed; r.status != 404 && !strings.Contains(r.text, "its app was deleted") {
		t.Errorf("who followed a build that waited: %d %s", r.status, r.text)
	}
	h.do("GET", "/apps/shop", h.alice, "").refused(404, "not_found", "shop")
	want := "created shop|changed shop main to shop live|changed shop live to shop live|deleted shop"
	if got := strings.Join(h.diary.lines, "|"); got != want {
		t.Errorf("apps were told %s", got)
	}
}

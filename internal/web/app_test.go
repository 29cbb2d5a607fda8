package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
)

// TestAppSettings changes apps in ways that are right and in ways that are not.
func TestAppSettings(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	made := h.do("POST", "/apps", h.alice, "").want(201).str("name")
	if _, err := build.ParseAppName(made); err != nil {
		t.Errorf("a made-up name: %v", err)
	}
	h.do("POST", "/apps", h.bob, `{"name":"shop"}`).refused(409, "conflict", "taken")
	h.do("PATCH", "/apps/"+made, h.alice, `{"name":"shop"}`).refused(409, "conflict", "taken")
	for body, part := range map[string]string{
		`{"name":"Shop"}`: "name", `{"name":"x"}`: "name", `{"name":"../x"}`: "name", `{"branch":""}`: "branch", `{"branch":"a..b"}`: "branch", `{"branch":"-x"}`: "branch", `{"branch":"a b"}`: "branch",
		`{"builder":"oci:/etc"}`: "builder", `{"builder":"-x"}`: "builder", `{"builder":"a b"}`: "builder", `{"buildpacks":["/etc"]}`: "buildpacks[0]", `{"buildpacks":["a/b@1","a b/c@1"]}`: "buildpacks[1]", `{"buildpacks":["image:1 2"]}`: "buildpacks[0]", `{"buildpacks":["a/b","../x"]}`: "buildpacks[1]",
		`{"buildpacks":["file:///etc"]}`: "buildpacks", `{"buildpacks":[""]}`: "buildpacks", `{"buildpacks":["a\nb"]}`: "buildpacks", `{"buildpacks":"a"}`: "buildpacks", `{"on_disconnect":"die"}`: "on_disconnect",
		`{"image":"ghcr.io/a/b:tag"}`: "image", `{"image":"ghcr.io/a/b@` + digest + `"}`: "image", `{"image":"registry.test/other"}`: "image", `{"image":"oci:/tmp/x"}`: "image", `{"image":"ghcr.io/A"}`: "image",
		`{"limits":{"time":-1}}`: "limits.time", `{"limits":{"time":9223372036}}`: "limits.time", `{"limits":{"cpus":1e300}}`: "limits.cpus", `{"limits":{"memory":1.5}}`: "limits.memory", `{"limits":{"x":1}}`: "x",
		`{"limits":{"memory":99999999999999999999}}`: "limits.memory", `{"owner":"bob"}`: "owner", `{"id":"x"}`: "id", `{"name":1}`: "name", `[]`: "body", `"x"`: "body", `{"buildpacks":[1]}`: "buildpacks",
	} {
		h.do("PATCH", "/apps/shop", h.alice, body).refused(422, "invalid_params", part)
	}
	config := h.do("POST", "/account/tokens", h.alice, `{"scope":["read","config"]}`).want(201).str("token")
	h.do("PATCH", "/apps/shop", config, `{"name":"store"}`).refused(403, "forbidden", "manage")
	h.do("PATCH", "/apps/shop", config, `{"name":"shop","branch":"x"}`).want(200)
	h.do("PATCH", "/apps/shop", h.alice, `{"name":"store"}`).want(200).is("name", "store", "git_url", h.url+"/store.git", "image", "registry.test/store")
	h.do("GET", "/apps/shop", h.alice, "").refused(404, "not_found", "shop")
	h.do("GET", "/apps/store", h.root, "").want(200).is("owner.email", "alice")

	h.newBuild("store")
	h.do("PATCH", "/apps/store", h.alice, `{"name":"shop"}`).want(200) // what waits gets its name when it runs
	j := h.claim()
	if j.Image != "registry.test/shop" {
		t.Errorf("the build makes %s", j.Image)
	}
	h.do("PATCH", "/apps/shop", h.alice, `{"name":"store"}`).refused(409, "conflict", "images")
	h.succeed(j, digest)
	h.do("PATCH", "/apps/shop", h.alice, `{"name":"store"}`).refused(409, "conflict", "registry.test/shop")
	h.do("PATCH", "/apps/shop", h.alice, `{"image":"ghcr.io/a/b","name":"store"}`).refused(409, "conflict", "registry.test/shop")
	h.do("GET", "/apps/shop", h.alice, "").want(200).is("image", "registry.test/shop")
}

// TestAppCreateFails has an app whose repositories cannot be made: it is not there afterwards.
func TestAppCreateFails(t *testing.T) {
	h := newHouse(t)
	h.faulty = true
	h.diary.fail = errOurs
	r := h.do("POST", "/apps", h.alice, `{"name":"shop"}`)
	r.refused(500, "internal", "tell the operator")
	if !strings.Contains(r.text, r.header.Get("Request-Id")) || strings.Contains(r.text, "sda1") {
		t.Errorf("the error is %s", r.text)
	}
	h.mu.Lock()
	if len(h.faults) != 1 || !errors.Is(h.faults[0], errOurs) || !strings.Contains(h.faults[0].Error(), r.header.Get("Request-Id")) {
		t.Errorf("faults: %v", h.faults)
	}
	h.mu.Unlock()
	h.do("GET", "/apps/shop", h.alice, "").refused(404, "not_found", "")
	h.diary.fail = nil
	h.newApp("shop")
}

// TestConfigVars sets and removes config vars, which no other answer has in it.
func TestConfigVars(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	const path = "/apps/shop/config-vars"
	h.do("GET", path, h.alice, "").want(200).is()
	h.do("PATCH", path, h.alice, `{"A":"canary-a","B":"canary b\n\"<>&","EMPTY":""}`).want(200).is("A", "canary-a", "B", "canary b\n\"<>&", "EMPTY", "")
	h.do("PATCH", path, h.alice, `{"A":null,"C":"canary-c","GONE":null}`).want(200).is("C", "canary-c")
	if r := h.do("GET", path, h.alice, "").want(200); strings.Contains(r.text, "canary-a") || !strings.Contains(r.text, "canary-c") {
		t.Errorf("vars: %s", r.text)
	}
	for body, part := range map[string]string{
		`{"1A":"canary"}`: "1A", `{"a b":"canary"}`: "a b", `{"__X":"canary"}`: "__X", `{"X":1}`: "X", `{"X":["canary"]}`: "X", `{"X":{"canary":1}}`: "X", `["canary"]`: "body", `{"X":"a\u0000canary"}`: "X", `{"":"canary"}`: "",
		`{"BIG":"` + strings.Repeat("canary", build.MaxVarBytes/6+1) + `"}`: "BIG", `{"OK":"canary","not ok":"canary"}`: "not ok",
	} {
		r := h.do("PATCH", path, h.alice, body)
		r.refused(422, "invalid_params", part)
		if strings.Contains(r.text, "canary") {
			t.Errorf("the error tells a value: %s", r.text)
		}
	}
	var many []string
	for i := range build.MaxVars {
		many = append(many, fmt.Sprintf(`"V%d":"x"`, i))
	}
	h.do("PATCH", path, h.alice, "{"+strings.Join(many, ",")+"}").refused(422, "invalid_params", "at most 512")
	var large []string
	for i := range build.MaxVarsBytes/build.MaxVarBytes + 1 {
		large = append(large, fmt.Sprintf(`"L%d":"%s"`, i, strings.Repeat("x", build.MaxVarBytes)))
	}
	h.do("PATCH", path, h.alice, "{"+strings.Join(large[:7], ",")+"}").want(200) // more than other bodies may have is read
	h.do("PATCH", path, h.alice, "{"+strings.Join(large[7:], ",")+"}").refused(422, "invalid_params", "together")
	h.do("PATCH", path, h.alice, `{"X":"`+strings.Repeat("x", 2<<20)+`"}`).refused(413, "too_large", "")
	if r := h.do("GET", path, h.alice, "").want(200); strings.Contains(r.text, "OK") || len(r.text) < 7*build.MaxVarBytes {
		t.Errorf("what was refused is there, or what was not is gone: %d bytes", len(r.text))
	}
}

// TestCredentials keeps bindings and credentials; no answer has their contents.
func TestCredentials(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	const pem = `-----BEGIN OPENSSH PRIVATE KEY-----\nY2FuYXJ5\n-----END OPENSSH PRIVATE KEY-----\n`
	var texts strings.Builder
	ok := func(method, path, body string, status int) reply {
		t.Helper()
		r := h.do(method, "/apps/shop"+path, h.alice, body).want(status)
		texts.WriteString(r.text)
		return r
	}
	ok("PUT", "/bindings/db", `{"type":"postgresql","provider":"acme","files":{"password":"canary","uri":"canary://x"}}`, 200).is("name", "db", "type", "postgresql", "provider", "acme", "files", "[password uri]")
	ok("PUT", "/bindings/ca", `{"type":"ca-certificates"}`, 200)
	if got := fmt.Sprint(keys(h.all("/apps/shop/bindings", h.alice, ""), "name")); got != "[ca db]" {
		t.Errorf("bindings %s", got)
	}
	ok("PUT", "/git-credentials/Git.Test", `{"username":"u","password":"canary"}`, 200).is("host", "git.test")
	ok("PUT", "/git-credentials/ssh.test:2222", `{"key":"`+pem+`"}`, 200)
	ok("PUT", "/registry-credentials/ghcr.io", `{"username":"u","password":"canary"}`, 200)
	texts.WriteString(h.do("GET", "/apps/shop/git-credentials", h.alice, "").text + h.do("GET", "/apps/shop/registry-credentials", h.alice, "").text + h.do("GET", "/apps/shop/bindings", h.alice, "").text)
	h.newBuild("shop")
	j := h.claim()
	if j.Bindings["db"]["password"] != "canary" || j.Bindings["db"]["type"] != "postgresql" || j.Bindings["db"]["provider"] != "acme" || len(j.Credentials) != 1 || j.Credentials[0].Password != "canary" {
		t.Errorf("the worker gets %+v, %+v", j.Bindings, j.Credentials)
	}
	h.say(j, "connecting to canary://x\n")
	h.succeed(j, digest)
	texts.WriteString(h.do("GET", "/apps/shop/builds/1", h.alice, "").text + h.do("GET", "/apps/shop/builds/1/log", h.alice, "").text)
	for _, bad := range []struct{ path, body, part string }{
		{"/bindings/X", `{"type":"a"}`, "name"}, {"/bindings/..", `{"type":"a"}`, ""}, {"/bindings/a%2Fb", `{"type":"a"}`, "name"}, {"/bindings/a", `{}`, "type"}, {"/bindings/a", `{"type":"a","files":{"../x":"canary"}}`, "files"},
		{"/bindings/a", `{"type":"a","files":{"type":"canary"}}`, "files"}, {"/bindings/a", `{"type":"a","files":{"provider":"canary"}}`, "files"}, {"/bindings/a", `{"type":"a","files":{".x":"canary"}}`, "files"},
		{"/bindings/a", `{"type":"a","files":{"x":1}}`, ""}, {"/git-credentials/a", `{}`, "password"}, {"/git-credentials/a", `{"key":"canary"}`, "key"}, {"/git-credentials/a", `{"key":"` + pem + `","password":"canary"}`, "key"},
		{"/git-credentials/-a", `{"password":"canary"}`, "host"}, {"/git-credentials/a%20b", `{"password":"canary"}`, "host"}, {"/registry-credentials/a", `{"password":"canary"}`, "password"}, {"/registry-credentials/a%2Fb", `{"username":"u","password":"canary"}`, "host"},
		{"/registry-credentials/a", `{"username":"u","password":"canary","key":"x"}`, "key"}, {"/registry-credentials/a", `{"username":"u","password":"` + strings.Repeat("canary", 20_000) + `"}`, "too long"},
	} {
		r := h.do("PUT", "/apps/shop"+bad.path, h.alice, bad.body)
		if bad.part == "" {
			if r.status < 400 || r.status >= 500 {
				t.Errorf("%s: %d", bad.path, r.status)
			}
		} else {
			r.refused(http.StatusUnprocessableEntity, "invalid_params", bad.part)
		}
		texts.WriteString(r.text)
	}
	for _, path := range []string{"/bindings/db", "/git-credentials/GIT.test", "/registry-credentials/ghcr.io"} {
		ok("DELETE", path, "", 200)
		h.do("DELETE", "/apps/shop"+path, h.alice, "").refused(404, "not_found", "none")
	}
	h.do("PUT", "/account/git-credentials/Git.Test", h.alice, `{"username":"u","password":"canary"}`).want(200).is("host", "git.test")
	texts.WriteString(h.do("GET", "/account/git-credentials", h.alice, "").want(200).text)
	if got := fmt.Sprint(keys(h.all("/account/git-credentials", h.alice, ""), "host")) + fmt.Sprint(keys(h.all("/account/git-credentials", h.bob, ""), "host")); got != "[git.test][]" {
		t.Errorf("hosts of alice and bob: %s", got)
	}
	h.do("DELETE", "/account/git-credentials/git.test", h.bob, "").refused(404, "not_found", "none")
	h.do("DELETE", "/account/git-credentials/git.test", h.alice, "").want(200)
	if strings.Contains(texts.String(), "canary") || strings.Contains(texts.String(), "Y2FuYXJ5") {
		t.Errorf("an answer tells a secret: %s", texts.String())
	}
}

package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
)

// TestUpload puts sources: once each, within the limit, with the signature that was given out.
func TestUpload(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	src := h.do("POST", "/apps/shop/sources", h.alice, "").want(201)
	put, get := src.str("source_blob.put_url"), src.str("source_blob.get_url")
	u := must(url.Parse(put))(t)
	sig := u.Query().Get("sig")
	id := strings.Split(u.Path, "/")[2]
	try := func(path string) reply { return h.do("PUT", path, "", "a source", "Content-Type: ") }

	end, mac, _ := strings.Cut(sig, ".")
	past := signer{h.Key}.sign(toPut, build.ID(id), time.Now().Add(-time.Second))
	other := signer{bytes.Repeat([]byte("x"), 32)}.sign(toPut, build.ID(id), time.Now().Add(time.Hour))
	for what, bad := range map[string]string{
		"another key": other, "the past": past, "a later end": "9" + end + "." + mac, "no end": "." + mac, "nothing": "", "another purpose": signer{h.Key}.sign(toFollow, build.ID(id), time.Now().Add(time.Hour)),
		"another id": signer{h.Key}.sign(toPut, build.NewID(), time.Now().Add(time.Hour)), "half": sig[:len(sig)-4],
	} {
		if r := try("/sources/" + id + "/blob?sig=" + url.QueryEscape(bad)); r.status != 403 {
			t.Errorf("a signature with %s: %d %s", what, r.status, r.text)
		}
	}
	try("/sources/x/blob?sig="+sig).refused(403, "forbidden", "URL")
	h.do("POST", "/apps/shop/builds", h.alice, fmt.Sprintf(`{"source_blob":{"url":%q}}`, get)).refused(422, "invalid_params", "nothing was put")
	sum := fmt.Sprintf("SHA256:%x", sha256.Sum256([]byte("a source")))
	try(put).want(200).is("checksum", sum, "size", 8)
	try(put).refused(409, "conflict", "already")
	gone := signer{h.Key}.sign(toPut, build.ID("01890000-0000-7000-8000-000000000000"), time.Now().Add(time.Hour))
	try("/sources/01890000-0000-7000-8000-000000000000/blob?sig="+gone).refused(404, "not_found", "source")

	body := fmt.Sprintf(`{"source_blob":{"url":%q}}`, get)
	h.do("POST", "/apps/shop/builds", h.alice, strings.Replace(body, "}}", `,"checksum":"sha256:`+strings.Repeat("0", 64)+`"}}`, 1)).refused(422, "invalid_params", "checksum")
	h.do("POST", "/apps/shop/builds", h.alice, body).want(201).is("source_blob.checksum", sum)
	if j := h.claim(); j.Source.Stored == "" || j.Source.URL != "" {
		t.Errorf("the worker gets %+v", j.Source)
	}
	h.do("POST", "/apps", h.bob, `{"name":"theirs"}`).want(201)
	h.do("POST", "/apps/theirs/builds", h.bob, body).refused(422, "invalid_params", "no such source of yours")
	// A source of somebody else's host is fetched, not taken for one of ours.
	h.do("POST", "/apps/shop/builds", h.alice, strings.Replace(body, h.url, "https://elsewhere.test", 1)).want(201).is("source_blob.url", "https://elsewhere.test"+must(url.Parse(get))(t).Path)
}

// TestUploadLimits puts what is too large, said or not, what is empty, and what does not come.
func TestUploadLimits(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.SourceLimit, o.Stall = 1000, 300*time.Millisecond })
	place := func() string { return h.do("POST", "/sources", h.alice, "").want(201).str("source_blob.put_url") }
	put := place()
	h.do("PUT", put, "", strings.Repeat("x", 1001)).refused(413, "too_large", "1000")
	res := must(http.DefaultClient.Do(must(http.NewRequestWithContext(t.Context(), "PUT", put, io.MultiReader(strings.NewReader(strings.Repeat("x", 1001)))))(t)))(t)
	if res.Body.Close(); res.StatusCode != 413 {
		t.Errorf("chunked: %s", res.Status)
	}
	h.do("PUT", put, "", "").refused(422, "invalid_params", "empty")
	h.do("PUT", put, "", strings.Repeat("x", 1000)).want(200).is("size", 1000) // all that was no source, so it can still be put

	put = place()
	c := must(net.Dial("tcp", strings.TrimPrefix(h.url, "http://")))(t)
	defer c.Close()
	fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", strings.TrimPrefix(put, h.url))
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	answer := must(io.ReadAll(c))(t)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) || !bytes.Contains(answer, []byte("stopped coming")) {
		t.Errorf("a body that stalls: %s", answer)
	}
	h.do("PUT", put, "", "whole").want(200)

	// A body that nobody asked for does not hold a connection either.
	c = must(net.Dial("tcp", strings.TrimPrefix(h.url, "http://")))(t)
	defer c.Close()
	fmt.Fprint(c, "POST /apps HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if answer := must(io.ReadAll(c))(t); !bytes.HasPrefix(answer, []byte("HTTP/1.1 401 ")) {
		t.Errorf("a body that stalls without a token: %s", answer)
	}
}

// TestBuildSources names sources that are elsewhere.
func TestBuildSources(t *testing.T) {
	asked := ""
	commit := strings.Repeat("ab", 20)
	h := newHouse(t, func(o *Options) {
		o.Resolve = func(_ context.Context, app build.App, u fetch.GitURL, ref fetch.Ref) (fetch.Commit, error) {
			asked = fmt.Sprintf("%s %s %s", app.Name, u, ref)
			if ref == "none" {
				return "", fetch.ErrNoRef
			}
			return fetch.Commit(commit), nil
		}
	})
	h.newApp("shop")
	h.do("POST", "/apps/shop/builds", h.alice, `{"source_blob":{"url":"https://git.test/a/b.git","git":true,"ref":"main","submodules":true},"no_cache":true}`).
		want(201).is("source_blob.commit", commit, "source_blob.ref", "main", "source_blob.url", "https://git.test/a/b.git", "source_blob.git", true)
	if asked != "shop https://git.test/a/b.git main" {
		t.Errorf("resolved: %s", asked)
	}
	if j := h.claim(); j.Source.Commit != commit || !j.Source.Git || !j.Source.Submodules || !j.NoCache {
		t.Errorf("the worker gets %+v", j)
	}
	sum := strings.Repeat("0a", 32)
	r := h.do("POST", "/apps/shop/builds", h.alice, `{"source_blob":{"url":"https://files.test/a.tgz?sig=SECRETSIG","checksum":"SHA256:`+strings.ToUpper(sum)+`","version_description":"the first"}}`).want(201).
		is("source_blob.url", "https://files.test/a.tgz?...", "source_blob.version_description", "the first")
	if strings.Contains(r.text, "SECRETSIG") {
		t.Errorf("the answer has what signs the URL: %s", r.text)
	}
	h.do("POST", "/apps/shop/builds", h.alice, `{"source_blob":{"url":"git@git.test:a/b.git","git":true,"commit":"`+commit+`"}}`).want(201).is("source_blob.url", "git@git.test:a/b.git")
	for body, part := range map[string]string{
		`{}`: "source_blob.url", `{"source_blob":{"url":""}}`: "source_blob.url", `{"source_blob":{"url":"file:///etc/passwd"}}`: "source_blob.url", `{"source_blob":{"url":"/etc"}}`: "source_blob.url",
		`{"source_blob":{"url":"https://u:canary@files.test/a.tgz"}}`: "password", `{"source_blob":{"url":"https://canary@git.test/a.git","git":true}}`: "password",
		`{"source_blob":{"url":"https://git.test/a.git","git":true,"ref":"--upload-pack=x"}}`: "ref", `{"source_blob":{"url":"https://git.test/a.git","git":true,"ref":"none"}}`: "no such branch",
		`{"source_blob":{"url":"--upload-pack=x","git":true}}`: "url", `{"source_blob":{"url":"ext::sh -c id","git":true}}`: "url", `{"source_blob":{"url":"https://git.test/a","git":true,"commit":"abc"}}`: "commit",
		`{"source_blob":{"url":"https://files.test/a","checksum":"md5:1"}}`: "checksum", `{"source_blob":{"url":"https://files.test/a","ref":"main"}}`: "git", `{"source_blob":{"url":"https://git.test/a","git":true,"checksum":"SHA256:` + sum + `"}}`: "checksum",
		`{"source_blob":{"url":"https://files.test/a","version":"a\u0000b"}}`: "version", `{"source_blob":{"url":"https://files.test/a","version_description":"` + strings.Repeat("x", 1001) + `"}}`: "version_description",
		`{"source_blob":{"url":1}}`: "source_blob.url", `{"source_blob":{"uri":"x"}}`: "uri", `{"buildpacks":[{"url":"https://x.test"}],"source_blob":{"url":"https://x.test/a"}}`: "buildpacks", `{"source_blob":[]}`: "source_blob",
	} {
		r := h.do("POST", "/apps/shop/builds", h.alice, body)
		r.refused(422, "invalid_params", part)
		if strings.Contains(r.text, "canary") {
			t.Errorf("%s: the error tells the password: %s", body, r.text)
		}
	}
	h.refuse = errors.New("builder builder: registry.test has no such image\nand more")
	h.do("POST", "/apps/shop/builds", h.alice, `{"source_blob":{"url":"https://files.test/a.tgz"}}`).refused(422, "invalid_params", "no such image")
	if n := len(h.all("/apps/shop/builds", h.alice, "")); n != 3 {
		t.Errorf("%d builds, want 3", n)
	}
}

// TestRetryWithoutSource retries a build whose source is gone.
func TestRetryWithoutSource(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	h.newBuild("shop")
	j := h.claim()
	h.fail(j)
	if err := h.Sources.Remove(fetch.Key(j.Source.Stored)); err != nil {
		t.Fatal(err)
	}
	h.do("POST", "/apps/shop/builds/1/retry", h.alice, "").refused(409, "conflict", "not kept")
}

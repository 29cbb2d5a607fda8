package webhook

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	secret    = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	secretKey = "01234567890123456789012345678901" // what it is base64 of
	newer     = "another secret of the hook"
	foreign   = "the secret of another hook"
	shaA      = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	shaB      = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	shaTag    = "cccccccccccccccccccccccccccccccccccccccc"
	zero      = "0000000000000000000000000000000000000000"
)

var now = time.Unix(1_700_000_000, 0)

func sum(h func() hash.Hash, key, text string) string {
	m := hmac.New(h, []byte(key))
	m.Write([]byte(text))
	return hex.EncodeToString(m.Sum(nil))
}

// A post is a request in the making: lines of its header and a body, which sign is asked for when it is whole.
type post struct {
	header []string
	body   string
}

func (p post) request() Request {
	h := http.Header{}
	for _, line := range p.header {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return Request{Header: h, Body: []byte(p.body), At: now}
}

// with adds lines, or takes those away that have no value.
func (p post) with(lines ...string) post {
	var out []string
	for _, have := range p.header {
		name, _, _ := strings.Cut(have, ":")
		gone := false
		for _, l := range lines {
			gone = gone || l == "-"+name
		}
		if !gone {
			out = append(out, have)
		}
	}
	for _, l := range lines {
		if !strings.HasPrefix(l, "-") {
			out = append(out, l)
		}
	}
	p.header = out
	return p
}

const asJSON, asForm = "Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded"

// github is a request as GitHub makes it: with both of its signatures.
func github(event, body, key string) post {
	return post{[]string{asJSON, "X-GitHub-Event: " + event, "X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958",
		"X-Hub-Signature: sha1=" + sum(sha1.New, key, body), "X-Hub-Signature-256: sha256=" + sum(sha256.New, key, body)}, body}
}

// gitea is one as Gitea makes it: with GitHub's and Gogs' headers too.
func gitea(event, body, key string) post {
	p := github(event, body, key)
	p.header = append(p.header, "X-Gitea-Event: "+event, "X-Gogs-Event: "+event, "X-Gitea-Delivery: f6266f16-1bf3-46a5-9ea4-602e06ead473",
		"X-Gitea-Signature: "+sum(sha256.New, key, body), "X-Gogs-Signature: "+sum(sha256.New, key, body))
	return p
}

func forgejo(event, body, key string) post {
	p := gitea(event, body, key)
	p.header = append(p.header, "X-Forgejo-Event: "+event, "X-Forgejo-Delivery: 1bf31bf3-1bf3-46a5-9ea4-602e06ead473", "X-Forgejo-Signature: "+sum(sha256.New, key, body))
	return p
}

func gitlab(event, body, token string) post {
	return post{[]string{asJSON, "X-Gitlab-Event: " + event, "X-Gitlab-Event-UUID: 13792a34-cac6-4fda-95a8-c58e00a3954e", "Idempotency-Key: 0190", "X-Gitlab-Token: " + token}, body}
}

// standardSigned is GitLab's newer form, made at a time.
func standardSigned(event, body, key string, at time.Time, id string) post {
	stamp := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(id + "." + stamp + "." + body))
	return post{[]string{asJSON, "X-Gitlab-Event: " + event, "webhook-id: " + id, "webhook-timestamp: " + stamp,
		"webhook-signature: v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))}, body}
}

func bitbucket(event, body, key string) post {
	return post{[]string{"Content-Type: application/json; charset=utf-8", "X-Event-Key: " + event, "X-Request-UUID: 7b8ba2a4", "X-Attempt-Number: 1",
		"X-Hub-Signature: sha256=" + sum(sha256.New, key, body)}, body}
}

// form puts a body into a form, signed as GitHub does.
func form(p post, key string) post {
	body := url.Values{"payload": {p.body}}.Encode()
	p = p.with("-Content-Type", "-X-Hub-Signature", "-X-Hub-Signature-256", asForm, "X-Hub-Signature-256: sha256="+sum(sha256.New, key, body))
	p.body = body
	return p
}

// giteaForm is a form as Gitea makes it: what is in it is signed.
func giteaForm(p post) post {
	p = p.with("-Content-Type", asForm)
	p.body = url.Values{"payload": {p.body}}.Encode()
	return p
}

func hubPush(ref, before, after, more string) string {
	return fmt.Sprintf(`{"ref":%q,"before":%q,"after":%q,%s"repository":{"full_name":"acme/shop","clone_url":"https://evil.test/x.git"}}`, ref, before, after, more)
}

func labPush(kind, ref, before, after, checkout, more string) string {
	return fmt.Sprintf(`{"object_kind":%q,"ref":%q,"before":%q,"after":%q,"checkout_sha":%s,%s"project":{"path_with_namespace":"acme/group/shop"}}`, kind, ref, before, after, checkout, more)
}

const pushed = `"head_commit":{"id":"` + shaB + `","message":"second\n\n[skip ci]"},"commits":[{"id":"` + shaA + `","message":"first","added":["a"],"removed":[],"modified":["b/c"]},{"id":"` + shaB + `","message":"second","added":["d"],"removed":["a"],"modified":null}],`

func cloud(changes string) string {
	return `{"push":{"changes":[` + changes + `]},"repository":{"full_name":"acme/shop"}}`
}

func cloudRefOf(kind, name, hash string) string {
	return fmt.Sprintf(`{"type":%q,"name":%q,"target":{"hash":%q,"message":"m"}}`, kind, name, hash)
}

// refusalOf is the refusal of a request that has one.
func refusalOf(t *testing.T, p post, secrets ...string) *Refusal {
	t.Helper()
	e, err := Open(p.request(), secrets)
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("taken: %+v, %v", e, err)
	}
	if len(e.Changes) > 0 || e.Repository != "" {
		t.Errorf("refused, and yet it says %+v", e)
	}
	return r
}

func opened(t *testing.T, p post, secrets ...string) Event {
	t.Helper()
	e, err := Open(p.request(), secrets)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

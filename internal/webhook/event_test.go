package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func quoted(s string) string { return `"` + s + `"` }

// TestEvents reads what each forge sends, and has all of it.
func TestEvents(t *testing.T) {
	main := Change{Ref: "refs/heads/main", Before: shaA, Commit: shaB}
	unknown := func(c Change) Change { c.Unknown = true; return c }
	whole := Change{Ref: "refs/heads/main", Before: shaA, Commit: shaB, Message: "second", Paths: []string{"a", "b/c", "d"}}
	made := Change{Ref: "refs/heads/main", Commit: shaB, Unknown: true}
	gone := Change{Ref: "refs/heads/main", Before: shaA, Unknown: true}
	forced := unknown(whole)
	forced.Forced = true
	tag := Change{Ref: "refs/tags/v1", Commit: shaB, Unknown: true}
	tagged := tag
	tagged.Message = "m"
	hub, lab, deep := "acme/shop", "acme/group/shop", labPush
	cloudMain := cloud(`{"old":` + cloudRefOf("branch", "main", shaA) + `,"new":` + cloudRefOf("branch", "main", shaB) + `,"forced":true}`)
	several := cloud(`{"old":null,"new":` + cloudRefOf("branch", "a", shaA) + `},{"old":` + cloudRefOf("branch", "b", shaA) + `,"new":null,"closed":true},{"old":null,"new":` + cloudRefOf("tag", "v1", shaB) + `}`)
	m := func(c Change) Change { c.Message = "m"; return c }
	for _, c := range []struct {
		name       string
		post       post
		forge      Forge
		kind       Kind
		repository string
		changes    []Change
	}{
		{"github", github("push", hubPush("refs/heads/main", shaA, shaB, pushed), secret), GitHub, Push, hub, []Change{whole}},
		{"github, a form", form(github("push", hubPush("refs/heads/main", shaA, shaB, pushed), secret), secret), GitHub, Push, hub, []Change{whole}},
		{"github, new", github("push", hubPush("refs/heads/main", zero, shaB, `"created":true,`), secret), GitHub, Push, hub, []Change{made}},
		{"github, removed", github("push", hubPush("refs/heads/main", shaA, zero, `"deleted":true,"head_commit":null,`), secret), GitHub, Push, hub, []Change{gone}},
		{"github, forced", github("push", hubPush("refs/heads/main", shaA, shaB, `"forced":true,`+pushed), secret), GitHub, Push, hub, []Change{forced}},
		{"github, an annotated tag", github("push", hubPush("refs/tags/v1", zero, shaTag, `"head_commit":{"id":"`+shaB+`","message":"m"},`), secret), GitHub, Push, hub, []Change{tagged}},
		{"github, tried", github("ping", `{"zen":"x","hook_id":1}`, secret), GitHub, Ping, "", nil},
		{"github, something else", github("pull_request", `{"action":"opened"}`, secret), GitHub, Other, "", nil},
		{"gitea", gitea("push", hubPush("refs/heads/main", shaA, shaB, pushed+`"total_commits":2,`), secret), Gitea, Push, hub, []Change{whole}},
		{"gitea, not all commits", gitea("push", hubPush("refs/heads/main", shaA, shaB, pushed+`"total_commits":9,`), secret), Gitea, Push, hub, []Change{unknown(whole)}},
		{"gitea, a form", giteaForm(gitea("push", hubPush("refs/heads/main", shaA, shaB, pushed), secret)), Gitea, Push, hub, []Change{whole}},
		{"gitea, removed", gitea("push", hubPush("refs/heads/main", shaA, zero, ""), secret), Gitea, Push, hub, []Change{gone}},
		{"forgejo", forgejo("push", hubPush("refs/heads/main", shaA, shaB, pushed), secret), Forgejo, Push, hub, []Change{whole}},
		{"gitlab", gitlab("Push Hook", deep("push", "refs/heads/main", shaA, shaB, quoted(shaB), pushed+`"total_commits_count":2,`), secret), GitLab, Push, lab, []Change{whole}},
		{"gitlab, not all commits", gitlab("Push Hook", deep("push", "refs/heads/main", shaA, shaB, quoted(shaB), pushed+`"total_commits_count":21,`), secret), GitLab, Push, lab, []Change{unknown(whole)}},
		{"gitlab, signed", standardSigned("Push Hook", deep("push", "refs/heads/main", shaA, shaB, quoted(shaB), ""), secretKey, now, "id"), GitLab, Push, lab, []Change{unknown(main)}},
		{"gitlab, signed with the text of the secret", standardSigned("Push Hook", deep("push", "refs/heads/main", shaA, shaB, quoted(shaB), ""), secret, now, "id"), GitLab, Push, lab, []Change{unknown(main)}},
		{"gitlab, removed", gitlab("Push Hook", deep("push", "refs/heads/main", shaA, zero, "null", ""), secret), GitLab, Push, lab, []Change{gone}},
		{"gitlab, a tag", gitlab("Tag Push Hook", deep("tag_push", "refs/tags/v1", zero, shaTag, quoted(shaB), ""), secret), GitLab, Push, lab, []Change{tag}},
		{"gitlab, of the whole system", gitlab("System Hook", deep("push", "refs/heads/main", shaA, shaB, quoted(shaB), ""), secret), GitLab, Push, lab, []Change{unknown(main)}},
		{"gitlab, of the system and no push", gitlab("System Hook", `{"object_kind":"merge_request"}`, secret), GitLab, Other, "", nil},
		{"gitlab, something else", gitlab("Merge Request Hook", `{"object_kind":"merge_request"}`, secret), GitLab, Other, "", nil},
		{"bitbucket, forced", bitbucket("repo:push", cloudMain, secret), Bitbucket, Push, hub, []Change{m(Change{Ref: "refs/heads/main", Before: shaA, Commit: shaB, Forced: true, Unknown: true})}},
		{"bitbucket, several refs", bitbucket("repo:push", several, secret), Bitbucket, Push, hub, []Change{
			m(Change{Ref: "refs/heads/a", Commit: shaA, Unknown: true}), {Ref: "refs/heads/b", Before: shaA, Unknown: true}, m(tag),
		}},
		{"bitbucket, something else", bitbucket("repo:fork", `{}`, secret), Bitbucket, Other, "", nil},
		{"bitbucket server", bitbucket("repo:refs_changed", `{"changes":[{"ref":{"id":"refs/heads/main"},"refId":"refs/heads/main","fromHash":"`+shaA+`","toHash":"`+shaB+`","type":"UPDATE"}],"repository":{"slug":"shop","project":{"key":"ACME"}}}`, secret),
			BitbucketServer, Push, "ACME/shop", []Change{unknown(main)}},
		{"bitbucket server, tried", bitbucket("diagnostics:ping", `{"test":true}`, secret), BitbucketServer, Ping, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := opened(t, c.post, newer, secret)
			if e.Forge != c.forge || e.Kind != c.kind || e.Repository != c.repository || e.Secret != 1 || e.Delivery == "" {
				t.Errorf("%+v", e)
			}
			if !reflect.DeepEqual(e.Changes, c.changes) {
				t.Errorf("changes\n%+v\nwant\n%+v", e.Changes, c.changes)
			}
		})
	}
}

// TestTwoSignatures: GitLab may sign with the old key and the new one, which is what makes changing it possible.
func TestTwoSignatures(t *testing.T) {
	body := labPush("push", "refs/heads/main", shaA, shaB, quoted(shaB), "")
	old := standardSigned("Push Hook", body, foreign, now, "id")
	m := hmac.New(sha256.New, []byte(newer))
	m.Write([]byte("id.1700000000." + body))
	both := old.header[len(old.header)-1] + " v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
	if e := opened(t, old.with("-webhook-signature", both), secret, newer); e.Secret != 1 || e.Delivery != "id" {
		t.Errorf("%+v", e)
	}
}

// TestTwoSecrets: while one is changed for another both open, and the Event says which did.
func TestTwoSecrets(t *testing.T) {
	body := hubPush("refs/heads/main", shaA, shaB, "")
	for i, s := range []string{secret, newer} {
		if e := opened(t, github("push", body, s), secret, newer); e.Secret != i {
			t.Errorf("%+v", e)
		}
	}
	if e := opened(t, github("push", body, newer), "", newer); e.Secret != 1 {
		t.Errorf("a secret that is none has another's place: %+v", e)
	}
}

// TestDelivery: the id is the forge's, the same for the same event; without one it is the body's.
func TestDelivery(t *testing.T) {
	body := hubPush("refs/heads/main", shaA, shaB, "")
	first := opened(t, github("push", body, secret), secret)
	again := opened(t, github("push", body, secret).with("-X-GitHub-Delivery", "X-GitHub-Delivery: other"), secret)
	none := opened(t, github("push", body, secret).with("-X-GitHub-Delivery"), secret)
	bad := opened(t, github("push", body, secret).with("-X-GitHub-Delivery", "X-GitHub-Delivery: "+strings.Repeat("x", 300)), secret)
	if first.Replay == "" || first.Replay != again.Replay || first.Delivery == again.Delivery {
		t.Errorf("the same text with another id: %+v, %+v", first, again)
	}
	if none.Delivery != "sha256:"+none.Replay || bad.Delivery != none.Delivery {
		t.Errorf("without an id: %+v, %+v", none, bad)
	}
	if e := opened(t, gitlab("Push Hook", labPush("push", "refs/heads/main", shaA, shaB, quoted(shaB), ""), secret), secret); e.Delivery != "0190" || e.Replay != "" {
		t.Errorf("gitlab: %+v", e)
	}
}

// TestBounds: a payload as large as it may be is taken, and little of it is kept.
func TestBounds(t *testing.T) {
	var all strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&all, `{"id":"%040x","message":"m","added":["f%d-1","f%d-2","f%d-3","f%d-4","f%d-5","f%d-6"]},`, i, i, i, i, i, i, i)
	}
	body := hubPush("refs/heads/main", shaA, shaB, `"commits":[`+strings.TrimSuffix(all.String(), ",")+`],"more":"`+strings.Repeat("x", 20<<20)+`",`)
	c := opened(t, github("push", body, secret), secret).Changes[0]
	if !c.Unknown || len(c.Paths) != maxPaths {
		t.Errorf("%d paths, unknown %v", len(c.Paths), c.Unknown)
	}
	long := hubPush("refs/heads/main", shaA, shaB, `"commits":[{"id":"`+shaB+`","message":"`+strings.Repeat("m", 1<<20)+`","added":["`+strings.Repeat("p", 2000)+`"]}],`)
	c = opened(t, github("push", long, secret), secret).Changes[0]
	if !c.Unknown || len(c.Paths) != 0 || len(c.Message) != maxMessage {
		t.Errorf("%d paths, unknown %v, a message of %d", len(c.Paths), c.Unknown, len(c.Message))
	}
}

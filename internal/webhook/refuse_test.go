package webhook

import (
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestRefused has a request of each kind that is not believed, with the code and the reason of each.
func TestRefused(t *testing.T) {
	push := hubPush("refs/heads/main", shaA, shaB, "")
	lab := labPush("push", "refs/heads/main", shaA, shaB, `"`+shaB+`"`, "")
	one := cloud(`{"old":` + cloudRefOf("branch", "main", shaA) + `,"new":` + cloudRefOf("branch", "main", shaB) + `}`)
	good := sum(sha256.New, secret, push)
	deep := `{"ref":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`
	many := cloud(strings.TrimSuffix(strings.Repeat(`{"old":null,"new":`+cloudRefOf("branch", "main", shaB)+`},`, 101), ","))
	badForm := form(github("push", push, secret), secret)
	badForm.body += "&payload=%7B%7D"
	badForm = badForm.with("-X-Hub-Signature-256", "X-Hub-Signature-256: sha256="+sum(sha256.New, secret, badForm.body))
	wholeForm := form(gitea("push", push, secret), secret)
	wholeForm = wholeForm.with("-X-Gitea-Signature", "X-Gitea-Signature: "+sum(sha256.New, secret, wholeForm.body))
	later := now.Add(6 * time.Minute)
	for _, c := range []struct {
		name   string
		post   post
		status int
		code   string
		reason string
	}{
		{"no forge", post{[]string{asJSON}, push}, 400, CodeUnknownForge, "which event of which forge"},
		{"an event of no name", github("pu\tsh", push, secret), 400, CodeMalformed, "X-Github-Event"},
		{"XML", github("push", push, secret).with("-Content-Type", "Content-Type: text/xml"), 415, CodeMediaType, "application/json"},
		{"no content type", github("push", push, secret).with("-Content-Type"), 415, CodeMediaType, "application/json"},
		{"too large", github("push", strings.Repeat(" ", MaxBody+1), secret), 413, CodeTooLarge, "26214400 bytes"},

		{"github: no signature", github("push", push, secret).with("-X-Hub-Signature", "-X-Hub-Signature-256"), 401, CodeUnsigned, "not signed"},
		{"github: an empty one", github("push", push, secret).with("-X-Hub-Signature-256", "X-Hub-Signature-256: sha256="), 401, CodeUnsigned, "is empty"},
		{"github: sha1 only", github("push", push, secret).with("-X-Hub-Signature-256"), 401, CodeSHA1, "SHA-1"},
		{"github: sha1 as sha256", github("push", push, secret).with("-X-Hub-Signature-256", "X-Hub-Signature-256: sha256="+sum(sha1.New, secret, push)), 401, CodeMalformedSig, "64 hexadecimal"},
		{"github: cut off", github("push", push, secret).with("-X-Hub-Signature-256", "X-Hub-Signature-256: sha256="+good[:62]), 401, CodeMalformedSig, "64 hexadecimal"},
		{"github: without its prefix", github("push", push, secret).with("-X-Hub-Signature-256", "X-Hub-Signature-256: "+good), 401, CodeMalformedSig, "sha256="},
		{"github: no hexadecimal", github("push", push, secret).with("-X-Hub-Signature-256", "X-Hub-Signature-256: sha256="+strings.Repeat("x", 64)), 401, CodeMalformedSig, "hexadecimal"},
		{"github: two", github("push", push, secret).with("X-Hub-Signature-256: sha256=" + good), 401, CodeDoubleSig, "2 times"},
		{"github: two in one", github("push", push, secret).with("-X-Hub-Signature-256", "X-Hub-Signature-256: sha256="+good+", sha256="+good), 401, CodeMalformedSig, "64 hexadecimal"},
		{"github: another hook's", github("push", push, foreign), 401, CodeWrongSig, "not made with the hook's secret"},
		{"github: no secret", github("push", push, ""), 401, CodeWrongSig, "not made with"},
		{"github: of another body", func() post { p := github("push", push, secret); p.body += " "; return p }(), 401, CodeWrongSig, "over this body"},

		{"gitea: none, and GitHub's holds", gitea("push", push, secret).with("-X-Gitea-Signature"), 401, CodeUnsigned, "X-Gitea-Signature"},
		{"gitea: empty, as without a secret", gitea("push", push, secret).with("-X-Gitea-Signature", "X-Gitea-Signature: "), 401, CodeUnsigned, "X-Gitea-Signature"},
		{"gitea: with a prefix", gitea("push", push, secret).with("-X-Gitea-Signature", "X-Gitea-Signature: sha256="+good), 401, CodeMalformedSig, "64 hexadecimal"},
		{"gitea: another hook's", gitea("push", push, foreign), 401, CodeWrongSig, "X-Gitea-Signature"},
		{"forgejo: Gitea's holds, its own does not", forgejo("push", push, secret).with("-X-Forgejo-Signature", "X-Forgejo-Signature: "+strings.Repeat("0", 64)), 401, CodeWrongSig, "X-Forgejo-Signature"},
		{"forgejo: two", forgejo("push", push, secret).with("X-Forgejo-Signature: " + good), 401, CodeDoubleSig, "2 times"},
		{"gitea: a form that is signed whole", wholeForm, 401, CodeWrongSig, ""},

		{"gitlab: no token", gitlab("Push Hook", lab, secret).with("-X-Gitlab-Token"), 401, CodeUnsigned, "X-Gitlab-Token"},
		{"gitlab: an empty token", gitlab("Push Hook", lab, ""), 401, CodeUnsigned, "X-Gitlab-Token"},
		{"gitlab: a part of the token", gitlab("Push Hook", lab, secret[:20]), 401, CodeWrongSig, "X-Gitlab-Token"},
		{"gitlab: another hook's", gitlab("Push Hook", lab, foreign), 401, CodeWrongSig, "X-Gitlab-Token"},
		{"gitlab: two tokens", gitlab("Push Hook", lab, secret).with("X-Gitlab-Token: " + secret), 401, CodeDoubleSig, "2 times"},
		{"gitlab: a signature that does not hold beside a token that does", standardSigned("Push Hook", lab, foreign, now, "1").with("X-Gitlab-Token: " + secret), 401, CodeWrongSig, "Webhook-Signature"},
		{"gitlab: an empty signature beside a token that does", gitlab("Push Hook", lab, secret).with("webhook-signature: "), 401, CodeUnsigned, "Webhook-Signature"},
		{"gitlab: signed long ago", standardSigned("Push Hook", lab, secretKey, now.Add(-6*time.Minute), "1"), 401, CodeExpired, "6m0s"},
		{"gitlab: signed in the future", standardSigned("Push Hook", lab, secretKey, later, "1"), 401, CodeExpired, "6m0s"},
		{"gitlab: another time than was signed", standardSigned("Push Hook", lab, secretKey, later, "1").with("-webhook-timestamp", "webhook-timestamp: 1700000000"), 401, CodeWrongSig, ""},
		{"gitlab: another id than was signed", standardSigned("Push Hook", lab, secretKey, now, "1").with("-webhook-id", "webhook-id: 2"), 401, CodeWrongSig, ""},
		{"gitlab: no id", standardSigned("Push Hook", lab, secretKey, now, "1").with("-webhook-id"), 401, CodeUnsigned, "Webhook-Id"},
		{"gitlab: no time", standardSigned("Push Hook", lab, secretKey, now, "1").with("-webhook-timestamp"), 401, CodeUnsigned, "Webhook-Timestamp"},
		{"gitlab: a time that is none", standardSigned("Push Hook", lab, secretKey, now, "1").with("-webhook-timestamp", "webhook-timestamp: soon"), 401, CodeMalformedSig, "Webhook-Timestamp"},
		{"gitlab: a version that is not known", standardSigned("Push Hook", lab, secretKey, now, "1").with("-webhook-signature", "webhook-signature: v1a,AAAA"), 401, CodeMalformedSig, "v1,"},

		{"bitbucket: none", bitbucket("repo:push", one, secret).with("-X-Hub-Signature"), 401, CodeUnsigned, "X-Hub-Signature"},
		{"bitbucket: sha1", bitbucket("repo:push", one, secret).with("-X-Hub-Signature", "X-Hub-Signature: sha1="+sum(sha1.New, secret, one)), 401, CodeSHA1, "SHA-1"},
		{"bitbucket: another hook's", bitbucket("repo:push", one, foreign), 401, CodeWrongSig, "X-Hub-Signature"},

		{"no JSON", github("push", "nonsense", secret), 400, CodeMalformed, "no JSON"},
		{"JSON that is cut off", github("push", push[:40], secret), 400, CodeMalformed, "no JSON"},
		{"JSON of something else", github("push", `{"ref":17}`, secret), 400, CodeMalformed, "no JSON"},
		{"a list as commits that is none", github("push", hubPush("refs/heads/main", shaA, shaB, `"commits":{},`), secret), 400, CodeMalformed, "no JSON"},
		{"no body", github("push", "", secret), 400, CodeMalformed, "no JSON"},
		{"deep", github("push", deep, secret), 400, CodeTooDeep, "too deep"},
		{"no repository", github("push", `{"ref":"refs/heads/main","before":"`+shaA+`","after":"`+shaB+`"}`, secret), 400, CodeMalformed, "which repository"},
		{"an option as ref", github("push", hubPush("--upload-pack=x", shaA, shaB, ""), secret), 400, CodeMalformed, "ref"},
		{"a ref that climbs", github("push", hubPush("refs/heads/../x", shaA, shaB, ""), secret), 400, CodeMalformed, "ref"},
		{"a short commit", github("push", hubPush("refs/heads/main", shaA, "bbbb", ""), secret), 400, CodeMalformed, "40 hexadecimal"},
		{"a commit in capitals", github("push", hubPush("refs/heads/main", shaA, strings.ToUpper(shaB), ""), secret), 400, CodeMalformed, "40 hexadecimal"},
		{"nothing to nothing", github("push", hubPush("refs/heads/main", zero, zero, ""), secret), 400, CodeMalformed, "nothing"},
		{"a push of no ref", bitbucket("repo:push", cloud(""), secret), 400, CodeMalformed, "no ref"},
		{"a form with two payloads", badForm, 400, CodeMalformed, "one field"},
		{"too many refs", bitbucket("repo:push", many, secret), 400, CodeTooManyRefs, "100 refs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := refusalOf(t, c.post, secret, newer)
			if r.Status != c.status || r.Code != c.code || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("%d %s: %s, want %d %s: %q", r.Status, r.Code, r.Reason, c.status, c.code, c.reason)
			}
			if strings.ContainsAny(r.Reason, "\n\r\t") || strings.Contains(r.Reason, secret) || strings.Contains(r.Reason, good) {
				t.Errorf("the reason has what it must not: %q", r.Reason)
			}
		})
	}
}

// TestNoSecret: a hook without a secret, or with one that is too short, takes nothing.
func TestNoSecret(t *testing.T) {
	push := hubPush("refs/heads/main", shaA, shaB, "")
	for _, short := range []string{"", "x", "fifteen letters"} {
		for _, p := range []post{github("push", push, short), gitea("push", push, short), gitlab("Push Hook", push, short), bitbucket("repo:push", push, short)} {
			if r := refusalOf(t, p, short); r.Status != 401 {
				t.Errorf("%q: %+v", short, r)
			}
		}
	}
	refusalOf(t, github("push", push, secret))
}

// TestClaims: what is refused still says who it claims to be, for the journal.
func TestClaims(t *testing.T) {
	e, err := Open(github("push", hubPush("refs/heads/main", shaA, shaB, pushed), foreign).request(), []string{secret})
	if err == nil || e.Forge != GitHub || e.Name != "push" || !strings.HasPrefix(e.Delivery, "72d3162e") || e.Kind != "" || e.Replay != "" {
		t.Errorf("%+v, %v", e, err)
	}
}

// FuzzOpen signs what comes, so that it is read: nothing makes it fail but a Refusal, and what is taken obeys the law.
func FuzzOpen(f *testing.F) {
	for _, body := range []string{
		hubPush("refs/heads/main", shaA, shaB, pushed), labPush("tag_push", "refs/tags/v1", zero, shaTag, `"`+shaB+`"`, ""),
		cloud(`{"old":null,"new":` + cloudRefOf("tag", "v1", shaB) + `}`), `{"changes":[{"refId":"refs/heads/x","fromHash":"` + zero + `","toHash":"` + shaA + `"}],"repository":{"slug":"s","project":{"key":"K"}}}`,
		`[[[[`, `{"commits":[1]}`, `"`, `{"a":"\`,
	} {
		for kind := range 6 {
			f.Add(kind, "push", body, "")
		}
	}
	f.Fuzz(func(t *testing.T, kind int, event, body, header string) {
		if len(body) > 1<<16 || strings.ContainsAny(event, "\r\n") {
			return
		}
		makers := []func(string, string, string) post{github, gitea, forgejo, gitlab, bitbucket, func(e, b, _ string) post { return standardSigned(e, b, secretKey, now, "id") }}
		p := makers[uint(kind)%uint(len(makers))](event, body, secret)
		if header != "" {
			p = p.with("X-Hub-Signature: " + header)
		}
		e, err := Open(p.request(), []string{newer, secret})
		if err != nil {
			if _, ok := err.(*Refusal); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if e.Secret != 1 || e.Delivery == "" || (e.Kind == Push) != (len(e.Changes) > 0) || len(e.Changes) > maxRefs {
			t.Fatalf("%+v", e)
		}
		r := Rule{Repository: "https://example.org/acme/shop.git", Branches: []string{"**"}, Tags: []string{"v*"}, Paths: []string{"a/**", "!a/b"}}
		for _, c := range e.Changes {
			if !refName(c.Ref) || c.Commit != "" && !isCommit(c.Commit) || len(c.Paths) > maxPaths || len(c.Message) > maxMessage {
				t.Fatalf("%+v", c)
			}
			if d := r.Change(c); d.Build == (d.Code != "") || d.Build && c.Commit == "" {
				t.Fatalf("%+v of %+v", d, c)
			}
		}
		_ = fmt.Sprint(r.Event(e))
	})
}

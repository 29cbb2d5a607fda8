package webhook

import (
	"strings"
	"testing"
)

// TestRule decides about changes, with the code and the reason of each that is not built.
func TestRule(t *testing.T) {
	r := Rule{Repository: "https://git.example.org/acme/shop.git", Branches: []string{"main", "release/*"}, Tags: []string{"v*"}, Paths: []string{"src/**", "!**/*.md", "go.mod"}}
	change := func(ref string, paths ...string) Change {
		return Change{Ref: ref, Before: shaA, Commit: shaB, Message: "m", Paths: paths}
	}
	gone, skip, unknown, loud := change("refs/heads/main", "src/a"), change("refs/heads/main", "src/a"), change("refs/heads/main", "x"), change("refs/heads/main", "src/a")
	gone.Commit, skip.Message, unknown.Unknown, loud.Message = "", "fix\n\n[skip ci]", true, "[CI Skip] x"
	forced := change("refs/heads/main", "src/a")
	forced.Forced = true
	for _, c := range []struct {
		name   string
		change Change
		code   string
		reason string
	}{
		{"a branch", change("refs/heads/main", "src/a.go"), "", ""},
		{"a branch of a pattern", change("refs/heads/release/1", "go.mod"), "", ""},
		{"forced", forced, "", ""},
		{"a branch below", change("refs/heads/release/1/x", "go.mod"), CodeBranch, "release/1/x is not one of those that are built: main, release/*"},
		{"another branch", change("refs/heads/mainly", "src/a"), CodeBranch, "mainly"},
		{"removed", gone, CodeDeleted, "removed"},
		{"a tag", change("refs/tags/v1.0", "src/a"), "", ""},
		{"another tag", change("refs/tags/nightly", "src/a"), CodeTag, "nightly"},
		{"neither", change("refs/notes/commits", "src/a"), CodeRef, "neither"},
		{"not to be built", skip, CodeSkip, "[skip ci]"},
		{"nor this", loud, CodeSkip, "[skip ci]"},
		{"other paths", change("refs/heads/main", "docs/a", "x"), CodePaths, "src/**"},
		{"a path that is taken out", change("refs/heads/main", "src/x/README.md"), CodePaths, ""},
		{"one that is not", change("refs/heads/main", "src/x/README.md", "src/x/a.go"), "", ""},
		{"nobody knows which", unknown, "", ""},
		{"none", change("refs/heads/main"), CodePaths, ""},
	} {
		d := r.Change(c.change)
		if d.Build != (c.code == "") || d.Code != c.code || !strings.Contains(d.Reason, c.reason) || (d.Reason == "") != d.Build {
			t.Errorf("%s: %+v, want %q %q", c.name, d, c.code, c.reason)
		}
	}
	r.Tags = nil
	if d := r.Change(change("refs/tags/v1", "src/a")); d.Code != CodeTag || d.Reason != "tags are not built" {
		t.Errorf("a tag where none is built: %+v", d)
	}
	r.Paths = []string{"!docs/**"}
	if d := r.Change(change("refs/heads/main", "docs/a", "x")); !d.Build {
		t.Errorf("all but some paths: %+v", d)
	}
	if d := r.Change(change("refs/heads/main", "docs/a")); d.Build {
		t.Errorf("none but those: %+v", d)
	}
}

func TestRuleOfEvents(t *testing.T) {
	push := Event{Kind: Push, Repository: "Acme/Shop"}
	for url, same := range map[string]bool{
		"https://git.example.org/acme/shop.git": true, "https://git.example.org/acme/shop": true, "git@git.example.org:acme/shop.git": true,
		"ssh://git@git.example.org:22/acme/shop": true, "https://example.org/git/acme/shop.git": true, "https://git.example.org/scm/ACME/shop.git": true,
		"https://git.example.org/acme/shop2.git": false, "https://git.example.org/xacme/shop.git": false, "https://git.example.org/acme/shop/x": false,
		"https://acme/shop": false, "git@host:shop.git": false,
	} {
		d := Rule{Repository: url}.Event(push)
		if d.Build != same || !same && d.Code != CodeOtherRepository {
			t.Errorf("%s: %+v", url, d)
		}
	}
	r := Rule{Repository: "https://git.example.org/acme/shop.git"}
	if d := r.Event(Event{Kind: Ping}); d.Build || d.Code != CodePing {
		t.Errorf("a ping: %+v", d)
	}
	if d := r.Event(Event{Kind: Other}); d.Build || d.Code != CodeOtherEvent {
		t.Errorf("another event: %+v", d)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a", true}, {"*", "a/b", false}, {"**", "a/b", true}, {"a/**/b", "a/b", true}, {"a/**/b", "a/x/y/b", true}, {"a/**", "a/", true}, {"a/**", "a", false},
		{"?", "ab", false}, {"a.c", "abc", false}, {"[a]", "[a]", true}, {"(x|y)+", "x", false}, {"a*b*c", "axxbyyc", true}, {"**.md", "x/y.md", true}, {"ä?", "äß", true}, {"*", "a\nb", true},
	} {
		if got := glob(c.pattern).MatchString(c.name); got != c.want {
			t.Errorf("%q of %q: %v", c.name, c.pattern, got)
		}
	}
	for _, bad := range []string{"", "a\nb", strings.Repeat("x", 201), "\xff"} {
		if CheckPattern(bad) == nil {
			t.Errorf("%q is a pattern", bad)
		}
	}
}

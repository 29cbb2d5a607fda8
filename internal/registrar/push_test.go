package registrar_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/index"
)

const javaFile = "ja/va/acme_java"

// TestPush: what pack's register makes, one line behind the others in a commit, is taken, resolved at once, and its
// namespace is the pusher's; and so is a yank.
func TestPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.clone(w.alice)
	one, two := w.pack("acme/java", "1.0.0"), w.pack("acme/java", "2.0.0")
	c.append(javaFile, entry("acme/java", "1.0.0", one))
	c.append(javaFile, entry("acme/java", "2.0.0", two))
	if out := c.run("push", "origin", "main"); !strings.Contains(out, "ADD acme/java@1.0.0") || !strings.Contains(out, "ADD acme/java@2.0.0") {
		t.Error(out)
	}
	if x := w.Index(); x.Versions != 2 || x.Revision != c.run("rev-parse", "HEAD") {
		t.Errorf("%+v", x.Head)
	}
	c.write(javaFile, strings.Replace(c.read(javaFile), `"yanked":false`, `"yanked":true`, 1))
	c.run("push", "origin", "main")
	b, _, err := w.Index().Get(index.Name{NS: "acme", Name: "java"})
	if err != nil || !b.Versions[0].Yanked || b.Versions[1].Yanked {
		t.Errorf("%+v %v", b, err)
	}
	if r := w.registers(w.alice, w.pack("acme/java", "3.0.0")); !r.Changed { // the API goes on from there
		t.Errorf("%+v", r)
	}
	if n, err := w.Store.Namespace(t.Context(), "acme"); err != nil || n.Owner != w.alice.User.ID {
		t.Error(n, err)
	}
	if all, err := w.Store.BuildpackImages(t.Context(), "acme/java"); err != nil || len(all) != 3 {
		t.Error(all, err)
	}
	c.append(javaFile, entry("acme/java", "4.0.0", one)) // behind what the API did
	if out, err := c.git(c.dir, "push", "origin", "main"); err == nil || !strings.Contains(out, "fetch first") {
		t.Error(out)
	}
}

// TestPushRefuses: nothing of what must not be in the index comes into it by a push, and the line says why.
func TestPushRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one := w.pack("acme/java", "1.0.0")
	w.registers(w.alice, one)
	bobs := w.pack("bob/go", "1.0.0")
	before := w.Index().Revision
	mismatch := w.pack("acme/other", "9.0.0")
	windows := w.put(labelled("bob/win", "1.0.0", func(_ map[string]string, c *v1.ConfigFile) { c.OS = "windows" }))
	for _, tc := range []struct {
		name string
		by   who
		make func(c *clone)
		want string
	}{
		{"another's namespace", w.bob, func(c *clone) { c.append(javaFile, entry("acme/java", "2.0.0", w.pack("acme/java", "2.0.0"))) }, "the namespace acme is not yours"},
		{"another's yank", w.bob, func(c *clone) { c.write(javaFile, strings.Replace(c.read(javaFile), "false", "true", 1)) }, "the namespace acme is not yours"},
		{"a namespace of others", w.bob, func(c *clone) { c.append("2/public_go", entry("public/go", "1.0.0", w.pack("public/go", "1.0.0"))) }, "that of buildpacks in the index official"},
		{"another address", w.alice, func(c *clone) { c.write(javaFile, entry("acme/java", "1.0.0", bobs)+"\n") }, javaFile + ":1: the line of version 1.0.0 was changed"},
		{"a line away", w.alice, func(c *clone) { c.write(javaFile, "") }, "lines are gone"},
		{"a file away", w.alice, func(c *clone) { c.run("rm", "-q", javaFile); c.run("commit", "-q", "-m", "x") }, "files of the index stay"},
		{"a file moved", w.alice, func(c *clone) { c.run("mv", javaFile, "ja/va/acme_java2"); c.run("commit", "-q", "-m", "x") }, "files of the index stay"},
		{"another's image", w.bob, func(c *clone) { c.append("2/bob_go", entry("bob/go", "1.0.0", mismatch)) }, "is of buildpack acme/other@9.0.0, not of bob/go@1.0.0"},
		{"another version", w.bob, func(c *clone) { c.append("2/bob_go", entry("bob/go", "1.1.0", bobs)) }, "is of buildpack bob/go@1.0.0, not of bob/go@1.1.0"},
		{"no image", w.bob, func(c *clone) {
			c.append("2/bob_go", entry("bob/go", "1.0.0", w.host+"/none@sha256:"+strings.Repeat("0", 64)))
		}, "read image"},
		{"for windows", w.bob, func(c *clone) { c.append("3/wi/bob_win", entry("bob/win", "1.0.0", windows)) }, "builds run on linux"},
		{"a tag", w.bob, func(c *clone) { c.append("2/bob_go", entry("bob/go", "1.0.0", w.host+"/acme/pack:latest")) }, "2/bob_go:1: address"},
		{"no JSON", w.bob, func(c *clone) { c.append("2/bob_go", entry("bob/go", "1.0.0", bobs), "hello") }, "2/bob_go:2: it is not a JSON object"},
		{"64 KiB", w.bob, func(c *clone) { c.append("2/bob_go", `{"ns":"`+strings.Repeat("x", 64<<10)+`"}`) }, "bytes or more"},
		{"the readme", w.alice, func(c *clone) { c.append("README.md", "and more") }, `is no file of an index`},
		{"a workflow", w.alice, func(c *clone) { c.append(".github/workflows/x.yml", "on: push") }, "is no file of an index"},
		{"dots", w.alice, func(c *clone) { c.append("../index/..xy/x_y", "x") }, "is no file of an index"},
		{"a link", w.bob, func(c *clone) {
			c.append("2/bob_go", entry("bob/go", "1.0.0", bobs))
			c.run("reset", "-q", "--hard", "HEAD~1")
			if err := os.MkdirAll(filepath.Join(c.dir, "2"), 0o755); err != nil {
				c.t.Fatal(err)
			}
			if err := os.Symlink("/etc/passwd", filepath.Join(c.dir, "2/bob_go")); err != nil {
				c.t.Fatal(err)
			}
			c.run("add", "-A")
			c.run("commit", "-q", "-m", "x")
		}, "the files of the index are plain"},
		{"an executable", w.alice, func(c *clone) { c.run("update-index", "--chmod=+x", javaFile); c.run("commit", "-q", "-m", "x") }, "the files of the index are plain"},
		{"a commit that is taken back", w.alice, func(c *clone) { c.append("junk/file", "x"); c.run("revert", "--no-edit", "HEAD") }, "is no file of an index"},
		{"an empty commit", w.alice, func(c *clone) { c.run("commit", "-q", "--allow-empty", "-m", "x") }, "changes nothing"},
		{"rewritten", w.alice, func(c *clone) {
			c.run("commit", "-q", "--amend", "-m", "another history")
			c.run("push", "--dry-run", "--force", "origin", "main")
		}, "its history is never rewritten"},
		{"another root", w.alice, func(c *clone) {
			c.run("checkout", "-q", "--orphan", "new")
			c.run("commit", "-q", "-m", "another root")
			c.run("branch", "-q", "-M", "main")
		}, "its history is never rewritten"},
		{"a merge", w.bob, func(c *clone) {
			c.run("checkout", "-q", "-b", "side")
			c.append("2/bob_go", entry("bob/go", "1.0.0", bobs))
			c.run("checkout", "-q", "main")
			c.run("merge", "-q", "--no-ff", "--no-edit", "side")
		}, "there are no merges here"},
		{"many commits", w.alice, func(c *clone) {
			for range 101 {
				c.run("commit", "-q", "--allow-empty", "-m", "x")
			}
		}, "more than 100 commits"},
	} {
		c := w.clone(tc.by)
		tc.make(c)
		out, err := c.git(c.dir, "push", "--force", "origin", "main")
		if err == nil || !strings.Contains(out, tc.want) {
			t.Errorf("%s: %v\n%s", tc.name, err, out)
		}
		if w.Index().Revision != before {
			t.Fatalf("%s: it was taken", tc.name)
		}
	}
	for _, what := range []string{"HEAD:refs/heads/other", "HEAD:refs/tags/v1", ":refs/heads/main"} {
		c := w.clone(w.root)
		if out, err := c.git(c.dir, "push", "origin", what); err == nil || !strings.Contains(out, "The index has one branch") {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
	anonymous := w.clone(w.bob)
	anonymous.append("2/bob_go", entry("bob/go", "1.0.0", bobs))
	if out, err := w.git(anonymous.dir, "push", w.url, "main"); err == nil || !strings.Contains(out, "could not read Username") {
		t.Error(out)
	}
	if got := w.clone(w.bob).run("rev-parse", "HEAD"); got != before {
		t.Errorf("the index is at %s, and was at %s", got, before)
	}
	if _, err := w.Store.Namespace(t.Context(), "bob"); err == nil {
		t.Error("what was refused has given a namespace")
	}
}

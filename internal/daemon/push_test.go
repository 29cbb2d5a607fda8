package daemon_test

import (
	"strings"
	"testing"
	"time"
)

// TestPush is a push that succeeds, from nothing to an image.
func TestPush(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	commit := a.commit("build.sh", "echo building this\nprintf '\\033[31mred\\033[0m\\n'\n", "index.txt", "hello\n")
	g := a.start("push", "slipway", "main")
	g.until("remote: -----> Received " + commit[:7])
	t.Logf("the first line came after %s", time.Since(g.began))
	out, err := g.end()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	inOrder(t, out, "remote: -----> Detecting", "remote: -----> Building", "remote:        [test/script] building this", "remote: -----> Exporting",
		"remote: -----> Released v1 of "+a.name, a.address()+"/"+a.name+"@sha256:", "main -> main")
	if a.remote("refs/heads/main") != commit {
		t.Error("main did not move to what was built")
	}
	b := a.last()
	if b.State != "succeeded" || b.Trigger != "git-push" || b.Source.Commit != commit || b.Release == nil || b.Release.Version != 1 || b.Result.Digest == "" {
		t.Errorf("the build's record: %+v", b)
	}
	if !strings.Contains(out, b.Result.Repository+"@"+b.Result.Digest) {
		t.Errorf("git was not told %s@%s", b.Result.Repository, b.Result.Digest)
	}
	if got := a.tag("latest"); got != b.Result.Digest {
		t.Errorf("latest is %q, want %s", got, b.Result.Digest)
	}
	a.manifest(b.Result.Digest).want(200)
	if log := a.log(1); !strings.Contains(log, "\x1b[31mred") || !strings.HasSuffix(log, "Built "+b.Result.Repository+"@"+b.Result.Digest+"\n") {
		t.Errorf("the log:\n%q", log)
	}
}

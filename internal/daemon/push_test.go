package daemon_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wantReleased fails the test unless main is at a commit, and its image has the tag of the app's newest release.
func (a *app) wantReleased(commit string) buildView {
	a.t.Helper()
	if at := a.remote("refs/heads/main"); at != commit {
		a.t.Errorf("main is at %s, want %s", at, commit)
	}
	b := a.last()
	if b.State != "succeeded" || b.Source.Commit != commit || b.Release == nil || b.Result == nil || b.Result.Digest == "" {
		a.t.Fatalf("the record of the newest build: %+v", b)
	}
	if got := a.tag("latest"); got != b.Result.Digest {
		a.t.Errorf("latest is %q, want %s", got, b.Result.Digest)
	}
	return b
}

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
	if strings.Contains(out, "\x1b[31m") && strings.Contains(out, "\x1b]") {
		t.Errorf("the terminal of the pushing client is not safe:\n%q", out)
	}
	b := a.wantReleased(commit)
	if b.Trigger != "git-push" || b.Source.Description != "m" || b.Release.Version != 1 || !strings.Contains(out, b.Result.Repository+"@"+b.Result.Digest) {
		t.Errorf("git was not told of %+v, %+v", b, b.Result)
	}
	a.manifest(b.Result.Digest).want(200)
	if log := a.log(1); !strings.Contains(log, "\x1b[31mred") || !strings.HasSuffix(log, "Built "+b.Result.Repository+"@"+b.Result.Digest+"\n") {
		t.Errorf("the log:\n%q", log)
	}
}

// TestFailingBuildpack: the ref stays, nothing is left, the last lines say all that there is to know, and the next push
// is as good as any.
func TestFailingBuildpack(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	good := a.commit("build.sh", "echo fine\n")
	a.push(true, []string{"slipway", "main"})
	before := a.tag("latest")
	a.commit("build.sh", "echo the reason is this >&2\nexit 7\n")
	out := a.push(false, []string{"slipway", "main"}, "[test/script] the reason is this",
		" !     Phase: build, buildpack test/script@1.0", " !     Reason: ", "status 7", " !     What to do: look at what the buildpack printed above",
		" !     Log: slipway builds logs 2 --app "+a.name+", "+a.url+"/console/apps/"+a.name+"/builds/2", "[remote rejected] main -> main (build failed)")
	if strings.Contains(out, "pre-receive hook declined") {
		t.Errorf("git says what helps nobody:\n%s", out)
	}
	if a.remote("refs/heads/main") != good || a.tag("latest") != before {
		t.Error("a failed build moved main or latest")
	}
	eventually(t, "the quarantine is removed", func() bool {
		left, _ := filepath.Glob(filepath.Join(a.repository(), "objects", "tmp_objdir-*"))
		return len(left) == 0
	})
	b := a.build(2)
	if b.State != "failed" || b.Failure == nil || b.Failure.Blame != "app" || b.Failure.Code != "buildpack-failed" || b.Failure.Buildpack != "test/script@1.0" || b.Result != nil || b.Release != nil {
		t.Errorf("the record: %+v %+v", b, b.Failure)
	}
	if log := a.log(2); !strings.Contains(log, "the reason is this") || !strings.Contains(log, "What to do: ") {
		t.Errorf("the log:\n%s", log)
	}
	a.commit("build.sh", "echo fine again\n")
	a.push(true, []string{"slipway", "main"}, "Released v2")
	a.wantReleased(a.head())
}

// repository is the app's, on disk.
func (a *app) repository() string {
	a.t.Helper()
	var got struct{ ID string }
	a.api("GET", "", nil).want(200).into(&got)
	return filepath.Join(a.data, "git", got.ID+".git")
}

// TestNotDetected: each buildpack says why not.
func TestNotDetected(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	a.commit("readme.txt", "nothing that anybody could build\n")
	a.push(false, []string{"slipway", "main"}, "neither a build.sh nor a Procfile is there", "no other.txt is there", " !     Phase: detect", " !     Reason: ",
		" !     What to do: add the file that a buildpack looks for", "(build failed)")
	if b := a.last(); b.Failure == nil || b.Failure.Code != "not-detected" || b.Failure.Blame != "app" {
		t.Errorf("the record: %+v", b.Failure)
	}
}

// TestNoSuchBuildpack: a buildpack that is not there is the app's choice, and nothing to try again.
func TestNoSuchBuildpack(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, map[string]any{"buildpacks": []string{"acme/none"}})
	a.commit("build.sh", "echo built\n")
	a.push(false, []string{"slipway", "main"}, "ERROR: buildpack acme/none: it is not in builder "+builderName, " !     What to do: choose a buildpack that the builder has", "(build failed)")
	if b := a.last(); b.Failure == nil || b.Failure.Code != "buildpack-unusable" || b.Failure.Blame != "app" {
		t.Errorf("the record: %+v", b.Failure)
	}
}

// TestShallowPush pushes from a clone that has no history.
func TestShallowPush(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	a.commit("build.sh", "echo one\n")
	a.commit("build.sh", "echo two\n")
	c := &tree{t, filepath.Join(t.TempDir(), "c")}
	a.tree.git("clone", "-q", "--depth=1", "file://"+a.dir, c.dir)
	c.git("remote", "add", "slipway", a.server.git(a.name))
	tip := c.commit("build.sh", "echo three\n")
	c.push(true, []string{"slipway", "main"}, "[test/script] three", "main -> main")
	a.wantReleased(tip)
	again := &tree{t, filepath.Join(t.TempDir(), "again")}
	a.tree.git("clone", "-q", a.server.git(a.name), again.dir)
	if again.head() != tip {
		t.Error("what was pushed cannot be cloned")
	}
}

// sizeVariable makes TestLargePush push as many megabytes.
const sizeVariable = "SLIPWAY_TEST_PUSH_MB"

// TestLargePush pushes what cannot be compressed: 100 MB where the environment says so.
func TestLargePush(t *testing.T) {
	t.Parallel()
	mb := 20
	if text := os.Getenv(sizeVariable); text != "" {
		mb = must(strconv.Atoi(text))(t)
	}
	a := common(t).newApp(t, nil)
	b := make([]byte, mb<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	if err := os.WriteFile(filepath.Join(a.dir, "large"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	commit := a.commit("build.sh", "wc -c large\n")
	began := time.Now()
	a.push(true, []string{"slipway", "main"}, strconv.Itoa(mb<<20)+" large", "main -> main")
	t.Logf("%d MB took %s", mb, time.Since(began))
	a.wantReleased(commit)
}

// TestTwoAtOnce: of two pushes from one old commit one wins; the other, which waits for it, is told to fetch first, and
// what it would have built is nowhere.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	a.commit("build.sh", "echo base\n")
	a.push(true, []string{"slipway", "main"})
	other := &tree{t, filepath.Join(t.TempDir(), "other")}
	a.tree.git("clone", "-q", a.server.git(a.name), other.dir)
	other.git("remote", "add", "slipway", a.server.git(a.name))
	id, wait := gate()
	first := a.commit("build.sh", wait)
	other.commit("build.sh", "echo the second one builds\n")
	g := a.start("push", "slipway", "main")
	g.until("waiting at " + id)
	loser := other.start("push", "slipway", "main")
	loser.until("Waiting in the queue behind 1 build of this app")
	a.letGo(id)
	if out, err := g.end(); err != nil {
		t.Fatalf("the first push: %v\n%s", err, out)
	}
	out, err := loser.end()
	if err == nil {
		t.Fatalf("the second push went through as well:\n%s", out)
	}
	inOrder(t, out, "main has moved since", "main -> main (fetch first)", "hint: Updates were rejected because the remote contains work")
	if strings.Contains(out, "the second one builds") {
		t.Errorf("what could not be taken any more was built:\n%s", out)
	}
	a.build(3)
	if now := a.tag("latest"); now != a.build(2).Result.Digest || a.remote("refs/heads/main") != first {
		t.Errorf("latest is %s, main at %s", now, a.remote("refs/heads/main"))
	}
	if b := a.build(3); b.State == "succeeded" || b.Release != nil {
		t.Errorf("the second build: %+v", b)
	}
	other.git("pull", "-q", "--rebase", "-X", "theirs", "slipway", "main")
	other.push(true, []string{"slipway", "main"}, "Released v3")
}

// TestStreaming holds the build until the client has printed its line.
func TestStreaming(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	id, wait := gate()
	a.commit("build.sh", wait+"echo after it\n")
	g := a.start("push", "slipway", "main")
	g.until("[test/script] waiting at " + id)
	a.letGo(id)
	if out, err := g.end(); err != nil || !strings.Contains(out, "after it") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestClientGone kills the client while its build runs, under both policies.
func TestClientGone(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"continue", "cancel"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			a := common(t).newApp(t, map[string]any{"on_disconnect": policy})
			id, wait := gate()
			commit := a.commit("build.sh", wait)
			g := a.start("push", "slipway", "main")
			g.until("waiting at " + id)
			g.kill()
			if policy == "continue" {
				a.letGo(id)
				if b := a.ended(1); b.State != "succeeded" {
					t.Fatalf("the build: %+v %+v", b, b.Failure)
				}
				eventually(t, "main moves", func() bool { return a.remote("refs/heads/main") != "" })
				a.wantReleased(commit)
			} else {
				b := a.ended(1)
				if b.State != "cancelled" || !strings.Contains(b.CancelReason, "went away") {
					t.Errorf("the build: %+v %+v", b, b.Failure)
				}
				if at := a.remote("refs/heads/main"); at != "" || a.tag("latest") != "" {
					t.Errorf("main is at %s", at)
				}
			}
			eventually(t, "the quarantine is removed", func() bool {
				left, _ := filepath.Glob(filepath.Join(a.repository(), "objects", "tmp_objdir-*"))
				return len(left) == 0
			})
			if policy == "cancel" { // and nothing is in the way of the next
				a.commit("build.sh", "echo fine\n")
				a.push(true, []string{"slipway", "main"}, "Released v1")
			}
		})
	}
}

// TestOtherRefs: what is no deployment is not taken for one.
func TestOtherRefs(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	commit := a.commit("build.sh", "echo built\n")
	a.push(false, []string{"slipway", "main:feature"}, "feature is not the deploy branch of this app: only main is built", "git push <remote> feature:main", "(only main is deployed)")
	a.tree.git("tag", "v1")
	if out := a.push(true, []string{"slipway", "v1"}, "Tag v1 is stored; tags are not built", "v1 -> v1"); strings.Contains(out, "Received") {
		t.Errorf("a tag was built:\n%s", out)
	}
	if n := len(a.builds()); n != 0 || a.remote("refs/tags/v1") != commit {
		t.Errorf("%d builds, v1 is at %q", n, a.remote("refs/tags/v1"))
	}
	a.push(true, []string{"slipway", "main"}, "Released v1")
	a.push(false, []string{"slipway", ":main"}, "main is what this app is built from and cannot be deleted", "(the deploy branch stays)")
	a.push(true, []string{"slipway", ":v1"}, "Tag v1 is deleted")
	a.tree.git("commit", "-q", "--amend", "-m", "another")
	a.push(false, []string{"slipway", "main"}, "non-fast-forward")
	a.push(true, []string{"-f", "slipway", "main"}, "Released v2", "forced update")
	a.wantReleased(a.head())
	a.api("PATCH", "", map[string]any{"branch": "live"}).want(200)
	a.push(true, []string{"slipway", "main:live"}, "Released v3", "main -> live")
}

// TestPushOptions: what they do, and that another is refused.
func TestPushOptions(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	layer := `l=$CNB_LAYERS_DIR/kept
if [ -e $l/it ]; then echo "it is there"; else echo "it is not there"; mkdir -p $l; touch $l/it; fi
printf '[types]\ncache = true\nbuild = true\n' >$l.toml
`
	a.commit("build.sh", layer)
	a.push(true, []string{"slipway", "main"}, "it is not there")
	a.commit("index.txt", "2")
	a.push(true, []string{"slipway", "main"}, "it is there")
	a.commit("index.txt", "3")
	a.push(true, []string{"-o", "no-cache", "slipway", "main"}, "it is not there")
	a.commit("index.txt", "4")
	a.push(false, []string{"-o", "fast", "slipway", "main"}, `There is no push option "fast"`, "no-cache", "detach", "(unknown push option)")
	if n := len(a.builds()); n != 3 {
		t.Errorf("%d builds", n)
	}
	id, wait := gate()
	commit := a.commit("build.sh", wait)
	a.push(true, []string{"-o", "detach", "slipway", "main"}, "Build 4 is queued, and goes on without this push", "Log: slipway builds logs 4 --app "+a.name, "main -> main")
	if a.remote("refs/heads/main") != commit {
		t.Error("main did not move at once")
	}
	a.letGo(id)
	if b := a.ended(4); b.State != "succeeded" {
		t.Errorf("the build: %+v %+v", b, b.Failure)
	}
	eventually(t, "latest moves", func() bool { return a.tag("latest") == a.build(4).Result.Digest })
}

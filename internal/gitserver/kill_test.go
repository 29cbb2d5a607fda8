package gitserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// envVictim makes the test binary a service on the repositories of its first argument, for the app of its second. Its
// builds keep the commit under the third, say so, and never end.
const envVictim = "SLIPWAY_TEST_VICTIM"

func victim() int {
	repos, err := OpenRepos(os.Args[1], "git")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s := &service{app: build.App{ID: build.ID(os.Args[2]), Name: "demo", Branch: "main"}, repos: repos}
	s.builds(func(ctx context.Context, p *Push, u Update) error {
		if err := p.Keep(ctx, build.ID(os.Args[3]), u.New); err != nil {
			return err
		}
		fmt.Fprintln(p.Out, "-----> Kept")
		<-ctx.Done()
		return context.Cause(ctx)
	})
	h := &Handler{Repos: repos, Receiver: s, Fault: func(err error) { fmt.Fprintln(os.Stderr, err) }}
	if raced {
		h.Limits.Memory = 1 << 50
	}
	fmt.Println(httptest.NewServer(h).URL)
	<-make(chan struct{})
	return 0
}

// TestKilled kills the service in the middle of a build. What it kept for the build can be moved to; all else is gone.
func TestKilled(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	kept, unneeded := build.NewID(), build.NewID()
	cmd := exec.Command(self(t), w.dir, string(w.app.ID), string(kept))
	cmd.Env = append(os.Environ(), envVictim+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	url, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)

	g := d.start(nil, "push", strings.Replace(strings.TrimSpace(url), "://", "://x:"+token+"@", 1)+"/demo.git", "main")
	g.until("-----> Kept")
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if out, err := g.end(); err == nil {
		t.Errorf("a push to a service that was killed succeeded:\n%s", out)
	}
	waitForNobody(t, w.dir)

	repo := filepath.Join(w.dir, string(w.app.ID)+".git")
	if left, err := filepath.Glob(filepath.Join(repo, "objects", "tmp_objdir-*")); err != nil || len(left) != 1 {
		t.Errorf("the kill left quarantines %v, %v: want one, or this test tests nothing", left, err)
	}
	for _, f := range []string{"refs/heads/main.lock", "packed-refs.lock", "shallow.lock", "objects/pack/tmp_pack_x", "objects/pack/pack-0.keep"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(repo, f)), 0o755))
		must(t, os.WriteFile(filepath.Join(repo, f), nil, 0o644))
	}
	must(t, os.Mkdir(filepath.Join(w.dir, string(build.NewID())+".making-1"), 0o755))
	w.repos, err = OpenRepos(w.dir, "git")
	must(t, err)
	_, err = w.repos.run(t.Context(), repo, "update-ref", hidden+string(unneeded), string(d.head()))
	must(t, err)
	needed := func(app, id build.ID) bool { return app == w.app.ID && id == kept }
	must(t, w.repos.Recover(t.Context(), needed))
	w.wantClean()
	if left, err := keptIn(repo); err != nil || len(left) != 1 || left[0] != kept {
		t.Errorf("kept after Recover: %v, %v", left, err)
	}
	must(t, w.repos.MoveRef(t.Context(), w.app.ID, Update{mainRef, Zero, d.head()}))
	must(t, w.repos.Release(t.Context(), w.app.ID, kept))
	w.wantSound()

	_, err = w.repos.run(t.Context(), repo, "update-ref", hidden+string(unneeded), string(d.head()))
	must(t, err)
	_, err = w.repos.run(t.Context(), repo, "pack-refs", "--all")
	must(t, err)
	must(t, w.repos.Recover(t.Context(), needed))
	if left, err := keptIn(repo); err != nil || len(left) != 0 {
		t.Errorf("kept in packed refs after Recover: %v, %v", left, err)
	}
	if w.at(mainRef) != d.head() {
		t.Error("main is not where it was")
	}
}

// waitForNobody waits until no process works in a directory.
func waitForNobody(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		all, err := filepath.Glob("/proc/[0-9]*/cwd")
		must(t, err)
		var left []string
		for _, p := range all {
			if cwd, err := os.Readlink(p); err == nil && strings.HasPrefix(cwd, dir) {
				left = append(left, p)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still at work: %v", left)
		}
	}
}

// TestDelete removes a repository and is content with none.
func TestDelete(t *testing.T) {
	w := newWorld(t, Limits{})
	must(t, w.repos.Create(t.Context(), w.app.ID, "main"))
	must(t, w.repos.Create(t.Context(), w.app.ID, "trunk"))
	if head, err := w.repos.run(t.Context(), w.repos.path(w.app.ID), "symbolic-ref", "HEAD"); err != nil || head != "refs/heads/trunk" {
		t.Errorf("HEAD is %q, %v", head, err)
	}
	for range 2 {
		must(t, w.repos.Delete(t.Context(), w.app.ID))
	}
	if _, err := w.repos.Ref(t.Context(), w.app.ID, mainRef); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("a deleted repository: %v", err)
	}
	w.wantClean()
}

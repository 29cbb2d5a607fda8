package daemon_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/daemon"
)

// TestDrain stops a service gently while a build runs: its push, which watches it, succeeds.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := own(t, nil)
	a := s.newApp(t, nil)
	id, wait := gate()
	a.commit("build.sh", wait)
	g := a.start("push", "slipway", "main")
	g.until("waiting at " + id)
	behind := &tree{t, t.TempDir()}
	a.tree.git("clone", "-q", a.dir, behind.dir)
	behind.git("remote", "add", "slipway", s.git(a.name))
	waits := behind.start("push", "slipway", "main")
	waits.until("Waiting in the queue behind 1 build of this app")
	s.end()
	if out, err := waits.end(); err == nil || !strings.Contains(out, "(the service is stopping)") {
		t.Errorf("the push that waited: %v\n%s", err, out)
	}
	eventually(t, "the service says that it stops", func() bool { return a.ask(t, "GET", "/readyz", nil).status == 503 })
	select {
	case <-s.over:
		t.Error("the service has ended with a build running")
	default:
	}
	late := s.newApp(t, nil)
	late.commit("build.sh", "echo too late\n")
	late.push(false, []string{"slipway", "main"}, "The build service is being stopped", "(the service is stopping)")
	a.letGo(id)
	out, err := g.end()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	inOrder(t, out, "Released v1", "main -> main")
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	again := at(t, s.data, nil)
	again.token = s.token
	if b := (&app{server: again, tree: a.tree, t: t, name: a.name}).build(1); b.State != "succeeded" {
		t.Errorf("the record: %+v", b)
	}
}

// TestDrainTime: a build that does not end in the time for it is given up, and whoever pushed hears of it.
func TestDrainTime(t *testing.T) {
	t.Parallel()
	s := own(t, func(c *daemon.Config) { c.Worker.Drain = daemon.Duration(time.Millisecond) })
	a := s.newApp(t, nil)
	id, wait := gate()
	a.commit("build.sh", wait)
	g := a.start("push", "slipway", "main")
	g.until("waiting at " + id)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	out, err := g.end()
	if err == nil {
		t.Fatalf("the push succeeded:\n%s", out)
	}
	inOrder(t, out, "ERROR: this is not the app's fault", " !     Reason: the worker stops", "This is not the app's fault", "[remote rejected] main -> main (build failed)")
	if left := s.quarantines(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestInUse: a data directory has one service.
func TestInUse(t *testing.T) {
	t.Parallel()
	s := common(t)
	_, err := s.start(s.data, nil)
	if err == nil || !strings.Contains(err.Error(), "data directory "+s.data+": another process is using it") || strings.Contains(err.Error(), "\n") {
		t.Errorf("opened twice: %v", err)
	}
	s.ask(t, "GET", "/readyz", nil).want(200)
}

// TestRestart: what was there is there after a restart, also where the service has another address then.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := own(t, nil)
	a := s.newApp(t, nil)
	a.api("PATCH", "/config-vars", map[string]string{"KEPT": "kept"}).want(200)
	commit := a.commit("build.sh", "echo built with $KEPT\n")
	a.push(true, []string{"slipway", "main"})
	b, log, token := a.build(1), a.log(1), s.token
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{s.address(), "127.0.0.1:0"} {
		s = at(t, s.data, func(c *daemon.Config) { c.Listen = where })
		if s.token != "" {
			t.Error("another start shows a token")
		}
		s.token = token
		a.server = s
		a.tree.git("remote", "set-url", "slipway", s.git(a.name))
		if got := a.build(1); got.State != "succeeded" || got.Result == nil || got.Result.Digest != b.Result.Digest || a.log(1) != log {
			t.Errorf("the build: %+v", got)
		}
		a.manifest(b.Result.Digest).want(200)
		if a.tag("latest") != b.Result.Digest || a.remote("refs/heads/main") != commit {
			t.Error("latest or main is somewhere else")
		}
		var vars map[string]string
		if a.api("GET", "/config-vars", nil).want(200).into(&vars); vars["KEPT"] != "kept" {
			t.Errorf("config vars: %v", vars)
		}
		if err := s.daemon.Tidy(t.Context()); err != nil {
			t.Error(err)
		}
		a.manifest(b.Result.Digest).want(200)
		if where == s.address() {
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.commit("build.sh", "echo and again\n")
	a.push(true, []string{"slipway", "main"}, "Reusing layer", "Released v2")
	a.wantReleased(a.head())
	err := filepath.WalkDir(filepath.Join(s.data, "registry"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() { // what is young stays in any case
			err = os.Chtimes(path, time.Time{}, time.Now().Add(-24*time.Hour))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.daemon.Tidy(t.Context()); err != nil {
		t.Error(err)
	}
	a.manifest(b.Result.Digest).want(200)
}

package daemon_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/daemon"
)

// TestBackup copies a running service: what its copy becomes elsewhere has all that was acknowledged before.
func TestBackup(t *testing.T) {
	t.Parallel()
	s := own(t, nil)
	a := s.newApp(t, nil)
	a.api("PATCH", "/config-vars", map[string]string{"KEPT": "kept"}).want(200)
	commit := a.commit("build.sh", "echo built with $KEPT\n")
	a.push(true, []string{"slipway", "main"})
	b, log := a.build(1), a.log(1)
	var copied bytes.Buffer
	if err := daemon.Backup(t.Context(), s.data, &copied); err != nil {
		t.Fatal(err)
	}
	a.commit("build.sh", "echo later\n")
	a.push(true, []string{"slipway", "main"}) // the service goes on, beside its copy
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	if err := daemon.Restore(t.Context(), bytes.NewReader(copied.Bytes()), data); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Restore(t.Context(), bytes.NewReader(copied.Bytes()), data); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("restored over another: %v", err)
	}
	token, address := s.token, s.address()
	s = at(t, data, func(c *daemon.Config) { c.Listen = address })
	s.token, a.server = token, s
	if got := a.build(1); got.State != "succeeded" || got.Result == nil || got.Result.Digest != b.Result.Digest || a.log(1) != log || len(a.builds()) != 1 {
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
	a.push(true, []string{"slipway", "main"})
	a.wantReleased(a.head())
	if err := daemon.Backup(t.Context(), t.TempDir(), &copied); err == nil || !strings.Contains(err.Error(), "is not the data of a service") {
		t.Errorf("a backup of nothing: %v", err)
	}
}

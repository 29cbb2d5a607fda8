package daemon_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/container/containertest"
	"github.com/slipway-build/slipway/internal/daemon"
)

// A releaseView is what these tests look at of a release.
type releaseView struct {
	Version int
	Status  string
	Current bool
	Failure string
	Stream  string `json:"output_stream_url"`
}

func (a *app) release(version int) (r releaseView) {
	a.t.Helper()
	a.api("GET", fmt.Sprintf("/releases/%d", version), nil).want(200).into(&r)
	return r
}

func (a *app) releaseEnded(version int) (r releaseView) {
	a.t.Helper()
	eventually(a.t, fmt.Sprintf("the command of release %d ends", version), func() bool {
		r = a.release(version)
		return r.Status != "pending"
	})
	return r
}

// TestReleaseCommand runs the release process of what was pushed. If it fails the push stands, and latest stays.
func TestReleaseCommand(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	a.api("PATCH", "/config-vars", map[string]string{"DATABASE": "a-secret-database"}).want(200)
	a.commit("build.sh", "echo building\n", "release.sh", "echo migrating $DATABASE; test -n \"$DATABASE\"\n")
	a.push(true, []string{"slipway", "main"})
	var image struct {
		Types map[string]string `json:"process_types"`
	}
	a.api("GET", "/oci-images/"+a.last().Result.Digest, nil).want(200).into(&image)
	if image.Types["release"] != "bash release.sh" || image.Types["web"] != "cat index.txt" {
		t.Errorf("the processes: %v", image.Types)
	}
	if r := a.releaseEnded(1); r.Status != "succeeded" {
		t.Fatalf("release %+v", r)
	}
	eventually(t, "the release gets its name", func() bool { return a.tag("latest") == a.last().Result.Digest })
	first := a.tag("latest")
	if log := a.api("GET", "/releases/1/log?follow=true", nil).want(200).text; log != "Running the release command of v1\nmigrating [masked]\n" {
		t.Errorf("the log:\n%q", log)
	}
	second := a.commit("release.sh", "echo no such table; exit 3\n")
	a.push(true, []string{"slipway", "main"}, "-----> Made v2 of "+a.name+", whose release command ", "slipway releases logs 2 -f --app "+a.name)
	r := a.releaseEnded(2)
	if r.Status != "failed" || r.Current || r.Failure != "the release command ended with exit code 3" || !a.release(1).Current {
		t.Errorf("release %+v", r)
	}
	if a.tag("latest") != first || a.remote("refs/heads/main") != second {
		t.Error("the push does not stand, or latest moved")
	}
	a.api("POST", "/releases", map[string]string{"release": "v2"}).want(409)
	if log := a.ask(t, "GET", r.Stream, nil).want(200).text; !strings.HasSuffix(log, "no such table\nERROR: the release command ended with exit code 3\n") {
		t.Errorf("the log:\n%q", log)
	}
}

// TestPrivateAddresses: what an app runs is kept from private addresses, and from those of metadata, but for those that the
// operator allows: in its build, as its release command, as a command that runs once, and as what is deployed here.
func TestPrivateAddresses(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // Docker's containers reach all of it
	}
	near, allowed := containertest.Neighbours(t)
	s := own(t, func(c *daemon.Config) { c.AllowNetworks = []string{allowed.Addr().String()} })
	a := s.newApp(t, nil)
	a.api("PUT", "/deployer", map[string]any{"kind": "local"}).want(200)
	a.commit("reach.sh", fmt.Sprintf(`for at in %s/%d %s/%d 169.254.169.254/80; do
	if (exec 3<>/dev/tcp/$at) 2>/dev/null; then echo "$at is reached"; else echo "$at is not"; fi
done
`, near.Addr(), near.Port(), allowed.Addr(), allowed.Port()),
		"build.sh", "bash reach.sh\n", "release.sh", "bash reach.sh\n", "web.sh", "bash reach.sh; exit 1\n")
	a.push(true, []string{"slipway", "main"})
	if r := a.releaseEnded(1); r.Status != "succeeded" {
		t.Fatalf("release %+v", r)
	}
	a.deployment("1", "failed")
	var r runView
	a.api("POST", "/runs", map[string]any{"script": "bash reach.sh"}).want(201).into(&r)
	for where, log := range map[string]string{
		"the build": strings.ReplaceAll(a.log(1), "[test/script] ", ""), "the release command": a.api("GET", "/releases/1/log?follow=true", nil).want(200).text,
		"what is deployed": a.api("GET", "/log?lines=1000", nil).want(200).text, "a command": a.api("GET", "/runs/"+r.ID+"/log?follow=true", nil).want(200).text,
	} {
		if want := fmt.Sprintf("%s/%d is not\n%s/%d is reached\n169.254.169.254/80 is not\n", near.Addr(), near.Port(), allowed.Addr(), allowed.Port()); !strings.Contains(log, want) {
			t.Errorf("%s, where it should be\n%s\nis\n%s", where, want, log)
		}
	}
}

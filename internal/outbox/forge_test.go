package outbox

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// TestForges: what each forge is told, as its API has it, of a build that waits, runs, and ends in each way.
func TestForges(t *testing.T) {
	const log = "https://build.test/apps/shop/builds/1/log?follow=true&plain=true"
	hub := func(state, description string) string {
		return fmt.Sprintf(`{"context":"slipway/shop","description":%q,"state":%q,"target_url":%q}`, description, state, log)
	}
	lab := func(state, description string) string {
		return fmt.Sprintf(`{"description":%q,"name":"slipway/shop","ref":"main","state":%q,"target_url":%q}`, description, state, log)
	}
	bucket := func(state, description string) string {
		return fmt.Sprintf(`{"description":%q,"key":"slipway/shop","name":"slipway/shop","refname":"main","state":%q,"url":%q}`, description, state, log)
	}
	server := func(state, description string) string {
		return fmt.Sprintf(`{"buildNumber":"1","description":%q,"key":"slipway/shop","name":"slipway/shop","ref":"refs/heads/main","state":%q,"url":%q}`, description, state, log)
	}
	for _, c := range []struct {
		name            string
		kind            build.ForgeKind
		repository, api string
		path            string
		token           string
		header          []string
		body            func(state, description string) string
		states          [6]string // pending, running, success, failure, error, cancelled
	}{
		{"github", build.ForgeGitHub, "git@github.com:acme/shop.git", "https://api.github.com", "/repos/acme/shop/statuses/" + commit, "t0ken-of-it",
			[]string{"Authorization: Bearer t0ken-of-it", "X-GitHub-Api-Version: 2022-11-28", "Accept: application/vnd.github+json"}, hub,
			[6]string{"pending", "pending", "success", "failure", "error", "error"}},
		{"gitlab", build.ForgeGitLab, "https://gitlab.test/acme/web/shop.git", "https://gitlab.test/api/v4", "/projects/acme%2Fweb%2Fshop/statuses/" + commit, "t0ken-of-it",
			[]string{"PRIVATE-TOKEN: t0ken-of-it"}, lab, [6]string{"pending", "running", "success", "failed", "failed", "canceled"}},
		{"gitea", build.ForgeGitea, "https://gitea.test/acme/shop", "https://gitea.test/api/v1", "/repos/acme/shop/statuses/" + commit, "t0ken-of-it",
			[]string{"Authorization: token t0ken-of-it"}, hub, [6]string{"pending", "pending", "success", "failure", "error", "error"}},
		{"bitbucket", build.ForgeBitbucket, "git@bitbucket.org:acme/shop.git", "https://api.bitbucket.org/2.0", "/repositories/acme/shop/commit/" + commit + "/statuses/build", "t0ken-of-it",
			[]string{"Authorization: Bearer t0ken-of-it"}, bucket, [6]string{"INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "STOPPED"}},
		{"bitbucket with a user", build.ForgeBitbucket, "https://bitbucket.org/acme/shop.git", "https://api.bitbucket.org/2.0", "/repositories/acme/shop/commit/" + commit + "/statuses/build", "ann:t0ken",
			[]string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ann:t0ken"))}, bucket, [6]string{"INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "STOPPED"}},
		{"bitbucket-server", build.ForgeBitbucketServer, "https://git.test/scm/~ann/shop.git", "https://git.test/rest/api/latest", "/projects/~ann/repos/shop/commits/" + commit + "/builds", "t0ken-of-it",
			[]string{"Authorization: Bearer t0ken-of-it"}, server, [6]string{"INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "CANCELLED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, end := range []store.Outcome{
				{State: build.Succeeded, Result: &build.Result{}, Release: &build.Release{State: build.ReleaseSucceeded}},
				{State: build.Failed, Failure: &build.Failure{Blame: build.BlameApp, Reason: "npm ci\nwent wrong"}},
				{State: build.Failed, Failure: &build.Failure{Blame: build.BlamePlatform, Reason: strings.Repeat("€", 200)}},
				{State: build.Cancelled},
			} {
				inHouse(t, func(t *testing.T, h *house) {
					host := hostOf(c.api)
					h.hosts[host] = answers(201)
					h.forge(c.kind, c.repository, c.api, c.token)
					h.queue(c.repository)
					synctest.Wait()
					b := h.claim()
					synctest.Wait()
					if end.State == build.Cancelled {
						must(h.Cancel(t.Context(), b.ID, "ann asked for it"))(t)
					}
					h.finish(b, end)
					synctest.Wait()
					ends := []string{
						"Build 1 succeeded: v1", "Build 1 failed: npm ci went wrong", "Build 1: the build service failed, not the app: " + strings.Repeat("€", 89) + "...", "Build 1 was cancelled: ann asked for it",
					}
					want := []string{c.body(c.states[0], "Build 1 waits"), c.body(c.states[1], "Build 1 runs"), c.body(c.states[2+i], ends[i])}
					for j, got := range h.of(host) {
						if got.method != "POST" || got.url != c.api+c.path || got.header.Get("Content-Type") != "application/json" || got.header.Get("User-Agent") != "slipway/1.2.3" {
							t.Errorf("%s %s %v", got.method, got.url, got.header)
						}
						for _, line := range c.header {
							name, value, _ := strings.Cut(line, ": ")
							if got.header.Get(name) != value {
								t.Errorf("%s: %q, want %q", name, got.header.Get(name), value)
							}
						}
						if j >= len(want) || got.body != want[j] {
							t.Errorf("body %d\n%s\nwant\n%s", j, got.body, strings.Join(want, "\n"))
						}
					}
					if n := len(h.of(host)); n != len(want) {
						t.Errorf("it was told %d times", n)
					}
				})
			}
		})
	}
}

func hostOf(url string) string {
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "/")
	return host
}

package daemon_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A deployedView is what these tests look at of a deployment.
type deployedView struct {
	Number               int
	State, Failure, Kind string
	Reason               string
	URL                  string
	Restarts             int
	Release              struct{ Version int }
}

func (a *app) deployment(number string, states ...string) (d deployedView) {
	a.t.Helper()
	eventually(a.t, "deployment "+number+" is "+strings.Join(states, " or "), func() bool {
		d = deployedView{}
		r := a.api("GET", "/deployments/"+number, nil)
		if r.status != http.StatusOK {
			return false
		}
		r.into(&d)
		if slices.Contains(states, d.State) {
			return true
		}
		if d.State == "failed" {
			a.t.Fatalf("deployment %s: %+v\n%s", number, d, a.api("GET", "/log?lines=1000", nil).text)
		}
		return false
	})
	return d
}

// web adds an app that answers by HTTP to a tree.
func (a *app) web() {
	a.t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(a.dir, "testapp"), "./internal/deploy/testapp")
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("build testapp: %v: %s", err, out)
	}
}

// asks is what a URL without a token answers; "" where nobody does.
func asks(t testing.TB, url string) string {
	t.Helper()
	req := must(http.NewRequestWithContext(t.Context(), "GET", url, nil))(t)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

// TestDeployKilled: what is pushed runs and is reached at the app's web_url; when the service is killed, nothing of it is
// left after the next start, and it runs again at the same place; a deleted app does not.
func TestDeployKilled(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // what is left of a container of Docker, its own tests look at
	}
	l := newLane(t)
	l.start(t)
	a := l.newApp(t, nil)
	a.web()
	a.api("PATCH", "/config-vars", map[string]string{"KEY": "a-value-of-the-app"}).want(200)
	a.api("PUT", "/deployer", map[string]any{"kind": "local", "path": "/up"}).want(200)
	a.commit("build.sh", "chmod +x testapp\n", "web.sh", "exec ./testapp\n", "version.txt", "1")
	a.push(true, []string{"slipway", "main"}, "Released v1")
	d := a.deployment("1", "running")
	var view struct {
		WebURL     string `json:"web_url"`
		Deployer   string
		Deployment deployedView
	}
	a.api("GET", "", nil).want(200).into(&view)
	if got := asks(t, view.WebURL); got != "v1 a-value-of-the-app" || view.WebURL != d.URL || view.Deployer != "local" || view.Deployment != d {
		t.Errorf("the app %+v answers %q", view, got)
	}
	l.kill()
	was := l.litter(t)
	if len(was.containers) != 1 {
		t.Errorf("the killed service has left %q", was.containers)
	}
	l.start(t)
	l.wantSwept(t, was)
	eventually(t, "it answers again", func() bool { return asks(t, d.URL) == "v1 a-value-of-the-app" })
	if now := a.deployment("1", "running"); now.URL != d.URL {
		t.Errorf("it was at %s and is at %s", d.URL, now.URL)
	}

	a.commit("version.txt", "2")
	a.push(true, []string{"slipway", "main"}, "Released v2")
	if d := a.deployment("2", "running"); asks(t, d.URL) != "v2 a-value-of-the-app" {
		t.Errorf("%+v does not answer", d)
	}
	a.commit("mode.txt", "crash")
	a.push(true, []string{"slipway", "main"}, "Released v3")
	if bad := a.deployment("3", "failed"); bad.Failure != "the process ended with exit code 7 before it answered: no [31msuch table" || asks(t, d.URL) != "v2 a-value-of-the-app" {
		t.Errorf("%+v", bad)
	}
	a.api("POST", "/releases", map[string]string{"release": "v1"}).want(201)
	if d := a.deployment("4", "running"); asks(t, d.URL) != "v1 a-value-of-the-app" {
		t.Errorf("%+v does not answer", d)
	}
	if log := a.api("GET", "/deployments/4/log?follow=true", nil).want(200).text; !strings.HasSuffix(log, "testapp 1 begins\nIt answers: "+d.URL+"\n") {
		t.Errorf("the log of the deployment:\n%s", log)
	}
	if log := a.api("GET", "/log?lines=2", nil).want(200).text; !strings.HasSuffix(log, "testapp 1 begins\nslipway: v4 answers\n") && !strings.Contains(log, "asked to end") {
		t.Errorf("the log of the app:\n%s", log)
	}
	a.api("DELETE", "", nil).want(200)
	if got := asks(t, d.URL); got != "" {
		t.Errorf("the deleted app answers %q", got)
	}
	if left := l.litter(t).containers; len(left) > 0 {
		l.wantSwept(t, litter{containers: left})
	}
	l.stop(t)
}

// A runView is what these tests look at of a run.
type runView struct {
	ID, State, Failure string
	Exit               *int
}

// TestRuns: a command runs in the image of a release, with the app's config vars, and is gone when it is cancelled.
func TestRuns(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	a.api("POST", "/runs", map[string]any{"script": "true"}).want(409)
	a.api("PATCH", "/config-vars", map[string]string{"KEY": "a-value-of-the-app"}).want(200)
	a.commit("build.sh", "true\n", "index.txt", "the index\n")
	a.push(true, []string{"slipway", "main"}, "Released v1")
	for _, c := range []struct {
		in    map[string]any
		want  string
		state string
		code  int
	}{
		{map[string]any{"script": `cat index.txt; [ "$KEY" = "a-value""-of-the-app" ] && echo "it is $KEY"; id -u`}, "the index\nit is [masked]\n1234\n", "succeeded", 0},
		{map[string]any{"command": []string{"cat", "$KEY"}}, "cat: '$KEY': No such file or directory\nslipway: the process ended with exit code 1\n", "failed", 1},
		{map[string]any{"command": []string{"web"}, "release": "v1"}, "", "failed", 1},
	} {
		var r runView
		a.api("POST", "/runs", c.in).want(201).into(&r)
		log := a.api("GET", "/runs/"+r.ID+"/log?follow=true", nil).want(200).text
		eventually(t, "the run has ended", func() bool { a.api("GET", "/runs/"+r.ID, nil).want(200).into(&r); return r.State != "running" })
		if r.State != c.state || !strings.HasPrefix(log, c.want) || r.Exit == nil || *r.Exit != c.code && c.want != "" {
			t.Errorf("%v: %+v, %q", c.in, r, log)
		}
	}
	var r runView
	a.api("POST", "/runs", map[string]any{"script": "sleep 1000 & echo begun; wait"}).want(201).into(&r)
	eventually(t, "it runs", func() bool { return a.api("GET", "/runs/"+r.ID+"/log", nil).want(200).text == "begun\n" })
	a.api("DELETE", "/runs/"+r.ID, nil).want(200).into(&r)
	if r.State != "cancelled" || r.Failure != "it was cancelled" {
		t.Errorf("%+v", r)
	}
	for _, in := range []map[string]any{{}, {"command": []string{"a"}, "script": "b"}, {"script": "a\x00b"}, {"script": "a", "time": -1}} {
		a.api("POST", "/runs", in).want(422)
	}
}

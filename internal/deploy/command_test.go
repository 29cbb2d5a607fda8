package deploy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/outbox"
)

// shell is a command line of the operator's.
func shell(script string, args ...string) []string {
	return append([]string{"/bin/bash", "-c", script, "deploy"}, args...)
}

// TestCommand: a command is told what was released, and its end is the deployment's.
func TestCommand(t *testing.T) {
	h := newHouse(t)
	h.vars(map[string]string{"KEY": "not-for-the-command"})
	h.deployer(build.Deployer{Kind: build.DeployCommand, Command: shell(`echo "$1"; env`, "$(id) ; `id`")})
	v := h.release("1", "")
	d := h.deployment(1, build.DeploySucceeded)
	log := h.log(d)
	for _, want := range []string{
		"$(id) ; `id`\n", "SLIPWAY_APP=app-command\n", "SLIPWAY_APP_ID=" + string(h.app.ID) + "\n", "SLIPWAY_RELEASE=v1\n", "SLIPWAY_RELEASE_ID=" + string(v.ID) + "\n",
		"SLIPWAY_IMAGE=" + v.Repository + "@" + v.Digest + "\n", "SLIPWAY_DIGEST=" + v.Digest + "\n", "SLIPWAY_DEPLOYMENT=1\n", "PATH=",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "KEY") || d.URL != "" || d.Live {
		t.Errorf("%+v with the log\n%s", d, log)
	}

	h.deployer(build.Deployer{Kind: build.DeployCommand, Command: shell(`echo begun; printf 'no \x1b[31mcluster\n' >&2; exit 4`)})
	h.release("2", "")
	if d := h.deployment(2, build.DeployFailed); d.Failure != "the command ended with exit code 4: no [31mcluster" || !strings.HasSuffix(h.log(d), "ERROR: "+d.Failure+"\n") {
		t.Errorf("%+v with the log %q", d, h.log(d))
	}
	h.deployer(build.Deployer{Kind: build.DeployCommand, Command: []string{"/nowhere/to/be/found"}})
	h.release("3", "")
	if d := h.deployment(3, build.DeployFailed); !strings.Contains(d.Failure, "start the command: fork/exec /nowhere/to/be/found: no such file") {
		t.Errorf("%+v", d)
	}
	h.deployer(build.Deployer{Kind: build.DeployCommand, Command: shell(`head -c 3000000 /dev/zero; echo; echo the end`)})
	h.release("4", "")
	if log := h.log(h.deployment(4, build.DeploySucceeded)); len(log) > maxLog+(100<<10) || !strings.HasSuffix(log, "the end\n") {
		t.Errorf("a flood makes a log of %d bytes", len(log))
	}
}

// TestCommandEnds: a command that takes too long, or runs when the service stops, ends with all that it has started.
func TestCommandEnds(t *testing.T) {
	h := newHouse(t)
	pids := filepath.Join(h.dir, "pids")
	script := shell(`echo $$ > "$1"; sleep 1000 & echo $! >> "$1"; (sleep 1000 & echo $! >> "$1"; wait); wait`, pids)
	running := func() []int {
		var all []int
		b, _ := os.ReadFile(pids)
		for s := range strings.FieldsSeq(string(b)) {
			all = append(all, must(strconv.Atoi(s))(t))
		}
		return all
	}
	gone := func() {
		t.Helper()
		for _, pid := range running() {
			eventually(t, fmt.Sprintf("process %d ends", pid), func() bool { return syscall.Kill(pid, 0) != nil })
		}
		if err := os.Remove(pids); err != nil {
			t.Fatal(err)
		}
	}
	h.deployer(build.Deployer{Kind: build.DeployCommand, Command: script, Time: time.Second})
	h.release("1", "")
	if d := h.deployment(1, build.DeployFailed); d.Failure != "the command ran longer than 1s and was killed" {
		t.Errorf("%+v", d)
	}
	gone()
	h.deployer(build.Deployer{Kind: build.DeployCommand, Command: script})
	h.release("2", "")
	eventually(t, "it runs", func() bool { return len(running()) == 3 })
	h.end()
	if d := h.deployment(2, build.DeployFailed); d.Failure != interrupted {
		t.Errorf("%+v", d)
	}
	gone()
	h.release("3", "") // while nobody is there
	h.deployer(build.Deployer{Kind: build.DeployCommand, Command: shell("echo again")})
	h.start()
	if d := h.deployment(3, build.DeploySucceeded); h.log(d) != "again\n" {
		t.Errorf("the log:\n%s", h.log(d))
	}
	if d := h.deployment(2, build.DeployFailed); d.Failure != interrupted {
		t.Errorf("%+v", d)
	}
}

// TestWebhook: the deployer's webhook gets one signed request, and that it was taken is the deployment's end.
func TestWebhook(t *testing.T) {
	h := newHouse(t)
	var mu sync.Mutex
	answer := http.StatusNoContent
	var bodies, wrong []string
	const key = "a secret that signs"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		m := hmac.New(sha256.New, []byte(key))
		m.Write(b)
		mu.Lock()
		defer mu.Unlock()
		if got := r.Header.Get("Heroku-Webhook-Hmac-SHA256"); got != base64.StdEncoding.EncodeToString(m.Sum(nil)) {
			wrong = append(wrong, got)
		}
		bodies = append(bodies, string(b))
		w.WriteHeader(answer)
	}))
	defer server.Close()
	sender := &outbox.Sender{Store: h.store, Transport: http.DefaultTransport, URL: "http://service.test", Version: "1", Fault: h.host.o.Fault}
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() { _ = sender.Run(ctx) })
	defer sending.Wait()
	defer stop()
	w := must(h.store.CreateWebhook(t.Context(), build.Webhook{App: h.app.ID, User: h.app.Owner, URL: server.URL, Include: []string{build.IncludeDeployment}, Level: build.LevelNotify, Secret: key}))(t)
	h.deployer(build.Deployer{Kind: build.DeployWebhook, Webhook: w.ID})
	v := h.release("1", "")
	h.deployment(1, build.DeploySucceeded)
	mu.Lock()
	var told struct {
		Action, Resource string
		Data             build.ToldDeployment
	}
	if len(bodies) != 1 || len(wrong) > 0 || json.Unmarshal([]byte(bodies[0]), &told) != nil || told.Resource != "deployment" || told.Data.Digest != v.Digest || told.Data.App.Name != h.app.Name || told.Data.Release.Version != 1 {
		t.Errorf("%d requests, %d wrongly signed: %q", len(bodies), len(wrong), bodies)
	}
	answer = http.StatusNotFound
	mu.Unlock()
	h.release("2", "")
	if d := h.deployment(2, build.DeployFailed); d.Failure != "it was answered 404 Not Found" {
		t.Errorf("%+v", d)
	}
}

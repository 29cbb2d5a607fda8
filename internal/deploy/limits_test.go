package deploy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
)

// TestNoWeb: an image without a web process, and one that is not there, are told in one line, and PORT is the app's own.
func TestNoWeb(t *testing.T) {
	h := newHouse(t)
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up"})
	h.released(build.Release{Repository: h.stage.host() + "/" + string(h.app.Name), Digest: "sha256:" + strings.Repeat("0", 64), State: build.ReleaseSucceeded, Processes: []build.Process{{Type: "worker"}}})
	if d := h.deployment(1, build.DeployFailed); d.Failure != "the image of v1 has no process web: its buildpacks name one" {
		t.Errorf("%+v", d)
	}
	h.released(build.Release{Repository: h.stage.host() + "/" + string(h.app.Name), Digest: "sha256:" + strings.Repeat("0", 64), State: build.ReleaseSucceeded, Processes: []build.Process{{Type: "web"}}})
	if d := h.deployment(2, build.DeployFailed); !strings.Contains(d.Failure, strings.Repeat("0", 64)) || strings.Contains(d.Failure, "\n") {
		t.Errorf("%+v", d)
	}
	h.release("3", "")
	d := h.deployment(3, build.DeployRunning)
	h.vars(map[string]string{"PORT": "seven"})
	if d := h.deployment(4, build.DeployFailed); !strings.Contains(d.Failure, "PORT=seven is not a port") {
		t.Errorf("%+v", d)
	}
	h.vars(map[string]string{"PORT": "4711", "VERSION": "four"})
	h.deployment(5, build.DeployRunning)
	if got := get(t, d.URL+"/"); got != "vfour " {
		t.Errorf("it answers %q", got)
	}
}

// TestMemory: a process that uses more memory than it may is killed and started again, and the reason is told.
func TestMemory(t *testing.T) {
	h := newHouse(t)
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up"})
	h.release("1", "")
	d := h.deployment(1, build.DeployRunning)
	_, _ = ask(d.URL + "/eat")
	eventually(t, "it is started again", func() bool { return h.deployment(1, build.DeployRunning, build.DeployStarting).Restarts == 1 })
	h.deployment(1, build.DeployRunning)
	if log := h.printed(1000); !strings.Contains(log, "slipway: the process was killed: it used more memory than it may") {
		t.Errorf("the log:\n%s", log)
	}
	if got := get(t, d.URL+"/"); got != "v1 " {
		t.Errorf("it answers %q", got)
	}
}

// TestLines: what others have said is one line without anything that a terminal or a page would take for more.
func TestLines(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a\r\n\tb\x00\x1b[2Jc\xff": "a b [2Jc", strings.Repeat("é", 300): strings.Repeat("é", 197) + "...", "\u202eevil\u200b": "evil",
	} {
		if got := line(in); got != want {
			t.Errorf("line(%q) = %q, want %q", in, got, want)
		}
	}
	text := []byte("a\nb\nc\n")
	for n, want := range []string{"", "c\n", "b\nc\n", "a\nb\nc\n", "a\nb\nc\n"} {
		if got := string(lastLines(text, n)); got != want {
			t.Errorf("the last %d lines: %q, want %q", n, got, want)
		}
	}
	if got := string(lastLines([]byte("a\nb"), 1)) + fmt.Sprint(len(lastLines(nil, 3))); got != "b0" {
		t.Errorf("%q", got)
	}
}

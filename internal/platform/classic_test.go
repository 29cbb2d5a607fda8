package platform_test

import (
	"encoding/pem"
	"fmt"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/platform/platformtest"
)

// classicBuildpack is a directory of one: compile is a script.
func classicBuildpack(t *testing.T, compile string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Old One")
	write(t, dir, 0o755, "bin/detect", "#!/bin/bash\necho Old\n", "bin/compile", "#!/bin/bash\nset -eu\n"+compile,
		"bin/release", "#!/bin/bash\nprintf -- '---\\ndefault_process_types:\\n  web: cat index.txt\\n'\n")
	return dir
}

// repository serves a directory as a git repository by https; fetcher may reach it.
func repository(t *testing.T, dir string) (url, commit string, fetcher *fetch.Fetcher) {
	t.Helper()
	root := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+root, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-qm", "one")
	git("tag", "v1.2.3")
	git("clone", "-q", "--bare", ".", filepath.Join(root, "old.git"))
	backend := filepath.Join(git("--exec-path"), "git-http-backend")
	s := httptest.NewTLSServer(&cgi.Handler{Path: backend, Root: "/", Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root}})
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return s.URL + "/old.git", git("rev-parse", "HEAD"), &fetch.Fetcher{CA: ca, Dialer: fetch.Dialer{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}}
}

// TestClassic builds with a classic buildpack of a git repository, one of a directory, and a CNB behind them, which finds
// what the first exported.
func TestClassic(t *testing.T) {
	t.Parallel()
	y := open(t)
	if _, err := platformtest.Tool(filepath.Join("..", ".."), y.dir, "classic"); err != nil {
		t.Fatal(err)
	}
	url, commit, fetcher := repository(t, classicBuildpack(t, "echo \"first in $1, cached $(cat \"$2/n\" 2>/dev/null || echo nothing)\"\necho it >\"$2/n\"\necho 'export TOOL=hammer' >export\n"))
	m := *y.machine
	m.Fetch = fetcher
	dir := classicBuildpack(t, "echo \"second has $TOOL and $(cat \"$3/COLOUR\")\"\n")
	o := platform.Options{
		Image: name(t), Source: app(t), Builder: y.name, Output: platform.Output{Store: true}, Env: map[string]string{"COLOUR": "blue"},
		Buildpacks: []string{url + "#v1.2.3", dir, script(t, "test/own", "echo \"third has $TOOL in $PWD\"\n")},
	}
	for _, cached := range []string{"nothing", "it"} {
		res, r := y.buildOn(t, &m, o)
		if missing := r.lacks("first in /app, cached "+cached, "second has hammer and blue", "third has hammer in /app"); len(missing) > 0 {
			t.Errorf("not there: %q\n%s", missing, r)
		}
		if got := fmt.Sprint(res.Buildpacks, res.Processes); got != "[classic/old@1.2.3 classic/old-one@0.0.0 test/own@1] [web]" {
			t.Errorf("buildpacks and processes: %s", got)
		}
	}
	img := y.find(t, o.Image)
	if got := img.Label("io.github.slipway-build.classic.old"); !strings.Contains(got, commit) || !strings.Contains(got, `"ref":"v1.2.3"`) {
		t.Errorf("label %q", got)
	}
	if img.Config.Config.WorkingDir != "/app" {
		t.Errorf("the app is in %s", img.Config.Config.WorkingDir)
	}
	if info, err := platform.InspectBuildpack(t.Context(), &m, platform.Lookup{Arg: dir}); err != nil || info.Main.ID != "classic/old-one" {
		t.Errorf("%+v, %v", info, err)
	}
	for arg, want := range map[string]string{url + "#no-such": "no such branch", url + "#--upload-pack=x": "behind # stands"} {
		o.Buildpacks = []string{arg}
		if _, err := platform.Build(t.Context(), &m, o, &record{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/deploy"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/setups"
	"github.com/slipway-build/slipway/internal/store"
	"github.com/slipway-build/slipway/internal/web"
	queue "github.com/slipway-build/slipway/internal/work"
)

// TestService runs testdata/service: the commands that talk to the build service, against one that has everything but
// containers. What a script finds:
//
//	$URL, $TOKEN  the service, and an administrator's token
//	$HOST         its host and port
//	$JAVA1 $JAVA2 buildpackages acme/java@1.0.0 and 2.0.0 in a registry, by their digests
//
// A worker that the test plays takes the builds: it logs the names of the source's files and what is in the file log, and
// ends as the file outcome says: succeed, fail, platform, timeout, or hold, which waits to be cancelled.
func TestService(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/service",
		Setup: func(e *testscript.Env) error {
			url, token, err := startService(e.T().(testing.TB), e.Defer, filepath.Join(e.WorkDir, "service"))
			if err != nil {
				return err
			}
			if err := startImages(e); err != nil {
				return err
			}
			for _, kv := range [][2]string{
				{"URL", url}, {"TOKEN", token}, {"HOST", strings.TrimPrefix(url, "http://")}, {"HOME", e.WorkDir}, {"SLIPWAY_HOME", filepath.Join(e.WorkDir, "home")},
				{"NO_COLOR", "1"}, {"GIT_CONFIG_NOSYSTEM", "1"}, {"GIT_TERMINAL_PROMPT", "0"}, {"XDG_CONFIG_HOME", ""}, {"XDG_DATA_HOME", ""},
			} {
				e.Setenv(kv[0], kv[1])
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exitcode": exitCodeIs, "login": logInAs},
	})
}

// logInAs logs in to the script's service.
func logInAs(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(ts.Exec("slipway", "login", ts.Getenv("URL"), "--token", ts.Getenv("TOKEN")))
}

// noTags takes every name.
type noTags struct{}

func (noTags) Has(context.Context, []queue.Credential, string, string) (bool, error) {
	return true, nil
}

func (noTags) Tag(context.Context, []queue.Credential, string, string, string) error { return nil }

// startService starts the service in a directory that is not there yet. later has it end.
func startService(t testing.TB, later func(func()), dir string) (url, token string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	later(cancel)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", "", err
	}
	box, err := secret.Open(filepath.Join(dir, "key"))
	if err != nil {
		return "", "", err
	}
	st, err := store.Open(ctx, filepath.Join(dir, "slipway.db"), box)
	if err != nil {
		return "", "", err
	}
	later(func() { _ = st.Close() })
	l, err := logs.Open(filepath.Join(dir, "logs"))
	if err != nil {
		return "", "", err
	}
	src, err := fetch.OpenSources(filepath.Join(dir, "sources"))
	if err != nil {
		return "", "", err
	}
	fault := func(err error) { t.Errorf("fault of the service: %v", err) }
	s := service.New(service.Config{Builder: "builder", Registry: "registry.test", Lease: time.Minute, Limits: build.Limits{Time: time.Hour}}, st, l, noTags{}, fault)
	index, err := newRegistrar(ctx, st, filepath.Join(dir, "git"), fault)
	if err != nil {
		return "", "", err
	}
	mayEnd := func(err error) {
		if ctx.Err() == nil {
			fault(err)
		}
	}
	deploys, err := deploy.New(deploy.Options{
		Store: st, Logs: l, Dir: filepath.Join(dir, "apps"), Limits: s.Limits, Fault: mayEnd,
		Machine: func(context.Context, build.Release) (*platform.Machine, error) {
			return nil, errors.New("there are no containers here")
		},
	})
	if err != nil {
		return "", "", err
	}
	var deploying sync.WaitGroup
	deploying.Go(func() { _ = deploys.Run(ctx) })
	later(func() { cancel(); deploying.Wait() })
	none := func(context.Context, build.App) error { return nil }
	sets, err := setups.New(setups.Options{
		Store: st, Service: s, Logs: l, Sources: src, Fetcher: &fetch.Fetcher{Dir: dir}, Created: none, Deleted: none, Preflight: none,
		Builtin: func(context.Context) ([]string, error) { return nil, nil }, Deploys: deploys, LocalApps: 2, ArchiveLimit: 1 << 20, Fault: mayEnd,
	})
	if err != nil {
		return "", "", err
	}
	deploying.Go(func() { _ = sets.Run(ctx) })
	h, err := web.New(web.Options{
		Setups:    sets,
		Registrar: index, Deploys: deploys, LocalApps: 2, Health: looked,
		Store: st, Service: s, Logs: l, Sources: src, Fault: fault, Registry: "registry.test", Version: "1.2.3",
		Key: bytes.Repeat([]byte("k"), 32), SourceLimit: 1 << 20, Ready: func(context.Context) error { return nil }, Workers: func() int { return 2 },
	})
	if err != nil {
		return "", "", err
	}
	if token, err = st.First(ctx, "root"); err != nil {
		return "", "", err
	}
	server := httptest.NewServer(h)
	later(server.Close)
	w := &playedWorker{t: t, s: s, src: src, wake: make(chan struct{}, 1)}
	s.OnQueued(func() {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() { w.run(ctx) })
	later(func() { cancel(); wg.Wait() })
	return server.URL, token, nil
}

// A playedWorker takes one build after the other.
type playedWorker struct {
	t    testing.TB
	s    *service.Service
	src  *fetch.Sources
	wake chan struct{}
}

func (w *playedWorker) run(ctx context.Context) {
	for ctx.Err() == nil {
		j, err := w.s.Claim(ctx, "played")
		if err != nil && ctx.Err() == nil {
			w.t.Errorf("claim: %v", err)
		}
		if j != nil {
			if err := w.play(ctx, j); err != nil && ctx.Err() == nil {
				w.t.Errorf("build: %v", err)
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-time.After(50 * time.Millisecond): // a build that waits again wakes nobody
		}
	}
}

func (w *playedWorker) play(ctx context.Context, j *queue.Job) error {
	files, err := w.read(j)
	if err != nil {
		return err
	}
	var env []string
	for k, v := range j.Env {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	text := fmt.Sprintf("files %s\nenv %s\ncache %t\n%s", strings.Join(sortedKeys(files), " "), strings.Join(env, " "), !j.NoCache, files["log"])
	if _, err := w.s.Log(ctx, j.Claim, queue.Piece{Text: []byte(text)}); err != nil {
		return err
	}
	word := strings.TrimSpace(files["outcome"])
	if word == "hold" {
		for {
			order, err := w.s.Heartbeat(ctx, j.Claim, queue.Progress{Phase: "build", Buildpack: "acme/web@1.0"})
			if err != nil || order.Cancel {
				return errors.Join(err, w.s.Finish(ctx, j.Claim, queue.Outcome{State: build.Cancelled, Failure: &build.Failure{Blame: build.BlameApp, Code: "cancelled", Reason: order.Reason}}))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return w.s.Finish(ctx, j.Claim, playedOutcome(j, word))
}

func playedOutcome(j *queue.Job, word string) queue.Outcome {
	bad := &build.Failure{Blame: build.BlameApp, Code: "buildpack-failed", Phase: "build", Buildpack: "acme/web@1.0", Reason: "npm ci went wrong", Next: "mend package.json", Exit: 51}
	switch word {
	case "fail":
		return queue.Outcome{State: build.Failed, Failure: bad}
	case "platform":
		return queue.Outcome{State: build.Failed, Failure: &build.Failure{Blame: build.BlamePlatform, Code: "registry", Phase: "export", Reason: "the registry is full"}}
	case "timeout":
		bad.Code, bad.Reason = "timeout", "it took more than 1 h"
		return queue.Outcome{State: build.TimedOut, Failure: bad}
	}
	return queue.Outcome{State: build.Succeeded, Result: &build.Result{
		Repository: j.Image, Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4), Builder: "builder@sha256:1", RunImage: "run@sha256:2",
		Buildpacks: []build.Buildpack{{ID: "acme/web", Version: "1.0"}}, Processes: []build.Process{{Type: "web", Command: "serve", Default: true}}, Phases: []build.PhaseTiming{},
	}}
}

// read is the files of a source that was sent.
func (w *playedWorker) read(j *queue.Job) (map[string]string, error) {
	files := map[string]string{}
	if j.Source.Stored == "" {
		return files, nil
	}
	f, err := w.src.Open(fetch.Key(j.Source.Stored))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			b, err := io.ReadAll(r)
			if err != nil {
				return nil, err
			}
			files[path.Clean(h.Name)] = string(b)
		}
	}
}

// TestCredentialsFile keeps tokens from being told by a file that cannot be read.
func TestCredentialsFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, credentialsName), []byte("[[service]]\nurl = 'x'\ntoken = 'geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readCredentials(dir); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("error %v", err)
	}
}

func TestAppOfRemote(t *testing.T) {
	const service = "https://slipway.test"
	for remote, want := range map[string]string{
		"https://slipway.test/my-app.git": "my-app", "https://user:token@Slipway.test/my-app.git": "my-app", "https://slipway.test/my-app": "my-app",
		"https://slipway.test/my-app.git/": "my-app", "": "", "git@slipway.test:my-app.git": "", "https://slipway.test.evil/my-app.git": "",
		"http://slipway.test/my-app.git": "", "https://slipway.test/a/b.git": "", "https://slipway.test/..": "", "https://other.test/my-app.git": "",
	} {
		if got := appOfRemote(remote, service); got != want {
			t.Errorf("appOfRemote(%q) = %q, want %q", remote, got, want)
		}
	}
}

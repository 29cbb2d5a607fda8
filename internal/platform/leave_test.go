package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// engineAPI asks the engine itself; host is DOCKER_HOST or the usual socket.
func engineAPI(t testing.TB, path string, v any) {
	t.Helper()
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if socket == "" {
		socket = "/var/run/docker.sock"
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	res, err := c.Get("http://docker" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
}

// containersOf lists the containers of this process: every container that it starts says so in a label.
func containersOf(t testing.TB, pid int) (out []string) {
	t.Helper()
	var list []struct {
		ID     string
		State  string
		Labels map[string]string
	}
	engineAPI(t, "/containers/json?all=1&filters="+url.QueryEscape(`{"label":["build.slipway.owner"]}`), &list)
	for _, c := range list {
		if f := strings.Fields(c.Labels["build.slipway.owner"]); len(f) == 6 && f[4] == fmt.Sprint(pid) {
			out = append(out, fmt.Sprintf("%.12s %s %v", c.ID, c.State, c.Labels))
		}
	}
	return out
}

// TestLeavesNothing looks for containers, directories, mounts and goroutines after builds of every end.
// It must not run beside other tests.
func TestLeavesNothing(t *testing.T) {
	y := open(t)
	slow := script(t, "test/slow", "echo started\n(while :; do echo more >>\"$CNB_LAYERS_DIR/file\"; sleep 0.1; done) &\nsleep 1000\n")
	fails := script(t, "test/fails", "mkdir -p \"$CNB_LAYERS_DIR/dark/deep\"; chmod 0 \"$CNB_LAYERS_DIR/dark\"; echo the reason; exit 7\n")
	hangs := filepath.Join(slow, "..", "hangs")
	write(t, hangs, 0o755, "bin/detect", "#!/bin/sh\nexec sleep 1000\n", "bin/build", "#!/bin/sh\n")
	write(t, hangs, 0o644, "buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/hangs\"\nversion = \"1\"\n[[targets]]\n")
	before := goleak.IgnoreCurrent()
	state := t.TempDir()
	m, err := machine(state, y.tools(), image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	base := platform.Options{Builder: y.oci("builder"), RunImage: y.oci("run"), Source: app(t), Output: platform.Output{Store: true}}
	for _, tc := range []struct {
		what    string
		change  func(*platform.Options)
		stop    func(platform.Event) bool // says when to cancel
		problem func(error) bool
	}{
		{"good", func(o *platform.Options) {}, nil, nil},
		{"build fails", func(o *platform.Options) { o.Buildpacks = []string{fails} }, nil, isExit(7)},
		{"no such source", func(o *platform.Options) { o.Source = "/no/such/source" }, nil, isAny},
		{"no such run image", func(o *platform.Options) { o.RunImage = "oci:/no/such/image" }, nil, isAny},
		{"no such builder", func(o *platform.Options) { o.Builder = "oci:/no/such/image" }, nil, isAny},
		{"no such process", func(o *platform.Options) { o.DefaultProcess = "none" }, nil, isAny},
		{"output cannot be written", func(o *platform.Options) { o.Output = platform.Output{OCI: "/proc/no"} }, nil, isAny},
		{"cancelled in prepare", func(o *platform.Options) {}, in(platform.PhasePrepare), isStop},
		{"cancelled in analyze", func(o *platform.Options) {}, in(platform.PhaseAnalyze), isStop},
		{"cancelled in detect", func(o *platform.Options) { o.Buildpacks = []string{hangs} }, in(platform.PhaseDetect), isStop},
		{"cancelled in build", func(o *platform.Options) { o.Buildpacks = []string{slow} }, in(platform.PhaseBuild), isStop},
		{"cancelled in export", func(o *platform.Options) {}, in(platform.PhaseExport), isStop},
		{"time limit", func(o *platform.Options) { o.Buildpacks = []string{slow}; o.Limits.Time = 1500 * time.Millisecond }, nil, isAny},
	} {
		t.Run(tc.what, func(t *testing.T) {
			o := base
			o.Image = name(t)
			tc.change(&o)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			stopped := make(chan time.Time, 1)
			r := &record{on: func(e platform.Event) {
				if tc.stop == nil || !tc.stop(e) {
					return
				}
				after := time.Duration(0)
				if o.Buildpacks != nil {
					after = 300 * time.Millisecond // by then they hang
				}
				time.AfterFunc(after, func() {
					stopped <- time.Now()
					cancel(errStop)
				})
			}}
			_, err := platform.Build(ctx, m, o, r)
			ended := time.Now()
			switch {
			case tc.problem == nil && err != nil, tc.problem != nil && !tc.problem(err):
				t.Errorf("ended with %v\n%s", err, r)
			case err != nil && strings.Contains(err.Error(), "\n"):
				t.Errorf("more than one line: %v", err)
			}
			if tc.stop != nil {
				select {
				case at := <-stopped:
					if took := ended.Sub(at); took > 20*time.Second { // a hang: it is two on a machine that does nothing else
						t.Errorf("took %v to end", took)
					}
				default:
					t.Error("it ended by itself")
				}
			}
			left := containersOf(t, os.Getpid())
			for deadline := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(deadline); left = containersOf(t, os.Getpid()) {
				time.Sleep(100 * time.Millisecond) // the engine is removing them
			}
			if len(left) > 0 {
				t.Errorf("containers are left: %v", left)
			}
			checkNoTraces(t, state)
		})
	}
	for after := time.Duration(0); after < time.Second; after += 170 * time.Millisecond { // whenever it may come
		ctx, cancel := context.WithTimeoutCause(t.Context(), after, errStop)
		o := base
		o.Image = name(t)
		if _, err := platform.Build(ctx, m, o, &record{}); err != nil && (!isStop(err) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("stopped after %v: %v", after, err)
		}
		cancel()
		checkNoTraces(t, state)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if left := containersOf(t, os.Getpid()); len(left) > 0 {
		t.Errorf("containers are left: %v", left)
	}
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("github.com/slipway-build/slipway/internal/child.serve")) // it ends with the process
}

func isAny(err error) bool  { return err != nil }
func isStop(err error) bool { return errors.Is(err, errStop) }
func isExit(code int) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*builder.ExitError](err)
		return ok && e.Code == code
	}
}

func in(p platform.Phase) func(platform.Event) bool {
	return func(e platform.Event) bool { return e.Kind == platform.EventPhaseStart && e.Phase == p }
}

// checkNoTraces looks for directories of a build, half-written files and mounts.
func checkNoTraces(t *testing.T, state string) {
	t.Helper()
	checkEmpty(t, filepath.Join(state, "builds"))
	checkEmpty(t, filepath.Join(state, "images", "staging"))
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), state) {
		t.Errorf("mounts are left: %s, %v", mounts, err)
	}
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, e := range list {
		t.Errorf("left: %s", filepath.Join(dir, e.Name()))
	}
}

// TestSideBySide builds one app twice at once, and four apps at once, in one machine.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	y := open(t)
	busy := script(t, "test/busy", "mkdir -p \"$CNB_LAYERS_DIR/a\"\ncat index.txt >\"$CNB_LAYERS_DIR/a/file\"\nsleep 0.5\nprintf '[types]\\nlaunch = true\\ncache = true\\n' >\"$CNB_LAYERS_DIR/a.toml\"\n")
	var images, sources []string
	for i := range 4 {
		images, sources = append(images, name(t)), append(sources, app(t, "index.txt", fmt.Sprintf("app %d\n", i)))
	}
	images, sources = append(images, images[0]), append(sources, sources[0])
	digests := make([]string, len(images))
	for round := range 2 {
		var wg sync.WaitGroup
		for i := range images {
			wg.Go(func() {
				o := platform.Options{Image: images[i], Source: sources[i], Builder: y.name, Buildpacks: []string{busy}, Output: platform.Output{Store: true}}
				r := &record{}
				res, err := platform.Build(t.Context(), y.machine, o, r)
				switch {
				case err != nil:
					t.Errorf("round %d, app %d: %v\n%s", round, i, err, r)
				case digests[i] != "" && digests[i] != res.Digest:
					t.Errorf("round %d, app %d: %s, want %s", round, i, res.Digest, digests[i])
				default:
					digests[i] = res.Digest
				}
			})
		}
		wg.Wait()
	}
	if digests[0] != digests[4] || digests[0] == digests[1] || digests[1] == digests[2] {
		t.Errorf("digests %q: the first and the last are one app, the others different ones", digests)
	}
}

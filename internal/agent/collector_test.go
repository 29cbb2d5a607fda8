package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// testHost is the parent of a collector: it keeps layers in a store and runs executables with the host's own paths.
type testHost struct {
	store *layerstore.Store

	mu     sync.Mutex
	events []builder.Event
	layers []string // ids that were sent
	run    func(ctx context.Context, cmd builder.Cmd) error
}

func newTestHost(t *testing.T) *testHost {
	t.Helper()
	store, err := layerstore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &testHost{store: store}
}

func (h *testHost) Run(ctx context.Context, cmd builder.Cmd) error { return h.run(ctx, cmd) }

func (h *testHost) Blob(_ context.Context, diffID string) (string, error) {
	e, ok := h.store.Any(diffID)
	if !ok {
		return "", fmt.Errorf("layer %s: %w", diffID, fs.ErrNotExist)
	}
	return h.store.Path(e.Digest, false)
}

func (h *testHost) Emit(e builder.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *testHost) Layer(ctx context.Context, l *LayerStream) (builder.LayerResult, error) {
	w, err := h.store.Writer(ctx)
	if err != nil {
		return builder.LayerResult{}, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, l); err != nil {
		return builder.LayerResult{}, err
	}
	e, err := w.Commit(l.DiffID())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.layers = append(h.layers, l.ID)
	return builder.LayerResult{DiffID: e.DiffID, Digest: e.Digest, Size: e.Size}, err
}

func (h *testHost) Known(diffID string) (builder.LayerResult, bool) {
	e, ok := h.store.Known(diffID)
	return builder.LayerResult{DiffID: e.DiffID, Digest: e.Digest, Size: e.Size}, ok
}

// startCollectorProcess starts a collector as this user; StartCollector itself wants root.
func startCollectorProcess(t *testing.T, h Host, arg string) (*Collector, *exec.Cmd, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, arg)
	cmd.Stderr = os.Stderr
	w, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := ConnectCollector(t.Context(), r, w, h)
	t.Cleanup(func() {
		if c != nil {
			c.Close()
		}
		cmd.Process.Kill()
		cmd.Wait()
	})
	return c, cmd, err
}

func newCollector(t *testing.T, h Host) *Collector {
	t.Helper()
	c, _, err := startCollectorProcess(t, h, "collector")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testDirs(t *testing.T) builder.Dirs {
	return builder.Dirs{
		Root: filepath.Join(t.TempDir(), "root"), App: "/workspace", Layers: "/layers", Platform: "/platform", Scratch: "/slipway",
		UID: os.Getuid(), GID: os.Getgid(),
	}
}

// buildpackAt makes a buildpack of this machine's own shell, with real paths of the build's root in its scripts.
func buildpackAt(t *testing.T, detect, build string) BuildpackFile {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vendor_simple", "1.0.0")
	toml := "api = \"0.10\"\n[buildpack]\nid = \"vendor/simple\"\nversion = \"1.0.0\"\n"
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "bin"), 0o755),
		os.WriteFile(filepath.Join(dir, "bin/detect"), []byte("#!/bin/sh\n"+detect), 0o755),
		os.WriteFile(filepath.Join(dir, "bin/build"), []byte("#!/bin/sh\n"+build), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	return BuildpackFile{Path: dir, TOML: []byte(toml), HasDetect: true, HasBuild: true}
}

// rooted runs executables with the agent, on this machine: directories of the build are given with their root.
func rooted(a *Agent, d builder.Dirs, log io.Writer) func(context.Context, builder.Cmd) error {
	move := func(s string) string {
		for _, dir := range []string{d.App, d.Layers, d.Platform, d.Scratch} {
			if s == dir || strings.HasPrefix(s, dir+"/") {
				return d.Host(s)
			}
		}
		return s
	}
	return func(ctx context.Context, cmd builder.Cmd) error {
		for i, a := range cmd.Args {
			cmd.Args[i] = move(a)
		}
		for i, e := range cmd.Env {
			if name, v, _ := strings.Cut(e, "="); strings.HasPrefix(name, "CNB_") {
				cmd.Env[i] = name + "=" + move(v)
			}
		}
		cmd.Dir, cmd.Stdout, cmd.Stderr = move(cmd.Dir), log, log
		return a.Run(ctx, cmd)
	}
}

// A round is one build of TestPhases; previous is what the one before it exported.
type round struct {
	host     *testHost
	agent    *Agent
	bp       BuildpackFile
	launcher string
	previous *builder.Exported
	form     layerstore.Compression
	place    bool // what is restored is put in place before, and said to be unchanged afterwards
}

// build runs every phase through both helpers, and returns the buildpack's output too.
func (r round) build(t *testing.T) (*builder.Exported, string) {
	t.Helper()
	c := newCollector(t, r.host)
	d := testDirs(t)
	var log bytes.Buffer
	r.host.run = rooted(r.agent, d, &log)
	r.host.layers, r.host.events = nil, nil
	ctx := t.Context()
	if err := c.Prepare(ctx, Preparation{Dirs: d, Env: map[string]string{"A": "b"}}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Root, "workspace/app"), []byte("app"), 0o644); err != nil {
		t.Fatal(err)
	}
	entries, err := c.Catalog(ctx, []BuildpackFile{r.bp, {Path: "/cnb/buildpacks/bad_one/2", TOML: []byte("api = [")}})
	if err != nil || len(entries) != 2 || entries[0].ID != "vendor/simple" || entries[1].Error == "" {
		t.Fatalf("catalog %+v, %v", entries, err)
	}
	api := cnb.API{Major: 0, Minor: 12}
	order := cnb.Order{{Elements: []cnb.GroupElement{{Ref: cnb.Ref{ID: "vendor/simple", Version: "1.0.0"}}}}}
	detected, err := c.Detect(ctx, builder.DetectInput{PlatformAPI: api, Dirs: d, Order: order, Target: cnb.Target{OS: "linux", Arch: "amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	req := RestoreRequest{PlatformAPI: api, Dirs: d, Group: detected.Group}
	in := builder.ExportInput{PlatformAPI: api, Dirs: d, Group: detected.Group, Cache: true, Launcher: builder.Launcher{Path: r.launcher}}
	if r.previous != nil {
		req.Previous, req.HasCache, req.Cache = r.previous.Metadata, true, *r.previous.Cache
		in.Previous, in.PreviousCache = r.previous.Metadata, *r.previous.Cache
	}
	if r.place { // there is one layer: its tree takes the place of the layers directory
		if err := os.Remove(d.Host(d.Layers)); err != nil {
			t.Fatal(err)
		}
		in.Unchanged = map[string]string{}
		for _, l := range builder.CachedLayers(api, detected.Group, req.Previous, req.Cache) {
			u, err := c.UnpackCached(ctx, d, l, builder.Limits{})
			if err != nil || !u.Exact {
				t.Fatalf("unpack %s: %+v, %v", l.ID(), u, err)
			}
			in.Unchanged[l.ID()] = l.DiffID
			req.InPlace = append(req.InPlace, builder.PlacedLayer{CachedLayer: l, Bytes: u.Bytes})
		}
	}
	if err := c.Restore(ctx, req); err != nil {
		t.Fatal(err)
	}
	in.Built, err = c.Build(ctx, builder.BuildInput{PlatformAPI: api, Dirs: d, Group: detected.Group, Plan: detected.Plan})
	if err != nil {
		t.Fatal(err, log.String())
	}
	out, err := c.Export(ctx, in, r.form)
	if err != nil {
		t.Fatal(err)
	}
	return out, log.String()
}

// TestPhases is a build and a rebuild through both helpers.
func TestPhases(t *testing.T) {
	r := round{host: newTestHost(t), agent: startAgent(t, true).Agent, launcher: filepath.Join(t.TempDir(), "launcher")}
	r.bp = buildpackAt(t, `
echo 'provides = [{name = "x"}]
requires = [{name = "x", metadata = {n = 3, when = 2024-05-06, f = 3.0}}]' > "$2"`, `
echo "plan: $(cat "$3")"
if [ -d "$1/dep" ]; then echo "restored: $(cat "$1/dep/file")"; fi
mkdir -p "$1/dep" && echo contents > "$1/dep/file"
printf '[types]\nlaunch = true\ncache = true\n[metadata]\nn = 7\n' > "$1/dep.toml"
printf '[[processes]]\ntype = "web"\ncommand = ["run"]\ndefault = true\n' > "$1/launch.toml"`)
	if err := os.WriteFile(r.launcher, []byte("launcher"), 0o755); err != nil {
		t.Fatal(err)
	}
	first, log := r.build(t)
	for _, want := range []string{"n = 3\n", "when = 2024-05-06", "f = 3.0"} {
		if !strings.Contains(log, want) {
			t.Errorf("the plan lost a type: no %q in\n%s", want, log)
		}
	}
	if strings.Contains(log, "restored") || len(r.host.layers) < len(first.Layers) {
		t.Errorf("first build: %d of %d layers sent, log\n%s", len(r.host.layers), len(first.Layers), log)
	}
	if !slices.ContainsFunc(r.host.events, func(e builder.Event) bool { return e.Kind == builder.EventBuildDone }) {
		t.Errorf("no event of a build among %+v", r.host.events)
	}
	for _, l := range first.Layers {
		if _, ok := r.host.store.Known(l.DiffID); !ok {
			t.Errorf("layer %s %s is not in the store", l.ID, l.DiffID)
		}
	}
	r.previous = first
	for _, r.place = range []bool{false, true} {
		second, log := r.build(t)
		if !strings.Contains(log, "restored: contents") || len(r.host.layers) != 0 {
			t.Errorf("rebuild, in place %v: layers %v were sent, log\n%s", r.place, r.host.layers, log)
		}
		for i := range second.Layers {
			if second.Layers[i].LayerResult != (builder.LayerResult{DiffID: first.Layers[i].DiffID, Digest: first.Layers[i].Digest, Size: first.Layers[i].Size, Reused: true}) {
				t.Errorf("in place %v: layer %s changed: %+v", r.place, second.Layers[i].ID, second.Layers[i])
			}
		}
	}
	// In another form the layers are the same, and all of them are sent.
	r.host, r.form, r.place = &testHost{store: r.host.store.As(layerstore.Zstd)}, layerstore.Zstd, false
	third, log := r.build(t)
	if !strings.Contains(log, "restored: contents") || len(r.host.layers) < len(first.Layers) {
		t.Errorf("zstd: %d of %d layers sent, log\n%s", len(r.host.layers), len(first.Layers), log)
	}
	for i, l := range third.Layers {
		if l.DiffID != first.Layers[i].DiffID || l.Digest == first.Layers[i].Digest {
			t.Errorf("zstd: layer %s is %+v, was %+v", l.ID, l.LayerResult, first.Layers[i].LayerResult)
		}
		if e, ok := r.host.store.Known(l.DiffID); !ok || e.MediaType != types.OCILayerZStd {
			t.Errorf("zstd: layer %s is %+v in the store", l.ID, e)
		}
	}
}

// Errors keep the types by which the parent chooses an exit code.
func TestErrorsSurviveTheWire(t *testing.T) {
	h := newTestHost(t)
	c := newCollector(t, h)
	agent := startAgent(t, false)
	d := testDirs(t)
	h.run = rooted(agent.Agent, d, io.Discard)
	if err := c.Prepare(t.Context(), Preparation{Dirs: d}); err != nil {
		t.Fatal(err)
	}
	api := cnb.API{Major: 0, Minor: 12}
	ref := cnb.Ref{ID: "vendor/simple", Version: "1.0.0"}
	detect := func(script string, use cnb.Ref, api cnb.API) error {
		if _, err := c.Catalog(t.Context(), []BuildpackFile{buildpackAt(t, script, "exit 7"), {Path: "/cnb/buildpacks/bad_one/2", TOML: []byte("api = [")}}); err != nil {
			t.Fatal(err)
		}
		_, err := c.Detect(t.Context(), builder.DetectInput{PlatformAPI: api, Dirs: d, Order: cnb.Order{{Elements: []cnb.GroupElement{{Ref: use}}}}})
		return err
	}
	for _, tc := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"none", detect("exit 100", ref, api), 20, "vendor/simple@1.0.0"},
		{"error", detect("exit 3", ref, api), 21, "vendor/simple@1.0.0"},
		{"platform", detect("", ref, cnb.API{Major: 0, Minor: 99}), 11, "0.99"},
		{"absent", detect("", cnb.Ref{ID: "no/such", Version: "1"}, api), 22, "no/such@1"},
		{"broken", detect("", cnb.Ref{ID: "bad/one", Version: "2"}, api), 22, "/cnb/buildpacks/bad_one/2/buildpack.toml"},
	} {
		if code := builder.ExitCode(tc.err); code != tc.code || !strings.Contains(fmt.Sprint(tc.err), tc.want) {
			t.Errorf("%s: exit %d, %v", tc.name, code, tc.err)
		}
	}
	_, err := c.Build(t.Context(), builder.BuildInput{PlatformAPI: api, Dirs: d, Group: cnb.Group{Elements: []cnb.GroupElement{{Ref: ref, API: cnb.API{Major: 0, Minor: 10}}}}})
	if e, ok := errors.AsType[*builder.ExitError](err); !ok || e.Code != 7 || builder.ExitCode(err) != 51 {
		t.Errorf("build: %v", err)
	}
}

func TestCorruptBlobIsAMiss(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"header": "\x1f\x8b broken", "body": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff broken"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		v, err := openBlob(path, "sha256:"+strings.Repeat("0", 64))
		if err == nil {
			_, err = io.ReadAll(v)
			v.Close()
		}
		if err == nil {
			t.Errorf("%s: a damaged layer was read", name)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openBlob(filepath.Join(dir, "fifo"), ""); err == nil {
		t.Error("opened a FIFO")
	}
}

func TestStartCollector(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := StartCollector(t.Context(), self, newTestHost(t))
	if os.Geteuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "not permitted") {
			t.Errorf("an ordinary user: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Ping(t.Context()); err == nil {
		t.Error("a closed collector answered")
	}
	if _, err := StartCollector(t.Context(), "/bin/false", newTestHost(t)); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("a collector that does not start: %v", err)
	}
}

func TestCollectorCrash(t *testing.T) {
	h := newTestHost(t)
	c, cmd, err := startCollectorProcess(t, h, "collector")
	if err != nil {
		t.Fatal(err)
	}
	d := testDirs(t)
	if err := c.Prepare(t.Context(), Preparation{Dirs: d}); err != nil {
		t.Fatal(err)
	}
	h.run = func(ctx context.Context, _ builder.Cmd) error {
		cmd.Process.Kill()
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if _, err := c.Catalog(t.Context(), []BuildpackFile{buildpackAt(t, "", "")}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err = c.Detect(t.Context(), builder.DetectInput{PlatformAPI: cnb.API{Major: 0, Minor: 12}, Dirs: d,
		Order: cnb.Order{{Elements: []cnb.GroupElement{{Ref: cnb.Ref{ID: "vendor/simple", Version: "1.0.0"}}}}}})
	if err == nil || !strings.Contains(err.Error(), "detect: the collector is gone") || time.Since(begin) > 5*time.Second {
		t.Errorf("got %v", err)
	}
	if _, _, err := startCollectorProcess(t, h, "garbage"); err == nil || !strings.Contains(err.Error(), `it says "hello, I am a shell\n"`) {
		t.Errorf("not a collector: %v", err)
	}
}

// FuzzMessages decodes what a compromised helper may put into well-formed frames.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"uid":1000,"gid":1000,"env":["A=b"],"buildpacks":[{"path":"/cnb/buildpacks/a/1","toml":"YXBp"}]}`))
	f.Add([]byte(`{"text":"x","phase":"detect","no-group":{"Buildpacks":null},"exit":{"code":1},"output":{"text":"y"}}`))
	f.Add([]byte(`{"code":-1,"signal":"\u001b[31m","duration":-5,"reason":""}`))
	f.Add([]byte(strings.Repeat("[", 200)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Hello
		_ = decodeHello(b, &h)
		if err := decodeError(b); err == nil || len(err.Error()) > 128<<10 {
			t.Error("an error without an error")
		}
		var r runResult
		if decode(b, &r) == nil {
			_ = r.err(builder.Cmd{})
		}
		var e builder.Event
		_ = decode(b, &e)
	})
}

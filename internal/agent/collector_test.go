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

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/source"
)

// testHost is the parent of a collector: it keeps layers in a store and runs executables with the host's own paths.
type testHost struct {
	store *layerstore.Store
	root  string

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
	e, ok := h.store.Known(diffID)
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

func TestPrepare(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	binding := t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(binding, "..2024"), 0o755),
		os.WriteFile(filepath.Join(binding, "..2024", "type"), []byte("postgresql\n"), 0o600),
		os.Symlink("..2024", filepath.Join(binding, "..data")),
		os.Symlink("..data/type", filepath.Join(binding, "type")),
		os.WriteFile(filepath.Join(binding, "password"), []byte("s3cret"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	d := testDirs(t)
	p := Preparation{
		Dirs: d, Env: map[string]string{"BP_X": "1", "EMPTY": ""}, Bindings: map[string]string{"db": binding},
		Files: []File{{Path: "/platform/ca/bundle.pem", Data: []byte("PEM")}},
	}
	for range 2 { // again is fine
		if err := c.Prepare(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"platform/env/BP_X": "1", "platform/env/EMPTY": "", "platform/bindings/db/type": "postgresql\n",
		"platform/bindings/db/password": "s3cret", "platform/ca/bundle.pem": "PEM",
	} {
		b, err := os.ReadFile(filepath.Join(d.Root, name))
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for name, want := range map[string]os.FileMode{
		"": 0o700, "workspace": 0o755, "layers": 0o755, "slipway": 0o755, "platform/env": 0o755, "platform/bindings/db/password": 0o644,
	} {
		fi, err := os.Stat(filepath.Join(d.Root, name))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	dir := func(make func(dir string) error) map[string]string {
		d := t.TempDir()
		if err := make(d); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"db": d}
	}
	file := func(d, name, data string) error { return os.WriteFile(filepath.Join(d, name), []byte(data), 0o644) }
	for _, tc := range []struct {
		name, want string
		p          Preparation
	}{
		{"env name", "A=B", Preparation{Env: map[string]string{"A=B": "x"}}},
		{"env path", "../x", Preparation{Env: map[string]string{"../x": "x"}}},
		{"env value", "at most", Preparation{Env: map[string]string{"A": strings.Repeat("x", maxEnvValue+1)}}},
		{"env zero", "zero byte", Preparation{Env: map[string]string{"A": "a\x00b"}}},
		{"suffix", "unknown suffix", Preparation{BuildConfig: map[string]string{"A.replace": "x"}}},
		{"binding name", "cannot be a directory", Preparation{Bindings: map[string]string{"../x": "/tmp"}}},
		{"binding absent", "no such file", Preparation{Bindings: map[string]string{"db": "/does/not/exist"}}},
		{"binding type", `no file "type"`, Preparation{Bindings: dir(func(d string) error { return nil })}},
		{"binding types", "one line", Preparation{Bindings: dir(func(d string) error { return file(d, "type", "a\nb") })}},
		{"binding link", "escapes", Preparation{Bindings: dir(func(d string) error {
			return errors.Join(file(d, "type", "x"), os.Symlink("../../etc/passwd", filepath.Join(d, "user")))
		})}},
		{"binding fifo", "not a regular file", Preparation{Bindings: dir(func(d string) error {
			return errors.Join(file(d, "type", "x"), syscall.Mkfifo(filepath.Join(d, "pipe"), 0o644))
		})}},
		{"binding dir", "files only", Preparation{Bindings: dir(func(d string) error {
			return errors.Join(file(d, "type", "x"), os.Mkdir(filepath.Join(d, "sub"), 0o755))
		})}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.p.Dirs = testDirs(t)
			if err := c.Prepare(t.Context(), tc.p); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestUsageAndRemove(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	d := testDirs(t)
	if err := c.Prepare(t.Context(), Preparation{Dirs: d}); err != nil {
		t.Fatal(err)
	}
	empty, err := c.Usage(t.Context(), d.Root)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "keep")
	app := filepath.Join(d.Root, "workspace")
	if err := errors.Join(
		os.WriteFile(outside, make([]byte, 1<<20), 0o644),
		os.WriteFile(filepath.Join(app, "data"), make([]byte, 1<<20), 0o644),
		os.Link(filepath.Join(app, "data"), filepath.Join(app, "again")),
		os.Symlink(filepath.Dir(outside), filepath.Join(app, "link")),
		syscall.Mkfifo(filepath.Join(app, "pipe"), 0o644),
		os.MkdirAll(filepath.Join(app, "sealed", "in"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	u, err := c.Usage(t.Context(), d.Root)
	if grown := u.Bytes - empty.Bytes; err != nil || grown < 1<<20 || grown > 1<<20+64<<10 || u.Files-empty.Files != 5 {
		t.Errorf("usage %+v after %+v, %v", u, empty, err)
	}
	if err := os.Chmod(filepath.Join(app, "sealed"), 0); err != nil {
		t.Fatal(err)
	}
	deepen(t, app, 2100)
	if err := c.Remove(t.Context(), d.Root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(d.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	if err := c.Remove(t.Context(), d.Root); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	for _, dir := range []string{"/", "/tmp", "relative/path", "/tmp/.."} {
		if err := c.Remove(t.Context(), dir); err == nil {
			t.Errorf("removed %q", dir)
		}
	}
}

// deepen makes a chain of directories that is longer than any path.
func deepen(t *testing.T, dir string, depth int) {
	t.Helper()
	fd, err := syscall.Open(dir, syscall.O_DIRECTORY|syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		if err := syscall.Mkdirat(fd, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := syscall.Openat(fd, "d", syscall.O_DIRECTORY|syscall.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		syscall.Close(fd)
		fd = next
	}
	syscall.Close(fd)
}

func TestCopyOut(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	d := testDirs(t)
	if err := c.Prepare(t.Context(), Preparation{Dirs: d}); err != nil {
		t.Fatal(err)
	}
	sbom := filepath.Join(d.Root, "layers/sbom/launch/a_b")
	if err := errors.Join(
		os.MkdirAll(sbom, 0o755),
		os.WriteFile(filepath.Join(sbom, "sbom.cdx.json"), []byte("{}"), 0o600),
		os.Symlink("/etc/passwd", filepath.Join(sbom, "link.json")),
		syscall.Mkfifo(filepath.Join(sbom, "pipe.json"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "out")
	if err := c.CopyOut(t.Context(), d, "/layers/sbom", to); err != nil {
		t.Fatal(err)
	}
	var got []string
	filepath.WalkDir(to, func(p string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			got = append(got, strings.TrimPrefix(p, to))
		}
		return err
	})
	if !slices.Equal(got, []string{"/launch/a_b/sbom.cdx.json"}) {
		t.Errorf("copied %v", got)
	}
	if err := c.CopyOut(t.Context(), d, "/layers/none", to); err != nil {
		t.Errorf("a directory that is not there: %v", err)
	}
	if err := os.Symlink("/etc", filepath.Join(d.Root, "layers/evil")); err != nil {
		t.Fatal(err)
	}
	if err := c.CopyOut(t.Context(), d, "/layers/evil", to); err == nil {
		t.Error("copied through a link that leaves the root")
	}
}

func TestSource(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	d := testDirs(t)
	if err := c.Prepare(t.Context(), Preparation{Dirs: d}); err != nil {
		t.Fatal(err)
	}
	app := t.TempDir()
	if err := os.WriteFile(filepath.Join(app, "index.html"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	req := source.Request{Path: app, Dest: d.Host(d.App), UID: d.UID, GID: d.GID}
	res, err := c.Source(t.Context(), req)
	if err != nil || res.Files != 1 || res.Bytes != 5 || res.Kind != source.Dir || !strings.HasPrefix(res.Digest, "sha256:") {
		t.Errorf("got %+v, %v", res, err)
	}
	if b, err := os.ReadFile(filepath.Join(d.Root, "workspace/index.html")); err != nil || string(b) != "hello" {
		t.Errorf("unpacked %q, %v", b, err)
	}
	req.Path = filepath.Join(app, "none")
	if _, err := c.Source(t.Context(), req); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), req.Path) {
		t.Errorf("no source: %v", err)
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

// TestPhases is a build and a rebuild through both helpers.
func TestPhases(t *testing.T) {
	h := newTestHost(t)
	agent := startAgent(t, true)
	bp := buildpackAt(t, `
echo 'provides = [{name = "x"}]
requires = [{name = "x", metadata = {n = 3, when = 2024-05-06, f = 3.0}}]' > "$2"`, `
echo "plan: $(cat "$3")"
if [ -d "$1/dep" ]; then echo "restored: $(cat "$1/dep/file")"; fi
mkdir -p "$1/dep" && echo contents > "$1/dep/file"
printf '[types]\nlaunch = true\ncache = true\n[metadata]\nn = 7\n' > "$1/dep.toml"
printf '[[processes]]\ntype = "web"\ncommand = ["run"]\ndefault = true\n' > "$1/launch.toml"`)
	launcher := filepath.Join(t.TempDir(), "launcher")
	if err := os.WriteFile(launcher, []byte("launcher"), 0o755); err != nil {
		t.Fatal(err)
	}
	var previous *builder.Exported
	for round := range 2 {
		c := newCollector(t, h)
		d := testDirs(t)
		var log bytes.Buffer
		h.run = rooted(agent.Agent, d, &log)
		h.layers, h.events = nil, nil
		ctx := t.Context()
		if err := c.Prepare(ctx, Preparation{Dirs: d, Env: map[string]string{"A": "b"}}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.Root, "workspace/app"), []byte("app"), 0o644); err != nil {
			t.Fatal(err)
		}
		entries, err := c.Catalog(ctx, []BuildpackFile{bp, {Path: "/cnb/buildpacks/bad_one/2", TOML: []byte("api = [")}})
		if err != nil || len(entries) != 2 || entries[0].ID != "vendor/simple" || entries[1].Error == "" {
			t.Fatalf("catalog %+v, %v", entries, err)
		}
		api := cnb.API{Major: 0, Minor: 12}
		ref := cnb.Ref{ID: "vendor/simple", Version: "1.0.0"}
		order := cnb.Order{{Elements: []cnb.GroupElement{{Ref: ref}}}}
		detected, err := c.Detect(ctx, builder.DetectInput{PlatformAPI: api, Dirs: d, Order: order, Target: cnb.Target{OS: "linux", Arch: "amd64"}})
		if err != nil {
			t.Fatal(err)
		}
		req := RestoreRequest{PlatformAPI: api, Dirs: d, Group: detected.Group}
		in := builder.ExportInput{PlatformAPI: api, Dirs: d, Group: detected.Group, Cache: true, Launcher: builder.Launcher{Path: launcher}}
		if previous != nil {
			req.Previous, req.HasCache, req.Cache = previous.Metadata, true, *previous.Cache
			in.Previous, in.PreviousCache = previous.Metadata, *previous.Cache
		}
		if err := c.Restore(ctx, req); err != nil {
			t.Fatal(err)
		}
		in.Built, err = c.Build(ctx, builder.BuildInput{PlatformAPI: api, Dirs: d, Group: detected.Group, Plan: detected.Plan})
		if err != nil {
			t.Fatal(err, log.String())
		}
		for _, want := range []string{"n = 3\n", "when = 2024-05-06", "f = 3.0"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the plan lost a type: no %q in\n%s", want, log.String())
			}
		}
		if got := strings.Contains(log.String(), "restored: contents"); got != (round == 1) {
			t.Errorf("round %d, restored %v:\n%s", round, got, log.String())
		}
		out, err := c.Export(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range out.Layers {
			if _, ok := h.store.Known(l.DiffID); !ok {
				t.Errorf("layer %s %s is not in the store", l.ID, l.DiffID)
			}
		}
		if round == 0 && len(h.layers) < len(out.Layers) || round == 1 && len(h.layers) != 0 {
			t.Errorf("round %d sent %d of %d layers: %v", round, len(h.layers), len(out.Layers), h.layers)
		}
		if previous != nil {
			for i := range out.Layers {
				if out.Layers[i].DiffID != previous.Layers[i].DiffID {
					t.Errorf("layer %s changed", out.Layers[i].ID)
				}
			}
		}
		if !slices.ContainsFunc(h.events, func(e builder.Event) bool { return e.Kind == builder.EventBuildDone }) {
			t.Errorf("no event of a build among %+v", h.events)
		}
		previous = out
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
	for name, data := range map[string]string{"plain": "not the layer", "gzip": "\x1f\x8b broken"} {
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
		if err := decodeError(b); err == nil || err.Error() != err.Error() {
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

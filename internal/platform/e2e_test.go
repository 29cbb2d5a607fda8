package platform_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/platform/platformtest"
)

// These tests run whole builds in the Docker Engine that the environment names. They share one yard: our own
// tools, base images of a shell and little else, and a builder, made when the first test asks.

// yardVariable names a yard that exists already: that of the parent, in a test that runs as another user.
const yardVariable = "SLIPWAY_TEST_YARD"

// A yard is where the tests build.
type yard struct {
	dir     string // holds tools/, buildpacks/ (of fixtures), oci/{run,builder}, and state/ of the machine
	name    string // of the builder, in the machine's store and in Docker
	machine *platform.Machine
}

func (y *yard) tools() platform.Tools {
	t := platform.ToolsIn(filepath.Join(y.dir, "tools"))
	t.Version = "0.0.0-test"
	return t
}

func (y *yard) oci(name string) string { return "oci:" + filepath.Join(y.dir, "oci", name) }

// fixture is a buildpack of fixtures/buildpacks.
func (y *yard) fixture(name string) string { return filepath.Join(y.dir, "buildpacks", name) }

func (y *yard) fixtures(names ...string) (out []string) {
	for _, n := range names {
		out = append(out, y.fixture(n))
	}
	return out
}

// opened is the yard once a test has asked for it; TestMain removes it.
var opened struct {
	sync.Mutex
	*yard
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if y := opened.yard; y != nil {
		if err := y.close(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			code = 1
		}
	}
	os.Exit(code)
}

func open(t testing.TB) *yard {
	t.Helper()
	opened.Lock()
	defer opened.Unlock()
	if opened.yard == nil && opened.err == nil {
		opened.yard, opened.err = newYard()
	}
	if opened.err != nil {
		t.Fatal(opened.err)
	}
	return opened.yard
}

func newYard() (y *yard, err error) {
	y = &yard{dir: os.Getenv(yardVariable)}
	if y.dir == "" {
		if y.dir, err = os.MkdirTemp("", "slipway-yard-"); err != nil {
			return nil, err
		}
		if err := y.fill(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(y.dir))
		}
	}
	state := filepath.Join(y.dir, "state")
	if y.borrowed() {
		state = filepath.Join(os.Getenv("HOME"), "state")
	}
	if y.machine, err = machine(state, y.tools(), image.RegistryOptions{}); err != nil {
		return nil, err
	}
	indexes := filepath.Join(state, platform.IndexDir)
	none := []byte("registries = []\n") // no index that would be fetched
	if err := errors.Join(os.MkdirAll(indexes, 0o755), os.WriteFile(filepath.Join(indexes, "registries.toml"), none, 0o644)); err != nil {
		return nil, err
	}
	if err := y.machine.NoRuntime; err != nil {
		return nil, err
	}
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix)
	y.name = "slipway-test/builder-" + hex.EncodeToString(suffix)
	return y, y.makeBuilder()
}

func (y *yard) borrowed() bool { return os.Getenv(yardVariable) != "" }

// runtimeVariable names the runtime that the tests use.
const runtimeVariable = "SLIPWAY_TEST_RUNTIME"

// testRuntime is what the environment says, or the one that takes less time of those that this user may use: see
// TestWithDocker.
func testRuntime() string {
	if r := os.Getenv(runtimeVariable); r != "" {
		return r
	}
	if os.Geteuid() == 0 {
		return platform.RuntimeOCI
	}
	return platform.RuntimeDocker
}

// dockerOptions are the engine that the environment names.
func dockerOptions() docker.Options {
	home, _ := os.UserHomeDir()
	return docker.FromEnv(os.Environ(), home)
}

// machine opens a machine with a state directory of its own.
func machine(state string, tools platform.Tools, registry image.RegistryOptions) (*platform.Machine, error) {
	return platform.Open(context.Background(), platform.Settings{
		State: state, Tools: tools, Version: "0.0.0-test", Registry: registry, Docker: dockerOptions(), Runtime: testRuntime(),
	})
}

// fill makes what no machine is needed for.
func (y *yard) fill() error {
	if err := os.Chmod(y.dir, 0o755); err != nil {
		return err
	}
	if err := platformtest.Tools(filepath.Join("..", ".."), y.dir); err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(y.dir, "buildpacks"), os.DirFS(filepath.Join("..", "..", "fixtures", "buildpacks")))
}

// collector is the name of the collector's image, which a build as an ordinary user makes.
func (y *yard) collector() string {
	b, _ := os.ReadFile(y.tools().Agent)
	return fmt.Sprintf("slipway/collector:%x", sha256.Sum256(b))
}

// close removes what the tests left in Docker and the yard itself.
func (y *yard) close() error {
	ctx := context.Background()
	var errs []error
	if err := y.machine.Engine.Remove(ctx, y.name); err != nil && !errors.Is(err, image.ErrNotFound) && !y.borrowed() {
		errs = append(errs, err)
	}
	// The collector's image is named by its content: other tests that run beside these may be using it.
	_ = y.machine.Engine.Remove(ctx, y.collector())
	errs = append(errs, y.machine.Close())
	if !y.borrowed() {
		errs = append(errs, os.RemoveAll(y.dir))
	}
	return errors.Join(errs...)
}

// A record is the UI of one build: all that it says.
type record struct {
	mu     sync.Mutex
	log    bytes.Buffer
	events []platform.Event
	// on is called for every event, outside the lock.
	on func(platform.Event)
}

func (r *record) Event(e platform.Event) {
	r.mu.Lock()
	r.events = append(r.events, e)
	if e.Text != "" {
		r.log.WriteString(string(e.Kind) + ": " + e.Text + "\n")
	}
	if e.Engine != nil && e.Engine.Text != "" {
		r.log.WriteString(string(e.Engine.Kind) + ": " + e.Engine.Text + "\n")
	}
	r.mu.Unlock()
	if r.on != nil {
		r.on(e)
	}
}

func (r *record) Output(platform.Phase, cnb.Ref) (stdout, stderr io.Writer) { return r, r }

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// has says whether the log has each of these as a whole line.
func (r *record) lacks(lines ...string) (missing []string) {
	have := map[string]bool{}
	for l := range strings.Lines(r.String()) {
		have[strings.TrimSuffix(l, "\n")] = true
	}
	return slices.DeleteFunc(lines, func(l string) bool { return have[l] })
}

// build builds; any error ends the test. What it leaves in Docker goes with the test.
func (y *yard) build(t testing.TB, o platform.Options) (*platform.Result, *record) {
	t.Helper()
	return y.buildOn(t, y.machine, o)
}

func (y *yard) buildOn(t testing.TB, m *platform.Machine, o platform.Options) (*platform.Result, *record) {
	t.Helper()
	r := &record{}
	res, err := y.try(t, m, o, r)
	if err != nil {
		t.Fatalf("build %s: %v\n%s", o.Image, err, r)
	}
	return res, r
}

// try builds with the yard's builder unless o names one.
func (y *yard) try(t testing.TB, m *platform.Machine, o platform.Options, r *record) (*platform.Result, error) {
	t.Helper()
	if o.Builder == "" {
		o.Builder = y.name
	}
	o.Bindings, o.Env = maps.Clone(o.Bindings), maps.Clone(o.Env)
	res, err := platform.Build(t.Context(), m, o, r)
	if res != nil && res.Where == platform.WhereDocker {
		forget(t, m, append([]string{o.Image}, o.Tags...)...)
	}
	return res, err
}

// forget drops names from Docker at the end of the test.
func forget(t testing.TB, m *platform.Machine, names ...string) {
	t.Cleanup(func() {
		for _, n := range names {
			err := m.Engine.Remove(context.Background(), n)
			for range 50 { // a container of it may be on its way out
				if err == nil || errors.Is(err, image.ErrNotFound) {
					break
				}
				time.Sleep(100 * time.Millisecond)
				err = m.Engine.Remove(context.Background(), n)
			}
			if err != nil && !errors.Is(err, image.ErrNotFound) {
				t.Error(err)
			}
		}
	})
}

// name is an image name that no other test has.
func name(t testing.TB) string {
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix)
	return "slipway-test/" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name())) + "-" + hex.EncodeToString(suffix)
}

// find is a built image as a resolver finds it.
func (y *yard) find(t testing.TB, arg string) *image.Image {
	t.Helper()
	r := image.Resolver{Images: y.machine.Images, Registry: y.machine.Registry, Engine: y.machine.Engine}
	img, err := r.Resolve(t.Context(), arg)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// run starts a built image that is in Docker and gives its output.
func (y *yard) run(t testing.TB, name string, s container.Spec) string {
	t.Helper()
	r := image.Resolver{Images: y.machine.Images, Engine: y.machine.Engine, Policy: image.PullNever}
	img, err := r.Resolve(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	id, err := y.machine.Bring(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.Image, s.ImageUser, s.Network = id, true, container.Network{Mode: "none"}
	s.Stdout, s.Stderr = &out, &out
	if err := y.machine.Runtime.Run(t.Context(), s); err != nil {
		t.Fatalf("run: %v\n%s", err, &out)
	}
	return out.String()
}

// app makes a source directory of files.
func app(t testing.TB, files ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	write(t, dir, 0o644, append([]string{"index.txt", "hello\n"}, files...)...)
	return dir
}

// write makes files in dir from pairs of name and text.
func write(t testing.TB, dir string, mode os.FileMode, files ...string) {
	t.Helper()
	for pair := range slices.Chunk(files, 2) {
		at := filepath.Join(dir, pair[0])
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(pair[1]), mode), os.Chmod(at, mode)); err != nil {
			t.Fatal(err)
		}
	}
}

// script makes a buildpack whose build is a shell script. more is further text of its buildpack.toml.
func script(t testing.TB, id, build string, more ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bp")
	write(t, dir, 0o755, "bin/detect", "#!/bin/sh\nexit 0\n", "bin/build", "#!/bin/sh\nset -eu\n"+build)
	write(t, dir, 0o644, "buildpack.toml", strings.Join(more, "")+`
api = "0.12"
[buildpack]
id = "`+id+`"
version = "1"
[[targets]]
os = "linux"
`)
	return dir
}

package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/store"
)

// These tests run real containers: those of an OCI runtime, which needs root, or Docker's.

// A stage is what all of them stand on: a registry, a machine, and the layer of the app.
type stage struct {
	dir      string
	machine  *platform.Machine
	registry *httptest.Server
	app      v1.Layer
}

var theStage = sync.OnceValues(newStage)

func TestMain(m *testing.M) {
	code := m.Run()
	if s, err := theStage(); err == nil {
		s.registry.Close()
		err := s.machine.Close()
		if entries, _ := os.ReadDir(filepath.Join(s.dir, "state", "oci", "containers")); len(entries) > 0 {
			err = errors.Join(err, fmt.Errorf("%d containers are left", len(entries)))
		}
		if err = errors.Join(err, os.RemoveAll(s.dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func newStage() (s *stage, err error) {
	s = &stage{}
	if s.dir, err = os.MkdirTemp("", "slipway-deploy-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return nil, err
	}
	binary := filepath.Join(s.dir, "testapp")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", binary, "./testapp")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build testapp: %w: %s", err, out)
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	if s.app, err = layerOf(map[string][]byte{"cnb/process/web": b}); err != nil {
		return nil, err
	}
	s.registry = httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	kind := platform.RuntimeOCI
	if os.Geteuid() != 0 {
		kind = platform.RuntimeDocker
	}
	s.machine, err = platform.Open(context.Background(), platform.Settings{
		State: filepath.Join(s.dir, "state"), Runtime: kind, NoDocker: kind == platform.RuntimeOCI, Registry: image.RegistryOptions{Insecure: []string{s.host()}},
	})
	if err == nil {
		err = s.machine.NoRuntime
	}
	return s, err
}

func (s *stage) host() string { return strings.TrimPrefix(s.registry.URL, "http://") }

func layerOf(files map[string][]byte) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }, tarball.WithCompressedCaching)
}

// image pushes an image of the app and returns its digest.
func (s *stage) image(repo, version, mode string) (string, error) {
	said, err := layerOf(map[string][]byte{"said/version": []byte(version), "said/mode": []byte(mode)})
	if err != nil {
		return "", err
	}
	img, err := mutate.AppendLayers(empty.Image, s.app, said)
	if err != nil {
		return "", err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return "", err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Config.User = "linux", runtime.GOARCH, "1234:1235"
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	ref, err := name.NewDigest(s.host()+"/"+repo+"@"+digest.String(), name.Insecure)
	if err != nil {
		return "", err
	}
	return digest.String(), remote.Write(ref, img)
}

// A house is a service but for its doors, with one app.
type house struct {
	*stage
	t     *testing.T
	store *store.Store
	logs  *logs.Dir
	dir   string
	app   build.App
	host  *Host
	end   func() // the service stops

	mu     sync.Mutex
	faults []error
}

func newHouse(t *testing.T) *house {
	t.Helper()
	t.Parallel()
	h := &house{t: t, dir: t.TempDir()}
	h.stage = must(theStage())(t)
	box := must(secret.Open(filepath.Join(h.dir, "key")))(t)
	h.store = must(store.Open(t.Context(), filepath.Join(h.dir, "slipway.db"), box))(t)
	t.Cleanup(func() { _ = h.store.Close() })
	h.logs = must(logs.Open(filepath.Join(h.dir, "logs")))(t)
	owner := must(h.store.CreateUser(t.Context(), "ann", false))(t)
	h.app = must(h.store.CreateApp(t.Context(), build.App{Name: build.AppName(strings.ToLower(strings.ReplaceAll(t.Name(), "Test", "app-"))), Owner: owner.ID, Branch: "main", Disconnect: build.Continue}))(t)
	h.start()
	t.Cleanup(func() {
		h.end()
		h.mu.Lock()
		defer h.mu.Unlock()
		if err := errors.Join(h.faults...); err != nil {
			t.Errorf("faults of the service: %v", err)
		}
	})
	return h
}

// start starts the service, which may have run before.
func (h *house) start() {
	h.t.Helper()
	h.host = must(New(Options{
		Store: h.store, Logs: h.logs, Dir: filepath.Join(h.dir, "apps"),
		Machine: func(context.Context, build.Release) (*platform.Machine, error) { return h.machine, nil },
		Limits:  func(build.App) build.Limits { return build.Limits{Memory: 256 << 20, PIDs: 100, Disk: 100 << 20} },
		Environ: []string{"PATH=" + os.Getenv("PATH")}, Grace: time.Second, Backoff: 10 * time.Millisecond,
		Fault: func(err error) { h.mu.Lock(); defer h.mu.Unlock(); h.faults = append(h.faults, err) },
	}))(h.t)
	if err := h.host.Recover(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() { defer close(over); _ = h.host.Run(ctx) }()
	h.end = func() { stop(); <-over }
}

func (h *house) deployer(d build.Deployer) {
	h.t.Helper()
	d.App = h.app.ID
	must(h.store.PutDeployer(h.t.Context(), d, 10))(h.t)
}

func (h *house) vars(values map[string]string) {
	h.t.Helper()
	changes := map[string]*string{}
	for name, v := range values {
		changes[name] = &v
	}
	must(h.store.ChangeSecrets(h.t.Context(), h.app.ID, store.SecretVar, changes, nil))(h.t)
}

// release makes a release of an image of the app.
func (h *house) release(version, mode string) build.Release {
	h.t.Helper()
	digest := must(h.image(string(h.app.Name), version, mode))(h.t)
	return h.released(build.Release{
		Repository: h.stage.host() + "/" + string(h.app.Name), Digest: digest, State: build.ReleaseSucceeded, Processes: []build.Process{{Type: "web", Command: "testapp", Default: true}},
	})
}

func (h *house) released(r build.Release) build.Release {
	h.t.Helper()
	ctx := h.t.Context()
	must2(h.store.CreateBuild(ctx, build.Build{App: h.app.ID, User: h.app.Owner, Trigger: build.Trigger{Kind: build.TriggerAPI}, Source: build.Source{Stored: "k"}}))(h.t)
	b := must2(h.store.Claim(ctx, "w", time.Minute))(h.t)
	_, v, err := h.store.Finish(ctx, b.ID, b.Fence, store.Outcome{State: build.Succeeded, Release: &r})
	if err == nil {
		err = h.store.Tagged(ctx, v.ID)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return *v
}

// deployment is one by its number, when it is in one of the states.
func (h *house) deployment(number int, states ...build.DeploymentState) (d build.Deployment) {
	h.t.Helper()
	eventually(h.t, fmt.Sprintf("deployment %d is one of %v", number, states), func() bool {
		var err error
		d, err = h.store.Deployment(h.t.Context(), h.app.ID, fmt.Sprint(number))
		if err == nil && d.State.Ended() {
			if slices.Contains(states, d.State) {
				return true
			}
			h.t.Fatalf("deployment %d: %+v, want one of %v", number, d, states)
		}
		for _, s := range states {
			if err == nil && s == d.State {
				return true
			}
		}
		return false
	})
	return d
}

// get is the body that a URL has.
func get(t testing.TB, url string) string {
	t.Helper()
	text, err := ask(url)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

func ask(url string) (string, error) {
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// printed is the end of what the app has printed.
func (h *house) printed(lines int) string {
	h.t.Helper()
	var b bytes.Buffer
	if err := h.host.CopyLog(h.t.Context(), h.app.ID, lines, false, &b); err != nil {
		h.t.Fatal(err)
	}
	return b.String()
}

// log is that of a deployment, when it has ended.
func (h *house) log(d build.Deployment) string {
	h.t.Helper()
	var b bytes.Buffer
	must(h.logs.Follow(h.t.Context(), d.ID, 0, &b))(h.t)
	return b.String()
}

const patience = 3 * time.Minute

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func must2[T, U any](v T, _ U, err error) func(testing.TB) T { return must(v, err) }

package daemon_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/platform/platformtest"
)

// These tests run the whole service, with the stock git client before it and real containers behind it: those of an OCI
// runtime, which needs root, or Docker's. They share one yard, and most of them one service.

// The test binary is also the hook and the askpass of the gits that the services run.
func TestMain(m *testing.M) {
	switch ctx := context.Background(); {
	case gitserver.IsHook(os.Args, os.Environ()):
		os.Exit(gitserver.Hook(ctx, os.Stdin, os.Stdout, os.Environ()))
	case fetch.IsAskpass(os.Args, os.Environ()):
		os.Exit(fetch.Askpass(ctx, os.Args, os.Environ(), os.Stdout))
	case os.Getenv(serveVariable) != "":
		os.Exit(serveProcess(os.Getenv(serveVariable)))
	}
	if err := flag.Set("test.parallel", "4"); err != nil { // they wait for containers more than they work; -parallel goes before
		panic(err)
	}
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// builderName is the builder of all apps here, in the yard's own store.
const builderName = "test/builder"

// A yard is what services stand on: tools, and a state directory with a builder in it.
type yard struct {
	dir    string
	tools  platform.Tools
	binary string // the test binary without the race detector
}

func (y *yard) state() string { return filepath.Join(y.dir, "state") }

// runtime is the OCI runtime where there can be one, for it is faster.
func runtime() string {
	if os.Geteuid() == 0 {
		return platform.RuntimeOCI
	}
	return platform.RuntimeDocker
}

func (y *yard) settings() platform.Settings {
	return platform.Settings{State: y.state(), Tools: y.tools, Version: "0.0.0-test", Runtime: runtime(), NoDocker: os.Geteuid() == 0}
}

// buildScript is the one buildpack of the builder: what an app's own build.sh says. A test controls a build by what it
// hands in.
var buildScript = map[string]string{
	"buildpack.toml": `
api = "0.12"
[buildpack]
id = "test/script"
version = "1.0"
[[targets]]
os = "linux"
`,
	"bin/detect": `#!/bin/sh
[ -e build.sh ] || [ -e Procfile ] && exit 0
echo "neither a build.sh nor a Procfile is there" >&2
exit 100
`,
	"bin/build": `#!/bin/bash
set -eu
if [ -e build.sh ]; then . ./build.sh; fi
printf '[[processes]]\ntype = "web"\ncommand = ["cat", "index.txt"]\ndefault = true\n' >"$CNB_LAYERS_DIR/launch.toml"
if [ -e web.sh ]; then printf '[[processes]]\ntype = "web"\ncommand = ["bash", "web.sh"]\ndefault = true\n' >"$CNB_LAYERS_DIR/launch.toml"; fi
if [ -e release.sh ]; then printf '[[processes]]\ntype = "release"\ncommand = ["bash", "release.sh"]\n' >>"$CNB_LAYERS_DIR/launch.toml"; fi
`,
}

// otherScript never passes.
var otherScript = map[string]string{
	"buildpack.toml": "api = \"0.12\"\n[buildpack]\nid = \"test/other\"\nversion = \"2.0\"\n[[targets]]\nos = \"linux\"\n",
	"bin/detect":     "#!/bin/sh\necho \"no other.txt is there\"\nexit 100\n",
	"bin/build":      "#!/bin/sh\nexit 1\n",
}

const builderConfig = `
description = "tests"
[build]
image = "test/build"
[run]
[[run.images]]
image = "test/run"
[[buildpacks]]
uri = "script"
[[buildpacks]]
uri = "other"
[[order]]
[[order.group]]
id = "test/script"
[[order]]
[[order.group]]
id = "test/other"
`

func newYard() (y *yard, err error) {
	y = &yard{}
	if y.dir, err = os.MkdirTemp("", "slipway-daemon-"); err != nil {
		return nil, err
	}
	if err := y.fill(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(y.dir))
	}
	return y, nil
}

func testTools(dir string) platform.Tools {
	t := platform.ToolsIn(dir)
	t.Version = "0.0.0-test"
	return t
}

func (y *yard) fill() (err error) {
	if err := os.Chmod(y.dir, 0o755); err != nil {
		return err
	}
	root := filepath.Join("..", "..")
	y.tools = testTools(filepath.Join(y.dir, "tools"))
	if err := platformtest.Tools(root, y.dir); err != nil {
		return err
	}
	if y.binary, err = os.Executable(); err != nil {
		return err
	}
	if raced { // what git runs is confined to less memory than the race detector maps
		y.binary = filepath.Join(y.dir, "unraced.test")
		cmd := exec.Command("go", "test", "-c", "-vet=off", "-ldflags", "-s -w", "-o", y.binary, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the tests without the race detector: %w: %s", err, out)
		}
	}
	for name, files := range map[string]map[string]string{"script": buildScript, "other": otherScript, ".": {"builder.toml": builderConfig}} {
		if err := writeFiles(filepath.Join(y.dir, name), files); err != nil {
			return err
		}
	}
	server := httptest.NewTLSServer(nil) // all of them have one certificate
	defer server.Close()
	if err := os.WriteFile(y.ca(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644); err != nil {
		return err
	}
	m, err := platform.Open(context.Background(), y.settings())
	if err != nil {
		return err
	}
	if m.NoRuntime != nil {
		return errors.Join(m.NoRuntime, m.Close())
	}
	none := map[string]string{"registries.toml": "registries = []\n"} // no index that would be fetched
	if err := errors.Join(y.makeBuilder(m), m.Close(), writeFiles(filepath.Join(y.state(), platform.IndexDir), none)); err != nil {
		return err
	}
	return copyDir(y.state(), y.fresh())
}

// fresh is a copy of the state directory before anybody built there.
func (y *yard) fresh() string { return filepath.Join(y.dir, "fresh") }

func copyDir(from, to string) error {
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// ca is what services trust when they fetch.
func (y *yard) ca() string { return filepath.Join(y.dir, "ca.pem") }

func (y *yard) makeBuilder(m *platform.Machine) error {
	ctx := context.Background()
	build, run, err := platformtest.BaseImages()
	if err != nil {
		return err
	}
	for name, img := range map[string]v1.Image{"test/build": build, "test/run": run} {
		ref, err := image.ParseRef(name)
		if err != nil {
			return err
		}
		if _, err := m.Images.Put(ctx, []image.Ref{ref}, img, nil); err != nil {
			return err
		}
	}
	_, err = platform.CreateBuilder(ctx, m, platform.CreateOptions{Name: builderName, Config: filepath.Join(y.dir, "builder.toml")})
	return err
}

// writeFiles makes files, executables those that begin like a script.
func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), mode), os.Chmod(at, mode)); err != nil {
			return err
		}
	}
	return nil
}

// shared is the yard, and the service that tests have in common, each made when the first test asks.
var shared commons

type commons struct {
	sync.Mutex
	*yard
	err     error
	service *server
}

func (c *commons) open(t testing.TB) *yard {
	t.Helper()
	if c.yard == nil && c.err == nil {
		c.yard, c.err = newYard()
	}
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c.yard
}

func (c *commons) close() error {
	if c.yard == nil {
		return nil
	}
	var err error
	if c.service != nil {
		err = errors.Join(c.service.stop(), c.service.faulty())
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// common is the service that tests share. A test makes apps of its own in it.
func common(t testing.TB) *server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	y := shared.open(t)
	if shared.service == nil {
		s, err := y.start(filepath.Join(y.dir, "service"), nil)
		if err != nil {
			t.Fatal(err)
		}
		shared.service = s
	}
	return shared.service
}

// own is a service of one test. It is stopped with the test, and must have had no fault.
func own(t testing.TB, change func(*daemon.Config)) *server {
	t.Helper()
	return at(t, filepath.Join(t.TempDir(), "data"), change)
}

// at is a service on a data directory that may be there already.
func at(t testing.TB, data string, change func(*daemon.Config)) *server {
	t.Helper()
	s, err := theYard(t).start(data, change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.stop(), s.faulty()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func theYard(t testing.TB) *yard {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	return shared.open(t)
}

// name is a name that no other app has.
func name(prefix string) string {
	b := make([]byte, 4)
	_, _ = rand.Read(b)
	return prefix + "-" + hex.EncodeToString(b)
}

// patience is for what must happen, however busy the machine is.
const patience = 3 * time.Minute

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// must is for what must not fail.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

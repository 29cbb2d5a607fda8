package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slipway": main})
}

// TestScripts runs testdata/script: one for each command and for each failure that a user can cause. They run
// whole builds in the Docker Engine that the environment names. What a script finds:
//
//	$APP      a name of its own, for an image in Docker, which is removed when it ends
//	$BUILDER, $RUN  the stage's builder and run image; the builder is the default one
//	$SAMPLE   the sample buildpack's directory
//	$STAGE     the stage: base/build, base/run and run images to rebase to (see stage.base) are OCI layouts, builder.toml is the builder's recipe
func TestScripts(t *testing.T) {
	s := newStage(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			for _, kv := range s.environ() {
				if k, v, _ := strings.Cut(kv, "="); strings.HasPrefix(k, "SLIPWAY_") || strings.HasPrefix(k, "DOCKER_") || strings.HasPrefix(k, "SSL_CERT") {
					e.Setenv(k, v)
				}
			}
			script := strings.TrimPrefix(filepath.Base(e.WorkDir), "script-")
			app := s.name("app-" + script)
			e.Setenv("APP", app)
			e.Setenv("CONTAINER", s.run+"-"+script)
			e.Setenv("BUILDER", s.name("builder"))
			e.Setenv("RUN", s.name("run"))
			e.Setenv("SAMPLE", s.path("sample"))
			e.Setenv("STAGE", s.dir)
			e.Setenv("NO_COLOR", "1")
			e.Setenv("XDG_CONFIG_HOME", "")
			e.Setenv("XDG_DATA_HOME", "")
			e.Defer(func() { _ = exec.Command("docker", "rmi", "-f", app).Run() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"registry":  startRegistry,
			"push":      push,
			"exitcode":  exitCodeIs,
			"same":      sameMatch,
			"hanging":   hanging,
			"listening": listening,
		},
	})
}

// startRegistry starts a registry for the script and sets REGISTRY to its host:port. With "readonly" it takes
// no writes.
func startRegistry(ts *testscript.TestScript, _ bool, args []string) {
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if len(args) > 0 && args[0] == "readonly" {
		inner := h
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			inner.ServeHTTP(w, r)
		})
	}
	server := httptest.NewServer(h)
	ts.Defer(server.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(server.URL, "http://"))
}

// push copies an image to a name in a registry, with labels changed: push IMAGE NAME LABEL=VALUE...
func push(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	g, err := image.NewRegistry(image.RegistryOptions{})
	ts.Check(err)
	img, err := (&image.Resolver{Registry: g, Policy: image.PullAlways, Platform: platformOf(args[0])}).Resolve(ctx, args[0])
	ts.Check(err)
	cf, err := img.ConfigFile()
	ts.Check(err)
	for _, l := range args[2:] {
		key, value, _ := strings.Cut(l, "=")
		if cf.Config.Labels[key] = value; value == "" {
			delete(cf.Config.Labels, key)
		}
	}
	changed, err := mutate.ConfigFile(img, cf)
	ts.Check(err)
	ref, err := image.ParseRef(args[1])
	ts.Check(err)
	_, err = g.Push(ctx, []image.Ref{ref}, changed, image.PushOptions{})
	ts.Check(err)
}

// platformOf is the platform of the stage's images.
func platformOf(name string) v1.Platform {
	p := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if strings.HasSuffix(name, "foreign") {
		p.Architecture = "s390x"
	}
	return p
}

// exitCodeIs runs a command and wants an exit code: exitcode CODE COMMAND ARG...
func exitCodeIs(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// sameMatch wants a pattern to find the same text in two files: same PATTERN FILE FILE.
func sameMatch(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile(args[0])
	a, b := re.FindString(ts.ReadFile(args[1])), re.FindString(ts.ReadFile(args[2]))
	if a == "" || (a == b) == neg {
		ts.Fatalf("%s has %q, %s has %q", args[1], a, args[2], b)
	}
}

// hanging waits until the build of an image hangs in its container: hanging IMAGE. Its agent then runs the
// buildpack's executable.
func hanging(ts *testscript.TestScript, _ bool, args []string) {
	for range 300 {
		out, err := exec.Command("docker", "ps", "-q", "--filter", "label=build.slipway.image="+args[0]+":latest").Output()
		if id := strings.TrimSpace(string(out)); err == nil && id != "" {
			top, err := exec.Command("docker", "top", id, "-o", "pid,args").Output()
			if err == nil && strings.Contains(string(top), "bin/build") {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("the build of %s never came to its buildpack", args[0])
}

// listening waits until a container of that name answers on its published port: listening CONTAINER.
func listening(ts *testscript.TestScript, _ bool, args []string) {
	for range 300 {
		out, err := exec.Command("docker", "port", args[0]).Output()
		if _, address, ok := strings.Cut(strings.TrimSpace(string(out)), " -> "); err == nil && ok {
			if _, err := platform.Answer(context.Background(), "http://"+address+"/", time.Second, nil, nil); err == nil {
				// The app's answer has come to us first; slipway asks again within half a second.
				time.Sleep(time.Second)
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("container %s never answered", args[0])
}

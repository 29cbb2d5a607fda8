package registrar_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/registrar"
	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/store"
)

// The test binary is also the hook of the gits that it runs.
func TestMain(m *testing.M) {
	if gitserver.IsHook(os.Args, os.Environ()) {
		os.Exit(gitserver.Hook(context.Background(), os.Stdin, os.Stdout, os.Environ()))
	}
	os.Exit(m.Run())
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

// world is an index that is served by git over HTTP, with a registry beside it and two users and an administrator.
type world struct {
	*registrar.Registrar
	t         testing.TB
	dir       string
	url, host string // of git and of the registry
	alice     who
	bob       who
	root      who
}

type who struct {
	build.Actor
	token string
}

func newWorld(t testing.TB, change ...func(*registrar.Registrar)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	box := must(secret.Open(filepath.Join(w.dir, "key")))(t)
	s := must(store.Open(t.Context(), filepath.Join(w.dir, "slipway.db"), box))(t)
	t.Cleanup(func() { _ = s.Close() })
	images := httptest.NewServer(registry.New(registry.Logger(log.New(&bytes.Buffer{}, "", 0))))
	t.Cleanup(images.Close)
	w.host = strings.TrimPrefix(images.URL, "http://")
	client := must(image.NewRegistry(image.RegistryOptions{}))(t)
	w.Registrar = &registrar.Registrar{
		Store: s, Repos: must(gitserver.OpenRepos(filepath.Join(w.dir, "git"), "git"))(t),
		Look: func(ctx context.Context, _ build.Actor, address string) (registrar.Package, error) {
			ref, err := image.ParseRef(address)
			if err != nil {
				return registrar.Package{}, err
			}
			return registrar.Inspect(ctx, client, ref)
		},
		Elsewhere: func(ns string) string {
			if ns == "public" {
				return "the index official"
			}
			return ""
		},
		Fault: func(err error) { t.Error("a fault of ours:", err) },
	}
	for _, f := range change {
		f(w.Registrar)
	}
	if err := w.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := &gitserver.Handler{
		Repos: w.Repos, Receiver: receiver{w.Registrar}, Fault: func(err error) { t.Error("a fault of ours:", err) },
		Limits: gitserver.Limits{Memory: 1 << 50}, // of which the race detector in the hook maps much
	}
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Stop(ctx); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	w.url = server.URL + "/" + string(build.IndexName) + ".git"
	w.root, w.alice, w.bob = w.user("root", true), w.user("alice", false), w.user("bob", false)
	return w
}

func (w *world) user(name string, admin bool) who {
	w.t.Helper()
	u := must(w.Store.CreateUser(w.t.Context(), name, admin))(w.t)
	return w.with(u, build.Verbs(), "")
}

// with is a user with a token of a scope.
func (w *world) with(u build.User, verbs []build.Verb, app build.ID) who {
	w.t.Helper()
	_, text, err := w.Store.CreateToken(w.t.Context(), build.Token{User: u.ID, Verbs: verbs, App: app})
	if err != nil {
		w.t.Fatal(err)
	}
	return who{must(w.Store.Authenticate(w.t.Context(), text))(w.t), text}
}

// receiver has pushes decided as the service does.
type receiver struct{ r *registrar.Registrar }

func (r receiver) Authorize(ctx context.Context, c gitserver.Credential, _ string, verb build.Verb) (build.App, build.Actor, error) {
	app := build.App{ID: build.IndexID, Name: build.IndexName, Branch: "main"}
	if c == (gitserver.Credential{}) && verb == build.VerbRead {
		return app, build.Actor{}, nil
	}
	a, err := r.r.Store.Authenticate(ctx, c.Token)
	if errors.Is(err, build.ErrNotFound) {
		err = gitserver.ErrCredential
	}
	return app, a, err
}

func (r receiver) Push(ctx context.Context, p *gitserver.Push) error { return r.r.Push(ctx, p) }

func (r receiver) Moved(ctx context.Context, _ build.App, _ gitserver.Update, err error) {
	r.r.Moved(ctx, err)
}

// labelled is an image with the labels of a buildpackage; change has them another way.
func labelled(id, version string, change func(labels map[string]string, c *v1.ConfigFile)) v1.Image {
	c := &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	labels := map[string]string{
		"io.buildpacks.buildpackage.metadata": fmt.Sprintf(`{"id":%q,"version":%q,"description":"Builds\u001b[31m things","homepage":"https://acme.test/java","licenses":[{"type":"MIT"}],"stacks":[{"id":"*"}]}`, id, version),
		"io.buildpacks.buildpack.layers":      fmt.Sprintf(`{%q:{%q:{"api":"0.10","layerDiffID":"sha256:x","targets":[{"os":"linux","arch":"amd64","distros":[{"name":"debian","version":"12"}]}]}}}`, id, version),
	}
	if change != nil {
		change(labels, c)
	}
	c.Config.Labels = labels
	img, err := mutate.ConfigFile(empty.Image, c)
	if err != nil {
		panic(err)
	}
	return img
}

// put pushes a buildpackage into the registry, and names it by its digest.
func (w *world) put(img v1.Image) string {
	w.t.Helper()
	ref := must(name.ParseReference(w.host + "/acme/pack:latest"))(w.t)
	if err := remote.Write(ref, img, remote.WithContext(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
	return w.host + "/acme/pack@" + must(img.Digest())(w.t).String()
}

func (w *world) pack(id, version string) string { return w.put(labelled(id, version, nil)) }

// registers has somebody register an image.
func (w *world) registers(by who, address string) registrar.Result {
	w.t.Helper()
	return must(w.Register(w.t.Context(), by.Actor, address, ""))(w.t)
}

// git runs the stock client.
func (w *world) git(dir string, args ...string) (string, error) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A clone is somebody's working tree of the index.
type clone struct {
	*world
	dir string
}

func (w *world) clone(by who) *clone {
	w.t.Helper()
	c := &clone{w, filepath.Join(w.t.TempDir(), "index")}
	if out, err := w.git("", "clone", "-q", strings.Replace(w.url, "http://", "http://x:"+by.token+"@", 1), c.dir); err != nil {
		w.t.Fatal(out)
	}
	return c
}

// run is a git that must not fail.
func (c *clone) run(args ...string) string {
	c.t.Helper()
	out, err := c.git(c.dir, args...)
	if err != nil {
		c.t.Fatalf("git %v: %s", args, out)
	}
	return strings.TrimSpace(out)
}

// append adds lines to a file of the tree, and commits.
func (c *clone) append(path string, lines ...string) {
	c.t.Helper()
	at := filepath.Join(c.dir, path)
	old, _ := os.ReadFile(at)
	c.write(path, string(old)+strings.Join(lines, "\n")+"\n")
}

func (c *clone) write(path, text string) {
	c.t.Helper()
	at := filepath.Join(c.dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
		c.t.Fatal(err)
	}
	c.run("add", "-A")
	c.run("commit", "-q", "-m", "ADD something")
}

func (c *clone) read(path string) string {
	c.t.Helper()
	return string(must(os.ReadFile(filepath.Join(c.dir, path)))(c.t))
}

// entry is a line of an index.
func entry(id, version, address string) string {
	ns, n, _ := strings.Cut(id, "/")
	b, err := json.Marshal(struct {
		NS      string `json:"ns"`
		Name    string `json:"name"`
		Version string `json:"version"`
		Yanked  bool   `json:"yanked"`
		Addr    string `json:"addr"`
	}{ns, n, version, false, address})
	if err != nil {
		panic(err)
	}
	return string(b)
}

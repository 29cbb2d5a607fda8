package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/containertest"
	"github.com/slipway-build/slipway/internal/container/docker"
)

// connect is the engine that the tests' environment names. They need one.
func connect(t testing.TB) *docker.Runtime {
	t.Helper()
	home, _ := os.UserHomeDir()
	rt, err := docker.New(t.Context(), docker.FromEnv(os.Environ(), home))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	return rt
}

// archive is a docker-archive of one layer, and its image's id.
func archive(t testing.TB, layer []byte, name string) (tarball []byte, id string) {
	t.Helper()
	info, err := connect(t).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": info.Architecture, "os": "linux", "created": "1980-01-01T00:00:01Z",
		"config":  map[string]any{"Env": []string{"FROM=image"}, "Labels": map[string]string{"suite": "docker", "name": name}, "Entrypoint": []string{"/guest"}, "Cmd": []string{"say", "default"}, "User": "77:78"},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
		"history": []any{map[string]any{"created_by": "the suite", "created": "1980-01-01T00:00:01Z"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(config))
	manifest, err := json.Marshal([]any{map[string]any{"Config": sum + ".json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range []struct {
		name string
		body []byte
	}{{sum + ".json", config}, {"layer.tar", layer}, {"manifest.json", manifest}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.body)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), "sha256:" + sum
}

// guestImage puts the suite's image into the engine and returns its id.
func guestImage(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("slipway.test/guest:%d-%d", os.Getpid(), time.Now().UnixNano())
	tarball, _ := archive(t, containertest.Rootfs(t), name)
	rt := connect(t)
	if err := rt.Load(t.Context(), bytes.NewReader(tarball)); err != nil {
		t.Fatal(err)
	}
	im, err := rt.Inspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Remove(context.WithoutCancel(t.Context()), name); err != nil {
			t.Error(err)
		}
	})
	return im.ID
}

// left lists containers by label through the plain API.
func left(t *testing.T, label, value string) []string {
	t.Helper()
	api, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	list, err := api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", label+"="+value)})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range list.Items {
		ids = append(ids, c.ID)
	}
	return ids
}

// held is containertest.Subject.Held. Where a container's mounts and its network are the engine tells as long as it
// knows the container.
func held() func(t testing.TB, id string) []string {
	var known sync.Map // id -> parts of lines of mountinfo
	return func(t testing.TB, id string) []string {
		t.Helper()
		api, err := client.New(client.FromEnv)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer api.Close() // no connection of ours may be taken for the runtime's
		if res, err := api.ContainerInspect(context.Background(), id, client.ContainerInspectOptions{}); err == nil {
			parts := []string{"/containers/" + id + "/"}
			if n := res.Container.NetworkSettings; n != nil && n.SandboxKey != "" {
				parts = append(parts, strings.TrimPrefix(n.SandboxKey, "/var"))
			}
			if g := res.Container.GraphDriver; g != nil {
				parts = append(parts, g.Data["MergedDir"])
			}
			known.Store(id, parts)
		}
		var paths []string
		for _, pattern := range []string{"docker/" + id, "system.slice/docker-" + id + ".scope"} {
			paths = append(paths, "/sys/fs/cgroup/"+pattern)
			groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + pattern)
			paths = append(paths, groups...)
		}
		var parts []string
		if p, ok := known.Load(id); ok {
			parts = p.([]string)
		}
		return containertest.There(t, paths, parts)
	}
}

func TestRuntime(t *testing.T) {
	containertest.Run(t, containertest.Subject{
		New:   func(t *testing.T) container.Runtime { return connect(t) },
		Image: guestImage(t),
		Left:  func(t *testing.T, value string) []string { return left(t, containertest.Label, value) },
		Held:  held(),
	})
}

func TestImageUserAndArgs(t *testing.T) {
	image, rt := guestImage(t), connect(t)
	for _, test := range []struct {
		spec container.Spec
		want string
	}{
		{container.Spec{}, "default\n"},
		{container.Spec{Args: []string{"say", "mine"}}, "mine\n"},
		{container.Spec{Args: []string{"where"}, ImageUser: true, Hostname: "h"}, "dir=/ uid=77 gid=78 groups=[78] host=h\n"},
		{container.Spec{Argv: []string{"/guest", "env"}, Env: []string{"PATH", "FROM"}}, "HOME=/\nHOSTNAME=slipway\n"},
	} {
		var out bytes.Buffer
		test.spec.Image, test.spec.Stdout, test.spec.Network.Mode = image, &out, "none"
		if err := rt.Run(t.Context(), test.spec); err != nil || out.String() != test.want {
			t.Errorf("%+v: %v, got %q, want %q", test.spec, err, out.String(), test.want)
		}
	}
}

func TestImages(t *testing.T) {
	rt := connect(t)
	name := fmt.Sprintf("slipway.test/images:%d", os.Getpid())
	tarball, id := archive(t, containertest.Rootfs(t), name)
	ctx := t.Context()
	if err := rt.Load(ctx, bytes.NewReader(tarball)); err != nil {
		t.Fatal(err)
	}
	im, err := rt.Inspect(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := rt.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !info.ContainerdStore && im.ID != id {
		t.Errorf("id %s, want %s", im.ID, id)
	}
	if im.OS != "linux" || im.Architecture != info.Architecture || im.User != "77:78" || im.Labels["suite"] != "docker" || len(im.DiffIDs) != 1 || im.Created.Year() != 1980 || !slices.Equal(im.Entrypoint, []string{"/guest"}) {
		t.Errorf("inspect: %+v", im)
	}
	if h, err := rt.History(ctx, im.ID); err != nil || len(h) != 1 || h[0].CreatedBy != "the suite" {
		t.Errorf("history: %+v, %v", h, err)
	}
	other := "slipway.test/other:1"
	if err := rt.Tag(ctx, im.ID, other); err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	if err := rt.Save(ctx, []string{other}, &saved); err != nil || !bytes.Contains(saved.Bytes(), []byte("manifest.json")) {
		t.Errorf("save: %v, %d bytes", err, saved.Len())
	}
	for _, n := range []string{name, other} {
		if ok, err := rt.Exists(ctx, n); err != nil || !ok {
			t.Errorf("%s: %v, %v", n, ok, err)
		}
		if err := rt.Remove(ctx, n); err != nil {
			t.Error(err)
		}
	}
	if ok, err := rt.Exists(ctx, im.ID); err != nil || ok {
		t.Errorf("after removal: %v, %v", ok, err)
	}
	for verb, err := range map[string]error{
		"remove": rt.Remove(ctx, name), "tag": rt.Tag(ctx, name, other), "save": rt.Save(ctx, []string{name}, io.Discard),
	} {
		if !errors.Is(err, container.ErrNoImage) {
			t.Errorf("%s an absent image: %v", verb, err)
		}
	}
	if err := rt.Load(ctx, strings.NewReader("no tar at all, but long enough to look at")); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("load rubbish: %v", err)
	}
	for _, bad := range []string{"", "a b", "../../containers/json", "a?b=c", "/x"} {
		if _, err := rt.Inspect(ctx, bad); err == nil || errors.Is(err, container.ErrNoImage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestSweep: what a killed process left is found, what lives is not touched.
func TestSweep(t *testing.T) {
	image, rt := guestImage(t), connect(t)
	spec := container.Spec{Image: image, Network: container.Network{Mode: "none"}, Labels: map[string]string{containertest.Label: t.Name()}}
	live, err := rt.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSweepOrphan$")
	cmd.Env = append(os.Environ(), "ORPHAN="+image, "ORPHAN_LABEL="+t.Name())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := len(left(t, containertest.Label, t.Name())); n != 2 {
		t.Fatalf("%d containers before the sweep, want 2", n)
	}
	removed, err := rt.Sweep(t.Context())
	if err != nil || len(removed) == 0 {
		t.Errorf("sweep: %v, %v", removed, err)
	}
	if ids := left(t, containertest.Label, t.Name()); !slices.Equal(ids, []string{live.ID()}) {
		t.Errorf("after the sweep: %v, want %s only", ids, live.ID())
	}
}

// TestSweepOrphan is the process that dies without cleaning up.
func TestSweepOrphan(t *testing.T) {
	image := os.Getenv("ORPHAN")
	if image == "" {
		return // it has its say as TestSweep's child
	}
	rt, err := docker.New(t.Context(), docker.FromEnv(os.Environ(), ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Prepare(t.Context(), container.Spec{Image: image, Labels: map[string]string{containertest.Label: os.Getenv("ORPHAN_LABEL")}}); err != nil {
		t.Fatal(err)
	}
	os.Exit(0)
}

// BenchmarkRun is create, start, wait and removal; compare with
// `docker run --rm`.
func BenchmarkRun(b *testing.B) {
	image, rt := guestImage(b), connect(b)
	for b.Loop() {
		err := rt.Run(b.Context(), container.Spec{Image: image, Argv: []string{"/guest", "exit", "0"}, Network: container.Network{Mode: "none"}})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := rt.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCommand is the docker command's way.
func BenchmarkCommand(b *testing.B) {
	image := guestImage(b)
	for b.Loop() {
		if out, err := exec.Command("docker", "run", "--rm", "--network=none", "--log-driver=none", "--entrypoint=/guest", image, "exit", "0").CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}

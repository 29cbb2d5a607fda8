package oci_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/containertest"
	"github.com/slipway-build/slipway/internal/container/oci"
	"github.com/slipway-build/slipway/internal/rootfs"
)

// place is where a test's runtimes keep their things, with the suite's image in it.
func place(t testing.TB) (o oci.Options, id string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), `a, b: c\d`) // what lists of options and runc's own take for ends
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := rootfs.OpenStore(filepath.Join(dir, "rootfs"))
	if err != nil {
		t.Fatal(err)
	}
	layer := containertest.Rootfs(t)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Env: []string{"FROM=image"}, Entrypoint: []string{"/guest"}, Cmd: []string{"say", "default"}, User: "77:78"})
	if err != nil {
		t.Fatal(err)
	}
	if id, err = s.Add(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	return oci.Options{Dir: filepath.Join(dir, "oci"), Store: s}, id
}

func connect(t testing.TB, o oci.Options) *oci.Runtime {
	t.Helper()
	rt, err := oci.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// ordinary says that the test's user is not root, after having seen that such a user is told what is missing.
func ordinary(t testing.TB) bool {
	t.Helper()
	if os.Geteuid() == 0 {
		return false
	}
	_, err := oci.New(oci.Options{Dir: t.TempDir()})
	if _, ok := errors.AsType[*oci.UnavailableError](err); !ok {
		t.Errorf("without root: got %v", err)
	}
	return true
}

func TestRuntime(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	containertest.Run(t, containertest.Subject{
		New:   func(t *testing.T) container.Runtime { return connect(t, o) },
		Image: id,
		Left: func(t *testing.T, value string) []string {
			ids, err := connect(t, o).Labelled(containertest.Label, value)
			if err != nil {
				t.Fatal(err)
			}
			return ids
		},
		Held: held(o.Dir),
	})
}

// guest is a Spec of the suite's program.
func guest(id string, args ...string) container.Spec {
	return container.Spec{Image: id, Argv: append([]string{"/guest"}, args...), UID: 1000, GID: 1000, Network: container.Network{Mode: "none"}}
}

// held is containertest.Subject.Held for the containers of a runtime in dir.
func held(dir string) func(t testing.TB, id string) []string {
	// What a container's interface and place are called, which its directory tells as long as it is there.
	var links, places sync.Map
	return func(t testing.TB, id string) []string {
		t.Helper()
		own := filepath.Join(dir, "containers", id)
		if b, err := os.ReadFile(filepath.Join(own, "link")); err == nil {
			links.Store(id, string(b))
		}
		if b, err := os.ReadFile(filepath.Join(own, "place")); err == nil {
			places.Store(id, string(b))
		}
		paths := []string{own, filepath.Join(dir, "state", id), "/sys/fs/cgroup/slipway/" + id}
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/slipway/" + id)
		out := containertest.There(t, append(paths, groups...), []string{"/containers/" + id + "/"})
		if p, ok := places.Load(id); ok {
			out = append(out, containertest.There(t, []string{p.(string)}, []string{" " + p.(string) + "/", " " + p.(string) + " "})...)
			// Another container may have got the same ids since: then they say that they are not ours.
			if of, err := os.Readlink(filepath.Join(filepath.Dir(p.(string)), "of")); err == nil && of == own {
				out = append(out, filepath.Dir(p.(string)))
			}
		}
		if l, ok := links.Load(id); ok {
			// Another container may have got the same one of 32,768 since: then it says that it is not ours.
			at := filepath.Join("/sys/class/net", l.(string))
			if alias, err := os.ReadFile(filepath.Join(at, "ifalias")); err == nil && strings.TrimSpace(string(alias)) == id {
				out = append(out, at)
			}
		}
		return out
	}
}

// TestGuard: a guarded container reaches nothing private but what is allowed, and nothing at all before it is wired.
func TestGuard(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	neighbour, other := containertest.Neighbours(t)
	dial := func(n container.Network, allow []string, address string) (code int) {
		o.Allow = allow
		rt := connect(t, o)
		defer rt.Close()
		s := guest(id, "dial", address)
		s.Network = n
		err := rt.Run(t.Context(), s)
		if e, ok := errors.AsType[*container.ExitError](err); ok {
			return e.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		return 0
	}
	free, guarded, later := container.Network{}, container.Network{Public: true}, container.Network{Later: true}
	if dial(free, nil, neighbour.String()) != 0 {
		t.Error("a free container does not reach the neighbour")
	}
	if dial(guarded, []string{netip.PrefixFrom(neighbour.Addr(), 24).String()}, neighbour.String()) != 0 {
		t.Error("a neighbour that is allowed is not reached")
	}
	if dial(guarded, []string{other.Addr().String()}, neighbour.String()) == 0 {
		t.Error("a guarded container reaches the neighbour")
	}
	if dial(later, nil, neighbour.String()) == 0 {
		t.Error("a container that is not wired reaches the neighbour")
	}
	began := time.Now()
	for _, address := range []string{"169.254.169.254:80", "192.168.240.1:22", "127.0.0.53:53", "198.18.0.1:22"} {
		if dial(guarded, nil, address) == 0 {
			t.Errorf("%s can be reached", address)
		}
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("refusals took %s: packets are dropped and not refused", took)
	}
}

// TestWire: the network comes when it is asked for, and carries published ports.
func TestWire(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	rt := connect(t, o)
	s := guest(id, "serve", "8080")
	s.Network = container.Network{Mode: "bridge", Later: true, Public: true}
	s.Ports = []container.Port{{Container: 8080}}
	p, err := rt.Prepare(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(t.Context())
	up, ended := make(chan container.Info, 1), make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, container.Streams{Started: func(i container.Info) { up <- i }})
	}()
	url := fmt.Sprintf("http://127.0.0.1:%d/", (<-up).Ports[0].Host)
	client := &http.Client{Timeout: 300 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if res, err := client.Get(url); err == nil {
		res.Body.Close()
		t.Error("the port answers before there is a network")
	}
	if err := p.(container.Wirer).Wire(ctx); err != nil {
		t.Fatal(err)
	}
	var body []byte
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(20 * time.Millisecond) {
		res, err := client.Get(url)
		if err != nil {
			continue
		}
		body, _ = io.ReadAll(res.Body)
		res.Body.Close()
		break
	}
	if string(body) != "hello from the guest" {
		t.Errorf("got %q", body)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestSweep: what a killed Slipway left is removed, what a living one has is not.
func TestSweep(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	rt := connect(t, o)
	s := guest(id, "sleep")
	s.Network.Mode = "bridge"
	p, err := rt.Prepare(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	up, ended := make(chan bool), make(chan error, 1)
	go func() {
		ended <- p.Run(t.Context(), container.Streams{Started: func(container.Info) { close(up) }})
	}()
	<-up
	if ids, err := rt.Sweep(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("swept the living: %v, %v", ids, err)
	}
	// Its owner becomes a process that is gone.
	file := filepath.Join(o.Dir, "containers", p.ID(), "record.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b = regexp.MustCompile(` \d+ (\d+)"`).ReplaceAll(b, []byte(` 4194303 $1"`))
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if ids, err := rt.Sweep(t.Context()); err != nil || len(ids) != 1 || ids[0] != p.ID() {
		t.Errorf("swept %v, %v", ids, err)
	}
	if err := <-ended; err == nil {
		t.Error("a container that was swept ended well")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	// And what was on its way in or out.
	var rec struct{ Owner string }
	if err := json.Unmarshal(b, &rec); err != nil {
		t.Fatal(err)
	}
	dead, living := "coming-"+url.PathEscape(rec.Owner)+"~1", "coming-"+url.PathEscape(container.Self().String())+"~2"
	for _, name := range []string{dead, living, "gone-3"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, name, "upper"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rt.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]bool{dead: false, living: true, "gone-3": false} {
		if _, err := os.Stat(filepath.Join(o.Dir, name)); (err == nil) != want {
			t.Errorf("%s: %v, to stay: %v", name, err, want)
		}
	}
}

// TestImageUser: the image's own user, command and environment.
func TestImageUser(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	rt := connect(t, o)
	for args, want := range map[string]string{"": "default\n", "where": "dir=/ uid=77 gid=78 groups=[] host=slipway\n"} {
		var out bytes.Buffer
		err := rt.Run(t.Context(), container.Spec{Image: id, ImageUser: true, Args: strings.Fields(args), Stdout: &out})
		if err != nil || out.String() != want {
			t.Errorf("%q: %q, %v", args, out.String(), err)
		}
	}
	if err := rt.Close(); err != nil {
		t.Error(err)
	}
}

// A container that is killed while runc is about to start it is gone, however the machine shares its time: here the runc
// that deletes sleeps between its look at a container without a state and the removal of its directory.
func TestKilledWhileCreated(t *testing.T) {
	if ordinary(t) {
		return
	}
	t.Parallel()
	o, id := place(t)
	o.Binary = filepath.Join(t.TempDir(), "runc")
	runc, err := oci.Find("runc")
	if err != nil {
		t.Fatal(err)
	}
	slow := fmt.Sprintf(`#!/bin/sh
root= last= deletes=
for a; do
	test "$last" != --root || root=$a
	test "$a" != delete || deletes=1
	last=$a
done
if test "$deletes" && test ! -e "$root/$last/state.json"; then
	sleep 0.3
	rm -rf "$root/$last"
	exit 0
fi
exec %s "$@"
`, runc)
	if err := os.WriteFile(o.Binary, []byte(slow), 0o755); err != nil {
		t.Fatal(err)
	}
	rt := connect(t, o)
	for after := range 12 {
		p, err := rt.Prepare(t.Context(), guest(id, "sleep"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(after)*8*time.Millisecond)
		if err := p.Run(ctx, container.Streams{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("run: %v", err)
		}
		cancel()
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if left := held(o.Dir)(t, p.ID()); len(left) > 0 {
			t.Errorf("after %d: left %q", after, left)
		}
	}
}

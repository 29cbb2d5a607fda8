package oci_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"

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
	})
}

// guest is a Spec of the suite's program.
func guest(id string, args ...string) container.Spec {
	return container.Spec{Image: id, Argv: append([]string{"/guest"}, args...), UID: 1000, GID: 1000, Network: container.Network{Mode: "none"}}
}

// TestNoLeak: many runs leave nothing of the kernel's: mounts, control groups, interfaces, directories, files, goroutines.
func TestNoLeak(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	rt := connect(t, o)
	idle := goleak.IgnoreCurrent()
	prefix := fmt.Sprintf("leak-%d-", os.Getpid())
	before := holdings(t, o.Dir, prefix)
	var links []string
	for i := range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		s := guest(id, "exit", strconv.Itoa(i%3))
		s.Name = prefix + strconv.Itoa(i)
		switch i % 4 {
		case 1:
			s.Network.Mode = "bridge"
			s.Started = func(container.Info) {
				b, err := os.ReadFile(filepath.Join(o.Dir, "containers", s.Name, "link"))
				if err != nil {
					t.Error(err)
				}
				if alias, err := os.ReadFile(filepath.Join("/sys/class/net", string(b), "ifalias")); err == nil && !strings.HasPrefix(string(alias), prefix) {
					t.Errorf("interface %s says it is %q's", b, alias)
				}
				links = append(links, string(b))
			}
		case 2:
			s.Argv[1] = "sleep"
			if i%8 == 2 { // at any moment before the start, and surely after it
				time.AfterFunc(time.Duration(i/4)*time.Millisecond, cancel)
			} else {
				s.Started = func(container.Info) { cancel() }
			}
		case 3:
			s.Argv[0] = "/absent"
		}
		if err := rt.Run(ctx, s); i%4 == 2 && !errors.Is(err, context.Canceled) {
			t.Errorf("run %d: %v", i, err)
		}
		cancel()
	}
	if err := rt.Close(); err != nil {
		t.Fatal(err)
	}
	if after := holdings(t, o.Dir, prefix); after != before {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if len(links) != 50 {
		t.Errorf("%d interfaces were seen, want 50", len(links))
	}
	for _, l := range links {
		// Another test's container may have got the same one of 32,768 since: then it is not ours.
		if b, _ := os.ReadFile(filepath.Join("/sys/class/net", l, "ifalias")); strings.HasPrefix(string(b), prefix) {
			t.Errorf("interface %s is left", l)
		}
	}
	if err := goleak.Find(idle); err != nil {
		t.Error(err)
	}
}

type held struct{ mounts, groups, dirs, files int }

// holdings counts what the containers of a directory, whose names begin with prefix, take of the machine.
func holdings(t *testing.T, dir, prefix string) held {
	t.Helper()
	var h held
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	h.mounts = strings.Count(string(mounts), filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(dir))))) // the test's own name
	for _, pattern := range []string{"/sys/fs/cgroup/*/slipway/", "/sys/fs/cgroup/slipway/"} {
		groups, _ := filepath.Glob(pattern + prefix + "*")
		h.groups += len(groups)
	}
	for _, d := range []string{"containers", "state"} {
		names, _ := os.ReadDir(filepath.Join(dir, d))
		h.dirs += len(names)
	}
	files, _ := os.ReadDir("/proc/self/fd")
	h.files = len(files)
	return h
}

// TestGuard: a guarded container reaches nothing private but what is allowed, and nothing at all before it is wired.
func TestGuard(t *testing.T) {
	if ordinary(t) {
		return
	}
	o, id := place(t)
	neighbour := neighbour(t)
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
	if dial(free, nil, neighbour) != 0 {
		t.Error("a free container does not reach the neighbour")
	}
	if dial(guarded, []string{"10.213.7.0/24"}, neighbour) != 0 {
		t.Error("a neighbour that is allowed is not reached")
	}
	if dial(guarded, []string{"10.213.8.0/24"}, neighbour) == 0 {
		t.Error("a guarded container reaches the neighbour")
	}
	if dial(later, nil, neighbour) == 0 {
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

// neighbour is a server in a private network beside this machine, in a namespace of its own.
func neighbour(t *testing.T) (address string) {
	t.Helper()
	type made struct {
		l   net.Listener
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		l, err := func() (net.Listener, error) {
			home, err := netns.Get()
			if err != nil {
				return nil, err
			}
			defer home.Close()
			if _, err := netns.New(); err != nil {
				return nil, err
			}
			link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "slipneighbour", PeerNamespace: netlink.NsFd(home)}
			addr, err := netlink.ParseAddr("10.213.7.2/24")
			if err != nil {
				return nil, err
			}
			if err := errors.Join(netlink.LinkAdd(link), netlink.AddrAdd(link, addr), netlink.LinkSetUp(link)); err != nil {
				return nil, err
			}
			return net.Listen("tcp", "10.213.7.2:0")
		}()
		done <- made{l, err}
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	link, err := netlink.LinkByName("slipneighbour")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.l.Close(); _ = netlink.LinkDel(link) })
	addr, err := netlink.ParseAddr("10.213.7.1/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := m.l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return m.l.Addr().String()
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
	// And what was left before it had a record.
	unnamed := filepath.Join(o.Dir, "containers", "unnamed")
	past := time.Now().Add(-2 * time.Hour)
	if err := errors.Join(os.MkdirAll(filepath.Join(unnamed, "rootfs"), 0o700), os.Chtimes(unnamed, past, past)); err != nil {
		t.Fatal(err)
	}
	if err := (rootfs.Overlay{Lower: []string{"/usr", "/etc"}}).Mount(filepath.Join(unnamed, "rootfs")); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if h := holdings(t, o.Dir, "unnamed"); h.mounts+h.dirs != 0 {
		t.Errorf("left: %+v", h)
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

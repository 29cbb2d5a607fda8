package docker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/internal/container"
)

func write(t *testing.T, file, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

// contextFile is a file of a context's, as the docker command lays them out.
func contextFile(config, kind, name, file string) string {
	return filepath.Join(config, "contexts", kind, fmt.Sprintf("%x", sha256.Sum256([]byte(name))), file)
}

func TestFromEnv(t *testing.T) {
	home := t.TempDir()
	config := filepath.Join(home, ".docker")
	write(t, filepath.Join(config, "config.json"), `{"currentContext": "mine", "auths": {}}`)
	write(t, contextFile(config, "meta", "mine", "meta.json"), `{"Name": "mine", "Endpoints": {"docker": {"Host": "tcp://build:2376", "SkipTLSVerify": false}}}`)
	write(t, contextFile(config, "tls", "mine", "docker/ca.pem"), "x")
	write(t, contextFile(config, "meta", "far", "meta.json"), `{"Endpoints": {"docker": {"Host": "ssh://me@far"}}}`)
	write(t, contextFile(config, "meta", "none", "meta.json"), `{"Endpoints": {}}`)
	certs := t.TempDir()
	write(t, filepath.Join(certs, "cert.pem"), "x")
	empty := t.TempDir()
	broken := t.TempDir()
	write(t, filepath.Join(broken, "config.json"), "{")

	for name, test := range map[string]struct {
		env  []string
		home string
		want string // host
		tls  *TLS
		fail string
	}{
		"nothing said":     {home: empty, want: DefaultHost},
		"no home":          {want: DefaultHost},
		"host":             {env: []string{"DOCKER_HOST=unix:///run/x.sock", "DOCKER_CONTEXT=mine"}, home: home, want: "unix:///run/x.sock"},
		"current context":  {home: home, want: "tcp://build:2376", tls: &TLS{CA: contextFile(config, "tls", "mine", "docker/ca.pem")}},
		"named context":    {env: []string{"DOCKER_CONTEXT=mine"}, home: home, want: "tcp://build:2376", tls: &TLS{CA: contextFile(config, "tls", "mine", "docker/ca.pem")}},
		"default context":  {env: []string{"DOCKER_CONTEXT=default"}, home: home, want: DefaultHost},
		"config elsewhere": {env: []string{"DOCKER_CONFIG=" + config}, home: empty, want: "tcp://build:2376", tls: &TLS{CA: contextFile(config, "tls", "mine", "docker/ca.pem")}},
		"tls, unverified":  {env: []string{"DOCKER_HOST=tcp://h:1", "DOCKER_CERT_PATH=" + certs}, want: "tcp://h:1", tls: &TLS{Cert: filepath.Join(certs, "cert.pem"), SkipVerify: true}},
		"tls, verified":    {env: []string{"DOCKER_HOST=tcp://h:1", "DOCKER_CERT_PATH=" + certs, "DOCKER_TLS_VERIFY=1"}, want: "tcp://h:1", tls: &TLS{Cert: filepath.Join(certs, "cert.pem")}},
		"ssh":              {env: []string{"DOCKER_HOST=ssh://me@there"}, fail: "reached by ssh"},
		"ssh context":      {env: []string{"DOCKER_CONTEXT=far"}, home: home, fail: "reached by ssh"},
		"absent context":   {env: []string{"DOCKER_CONTEXT=gone"}, home: home, fail: `docker context "gone" does not exist`},
		"empty context":    {env: []string{"DOCKER_CONTEXT=none"}, home: home, fail: "names no docker endpoint"},
		"broken config":    {env: []string{"DOCKER_CONFIG=" + broken}, fail: "config.json"},
		"no scheme":        {env: []string{"DOCKER_HOST=localhost:2375"}, fail: "is not an address like"},
		"strange scheme":   {env: []string{"DOCKER_HOST=npipe:////./pipe/x"}, fail: "only unix:// and tcp://"},
	} {
		o := FromEnv(test.env, test.home)
		host, err := o.check()
		if test.fail != "" {
			if err == nil || !strings.Contains(err.Error(), test.fail) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: got %v, want %q in one line", name, err, test.fail)
			}
			continue
		}
		if err != nil || host != test.want || (o.TLS == nil) != (test.tls == nil) || o.TLS != nil && *o.TLS != *test.tls {
			t.Errorf("%s: got %q %+v %v", name, host, o.TLS, err)
		}
	}
}

func TestNoEngine(t *testing.T) {
	dir := t.TempDir()
	silent := filepath.Join(dir, "plain")
	write(t, silent, "")
	for _, test := range []struct {
		host   string
		cause  error
		reason Reason
		say    string
	}{
		{"unix://" + filepath.Join(dir, "absent.sock"), errors.New("x"), NotRunning, "is not running"},
		{"unix://" + silent, errors.New("x"), NotRunning, "systemctl start docker"},
		{"tcp://127.0.0.1:1", syscall.ECONNREFUSED, Unreachable, "cannot be reached"},
		{"tcp://h:1", syscall.EACCES, NoPermission, "usermod -aG docker"},
	} {
		e, ok := errors.AsType[*UnavailableError](diagnose(test.host, "", test.cause))
		if !ok || e.Reason != test.reason || !strings.Contains(e.Error(), test.say) || strings.Contains(e.Error(), "\n") {
			t.Errorf("%s: got %v (%v)", test.host, e, e.Reason)
		}
	}
	for _, host := range []string{"unix://" + filepath.Join(dir, "absent.sock"), "tcp://127.0.0.1:1"} {
		_, err := New(t.Context(), Options{Host: host, Origin: "DOCKER_HOST"})
		if _, ok := errors.AsType[*UnavailableError](err); !ok || !strings.Contains(err.Error(), "DOCKER_HOST") {
			t.Errorf("%s: got %v", host, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func FuzzParseContext(f *testing.F) {
	f.Add([]byte(`{"Endpoints": {"docker": {"Host": "unix:///x", "SkipTLSVerify": true}}}`))
	f.Add([]byte(`{"Endpoints": null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseContext("x", b, "")
		if (err == nil) == (o.Host == "") {
			t.Errorf("host %q, error %v", o.Host, err)
		}
	})
}

// TestRequest: the safe choice is what a Spec that says nothing gets.
func TestRequest(t *testing.T) {
	r := &Runtime{owner: container.Self()}
	o, err := r.request(container.Spec{Image: "x", Argv: []string{"/a", "b"}, Limits: container.Limits{Memory: 1 << 30}, Ports: []container.Port{{Container: 80}}})
	if err != nil {
		t.Fatal(err)
	}
	h, c := o.HostConfig, o.Config
	if h.Privileged || len(h.CapAdd) != 0 || len(h.CapDrop) != 1 || h.CapDrop[0] != "ALL" || len(h.SecurityOpt) != 1 || h.SecurityOpt[0] != "no-new-privileges:true" {
		t.Errorf("privileges: %+v", h)
	}
	if h.MemorySwap != h.Memory || h.LogConfig.Type != "none" || h.Init == nil || *h.Init || h.AutoRemove || len(h.Binds) != 0 {
		t.Errorf("host: %+v", h)
	}
	if c.User != "0:0" || c.Entrypoint[0] != "/a" || c.Cmd[0] != "b" || c.Labels[container.OwnerLabel] == "" {
		t.Errorf("config: %+v", c)
	}
	for port, bs := range h.PortBindings {
		if len(bs) != 1 || bs[0].HostIP.String() != "127.0.0.1" || bs[0].HostPort != "" || port.String() != "80/tcp" {
			t.Errorf("port %s: %+v", port, bs)
		}
	}
}

// What is mounted on the host later shows in the container where that was asked for, and nothing goes the other way.
func TestPropagation(t *testing.T) {
	got := mounts([]container.Mount{{Source: "/a", Target: "/b"}, {Source: "/a", Target: "/c", Slave: true}, {Source: "v", Target: "/d", Volume: true}})
	if got[0].BindOptions.Propagation != "rprivate" || got[1].BindOptions.Propagation != "rslave" || got[2].BindOptions != nil {
		t.Errorf("%+v", got)
	}
}

func TestNeverTheSocket(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "run", "engine.sock")
	write(t, sock, "")
	link := filepath.Join(dir, "innocent")
	if err := os.Symlink(filepath.Join(dir, "run"), link); err != nil {
		t.Fatal(err)
	}
	r := &Runtime{host: "unix://" + sock}
	for source, ok := range map[string]bool{
		sock: false, filepath.Dir(sock): false, dir: false, link: false, "/": false, "/var/run": false, "/run/docker.sock": false, link + "/engine.sock": false,
		filepath.Join(dir, "runs"): true, filepath.Join(dir, "run", "other"): true, "/etc": true,
	} {
		if err := r.checkMounts([]container.Mount{{Source: source, Target: "/x"}}); (err == nil) != ok {
			t.Errorf("%s: %v", source, err)
		}
	}
}

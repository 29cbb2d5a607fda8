package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func badRegistries(t *testing.T, y *yard) {
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	write(t, htpasswd, "me:"+string(hash)+"\n")
	closed := dockerRegistry(t, fmt.Sprintf("auth:\n  htpasswd: {realm: slipway, path: %q}\n", htpasswd))
	readOnly := dockerRegistry(t, "  maintenance:\n    readonly: {enabled: true}\n")
	denied := deniedRegistry(t)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	t.Cleanup(broken.Close)
	at500 := strings.TrimPrefix(broken.URL, "http://")
	// "me:wrong"
	wrong := fmt.Sprintf(`CNB_REGISTRY_AUTH={%q:"Basic bWU6d3Jvbmc="}`, closed)
	to := func(host string, more ...string) []string {
		return append([]string{"--name", host + "/team/app", "--publish"}, more...)
	}
	y.try(t,
		bad{name: "read-only", args: to(readOnly), code: 1, says: []string{readOnly + "/team/app", "read-only"}, hides: notBuilding},
		bad{name: "down", args: to("127.0.0.1:1"), code: 1, says: []string{"127.0.0.1:1", "refused"}, hides: notBuilding},
		bad{name: "no such host", args: to("registry.invalid"), code: 1, says: []string{"registry.invalid"}, hides: notBuilding},
		bad{name: "denied", args: to(denied), code: 1, says: []string{denied + "/team/app", "denies access"}, hides: notBuilding},
		bad{name: "broken", args: to(at500), code: 1, says: []string{at500, "500"}, hides: notBuilding},
		bad{name: "no credentials", args: to(closed), code: 1, says: []string{closed, "docker login"}, hides: notBuilding},
		bad{name: "wrong credentials", args: to(closed), env: []string{wrong}, code: 1, says: []string{closed}, never: []string{"bWU6d3Jvbmc", "wrong"}, hides: notBuilding},
		bad{name: "credentials are no JSON", args: to(closed), env: []string{"CNB_REGISTRY_AUTH={secret"}, code: 1, says: []string{"CNB_REGISTRY_AUTH"}, never: []string{"secret"}, hides: notBuilding},
		bad{name: "cache image", args: []string{"--cache-image", readOnly + "/team/cache"}, code: 1, says: []string{readOnly + "/team/cache", "read-only"}, hides: notBuilding},
		bad{name: "tag elsewhere", args: to(readOnly, "--tag", closed+"/team/app"), code: 1, says: []string{closed, readOnly}, hides: notBuilding},
	)
}

// dockerRegistry starts Debian's docker-registry; more goes below storage in its configuration.
func dockerRegistry(t *testing.T, more string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	write(t, config, fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {addr: %q}\nstorage:\n  filesystem: {rootdirectory: %q}\n%s", addr, dir, more))
	cmd := exec.Command("docker-registry", "serve", config)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &out, os.Environ()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (make setup installs docker-registry)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, so its exit says nothing
	})
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry did not start: %s", out.String())
	return ""
}

package docker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/docker"
)

// deaf makes the tests' engine answer on a socket of ours as one that has missed every kill at a memory limit.
func deaf(t *testing.T) (host string) {
	t.Helper()
	network, address, _ := strings.Cut(connect(t).Host(), "://")
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	proxy.Transport, proxy.FlushInterval = tr, -1
	proxy.ModifyResponse = func(res *http.Response) error {
		if !strings.HasSuffix(res.Request.URL.Path, "/json") {
			return nil
		}
		b, err := io.ReadAll(res.Body)
		b = bytes.ReplaceAll(b, []byte(`"OOMKilled":true`), []byte(`"OOMKilled":false`))
		res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		res.Header.Set("Content-Length", strconv.Itoa(len(b)))
		return err
	}
	socket := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			proxy.ServeHTTP(w, r)
		}
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return "unix://" + socket
}

// A kill at the memory limit is told also when the engine does not tell of it: we look at the kernel's count as long as the
// control group is there. On a machine that lets us wait for longer than that, one look of three may come too late.
func TestMemoryWithoutEvent(t *testing.T) {
	image := guestImage(t)
	rt, err := docker.New(t.Context(), docker.Options{Host: deaf(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close()
	for _, verb := range []string{"eat", "nurse"} {
		for try := 1; ; try++ {
			err := rt.Run(t.Context(), container.Spec{
				Image: image, Argv: []string{"/guest", verb, "256"}, Network: container.Network{Mode: "none"}, Limits: container.Limits{Memory: 64 << 20},
			})
			if e, ok := errors.AsType[*container.ExitError](err); ok && e.OutOfMemory {
				break
			}
			if try == 3 {
				t.Errorf("%s: %v", verb, err)
				break
			}
		}
	}
	err = rt.Run(t.Context(), container.Spec{
		Image: image, Argv: []string{"/guest", "exit", "137"}, Network: container.Network{Mode: "none"}, Limits: container.Limits{Memory: 64 << 20},
	})
	if e, ok := errors.AsType[*container.ExitError](err); !ok || e.OutOfMemory {
		t.Errorf("exit code 137: %v", err)
	}
}

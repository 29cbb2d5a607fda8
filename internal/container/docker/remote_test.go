package docker_test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/container/docker"
)

// forward makes the tests' engine answer on l as well.
func forward(t *testing.T, l net.Listener, network, address string) {
	t.Helper()
	var wg sync.WaitGroup
	half := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src)
		if c, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
	}
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer in.Close()
				out, err := net.Dial(network, address)
				if err != nil {
					return
				}
				defer out.Close()
				var both sync.WaitGroup
				both.Go(func() { half(out, in) })
				both.Go(func() { half(in, out) })
				both.Wait()
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

// TestRemote: an engine on TCP, plain and with TLS, streams both ways.
func TestRemote(t *testing.T) {
	image := guestImage(t)
	network, address, _ := strings.Cut(connect(t).Host(), "://")
	secured := httptest.NewTLSServer(nil)
	defer secured.Close()
	cert := secured.TLS.Certificates[0]
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o644); err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	plain := listen()
	forward(t, plain, network, address)
	overTLS := listen()
	forward(t, tls.NewListener(overTLS, &tls.Config{Certificates: []tls.Certificate{cert}}), network, address)

	for name, o := range map[string]docker.Options{
		"plain":      {Host: "tcp://" + plain.Addr().String()},
		"tls":        {Host: "tcp://" + overTLS.Addr().String(), TLS: &docker.TLS{CA: ca}},
		"unverified": {Host: "tcp://" + overTLS.Addr().String(), TLS: &docker.TLS{SkipVerify: true}},
	} {
		rt, err := docker.New(t.Context(), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var out bytes.Buffer
		err = rt.Run(t.Context(), container.Spec{
			Image: image, Argv: []string{"/guest", "cat"}, Network: container.Network{Mode: "none"},
			Stdin: strings.NewReader("through"), Stdout: &out,
		})
		if err = errors.Join(err, rt.Close()); err != nil || out.String() != "through" || rt.Local() {
			t.Errorf("%s: %v, %q", name, err, out.String())
		}
	}
	_, err := docker.New(t.Context(), docker.Options{Host: "tcp://" + overTLS.Addr().String(), TLS: &docker.TLS{}})
	if err == nil || !strings.Contains(err.Error(), "certificate is not trusted") || strings.Contains(err.Error(), "\n") {
		t.Errorf("untrusted certificate: %v", err)
	}
}

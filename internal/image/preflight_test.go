package image_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-build/slipway/internal/image"
)

// silence is a registry that takes connections and says nothing.
func silence(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // what is in its queue ends with it
	return l.Addr().String()
}

func TestPreflight(t *testing.T) {
	data := t.TempDir()
	plain := realRegistry(t, data, "")
	s := store(t)
	img := compose(t, nil, "x", layer(t, s.Store(), "x", unique(100)))
	g := client(t, image.RegistryOptions{})
	if _, err := g.Push(t.Context(), []image.Ref{ref(t, plain+"/app:1")}, img, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	readOnly := realRegistry(t, data, "  maintenance: {readonly: {enabled: true}}\n")
	locked := realRegistry(t, t.TempDir(), "auth: {htpasswd: {realm: test, path: "+htpasswd(t, "me", "secret-5pa55")+"}}\n")
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no\nluck", http.StatusBadGateway) }))
	t.Cleanup(failing.Close)
	denying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"not yours"}]}`, http.StatusForbidden)
		}
	}))
	t.Cleanup(denying.Close)
	tls := httptest.NewTLSServer(registry.New(quiet()))
	t.Cleanup(tls.Close)
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := down.Addr().String()
	down.Close()
	silent := silence(t)
	greets := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(greets.Close)
	stalls := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" && r.Method == http.MethodGet {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	t.Cleanup(stalls.Close)
	good := image.RegistryOptions{DockerConfig: dockerConfig(t, `{"auths":{"http://`+locked+`/v2/":{"auth":"`+basic("me", "secret-5pa55")+`"}}}`)}
	tests := []struct {
		name, image string
		options     image.RegistryOptions
		write       bool
		reason      image.Reason
		says        string
	}{
		{name: "write", image: plain + "/new", write: true},
		{name: "read", image: plain + "/app:1"},
		{name: "not found", image: plain + "/app:2", reason: image.ReasonNotFound, says: "has no such image"},
		{name: "read-only", image: readOnly + "/app", write: true, reason: image.ReasonReadOnly, says: "is read-only"},
		{name: "read from read-only", image: readOnly + "/app:1"},
		{name: "no credentials", image: locked + "/app", write: true, reason: image.ReasonUnauthorized, says: "docker login " + locked},
		{name: "wrong credentials", image: locked + "/app", write: true, reason: image.ReasonUnauthorized, says: "wants credentials",
			options: image.RegistryOptions{Env: []string{`CNB_REGISTRY_AUTH={"` + locked + `":"Basic ` + basic("me", "wrong-5pa55") + `"}`}}},
		{name: "docker config", image: locked + "/app", write: true, options: good},
		{name: "registry auth", image: locked + "/app", write: true,
			options: image.RegistryOptions{Env: []string{`CNB_REGISTRY_AUTH={"` + locked + `":"Basic ` + basic("me", "secret-5pa55") + `"}`}}},
		{name: "denied", image: denying.Listener.Addr().String() + "/app", write: true, reason: image.ReasonDenied, says: "denies access"},
		{name: "down", image: nobody + "/app", write: true, reason: image.ReasonDown, says: "not reachable"},
		{name: "silent", image: silent + "/app:1", reason: image.ReasonDown, says: "registry http://" + silent + " is not reachable: it took the connection and said nothing for 4s"},
		{name: "silent, write", image: silent + "/app", write: true, reason: image.ReasonDown, says: "said nothing for 4s"},
		{name: "silent after the greeting", image: greets.Listener.Addr().String() + "/app:1", reason: image.ReasonDown, says: "said nothing for 4s"},
		{name: "silent in the middle", image: stalls.Listener.Addr().String() + "/app:1", reason: image.ReasonDown, says: "said nothing for 4s"},
		{name: "failing", image: failing.Listener.Addr().String() + "/app", write: true, reason: image.ReasonDown, says: "502 Bad Gateway"},
		{name: "tls", image: tls.Listener.Addr().String() + "/app", write: true, reason: image.ReasonTLS, says: "--ca-cert"},
		{name: "tls with CA", image: tls.Listener.Addr().String() + "/app", write: true,
			options: image.RegistryOptions{CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := client(t, tt.options)
			check := g.CheckRead
			if tt.write {
				check = g.CheckWrite
			}
			err := check(context.WithoutCancel(t.Context()), ref(t, tt.image))
			if tt.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			re, ok := errors.AsType[*image.RegistryError](err)
			if !ok || re.Reason != tt.reason || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want reason %s and %q", err, tt.reason, tt.says)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "5pa55")) {
				t.Errorf("not one line without secrets: %q", err)
			}
		})
	}
}

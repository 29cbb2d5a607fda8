package image_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/image"
)

// counting is a registry that counts requests for manifests and blobs.
func counting(t *testing.T) (addr string, manifests, blobs *atomic.Int32) {
	t.Helper()
	manifests, blobs = &atomic.Int32{}, &atomic.Int32{}
	inner := registry.New(quiet())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/"):
			manifests.Add(1)
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			blobs.Add(1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String(), manifests, blobs
}

func TestPolicies(t *testing.T) {
	addr, manifests, blobs := counting(t)
	g := client(t, image.RegistryOptions{})
	s := store(t)
	old := compose(t, nil, "old", layer(t, s.Store(), "x", []byte("old")))
	fresh := compose(t, nil, "new", layer(t, s.Store(), "x", []byte("new")))
	name := addr + "/app:1"
	if _, err := g.Push(t.Context(), []image.Ref{ref(t, name)}, fresh, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), []image.Ref{ref(t, name), ref(t, addr+"/mine:1")}, old, nil); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		policy      image.Policy
		name, label string
		kind        image.Kind
	}{
		{image.PullAlways, name, "new", image.KindRegistry},
		{image.PullIfNotPresent, name, "old", image.KindStore},
		{"", name, "old", image.KindStore},
		{image.PullNever, name, "old", image.KindStore},
		{image.PullAlways, addr + "/mine:1", "old", image.KindStore},
	}
	for _, tt := range tests {
		got, err := (&image.Resolver{Images: s, Registry: g, Policy: tt.policy}).Resolve(t.Context(), tt.name)
		if err != nil {
			t.Errorf("%s %s: %v", tt.policy, tt.name, err)
		} else if got.Label("test") != tt.label || got.Kind != tt.kind {
			t.Errorf("%s %s: found %q as %s, want %q as %s", tt.policy, tt.name, got.Label("test"), got.Kind, tt.label, tt.kind)
		}
	}
	// What was pulled once is there without the registry when all of it was fetched.
	other := store(t)
	r := &image.Resolver{Images: other, Registry: g}
	never := &image.Resolver{Images: other, Registry: g, Policy: image.PullNever}
	img, err := r.Resolve(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if n := blobs.Load(); n > 2 {
		t.Errorf("resolving read %d blobs, want configs only", n)
	}
	if _, err := never.Resolve(t.Context(), name); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("without its layers: %v", err)
	}
	if err := r.Fetch(t.Context(), img); err != nil {
		t.Fatal(err)
	}
	before := manifests.Load() + blobs.Load()
	got, err := never.Resolve(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	sameImage(t, got, fresh)
	if n := manifests.Load() + blobs.Load(); n != before {
		t.Errorf("never: %d requests", n-before)
	}
	if l, err := other.List(t.Context()); err != nil || len(l) != 0 {
		t.Errorf("what was pulled is listed as an image of the store: %v, %v", l, err)
	}
}

func TestMirrors(t *testing.T) {
	addr, _, _ := counting(t)
	g := client(t, image.RegistryOptions{})
	s := store(t)
	img := compose(t, nil, "run", layer(t, s.Store(), "x", []byte("x")))
	if _, err := g.Push(t.Context(), []image.Ref{ref(t, addr+"/run:1")}, img, image.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	r := &image.Resolver{Images: store(t), Registry: g}
	got, err := r.ResolveAny(t.Context(), []string{"127.0.0.1:1/run:1", addr + "/gone:1", addr + "/run:1"})
	if err != nil || got.Ref.Name() != addr+"/run:1" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = r.ResolveAny(t.Context(), []string{"127.0.0.1:1/run:1", addr + "/gone:1"})
	if err == nil {
		t.Fatal("found")
	}
	for _, want := range []string{"none of 2 names", "127.0.0.1:1/run:1", addr + "/gone:1", "not reachable", "has no such image", "not in the local store"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
	r.Platform = v1.Platform{OS: "linux", Architecture: "s390x"}
	_, err = r.ResolveAny(t.Context(), []string{addr + "/run:1"})
	if _, ok := errors.AsType[*image.PlatformError](err); !ok {
		t.Errorf("another architecture: %v", err)
	}
}

// An image in Docker that came from a registry keeps the digest it has there.
func TestEngineImageOfRegistry(t *testing.T) {
	addr, _, _ := counting(t)
	g := client(t, image.RegistryOptions{})
	e := &spy{Engine: connect(t)}
	s := store(t)
	img := compose(t, nil, "run", layer(t, s.Store(), "x", unique(1000)))
	name := addr + "/run:1"
	w, err := g.Push(t.Context(), []image.Ref{ref(t, name)}, img, image.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pinned := pinnedEngine{e, addr + "/run@" + w.Digest.String()}
	remove(t, e, name)
	if _, err := image.LoadEngine(t.Context(), e, []image.Ref{ref(t, name)}, img, image.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := (&image.Resolver{Images: store(t), Registry: g, Engine: pinned}).Resolve(t.Context(), name)
	if err != nil || got.Kind != image.KindEngine {
		t.Fatalf("%+v, %v", got, err)
	}
	sameImage(t, got, img)
	if e.saves != 0 {
		t.Errorf("%d saves, want none", e.saves)
	}
	var _ v1.Image = got
}

package image_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-build/slipway/internal/image"
)

// TestUpload sends one of two layers ahead: the push neither asks for it nor sends it again, and counts it as sent. What
// failed ahead the push makes good.
func TestUpload(t *testing.T) {
	inner := registry.New(quiet())
	var mu sync.Mutex
	var asked []string // HEAD and PUT of blobs
	var broken bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		refuse := broken && r.Method == http.MethodPatch
		if strings.Contains(r.URL.Path, "/blobs/") && (r.Method == http.MethodHead || r.Method == http.MethodPut) {
			asked = append(asked, r.Method+" "+r.URL.String())
		}
		mu.Unlock()
		if refuse {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	s := store(t)
	first, second := layer(t, s.Store(), "first", unique(1<<18)), layer(t, s.Store(), "second", unique(1<<18))
	img := compose(t, nil, "x", first, second)
	name := []image.Ref{ref(t, srv.Listener.Addr().String()+"/x")}
	g := client(t, image.RegistryOptions{})
	up, err := g.NewUpload(t.Context(), name[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Layer(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	broken, asked = true, nil
	mu.Unlock()
	if err := up.Layer(t.Context(), second); err == nil {
		t.Error("a layer that the registry refused was sent")
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	w, err := g.Push(t.Context(), name, img, image.PushOptions{Upload: up})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := first.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range asked {
		if strings.Contains(a, digest.Hex) {
			t.Errorf("%s after the layer was sent", a)
		}
	}
	if w.Sent != 2 || w.Kept != 0 {
		t.Errorf("%d layers sent and %d kept, want 2 and 0", w.Sent, w.Kept)
	}
}

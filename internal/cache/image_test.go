package cache_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/cache"
	"github.com/slipway-build/slipway/internal/image"
)

// A server is a registry that writes down what it is asked.
type server struct {
	addr string
	mu   sync.Mutex
	seen []string
	lost string // a blob that is not there any more
	deny string // a method that is refused
}

func serve(t testing.TB) *server {
	t.Helper()
	s := &server{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Method+" "+r.URL.Path)
		lost, deny := s.lost != "" && strings.HasSuffix(r.URL.Path, s.lost), s.deny == r.Method
		if lost && r.Method == http.MethodPut {
			s.lost = ""
		}
		s.mu.Unlock()
		switch {
		case deny:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case lost && (r.Method == http.MethodHead || r.Method == http.MethodGet):
			w.WriteHeader(http.StatusNotFound)
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	s.addr = strings.TrimPrefix(h.URL, "http://")
	return s
}

// asked counts requests since the last call, by a prefix of "METHOD path".
func (s *server) asked(prefixes ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.seen {
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				n++
			}
		}
	}
	s.seen = nil
	return n
}

func (s *server) set(lost, deny string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost, s.deny = lost, deny
}

func client(t testing.TB) *image.Registry {
	t.Helper()
	g, err := image.NewRegistry(image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func parse(t testing.TB, s string) image.Ref {
	t.Helper()
	r, err := image.ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openImage(t testing.TB, ref string, o cache.ImageOptions) *cache.Image {
	t.Helper()
	c, err := cache.OpenImage(t.Context(), client(t), parse(t, ref), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func find(t testing.TB, ref string) *image.Image {
	t.Helper()
	img, err := client(t).Image(t.Context(), parse(t, ref), v1.Platform{OS: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// dockerRegistry starts Debian's docker-registry.
func dockerRegistry(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	config := filepath.Join(t.TempDir(), "config.yml")
	write(t, config, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {addr: \""+addr+"\"}\nstorage:\n  filesystem: {rootdirectory: \""+t.TempDir()+"\"}\n  delete: {enabled: true}\n")
	cmd := exec.Command("docker-registry", "serve", config)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, so its exit says nothing
	})
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("docker-registry did not start: %s", out.String())
	return ""
}

// TestImageFormat looks at the image: what it says it is, its label, its layers.
func TestImageFormat(t *testing.T) {
	for what, addr := range map[string]string{"ggcr": serve(t).addr, "docker-registry": dockerRegistry(t)} {
		ref := addr + "/team/cache:app"
		a, b, sbom := contentOf("a"), contentOf("b"), contentOf("sbom")
		md := metadata(b, a, b)
		md.BOM.SHA = sbom.id
		c := openImage(t, ref, cache.ImageOptions{})
		if c.Exists() || c.Name() != ref {
			t.Errorf("%s: before: %v, %s", what, c.Exists(), c.Name())
		}
		holds(t, c, cnb.CacheMetadata{})
		replace(t, c, md, from(t, a, b, sbom))
		if !c.Exists() {
			t.Errorf("%s: it does not exist", what)
		}
		holds(t, c, md, a, b, sbom)
		again := openImage(t, ref, cache.ImageOptions{})
		warned(t, again)
		holds(t, again, md, a, b, sbom)

		img := find(t, ref)
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		cf, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		label, err := json.Marshal(md)
		if err != nil {
			t.Fatal(err)
		}
		if cf.Config.Labels["io.buildpacks.lifecycle.cache.metadata"] != string(label) || len(cf.Config.Labels) != 1 {
			t.Errorf("%s: labels %q", what, cf.Config.Labels)
		}
		if cf.OS != "linux" || cf.Architecture != runtime.GOARCH || cf.Created.Format(time.RFC3339) != "1980-01-01T00:00:01Z" {
			t.Errorf("%s: config %+v", what, cf)
		}
		if m.MediaType != types.OCIManifestSchema1 || m.Config.MediaType != types.OCIConfigJSON || len(m.Layers) != 3 || m.Layers[0].MediaType != types.OCILayer {
			t.Errorf("%s: manifest %+v", what, m)
		}
		for i, want := range []*content{b, a, sbom} { // in the order of the metadata
			if cf.RootFS.DiffIDs[i].String() != want.id || cf.History[i].Created != cf.Created {
				t.Errorf("%s: layer %d is %s", what, i, cf.RootFS.DiffIDs[i])
			}
		}
	}
}

// TestImageReuse uploads what is new and reads nothing.
func TestImageReuse(t *testing.T) {
	s := serve(t)
	ref := s.addr + "/cache"
	a, b, c := contentOf("a"), contentOf("b"), contentOf("c")
	replace(t, openImage(t, ref, cache.ImageOptions{}), metadata(a, b), from(t, a, b))
	first := find(t, ref).ManifestDigest

	again := openImage(t, ref, cache.ImageOptions{})
	s.asked()
	replace(t, again, metadata(a, b), from(t))
	if n := s.asked("POST", "PATCH", "PUT", "GET /v2/cache/blobs"); n != 0 {
		t.Errorf("with nothing changed, %d blobs or manifests were moved", n)
	}
	if find(t, ref).ManifestDigest != first {
		t.Error("with nothing changed, it is another image")
	}
	s.asked()
	replace(t, again, metadata(a, c), from(t, c))
	if n := s.asked("GET /v2/cache/blobs"); n != 0 {
		t.Errorf("%d blobs were read", n)
	}
	holds(t, again, metadata(a, c), a, c)
	holds(t, openImage(t, ref, cache.ImageOptions{}), metadata(a, c), a, c)
	if _, err := client(t).Image(t.Context(), parse(t, ref).WithDigest(first), v1.Platform{OS: "linux"}); err != nil {
		t.Errorf("the image before was deleted: %v", err)
	}
	// A layer that has other contents than the image says is asked for.
	if err := again.Drop(a.id); err != nil {
		t.Fatal(err)
	}
	if again.HasLayer(a.id) || !again.HasLayer(c.id) {
		t.Error("the dropped layer is there, or another is gone")
	}
	replace(t, again, metadata(a, c), from(t, a))
	holds(t, again, metadata(a, c), a, c)
}

// TestImageDeletePrevious deletes the image that was replaced, if another took its place.
func TestImageDeletePrevious(t *testing.T) {
	s := serve(t)
	for what, addr := range map[string]string{"ggcr": s.addr, "docker-registry": dockerRegistry(t)} {
		ref := addr + "/cache"
		a, b := contentOf("a"), contentOf("b")
		replace(t, openImage(t, ref, cache.ImageOptions{DeletePrevious: true}), metadata(a), from(t, a))
		first := find(t, ref).ManifestDigest
		c := openImage(t, ref, cache.ImageOptions{DeletePrevious: true})
		replace(t, c, metadata(a), from(t)) // the same image
		holds(t, openImage(t, ref, cache.ImageOptions{}), metadata(a), a)
		replace(t, c, metadata(a, b), from(t, b))
		warned(t, c)
		holds(t, openImage(t, ref, cache.ImageOptions{}), metadata(a, b), a, b)
		if _, err := client(t).Image(t.Context(), parse(t, ref).WithDigest(first), v1.Platform{OS: "linux"}); !errors.Is(err, image.ErrNotFound) {
			t.Errorf("%s: the image before is still there: %v", what, err)
		}
	}
	s.set("", http.MethodDelete) // most registries
	c := openImage(t, s.addr+"/cache", cache.ImageOptions{DeletePrevious: true})
	replace(t, c, cnb.CacheMetadata{}, from(t))
	warned(t, c, "Unable to delete cache image: delete image")
}

// TestImageEmpty has a layer although nothing is cached.
func TestImageEmpty(t *testing.T) {
	ref := dockerRegistry(t) + "/cache"
	replace(t, openImage(t, ref, cache.ImageOptions{}), cnb.CacheMetadata{}, from(t))
	img := find(t, ref)
	if err := validate.Image(img); err != nil || len(img.Config.RootFS.DiffIDs) != 1 {
		t.Errorf("%v, %d layers", err, len(img.Config.RootFS.DiffIDs))
	}
	a := contentOf("a")
	c := openImage(t, ref, cache.ImageOptions{})
	warned(t, c)
	replace(t, c, metadata(a), from(t, a))
	holds(t, openImage(t, ref, cache.ImageOptions{}), metadata(a), a)
}

// TestImageLost asks for all layers where the registry has lost one.
func TestImageLost(t *testing.T) {
	s := serve(t)
	ref := s.addr + "/cache"
	a, b := contentOf("a"), contentOf("b")
	replace(t, openImage(t, ref, cache.ImageOptions{}), metadata(a), from(t, a))
	l, err := find(t, ref).LayerByDiffID(hash(t, a.id))
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s.set(d.String(), "")
	c := openImage(t, ref, cache.ImageOptions{})
	if _, err := c.Open(t.Context(), a.id); err == nil {
		t.Error("a blob that is gone was opened")
	}
	asked := 0
	err = c.Replace(t.Context(), metadata(a, b), func(id string) (v1.Layer, error) {
		asked++
		return from(t, a, b)(id)
	})
	if err != nil || asked < 2 {
		t.Errorf("%d layers were asked for: %v", asked, err)
	}
}

func hash(t testing.TB, s string) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestImageUnusable starts the build without a cache, and with a warning where there is one.
func TestImageUnusable(t *testing.T) {
	s := serve(t)
	a := contentOf("a")
	good, err := json.Marshal(metadata(a))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what string
		cf   v1.ConfigFile
		with *content
		want cnb.CacheMetadata
		had  []*content
		warn []string
	}{
		{"as the reference makes it", v1.ConfigFile{OS: "linux", Config: labels(string(good))}, a, metadata(a), []*content{a}, nil},
		{"of another machine", v1.ConfigFile{OS: "linux", Architecture: "s390x", Config: labels(string(good))}, a, cnb.CacheMetadata{}, nil, []string{"architecture s390x"}},
		{"of another system", v1.ConfigFile{OS: "windows", Config: labels(string(good))}, a, cnb.CacheMetadata{}, nil, []string{"cannot be read"}},
		{"without a label", v1.ConfigFile{OS: "linux"}, a, cnb.CacheMetadata{}, nil, nil},
		{"with a broken label", v1.ConfigFile{OS: "linux", Config: labels("{")}, a, cnb.CacheMetadata{}, nil, []string{"is not used"}},
		{"without its layer", v1.ConfigFile{OS: "linux", Config: labels(string(good))}, contentOf("b"), metadata(), nil, []string{"lacks the contents of layer test/one:a"}},
	} {
		ref := s.addr + "/" + strings.ReplaceAll(tc.what, " ", "-")
		img, err := mutate.ConfigFile(empty.Image, &tc.cf)
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, tc.with.layer(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := client(t).Push(t.Context(), []image.Ref{parse(t, ref)}, img, image.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		c := openImage(t, ref, cache.ImageOptions{})
		warned(t, c, tc.warn...)
		if !c.Exists() {
			t.Errorf("%s: it does not exist", tc.what)
		}
		holds(t, c, tc.want, tc.had...)
		replace(t, c, metadata(a), from(t, a))
		holds(t, openImage(t, ref, cache.ImageOptions{}), metadata(a), a)
		if cleared := openImage(t, ref, cache.ImageOptions{Clear: true}); !reflect.DeepEqual(cleared.Metadata(), cnb.CacheMetadata{}) || cleared.HasLayer(a.id) {
			t.Errorf("%s: cleared, it has %+v", tc.what, cleared.Metadata())
		}
	}
	s.set("", http.MethodGet)
	c := openImage(t, s.addr+"/without-a-label", cache.ImageOptions{})
	warned(t, c, "cannot be read, the build starts without")
	if _, err := cache.OpenImage(t.Context(), client(t), parse(t, "oci:dir"), cache.ImageOptions{}); err == nil {
		t.Error("a layout was opened as a cache image")
	}
}

func labels(text string) v1.Config {
	return v1.Config{Labels: map[string]string{cnb.LabelCacheMetadata: text}}
}

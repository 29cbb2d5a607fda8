package image_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/internal/image"
)

// cutter stands before a registry and cuts connections in the middle of large uploads.
type cutter struct {
	registry http.Handler
	after    int64 // bytes of a PATCH that are let through

	mu   sync.Mutex
	cuts int   // how many uploads it still cuts
	sent int64 // bytes of all PATCHes that came through
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch {
		c.mu.Lock()
		body := &cutBody{ReadCloser: r.Body, c: c, left: -1}
		if c.cuts > 0 && r.ContentLength > c.after {
			c.cuts--
			body.left = c.after
		}
		c.mu.Unlock()
		r.Body = body
	}
	c.registry.ServeHTTP(w, r)
}

type cutBody struct {
	io.ReadCloser
	c    *cutter
	left int64 // negative: no end
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	b.c.mu.Lock()
	b.c.sent += int64(n)
	b.c.mu.Unlock()
	return n, err
}

// chunked has uploads as the distribution spec describes them, in pieces that may be resumed, before a registry that
// only takes whole blobs.
type chunked struct {
	registry http.Handler
	silent   bool // it does not tell what has arrived

	mu      sync.Mutex
	uploads map[string]*bytes.Buffer
	ranges  []string // Content-Range of pieces that have one
}

func (c *chunked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dir, id := path.Split(r.URL.Path)
	if !strings.HasSuffix(dir, "/blobs/uploads/") {
		c.registry.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method == http.MethodPost {
		id = fmt.Sprint("upload-", len(c.uploads))
		c.uploads[id] = &bytes.Buffer{}
	}
	up := c.uploads[id]
	if up == nil || c.silent && r.Method == http.MethodGet {
		http.NotFound(w, r)
		return
	}
	status := map[string]int{http.MethodPost: http.StatusAccepted, http.MethodPatch: http.StatusAccepted, http.MethodGet: http.StatusNoContent}[r.Method]
	switch r.Method {
	case http.MethodPut:
		r.Method, r.URL.Path, r.Body, r.ContentLength = http.MethodPost, dir, io.NopCloser(up), int64(up.Len())
		c.registry.ServeHTTP(w, r)
		return
	case http.MethodPatch:
		if at := r.Header.Get("Content-Range"); at != "" {
			c.ranges = append(c.ranges, at)
			if !strings.HasPrefix(at, fmt.Sprintf("%d-", up.Len())) {
				http.Error(w, at, http.StatusRequestedRangeNotSatisfiable)
				return
			}
		} else {
			up.Reset()
		}
		if _, err := io.Copy(up, r.Body); err != nil {
			panic(http.ErrAbortHandler) // cuts the connection
		}
	}
	w.Header().Set("Location", fmt.Sprintf("%s%s?have=%d", dir, id, up.Len()))
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, up.Len()-1)))
	w.WriteHeader(status)
}

func proxyTo(t *testing.T, addr string) http.Handler {
	t.Helper()
	to, err := url.Parse("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}

// An upload that is cut goes on where the registry says that it has got to. A registry that says nothing, and Docker's
// own, which gives up a cut upload, get the blob anew.
func TestPushResumes(t *testing.T) {
	const size, after = 8 << 20, 3 << 20
	for _, tc := range []struct {
		name    string
		cuts    int
		docker  bool
		silent  bool
		resumed string
		most    int64 // bytes sent in all
	}{
		{name: "not cut", most: size},
		{name: "cut once", cuts: 1, resumed: "3145728-", most: size},
		{name: "cut twice", cuts: 2, resumed: "3145728- 6291456-", most: size},
		{name: "cut and silent", cuts: 1, silent: true, most: size + after},
		{name: "cut and Docker's", cuts: 1, docker: true, most: size + after},
	} {
		t.Run(tc.name, func(t *testing.T) {
			up := &chunked{registry: registry.New(quiet()), silent: tc.silent, uploads: map[string]*bytes.Buffer{}}
			c := &cutter{registry: up, after: after, cuts: tc.cuts}
			if tc.docker {
				c.registry = proxyTo(t, realRegistry(t, t.TempDir(), ""))
			}
			s := httptest.NewServer(c)
			t.Cleanup(s.Close)
			addr := strings.TrimPrefix(s.URL, "http://")
			content := make([]byte, size) // does not compress
			if _, err := rand.Read(content); err != nil {
				t.Fatal(err)
			}
			img := compose(t, nil, "x", layer(t, store(t).Store(), "x", content))
			g := client(t, image.RegistryOptions{})
			if w, err := g.Push(t.Context(), []image.Ref{ref(t, addr+"/x")}, img, image.PushOptions{}); err != nil || w.Sent != 1 {
				t.Fatalf("push: %+v, %v", w, err)
			}
			var at []string
			for _, r := range up.ranges {
				at = append(at, r[:strings.Index(r, "-")+1])
			}
			if got := strings.Join(at, " "); c.cuts != 0 || got != tc.resumed {
				t.Errorf("%d cuts left, resumed at %q; want %q", c.cuts, got, tc.resumed)
			}
			if c.sent > tc.most+1<<16 {
				t.Errorf("%d bytes sent for a layer of %d", c.sent, size)
			}
			got, err := g.Image(t.Context(), ref(t, addr+"/x"), v1.Platform{})
			if err != nil {
				t.Fatal(err)
			}
			sameImage(t, got, img)
			if err := validate.Image(got); err != nil {
				t.Error(err)
			}
		})
	}
}

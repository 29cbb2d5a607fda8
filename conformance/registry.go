package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Access is what the case's registries forbid. Names are regular expressions of repositories.
type Access struct {
	NoRead  []string `toml:"no-read"`  // answers 401 to every question about it
	NoWrite []string `toml:"no-write"` // answers 401 to uploads
	User    string   `toml:"user"`     // wants this user and password for everything
	Secret  string   `toml:"password"` //
	Either  bool     `toml:"second"`   // the second registry wants the same; else it is open
}

// A testRegistry keeps images in memory and what it was asked.
type testRegistry struct {
	server *httptest.Server
	access Access
	key    string // lets the suite itself in

	mu    sync.Mutex
	asked []string
}

// A registryPair is the registry of a case, and a second one for what must be elsewhere.
type registryPair struct{ first, second *testRegistry }

const keyHeader = "X-Conformance-Key"

func newRegistryPair(access Access) *registryPair {
	second := Access{}
	if access.Either {
		second = access
	}
	return &registryPair{first: newTestRegistry(access), second: newTestRegistry(second)}
}

func newTestRegistry(access Access) *testRegistry {
	r := &testRegistry{access: access, key: "suite"}
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get(keyHeader) != r.key {
			r.mu.Lock()
			r.asked = append(r.asked, q.Method+" "+q.URL.RequestURI())
			r.mu.Unlock()
			if !r.allows(q) {
				w.Header().Set("WWW-Authenticate", `Basic realm="conformance"`)
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"not for you"}]}`, http.StatusUnauthorized)
				return
			}
		}
		store.ServeHTTP(w, q)
	}))
	return r
}

func (r *testRegistry) allows(q *http.Request) bool {
	if r.access.User != "" {
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte(r.access.User+":"+r.access.Secret))
		if q.Header.Get("Authorization") != want {
			return false
		}
	}
	path := strings.TrimPrefix(q.URL.Path, "/v2/")
	for _, part := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if before, _, found := strings.Cut(path, part); found {
			path = before
		}
	}
	matches := func(patterns []string) bool {
		for _, p := range patterns {
			if path != "" && regexp.MustCompile("^(?:"+p+")$").MatchString(path) {
				return true
			}
		}
		return false
	}
	reads := q.Method == http.MethodGet || q.Method == http.MethodHead
	return !matches(r.access.NoRead) && (reads || !matches(r.access.NoWrite))
}

func (r *testRegistry) host() string { return strings.TrimPrefix(r.server.URL, "http://") }

// requests returns what was asked since the last call.
func (p *registryPair) requests() []string {
	var all []string
	for _, r := range []*testRegistry{p.first, p.second} {
		r.mu.Lock()
		all = append(all, r.asked...)
		r.asked = nil
		r.mu.Unlock()
	}
	return all
}

func (p *registryPair) close() {
	p.first.server.Close()
	p.second.server.Close()
}

// keyed is the suite's own way in.
type keyed struct{ key string }

func (k keyed) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.Header.Set(keyHeader, k.key)
	return http.DefaultTransport.RoundTrip(q)
}

func (p *registryPair) options() []remote.Option {
	return []remote.Option{remote.WithTransport(keyed{p.first.key})}
}

func (p *registryPair) push(ref string, image v1.Image) error {
	tag, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(tag, image, p.options()...)
}

// pull returns an image, or nil where there is none.
func (p *registryPair) pull(ref string) (v1.Image, error) {
	tag, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		return nil, err
	}
	image, err := remote.Image(tag, p.options()...)
	if refused, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err); ok && strings.Contains(refused.Error(), "UNKNOWN") {
		return nil, nil
	}
	return image, err
}

// digest is the digest of an image's manifest, or of its layer with that number.
func (p *registryPair) digest(ref string, layer int) (string, error) {
	image, err := p.pull(ref)
	if err != nil {
		return "", err
	}
	if image == nil {
		return "", errors.New("no image " + ref)
	}
	if layer < 0 {
		digest, err := image.Digest()
		return digest.String(), err
	}
	layers, err := image.Layers()
	if err != nil {
		return "", err
	}
	if layer >= len(layers) {
		return "", fmt.Errorf("image %s has %d layers", ref, len(layers))
	}
	digest, err := layers[layer].Digest()
	return digest.String(), err
}

// repository is a reference without tag or digest.
func repository(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		return ref[:colon]
	}
	return ref
}

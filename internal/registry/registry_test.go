package registry_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/registry"
)

// house is who may do what in these tests: alice has alice/..., by password or token; bob has bob/... and may pull
// public/...; root may do everything.
func house(_ context.Context, a registry.Access) error {
	user := ""
	switch {
	case a.Token == "alice-token", a.Username == "alice" && a.Password == "alice-password":
		user = "alice"
	case a.Username == "bob" && a.Password == "bob-password":
		user = "bob"
	case a.Username == "root" && a.Password == "root-password":
		return nil
	default:
		return registry.ErrUnauthenticated
	}
	switch {
	case a.Repository == "", strings.HasPrefix(a.Repository, user+"/"):
		return nil
	case strings.HasPrefix(a.Repository, "public/") && a.Verb == registry.Pull:
		return nil
	}
	return registry.ErrDenied
}

var (
	alice = &authn.Basic{Username: "alice", Password: "alice-password"}
	bob   = &authn.Basic{Username: "bob", Password: "bob-password"}
	root  = &authn.Basic{Username: "root", Password: "root-password"}
)

type served struct {
	*registry.Registry
	t    *testing.T
	dir  string
	host string
	http *httptest.Server
}

func serve(t *testing.T, dir string, change func(*registry.Options)) *served {
	t.Helper()
	o := registry.Options{Dir: dir, Authorize: house}
	if change != nil {
		change(&o)
	}
	r, err := registry.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(r.Handler())
	t.Cleanup(func() {
		s.Close()
		if err := r.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return &served{r, t, dir, strings.TrimPrefix(s.URL, "http://"), s}
}

func (s *served) ref(text string) name.Reference {
	s.t.Helper()
	ref, err := name.ParseReference(s.host + "/" + text)
	if err != nil {
		s.t.Fatal(err)
	}
	return ref
}

func (s *served) push(auth authn.Authenticator, ref string, img v1.Image) v1.Hash {
	s.t.Helper()
	if err := remote.Write(s.ref(ref), img, remote.WithAuth(auth), remote.WithContext(s.t.Context())); err != nil {
		s.t.Fatal(err)
	}
	return must(img.Digest())(s.t)
}

// pull pulls all of an image and looks at every byte.
func (s *served) pull(auth authn.Authenticator, ref string) (v1.Hash, error) {
	img, err := remote.Image(s.ref(ref), remote.WithAuth(auth), remote.WithContext(s.t.Context()))
	if err != nil {
		return v1.Hash{}, err
	}
	if err := validate.Image(img); err != nil {
		return v1.Hash{}, err
	}
	return img.Digest()
}

// do makes a request as root or, if user is "", as nobody, and returns its answer with the body read.
func (s *served) do(user, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.http.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, user+"-password")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.http.Client().Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, string(text)
}

// begin begins an upload as root and returns where it goes on.
func (s *served) begin(repo string) string {
	s.t.Helper()
	resp, body := s.do("root", "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	if resp.StatusCode != http.StatusAccepted {
		s.t.Fatalf("POST: %s %s", resp.Status, body)
	}
	return resp.Header.Get("Location")
}

func (s *served) blobFile(repo string, h v1.Hash) string {
	return filepath.Join(s.dir, "repositories", repo, "blobs", h.Algorithm, h.Hex)
}

// age makes every blob of a repository older than any grace time.
func (s *served) age(repo string) {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "repositories", repo, "blobs", "sha256", "*"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("no blobs in %s: %v", repo, err)
	}
	old := time.Now().Add(-24 * time.Hour)
	for _, f := range files {
		if err := os.Chtimes(f, old, old); err != nil {
			s.t.Fatal(err)
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func image(t *testing.T, layers int64) v1.Image {
	t.Helper()
	return must(random.Image(2000, layers))(t)
}

func dig(h v1.Hash) string { return h.String() }

func TestPushPullDelete(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	img := image(t, 3)
	h := s.push(alice, "alice/web:v1", img)
	s.push(&authn.Bearer{Token: "alice-token"}, "alice/web:v2", img)
	for _, ref := range []string{"alice/web:v1", "alice/web:v2", "alice/web@" + h.String()} {
		for _, auth := range []authn.Authenticator{alice, root, &authn.Bearer{Token: "alice-token"}} {
			got, err := s.pull(auth, ref)
			if err != nil || got != h {
				t.Errorf("pull %s: %v, %v; want %v", ref, got, err, h)
			}
		}
	}
	tags, err := remote.List(s.ref("alice/web").Context(), remote.WithAuth(alice), remote.WithPageSize(1))
	if err != nil || !slices.Equal(tags, []string{"v1", "v2"}) {
		t.Errorf("tags %q, %v", tags, err)
	}
	if err := remote.Delete(s.ref("alice/web:v1"), remote.WithAuth(alice)); err != nil {
		t.Error(err)
	}
	if _, err := s.pull(alice, "alice/web:v1"); err == nil {
		t.Error("the tag v1 is still there")
	}
	if _, err := s.pull(alice, "alice/web:v2"); err != nil {
		t.Error(err)
	}
	if err := remote.Delete(s.ref("alice/web@"+h.String()), remote.WithAuth(alice)); err != nil {
		t.Error(err)
	}
	if _, err := s.pull(alice, "alice/web@"+h.String()); err == nil {
		t.Error("the manifest is still there")
	}
	// What the client pushes again, the registry takes again.
	s.push(alice, "alice/web:v3", img)
	if _, err := s.pull(alice, "alice/web:v3"); err != nil {
		t.Error(err)
	}
}

func TestPushIndexAndArtifact(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	idx := must(random.Index(1000, 2, 2))(t)
	if err := remote.WriteIndex(s.ref("alice/multi:all"), idx, remote.WithAuth(alice)); err != nil {
		t.Fatal(err)
	}
	got := must(remote.Index(s.ref("alice/multi:all"), remote.WithAuth(alice)))(t)
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}
	img := image(t, 1)
	h := s.push(alice, "alice/multi:app", img)
	sig := signature(t, img)
	s.push(alice, "alice/multi@"+must(sig.Digest())(t).String(), sig)
	refs := must(remote.Referrers(s.ref("alice/multi@"+h.String()).(name.Digest), remote.WithAuth(alice)))(t)
	m := must(refs.IndexManifest())(t)
	if len(m.Manifests) != 1 || m.Manifests[0].Digest != must(sig.Digest())(t) {
		t.Errorf("referrers %+v", m.Manifests)
	}
}

// signature is an image whose subject is img.
func signature(t *testing.T, img v1.Image) v1.Image {
	t.Helper()
	layer := must(random.Layer(100, types.OCILayer))(t)
	sig := must(mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer))(t)
	desc := v1.Descriptor{MediaType: must(img.MediaType())(t), Digest: must(img.Digest())(t), Size: must(img.Size())(t)}
	return mutate.Subject(sig, desc).(v1.Image)
}

// TestRestart stops the registry in the middle of use, without a word, and opens it again.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, nil)
	one, two := image(t, 2), image(t, 2)
	h1 := s.push(alice, "alice/web:one", one)
	h2 := s.push(alice, "alice/web/worker:two", two)
	if err := s.Tag(t.Context(), "alice/web", "latest", dig(h1)); err != nil {
		t.Fatal(err)
	}
	loc := s.begin("alice/web")
	resp, _ := s.do("root", "PATCH", loc, strings.NewReader("half of it"))
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Range") != "0-9" {
		t.Fatalf("PATCH: %s, %s", resp.Status, resp.Header.Get("Range"))
	}
	s.http.Close()

	s = serve(t, dir, nil)
	for ref, want := range map[string]v1.Hash{
		"alice/web:one": h1, "alice/web:latest": h1, "alice/web/worker:two": h2, "alice/web@" + h1.String(): h1,
	} {
		if got, err := s.pull(alice, ref); err != nil || got != want {
			t.Errorf("pull %s after the restart: %v, %v", ref, got, err)
		}
	}
	if resp, body := s.do("root", "PATCH", resp.Header.Get("Location"), strings.NewReader("rest")); resp.StatusCode != http.StatusNotFound ||
		!strings.Contains(body, "BLOB_UPLOAD_UNKNOWN") {
		t.Errorf("an upload from before the restart: %s %s", resp.Status, body)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "repositories/alice/web/_uploads/*")); len(left) > 0 {
		t.Errorf("left of an upload: %v", left)
	}
	s.push(alice, "alice/web:three", image(t, 2))
	if _, err := s.pull(alice, "alice/web:three"); err != nil {
		t.Error(err)
	}
}

// TestRepair opens a directory as a power cut may leave it: an index without its bytes, a blob with its name but not all
// of its bytes, temporary files.
func TestRepair(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, nil)
	img := image(t, 1)
	h := s.push(alice, "alice/web:v1", img)
	s.http.Close()
	repo := filepath.Join(dir, "repositories/alice/web")
	torn := digest.FromString("all of it")
	for name, text := range map[string]string{
		"index.json": "", "index.json.123": "{", "index.json.next": "", "blobs/sha256/" + torn.Encoded(): "all",
	} {
		path := filepath.Join(repo, name)
		if err := errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	cut := filepath.Join(dir, "repositories/alice/web/cut") // a deletion that a crash cut, inside of another repository
	if err := errors.Join(os.MkdirAll(cut+"/_uploads", 0o700), os.MkdirAll(cut+"/blobs/sha256", 0o700), os.WriteFile(cut+"/index.json.safe", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s = serve(t, dir, nil)
	if _, err := os.Stat(cut); err == nil {
		t.Errorf("left of a deletion:\n%s", tree(t, cut))
	}
	if got, err := s.pull(alice, "alice/web:v1"); err != nil || got != h {
		t.Errorf("pull after the repair: %v, %v", got, err)
	}
	if resp, _ := s.do("root", "HEAD", "/v2/alice/web/blobs/"+torn.String(), nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a torn blob: %s", resp.Status)
	}
	if left, _ := filepath.Glob(filepath.Join(repo, "index.json.[^s]*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestMount(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	base := image(t, 1)
	s.push(root, "public/base:1", base)
	s.push(alice, "alice/private:1", base)
	h := must(must(base.Layers())(t)[0].Digest())(t)
	path := "/v2/bob/app/blobs/uploads/?mount=" + h.String() + "&from="
	for _, from := range []string{"alice/private", "public/none", "../alice", "public/base"} {
		want, there := http.StatusAccepted, http.StatusNotFound
		if from == "public/base" {
			want, there = http.StatusCreated, http.StatusOK
		}
		if resp, _ := s.do("bob", "POST", path+from, nil); resp.StatusCode != want {
			t.Errorf("mount from %s: %s, want %d", from, resp.Status, want)
		}
		if resp, _ := s.do("bob", "HEAD", "/v2/bob/app/blobs/"+h.String(), nil); resp.StatusCode != there {
			t.Errorf("after the mount from %s: %s", from, resp.Status)
		}
	}
	if !mounted(t, s, h) {
		t.Error("the mount is a copy")
	}
	before := must(s.Usage(t.Context()))(t)
	layer := &remote.MountableLayer{Layer: must(base.Layers())(t)[0], Reference: s.ref("public/base:1")}
	img := must(mutate.AppendLayers(empty.Image, layer, must(random.Layer(500, types.DockerLayer))(t)))(t)
	s.push(bob, "bob/app:1", img)
	if _, err := s.pull(bob, "bob/app:1"); err != nil {
		t.Error(err)
	}
	if after := must(s.Usage(t.Context()))(t); after.Bytes-before.Bytes > 5000 || after.Repositories != 3 {
		t.Errorf("usage %+v, before %+v", after, before)
	}
}

func mounted(t *testing.T, s *served, h v1.Hash) bool {
	t.Helper()
	a, errA := os.Stat(s.blobFile("public/base", h))
	b, errB := os.Stat(s.blobFile("bob/app", h))
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// upload pushes bytes as a blob in one PATCH and a PUT.
func (s *served) upload(repo string, body io.Reader, d digest.Digest) (int, string) {
	s.t.Helper()
	resp, text := s.do("root", "PATCH", s.begin(repo), body)
	if resp.StatusCode != http.StatusAccepted {
		return resp.StatusCode, text
	}
	resp, text = s.do("root", "PUT", resp.Header.Get("Location")+"&digest="+d.String(), nil)
	return resp.StatusCode, text
}

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return fmt.Sprintf("%x", b)[:n]
}

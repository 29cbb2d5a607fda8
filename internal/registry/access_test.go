package registry_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/registry"
)

// everyRoute is each kind of request to a repository.
func everyRoute(repo string) [][2]string {
	d := digest.FromString("x").String()
	return [][2]string{
		{"GET", "/v2/" + repo + "/manifests/latest"}, {"HEAD", "/v2/" + repo + "/manifests/" + d}, {"PUT", "/v2/" + repo + "/manifests/latest"},
		{"DELETE", "/v2/" + repo + "/manifests/" + d}, {"GET", "/v2/" + repo + "/blobs/" + d}, {"HEAD", "/v2/" + repo + "/blobs/" + d},
		{"POST", "/v2/" + repo + "/blobs/uploads/"}, {"POST", "/v2/" + repo + "/blobs/uploads"}, {"PATCH", "/v2/" + repo + "/blobs/uploads/abc"},
		{"PUT", "/v2/" + repo + "/blobs/uploads/abc?digest=" + d}, {"GET", "/v2/" + repo + "/blobs/uploads/abc"},
		{"DELETE", "/v2/" + repo + "/blobs/uploads/abc"}, {"GET", "/v2/" + repo + "/tags/list"}, {"GET", "/v2/" + repo + "/referrers/" + d},
	}
}

func TestWithoutCredentials(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	s.push(alice, "alice/web:latest", image(t, 1))
	for _, r := range append(everyRoute("alice/web"), [2]string{"GET", "/v2/"}, [2]string{"GET", "/v2"}, [2]string{"GET", "/v2/_catalog"}) {
		for _, authorization := range []string{"", "Basic", "Basic Og==", "Bearer", "Bearer nonsense", "Basic YWxpY2U6d3Jvbmc="} {
			if r[1] == "/v2/_catalog" && strings.HasSuffix(authorization, "nonsense") || strings.HasSuffix(authorization, "=") {
				continue // credentials that are wrong are looked at once the path is known
			}
			resp, body := s.do("", r[0], r[1], nil, "Authorization", authorization)
			if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic realm=") {
				t.Errorf("%s %s with %q: %s %q %s", r[0], r[1], authorization, resp.Status, resp.Header.Get("WWW-Authenticate"), body)
			}
		}
	}
	if resp, body := s.do("", "GET", "/v2/", nil, "Authorization", "Basic YWxpY2U6d3Jvbmc="); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong password: %s %s", resp.Status, body)
	}
	if resp, body := s.do("alice", "GET", "/v2/", nil); resp.StatusCode != http.StatusOK || body != "{}" {
		t.Errorf("the right password: %s %s", resp.Status, body)
	}
	for _, r := range [][2]string{{"alice", "/v2/"}, {"", "/v2/"}, {"alice", "/v2/alice/web/manifests/latest"}, {"alice", "/v2/alice/web/manifests/none"}} {
		if resp, _ := s.do(r[0], "GET", r[1], nil); resp.Header.Get("X-Content-Type-Options") != "nosniff" { // the console's browsers come here too
			t.Errorf("%s: a browser may take it for something else", r[1])
		}
	}
}

// TestForeignRepository holds that what is another's and what is not there look the same.
func TestForeignRepository(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	s.push(alice, "alice/web:latest", image(t, 1))
	there, missing := everyRoute("alice/web"), everyRoute("alice/none")
	for i := range there {
		resp, body := s.do("bob", there[i][0], there[i][1], strings.NewReader("{}"))
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s %s: %s %s", there[i][0], there[i][1], resp.Status, body)
		}
		if resp2, body2 := s.do("bob", missing[i][0], missing[i][1], strings.NewReader("{}")); resp2.StatusCode != resp.StatusCode || body2 != body {
			t.Errorf("%s: another's %s %s, nobody's %s %s", there[i][1], resp.Status, body, resp2.Status, body2)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "repositories/alice/none")); err == nil {
		t.Error("a refused push made a repository")
	}
	for _, r := range missing[:2] { // to the owner it is not there either, and asking does not make it
		if resp, _ := s.do("alice", r[0], r[1], nil); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s %s: %s", r[0], r[1], resp.Status)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "repositories/alice/none")); err == nil {
		t.Error("a pull made a repository")
	}
}

func TestAuthorizeSees(t *testing.T) {
	var seen []registry.Access
	s := serve(t, t.TempDir(), func(o *registry.Options) {
		o.Authorize = func(_ context.Context, a registry.Access) error {
			seen = append(seen, a)
			if a.Username == "broken" {
				return errors.New("the database of users is away: password hunter2")
			}
			return nil
		}
	})
	s.do("u", "PUT", "/v2/a/b/manifests/v1", strings.NewReader("{}"))
	s.do("u", "GET", "/v2/a/b/manifests/v1", nil)
	s.do("u", "DELETE", "/v2/a/b/manifests/v1", nil)
	s.do("", "POST", "/v2/a/b/blobs/uploads/?from=c&mount="+digest.FromString("x").String(), nil, "Authorization", "bearer  tok ")
	want := []registry.Access{
		{Repository: "a/b", Verb: registry.Push, Tag: "v1", Username: "u", Password: "u-password"},
		{Repository: "a/b", Verb: registry.Pull, Username: "u", Password: "u-password"},
		{Repository: "a/b", Verb: registry.Delete, Tag: "v1", Username: "u", Password: "u-password"},
		{Repository: "a/b", Verb: registry.Push, Token: "tok"},
		{Repository: "c", Verb: registry.Pull, Token: "tok"},
	}
	if len(seen) != len(want) {
		t.Fatalf("seen %+v", seen)
	}
	for i := range want {
		if seen[i] != want[i] {
			t.Errorf("seen %+v, want %+v", seen[i], want[i])
		}
	}
	if resp, body := s.do("broken", "GET", "/v2/a/b/tags/list", nil); resp.StatusCode != 500 || strings.Contains(body, "hunter2") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

func TestHostileNames(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	before := tree(t, s.dir)
	long := strings.Repeat("a", 101)
	for _, repo := range []string{
		"..", "../x", "a/../b", "a//b", "/a", "a/", ".", "a/.", "A", "a_", "-a", "a/_uploads", "a/blobs", "blobs", "a/oci-layout",
		"a/index.json", "index.json.safe", "a%2f..%2f..%2fb", "a%00b", "a%0ab", "a%5cb", "ä", "a:b", "a@b", "a b", long, "a/" + long,
		strings.Repeat("a/", 120) + "a", "%2e%2e/%2e%2e/etc",
	} {
		for _, r := range everyRoute(strings.ReplaceAll(repo, " ", "%20")) {
			resp, body := s.do("root", r[0], r[1], strings.NewReader("{}"))
			if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s %s", r[0], r[1], resp.Status, body)
			}
		}
		if err := s.Tag(t.Context(), repo, "x", digest.FromString("x").String()); err == nil {
			t.Errorf("Tag in %q", repo)
		}
		if err := s.DeleteRepo(t.Context(), repo); err == nil {
			t.Errorf("DeleteRepo of %q", repo)
		}
	}
	for _, arg := range []string{"..", ".a", "-a", "a/b", "sha256:../../x", "sha256:" + strings.Repeat("g", 64), "md5:abc", strings.Repeat("a", 129), "a%0a"} {
		resp, body := s.do("root", "PUT", "/v2/a/manifests/"+arg, strings.NewReader("{}"))
		if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusNotFound {
			t.Errorf("PUT manifest %s: %s %s", arg, resp.Status, body)
		}
	}
	if after := tree(t, s.dir); after != before {
		t.Errorf("made on disk:\n%s", after)
	}
	// Odd, but right.
	s.push(root, "manifests/tags/uploads:list", image(t, 1))
	s.push(root, "a.b/c__d/e--f/x1:"+strings.Repeat("t", 128), image(t, 1))
	if _, err := s.pull(root, "manifests/tags/uploads:list"); err != nil {
		t.Error(err)
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		b.WriteString(path + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHostileManifests(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	d := digest.FromString("x").String()
	for _, text := range []string{
		"", "[]", "null", "{", `{"schemaVersion":1}`, strings.Repeat("[", 100000),
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":"sha256:../../../../etc/passwd"},"layers":[]}`,
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":"` + d + `"},"layers":[{"digest":"` + d + `"}]}`,
		`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"../x"}]}`,
	} {
		resp, body := s.do("root", "PUT", "/v2/a/b/manifests/v1", strings.NewReader(text))
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.60s: %s %s", text, resp.Status, body)
		}
	}
	if tags, err := s.Tags(t.Context(), "a/b"); err != nil || len(tags) > 0 {
		t.Errorf("tags %q, %v", tags, err)
	}
}

func TestOversize(t *testing.T) {
	s := serve(t, t.TempDir(), func(o *registry.Options) { o.Limits = registry.Limits{Manifest: 1000, Blob: 2000} })
	pad := strings.Repeat(" ", 1000)
	for _, body := range []io.Reader{strings.NewReader("{}" + pad), io.MultiReader(strings.NewReader("{}" + pad))} { // the second is chunked
		resp, text := s.do("root", "PUT", "/v2/a/manifests/v1", body)
		if resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(text, "1000 bytes") {
			t.Errorf("a manifest of 1002 bytes: %s %s", resp.Status, text)
		}
	}
	text := randomText(2001)
	for _, body := range []io.Reader{strings.NewReader(text), io.MultiReader(strings.NewReader(text))} {
		status, answer := s.upload("a", body, digest.FromString(text))
		if status != http.StatusRequestEntityTooLarge || !strings.Contains(answer, "SIZE_INVALID") {
			t.Errorf("a blob of 2001 bytes: %d %s", status, answer)
		}
	}
	// In pieces.
	resp, _ := s.do("root", "PATCH", s.begin("a"), strings.NewReader(text[:1500]))
	resp, _ = s.do("root", "PUT", resp.Header.Get("Location")+"&digest="+digest.FromString(text).String(), strings.NewReader(text[1500:]))
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("2001 bytes in two pieces: %s", resp.Status)
	}
	if status, answer := s.upload("a", strings.NewReader(text[:2000]), digest.FromString(text[:2000])); status != http.StatusCreated {
		t.Errorf("a blob of 2000 bytes: %d %s", status, answer)
	}
	if u := must(s.Usage(t.Context()))(t); u.Uploads != 0 || u.Blobs != 1 || u.Bytes != 2000 {
		t.Errorf("usage %+v", u)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "repositories/a/_uploads/*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestUploadLimits(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, func(o *registry.Options) { o.Limits = registry.Limits{Uploads: 3, RepositoryLoad: 2} })
	first := s.begin("a")
	s.begin("a")
	if resp, body := s.do("root", "POST", "/v2/a/blobs/uploads/", nil); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the third in a: %s %s", resp.Status, body)
	}
	s.begin("b")
	if resp, _ := s.do("root", "POST", "/v2/b/blobs/uploads/", nil); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the fourth in all: %s", resp.Status)
	}
	if resp, _ := s.do("root", "DELETE", first, nil); resp.StatusCode != http.StatusNoContent {
		t.Errorf("give up the first: %s", resp.Status)
	}
	s.begin("a")

	// One that is abandoned makes room; one that is written to is not abandoned, however old it is.
	s = serve(t, t.TempDir(), func(o *registry.Options) { o.Limits = registry.Limits{Uploads: 1, UploadAge: time.Nanosecond} })
	old := s.begin("a")
	s.begin("a")
	if resp, _ := s.do("root", "GET", old, nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an abandoned upload: %s", resp.Status)
	}
	busy := s.begin("a")
	in, out := io.Pipe()
	req := must(http.NewRequestWithContext(t.Context(), "PATCH", s.http.URL+busy, in))(t)
	req.SetBasicAuth("root", "root-password")
	done := make(chan string)
	go func() {
		resp, err := s.http.Client().Do(req)
		if err != nil {
			done <- err.Error()
			return
		}
		_ = resp.Body.Close()
		done <- resp.Status
	}()
	if _, err := io.WriteString(out, "first"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(s.dir, "repositories/a/_uploads/*"))
		return len(files) == 1 && size(files[0]) == 5
	})
	if resp, _ := s.do("root", "POST", "/v2/a/blobs/uploads/", nil); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("beside one that is written to: %s", resp.Status)
	}
	_ = out.Close()
	if status := <-done; status != "202 Accepted" {
		t.Errorf("PATCH: %s", status)
	}
}

func size(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return -1
	}
	return info.Size()
}

// waitFor waits until it is so; the test's own deadline ends it if never.
func waitFor(t *testing.T, so func() bool) {
	t.Helper()
	for !so() {
		select {
		case <-t.Context().Done():
			t.Fatal("it never was so")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestWrongDigest holds that bytes are stored under their own digest only, and Stall that a silent client is cut.
func TestWrongDigest(t *testing.T) {
	s := serve(t, t.TempDir(), func(o *registry.Options) { o.Limits.Stall = 50 * time.Millisecond })
	if status, body := s.upload("a", strings.NewReader("these"), digest.FromString("others")); status != http.StatusBadRequest {
		t.Errorf("%d %s", status, body)
	}
	if u := must(s.Usage(t.Context()))(t); u.Blobs != 0 || u.Uploads != 0 {
		t.Errorf("usage %+v", u)
	}
	loc := s.begin("a")
	in, out := io.Pipe()
	defer out.Close()
	req := must(http.NewRequestWithContext(t.Context(), "PATCH", s.http.URL+loc, in))(t)
	req.SetBasicAuth("root", "root-password")
	go func() { _, _ = io.WriteString(out, "some") }()
	if resp, err := s.http.Client().Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("a client that went silent: %s", resp.Status)
		}
	}
	// It comes again, asks where it was, and goes on.
	resp, _ := s.do("root", "GET", loc, nil)
	if resp.StatusCode != http.StatusNoContent || resp.Header.Get("Range") != "0-3" {
		t.Fatalf("where was I: %s %s", resp.Status, resp.Header.Get("Range"))
	}
	resp, body := s.do("root", "PUT", resp.Header.Get("Location")+"&digest="+digest.FromString("something").String(), strings.NewReader("thing"))
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("%s %s", resp.Status, body)
	}
}

package registry_test

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// counting is n bytes that are not the same twice, and looks at the heap as they go by.
type counting struct {
	at, n int64
	look  func()
}

func (c *counting) Read(p []byte) (int, error) {
	if c.at == c.n {
		return 0, io.EOF
	}
	const word, stride = 8, 16 << 20
	p = p[:min(int64(len(p)), c.n-c.at, stride-c.at%stride)]
	for i := 0; i < len(p); i += word {
		var w [word]byte
		binary.LittleEndian.PutUint64(w[:], uint64(c.at)+uint64(i))
		copy(p[i:], w[:])
	}
	c.at += int64(len(p))
	if c.at%stride == 0 {
		c.look()
	}
	return len(p), nil
}

// TestBigBlobStreams pushes and pulls 256 MiB, and looks at what the heap holds meanwhile: client and server together.
func TestBigBlobStreams(t *testing.T) {
	const n, bound = 256 << 20, 16 << 20
	s := serve(t, t.TempDir(), nil)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var most uint64
	base := heap()
	look := func() { most = max(most, heap()) }
	sum := sha256.New()
	body := &counting{n: n, look: look}
	resp, text := s.do("root", "PATCH", s.begin("big"), io.TeeReader(body, sum))
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("PATCH: %s %s", resp.Status, text)
	}
	d := digest.NewDigestFromBytes(digest.SHA256, sum.Sum(nil))
	if resp, text = s.do("root", "PUT", resp.Header.Get("Location")+"&digest="+d.String(), nil); resp.StatusCode != http.StatusCreated {
		t.Fatalf("PUT: %s %s", resp.Status, text)
	}
	req := must(http.NewRequestWithContext(t.Context(), "GET", s.http.URL+"/v2/big/blobs/"+d.String(), nil))(t)
	req.SetBasicAuth("root", "root-password")
	got := must(s.http.Client().Do(req))(t)
	defer got.Body.Close()
	sum.Reset()
	for range n >> 24 {
		if _, err := io.CopyN(sum, got.Body, 1<<24); err != nil {
			t.Fatal(err)
		}
		look()
	}
	if digest.NewDigestFromBytes(digest.SHA256, sum.Sum(nil)) != d {
		t.Error("pulled other bytes than were pushed")
	}
	t.Logf("%d MiB both ways, at most %d KiB of heap more than before", n>>20, (most-min(base, most))>>10)
	if most > base+bound {
		t.Errorf("the heap grew from %d to %d bytes", base, most)
	}
}

// TestStalledPull leaves a client in the middle of a blob, and does all the rest meanwhile.
func TestStalledPull(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	text := randomText(32 << 20) // more than sockets hold
	d := digest.FromString(text)
	if status, body := s.upload("r", strings.NewReader(text), d); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	stalled := must(http.NewRequestWithContext(t.Context(), "GET", s.http.URL+"/v2/r/blobs/"+d.String(), nil))(t)
	stalled.SetBasicAuth("root", "root-password")
	half := must(http.DefaultTransport.RoundTrip(stalled))(t)
	defer half.Body.Close()

	h := s.push(root, "r:v1", image(t, 2))
	s.age("r")
	if c, err := s.GC(t.Context(), none); err != nil || c.Blobs != 1 {
		t.Errorf("collected %+v, %v; want the blob that is being pulled", c, err)
	}
	if got, err := s.pull(root, "r:v1"); err != nil || got != h {
		t.Errorf("pull beside: %v, %v", got, err)
	}
	if err := s.DeleteRepo(t.Context(), "r"); err != nil {
		t.Error(err)
	}
	all, err := io.ReadAll(half.Body) // it goes on to the end, although the blob is gone
	if err != nil || digest.FromBytes(all) != d {
		t.Errorf("%d bytes, %v", len(all), err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "repositories/r")); err == nil {
		t.Errorf("the repository is still there:\n%s", tree(t, s.dir))
	}
}

func TestRanges(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	d := digest.FromString("0123456789")
	if status, body := s.upload("r", strings.NewReader("0123456789"), d); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	if resp, body := s.do("root", "GET", "/v2/r/blobs/"+d.String(), nil, "Range", "bytes=3-5"); resp.StatusCode != http.StatusPartialContent || body != "345" {
		t.Errorf("%s %q", resp.Status, body)
	}
	// An empty blob, and one in chunks out of their order.
	if status, body := s.upload("r", nil, digest.FromString("")); status != http.StatusCreated {
		t.Errorf("an empty blob: %d %s", status, body)
	}
	loc := s.begin("r")
	resp, body := s.do("root", "PATCH", loc, strings.NewReader("late"), "Content-Range", "5-8")
	if resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a chunk too early: %s %s", resp.Status, body)
	}
	if resp, body = s.do("root", "PATCH", loc, strings.NewReader("first"), "Content-Range", "0-4"); resp.StatusCode != http.StatusAccepted {
		t.Errorf("the first chunk: %s %s", resp.Status, body)
	}
	// A last chunk may come with the PUT.
	resp, body = s.do("root", "PUT", resp.Header.Get("Location")+"&digest="+digest.FromString("firstlate").String(), strings.NewReader("late"), "Content-Range", "5-8")
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("the last chunk: %s %s", resp.Status, body)
	}
	// curl says */*, or nothing.
	h := s.push(root, "r:v1", image(t, 1))
	for _, accept := range []string{"*/*", ""} {
		if resp, _ := s.do("root", "GET", "/v2/r/manifests/v1", nil, "Accept", accept); resp.Header.Get("Docker-Content-Digest") != h.String() {
			t.Errorf("Accept %q: %s", accept, resp.Status)
		}
	}
}

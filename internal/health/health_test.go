package health_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/internal/health"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
)

// A registry answers HEADs of manifests by the repository's name. It counts requests at a time.
type registry struct {
	host     string
	now, top atomic.Int32
	heads    atomic.Int32
	mu       sync.Mutex
	asked    map[string]int
}

func newRegistry(t *testing.T) *registry {
	r := &registry{asked: map[string]int{}}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.host = strings.TrimPrefix(s.URL, "http://")
	return r
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !strings.Contains(req.URL.Path, "/manifests/") {
		return // there is an API
	}
	n := r.now.Add(1)
	defer r.now.Add(-1)
	for top := r.top.Load(); n > top && !r.top.CompareAndSwap(top, n); top = r.top.Load() {
	}
	r.heads.Add(1)
	repository, digest, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/manifests/")
	r.mu.Lock()
	r.asked[repository]++
	asked := r.asked[repository]
	r.mu.Unlock()
	kind, _, _ := strings.Cut(repository, "-")
	if kind == "patience" && asked > 1 {
		kind = "ok"
	}
	r.answer(w, kind, digest)
}

func (r *registry) answer(w http.ResponseWriter, kind, digest string) {
	h := w.Header()
	switch kind {
	case "gone":
		w.WriteHeader(http.StatusNotFound)
	case "secret":
		h.Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	case "patience":
		h.Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case "limited":
		h.Set("Retry-After", "86400")
		w.WriteHeader(http.StatusTooManyRequests)
	case "broken":
		w.WriteHeader(http.StatusInternalServerError)
	case "terse": // says nothing but that it is there
	default:
		if kind == "other" {
			digest = "sha256:" + strings.Repeat("9", 64)
		}
		h.Set("Docker-Content-Digest", digest)
		h.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		h.Set("Content-Length", "2")
	}
}

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(h[:])
}

// newIndex is an index with one version for each repository, and one that is yanked.
func newIndex(t *testing.T, host string, repositories ...string) (set *index.Set, x *index.Index, dir string) {
	t.Helper()
	source := t.TempDir()
	for _, r := range repositories {
		at := filepath.Join(source, r[:2], r[2:4])
		text := fmt.Sprintf(`{"ns":"acme","name":%q,"version":"1.0.0","yanked":false,"addr":"%s/%s@%s"}`+"\n", r, host, r, digest(r)) +
			fmt.Sprintf(`{"ns":"acme","name":%q,"version":"2.0.0","yanked":true,"addr":"%s/gone@%s"}`+"\n", r, host, digest("yanked"))
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "acme_"+r), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	state := t.TempDir()
	set, err := index.OpenSet(state)
	if err == nil {
		err = set.Add(index.Source{Name: "ours", URL: source})
	}
	if err == nil {
		_, err = set.Sync(t.Context(), "ours", false)
	}
	if err == nil {
		x, err = set.Index("ours")
	}
	if err != nil {
		t.Fatal(err)
	}
	return set, x, filepath.Join(state, "ours")
}

func client(t *testing.T) *image.Registry {
	t.Helper()
	g, err := image.NewRegistry(image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestCheck finds out each state, keeps it, and goes on from there.
func TestCheck(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	_, x, dir := newIndex(t, r.host, "fine-one", "fine-two", "gone-one", "secret-one", "patience-one", "other-one", "broken-one", "terse-one")
	targets, err := health.Targets(x, nil)
	if err != nil || len(targets) != 8 {
		t.Fatalf("%d targets, %v: want 8, without what is yanked", len(targets), err)
	}
	calls := 0
	results := health.Check(t.Context(), client(t), targets, health.Options{Progress: func(int, int, health.Result) { calls++ }})
	want := map[string]health.State{"acme/fine-one": health.OK, "acme/fine-two": health.OK, "acme/gone-one": health.Dead, "acme/secret-one": health.Dead,
		"acme/patience-one": health.OK, "acme/other-one": health.Moved, "acme/broken-one": health.Unreachable, "acme/terse-one": health.OK}
	for i, one := range results {
		if one.Target != targets[i] || one.State != want[one.Buildpack] || (one.Detail == "") != (one.State == health.OK) || one.Checked.IsZero() {
			t.Errorf("%+v, want state %s", one, want[one.Buildpack])
		}
	}
	if len(results) != 8 || calls != 8 {
		t.Errorf("%d results, told of %d", len(results), calls)
	}
	old, err := health.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	report, err := old.Merge(x, results)
	if err == nil {
		err = report.Write(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := health.Read(dir)
	if err != nil || again.Live != 8 || again.Counts[health.OK] != 4 || again.Counts[health.Dead] != 2 || len(again.Results) != 8 {
		t.Fatalf("%+v %v", again, err)
	}
	one := again.Results[0] // broken-one
	one.State = health.Dead
	merged, err := again.Merge(x, []health.Result{one})
	if err != nil || merged.Counts[health.Dead] != 3 || len(merged.Results) != 8 {
		t.Errorf("merged: %+v %v", merged.Counts, err)
	}
	if part := again.Of(targets[:2]); part.Live != 2 || len(part.Results) != 2 {
		t.Errorf("a part: %+v", part)
	}
	if err := os.WriteFile(filepath.Join(dir, health.FileName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := health.Read(dir); err == nil {
		t.Error("a damaged file was read")
	}
}

// TestCareful: a host is asked by so many at a time, and not at all any more when it does not want to be or is not there.
func TestCareful(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	var fine, limited []string
	for i := range 60 {
		fine = append(fine, fmt.Sprintf("fine-%d", i))
		limited = append(limited, fmt.Sprintf("limited-%d", i))
	}
	targets := func(host string, names []string) (out []health.Target) {
		for _, n := range names {
			out = append(out, health.Target{Buildpack: "acme/" + n, Version: "1.0.0", Address: host + "/" + n + "@" + digest(n)})
		}
		return out
	}
	o := health.Options{PerHost: 3, Rate: 1e6}
	for _, one := range health.Check(t.Context(), client(t), targets(r.host, fine), o) {
		if one.State != health.OK {
			t.Errorf("%+v", one)
		}
	}
	if top := r.top.Load(); top > 3 {
		t.Errorf("%d requests at a time, want 3 at most", top)
	}
	r.heads.Store(0)
	for _, one := range health.Check(t.Context(), client(t), targets(r.host, limited), o) {
		if one.State != health.Limited {
			t.Errorf("%+v", one)
		}
	}
	if n := r.heads.Load(); n > 3 {
		t.Errorf("who wants not to be asked was asked %d times", n)
	}
	results := health.Check(t.Context(), client(t), targets("127.0.0.1:1", fine), o)
	if last := results[len(results)-1]; len(results) != 60 || last.State != health.Unreachable || !strings.HasPrefix(last.Detail, "not asked any more: ") {
		t.Errorf("%d results of nobody, the last %+v", len(results), last)
	}
	twice := append(targets(r.host, fine[:1]), targets(r.host, fine[:1])...)
	twice[1].Version = "1.0.1"
	r.heads.Store(0)
	if results := health.Check(t.Context(), client(t), twice, o); len(results) != 2 || results[1].Version != "1.0.1" || r.heads.Load() != 1 {
		t.Errorf("one address of two versions: %+v after %d requests", results, r.heads.Load())
	}
}

// TestInterrupted gives what there is when it is ended.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	var targets []health.Target
	for i := range 200 {
		n := fmt.Sprintf("fine-%d", i)
		targets = append(targets, health.Target{Buildpack: "acme/" + n, Version: "1.0.0", Address: r.host + "/" + n + "@" + digest(n)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	results := health.Check(ctx, client(t), targets, health.Options{Rate: 1e6, Progress: func(done, _ int, _ health.Result) {
		if done == 20 {
			cancel()
		}
	}})
	if len(results) < 20 || len(results) >= 200 {
		t.Errorf("%d results", len(results))
	}
	for _, one := range results {
		if one.State != health.OK {
			t.Errorf("%+v", one)
		}
	}
}

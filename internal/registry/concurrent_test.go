package registry_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestTagMoves moves a tag to and fro while clients pull by it: each gets the one image or the other, and all of it.
func TestTagMoves(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	one, two := image(t, 2), image(t, 2)
	h1, h2 := s.push(alice, "alice/web:latest", one), s.push(alice, "alice/web@"+must(two.Digest())(t).String(), two)
	stop := make(chan struct{})
	var pulling sync.WaitGroup
	var mu sync.Mutex
	seen := map[v1.Hash]int{}
	for range 3 {
		pulling.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := s.pull(alice, "alice/web:latest")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[got]++
				mu.Unlock()
			}
		})
	}
	both := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen[h1] > 3 && seen[h2] > 3
	}
	for n := 0; n < 40 || !both(); n++ {
		if t.Failed() {
			break
		}
		for _, h := range []v1.Hash{h2, h1} {
			if err := s.Tag(t.Context(), "alice/web", "latest", dig(h)); err != nil {
				t.Error(err)
			}
		}
	}
	close(stop)
	pulling.Wait()
	if len(seen) != 2 {
		t.Errorf("pulled %v", seen)
	}
}

// TestSamePushes pushes one image from many clients at once, into one repository that is not there yet and into others.
func TestSamePushes(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	img := image(t, 4)
	h := must(img.Digest())(t)
	var wg sync.WaitGroup
	for n := range 12 {
		wg.Go(func() {
			ref := fmt.Sprintf("alice/same/app%d:v%d", n%3, n)
			if err := remote.Write(s.ref(ref), img, remote.WithAuth(alice), remote.WithContext(t.Context())); err != nil {
				t.Errorf("push %s: %v", ref, err)
			}
		})
	}
	wg.Wait()
	for n := range 12 {
		if got, err := s.pull(alice, fmt.Sprintf("alice/same/app%d:v%d", n%3, n)); err != nil || got != h {
			t.Errorf("pull %d: %v, %v", n, got, err)
		}
	}
	// Four layers, a config and a manifest, thrice.
	if u := must(s.Usage(t.Context()))(t); u.Blobs != 3*6 || u.Uploads != 0 || u.Repositories != 3 {
		t.Errorf("usage %+v", u)
	}
}

// TestIndexCannotBeWritten holds that a change which was refused has not happened, not even in memory.
func TestIndexCannotBeWritten(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	ctx := t.Context()
	h1 := s.push(alice, "alice/web:latest", image(t, 1))
	two := image(t, 1)
	h2 := s.push(alice, "alice/web@"+must(two.Digest())(t).String(), two)
	index := filepath.Join(s.dir, "repositories/alice/web/index.json")
	// A directory that is not empty stands in its place: the rename fails, as any write does on a full disk.
	if err := errors.Join(os.Rename(index, index+"-away"), os.MkdirAll(index+"/x", 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(ctx, "alice/web", "latest", dig(h2)); err == nil {
		t.Error("the tag moved, and nobody wrote it down")
	}
	if err := s.Untag(ctx, "alice/web", "latest"); err == nil {
		t.Error("the tag went, and nobody wrote it down")
	}
	if err := errors.Join(os.RemoveAll(index), os.Rename(index+"-away", index)); err != nil {
		t.Fatal(err)
	}
	// Nor is an index that could not be read for a moment taken to be empty, and written down so.
	s.push(alice, "alice/web:next", image(t, 1))
	if tags, err := s.Tags(ctx, "alice/web"); err != nil || !slices.Equal(tags, []string{"latest", "next"}) {
		t.Errorf("tags %q, %v", tags, err)
	}
	if got, err := s.Resolve(ctx, "alice/web", "latest"); err != nil || got != dig(h1) {
		t.Errorf("latest is %s, %v; want %s", got, err, h1)
	}
	if err := s.Tag(ctx, "alice/web", "latest", dig(h2)); err != nil {
		t.Error(err)
	}
	if got, err := s.pull(alice, "alice/web:latest"); err != nil || got != h2 {
		t.Errorf("pulled %s, %v", got, err)
	}
}

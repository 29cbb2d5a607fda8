package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/registry"
)

func none(string, string) bool { return false }

func TestTags(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	ctx := t.Context()
	one, two := image(t, 1), image(t, 1)
	h1, h2 := must(one.Digest())(t), must(two.Digest())(t)
	s.push(alice, "alice/web@"+h1.String(), one)
	s.push(alice, "alice/web@"+h2.String(), two)
	if tags, err := s.Tags(ctx, "alice/web"); err != nil || len(tags) != 0 {
		t.Errorf("tags after pushes by digest: %q, %v", tags, err)
	}
	for _, h := range []v1.Hash{h1, h2, h1, h1} {
		if err := s.Tag(ctx, "alice/web", "latest", dig(h)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Resolve(ctx, "alice/web", "latest"); err != nil || got != dig(h) {
			t.Errorf("resolved to %s, %v; want %s", got, err, h)
		}
		if got, err := s.pull(alice, "alice/web:latest"); err != nil || got != h {
			t.Errorf("pulled %s, %v; want %s", got, err, h)
		}
	}
	if err := s.Tag(ctx, "alice/web", "v1", dig(h1)); err != nil {
		t.Fatal(err)
	}
	if tags, err := s.Tags(ctx, "alice/web"); err != nil || !slices.Equal(tags, []string{"latest", "v1"}) {
		t.Errorf("tags %q, %v", tags, err)
	}
	if err := s.Untag(ctx, "alice/web", "latest"); err != nil {
		t.Error(err)
	}
	if _, err := s.Resolve(ctx, "alice/web", "latest"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("resolve a removed tag: %v", err)
	}
	if err := s.Untag(ctx, "alice/web", "latest"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("untag twice: %v", err)
	}
	for _, h := range []v1.Hash{h1, h2} {
		if has, err := s.Has(ctx, "alice/web", dig(h)); err != nil || !has {
			t.Errorf("has %s: %v, %v", h, has, err)
		}
	}
	layer := must(must(one.Layers())(t)[0].Digest())(t)
	for _, d := range []string{digest.FromString("none").String(), dig(layer)} { // a blob is no manifest
		if has, err := s.Has(ctx, "alice/web", d); err != nil || has {
			t.Errorf("has %s: %v, %v", d, has, err)
		}
		if err := s.Tag(ctx, "alice/web", "v2", d); !errors.Is(err, registry.ErrNotFound) {
			t.Errorf("tag %s: %v", d, err)
		}
	}
	if err := s.Tag(ctx, "alice/none", "v2", dig(h1)); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("tag where there is no repository: %v", err)
	}
	// A tag cannot come to name an image that is not whole.
	if err := os.Remove(s.blobFile("alice/web", layer)); err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(ctx, "alice/web", "broken", dig(h1)); err == nil {
		t.Error("a tag names an image without its layer")
	}
}

func TestDeleteRepo(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	outer, inner := image(t, 1), image(t, 1)
	s.push(alice, "alice/web:v1", outer)
	h := s.push(alice, "alice/web/worker:v1", inner)
	loc := s.begin("alice/web")
	for range 2 { // the second time it is not there
		if err := s.DeleteRepo(t.Context(), "alice/web"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Tags(t.Context(), "alice/web"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("tags of what was deleted: %v", err)
	}
	if resp, _ := s.do("root", "PATCH", loc, nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an upload into what was deleted: %s", resp.Status)
	}
	if got, err := s.pull(alice, "alice/web/worker:v1"); err != nil || got != h {
		t.Errorf("the repository inside: %v, %v", got, err)
	}
	s.push(alice, "alice/web:v2", image(t, 1))
	if tags, err := s.Tags(t.Context(), "alice/web"); err != nil || !slices.Equal(tags, []string{"v2"}) {
		t.Errorf("tags of what was made again: %q, %v", tags, err)
	}
	if _, err := s.pull(alice, "alice/web:v2"); err != nil {
		t.Error(err)
	}
	for _, repo := range []string{"alice/web/worker", "alice/web"} {
		if err := s.DeleteRepo(t.Context(), repo); err != nil {
			t.Error(err)
		}
	}
	if u := must(s.Usage(t.Context()))(t); u != (registry.Usage{}) {
		t.Errorf("usage %+v", u)
	}
}

func TestGC(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, nil)
	shared := must(random.Layer(3000, types.DockerLayer))(t)
	with := func() v1.Image { return must(mutate.AppendLayers(image(t, 1), shared))(t) }
	tagged := s.push(root, "r:v1", with())
	kept, dropped := with(), with()
	keptHash, droppedHash := must(kept.Digest())(t), must(dropped.Digest())(t)
	s.push(root, "r@"+keptHash.String(), kept)
	s.push(root, "r@"+droppedHash.String(), dropped)
	idx := must(random.Index(500, 1, 2))(t)
	if err := remote.WriteIndex(s.ref("r:index"), idx, remote.WithAuth(root)); err != nil {
		t.Fatal(err)
	}
	lost := must(random.Index(500, 1, 2))(t)
	if err := remote.WriteIndex(s.ref("r:lost"), lost, remote.WithAuth(root)); err != nil {
		t.Fatal(err)
	}
	if err := s.Untag(t.Context(), "r", "lost"); err != nil {
		t.Fatal(err)
	}
	sig, sigLost := signature(t, kept), signature(t, dropped)
	for _, i := range []v1.Image{sig, sigLost} {
		s.push(root, "r@"+must(i.Digest())(t).String(), i)
	}
	keep := func(repo, d string) bool { return repo == "r" && d == dig(keptHash) }
	before := must(s.Usage(t.Context()))(t)
	if c, err := s.GC(t.Context(), keep); err != nil || c != (registry.Collected{}) {
		t.Errorf("of what is young was collected: %+v, %v", c, err)
	}
	s.age("r")
	c, err := s.GC(t.Context(), keep)
	// Dropped: an image with a layer of its own and a config; an index of two such; a signature, likewise; and the list
	// of the referrers of the dropped image, with what it was before.
	if err != nil || c.Manifests != 5 {
		t.Errorf("collected %+v, %v", c, err)
	}
	after := must(s.Usage(t.Context()))(t)
	if before.Blobs-after.Blobs != c.Blobs || before.Bytes-after.Bytes != c.Bytes || c.Blobs < 3+7+3 {
		t.Errorf("collected %+v; usage before %+v, after %+v", c, before, after)
	}
	for round := range 2 {
		for ref, want := range map[string]v1.Hash{"r:v1": tagged, "r@" + keptHash.String(): keptHash} {
			if got, err := s.pull(root, ref); err != nil || got != want {
				t.Errorf("pull %s: %v, %v", ref, got, err)
			}
		}
		for _, h := range append(children(t, idx), must(idx.Digest())(t), must(sig.Digest())(t)) {
			if has, err := s.Has(t.Context(), "r", dig(h)); err != nil || !has {
				t.Errorf("round %d: lost %s: %v", round, h, err)
			}
		}
		for _, h := range append(children(t, lost), must(lost.Digest())(t), droppedHash, must(sigLost.Digest())(t)) {
			if has, err := s.Has(t.Context(), "r", dig(h)); err != nil || has {
				t.Errorf("round %d: still has %s: %v", round, h, err)
			}
		}
		refs := must(remote.Referrers(s.ref("r@"+keptHash.String()).(name.Digest), remote.WithAuth(root)))(t)
		if m := must(refs.IndexManifest())(t); len(m.Manifests) != 1 {
			t.Errorf("round %d: referrers %+v", round, m.Manifests)
		}
		s.http.Close()
		s = serve(t, dir, nil)
	}
	s.age("r")
	if c, err := s.GC(t.Context(), keep); err != nil || c != (registry.Collected{}) {
		t.Errorf("a second time was collected: %+v, %v", c, err)
	}
	s.push(root, "r:again", dropped) // what was collected can come back
	if _, err := s.pull(root, "r:again"); err != nil {
		t.Error(err)
	}
}

func children(t *testing.T, idx v1.ImageIndex) []v1.Hash {
	t.Helper()
	var list []v1.Hash
	for _, d := range must(idx.IndexManifest())(t).Manifests {
		list = append(list, d.Digest)
	}
	return list
}

// TestGCBesidePushes pushes images on bases that nothing holds any more from the moment when the push begins, and that
// are old: the pushing clients ask for their layers and do not push those that they find, while GC runs all the time.
func TestGCBesidePushes(t *testing.T) {
	const pushers, rounds = 4, 6
	s := serve(t, t.TempDir(), nil)
	var bases []v1.Image
	var free sync.Map // of digests of bases
	for range pushers * rounds {
		base := image(t, 3)
		s.push(root, "r@"+must(base.Digest())(t).String(), base)
		bases = append(bases, base)
	}
	s.age("r")
	keep := func(_, d string) bool {
		_, is := free.Load(d)
		return !is
	}
	stop := make(chan struct{})
	var collecting, pushing sync.WaitGroup
	total, runs := 0, 0
	collecting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := s.GC(t.Context(), keep)
			if err != nil {
				t.Error(err)
				return
			}
			total, runs = total+c.Blobs, runs+1
		}
	})
	for p := range pushers {
		pushing.Go(func() {
			for n := p * rounds; n < (p+1)*rounds; n++ {
				layer, err := random.Layer(100, types.DockerLayer)
				if err != nil {
					t.Error(err)
					return
				}
				img, err := mutate.AppendLayers(bases[n], layer)
				if err != nil {
					t.Error(err)
					return
				}
				d, err := bases[n].Digest()
				if err != nil {
					t.Error(err)
					return
				}
				free.Store(dig(d), true)
				if err := remote.Write(s.ref(fmt.Sprintf("r:p%d", n)), img, remote.WithAuth(root), remote.WithContext(t.Context())); err != nil {
					t.Errorf("push %d: %v", n, err)
				}
			}
		})
	}
	pushing.Wait()
	close(stop)
	collecting.Wait()
	for n, base := range bases {
		if _, err := s.pull(root, fmt.Sprintf("r:p%d", n)); err != nil {
			t.Errorf("after %d collections: %v", runs, err)
		}
		s.age("r")
		if _, err := s.GC(t.Context(), none); err != nil {
			t.Fatal(err)
		}
		if has, err := s.Has(t.Context(), "r", dig(must(base.Digest())(t))); err != nil || has {
			t.Errorf("the base's manifest, which nothing holds: %v, %v", has, err)
		}
	}
	t.Logf("%d collections beside %d pushes, %d blobs collected", runs, pushers*rounds, total)
}

// TestHeadMakesYoung is the race of TestGCBesidePushes by hand: GC between a client's question and its manifest.
func TestHeadMakesYoung(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	base := image(t, 2)
	h := s.push(root, "r@"+must(base.Digest())(t).String(), base)
	for _, path := range []string{"/v2/r/manifests/" + h.String(), "/v2/r/blobs/" + must(must(base.Layers())(t)[0].Digest())(t).String()} {
		s.age("r")
		if resp, _ := s.do("root", "HEAD", path, nil); resp.StatusCode != http.StatusOK {
			t.Fatalf("HEAD %s: %s", path, resp.Status)
		}
		if _, err := s.GC(t.Context(), none); err != nil {
			t.Fatal(err)
		}
		if resp, _ := s.do("root", "GET", path, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("%s went between HEAD and GET: %s", path, resp.Status)
		}
		if path[6] == 'm' {
			if _, err := s.pull(root, "r@"+h.String()); err != nil {
				t.Errorf("a young manifest has lost a layer: %v", err)
			}
		}
	}
	if u := must(s.Usage(t.Context()))(t); u.Blobs != 1 {
		t.Errorf("usage %+v, want the one layer", u)
	}
	// A young upload in progress is not touched, an empty repository is none of GC's business.
	loc := s.begin("r")
	if _, err := s.GC(t.Context(), none); err != nil {
		t.Fatal(err)
	}
	if resp, _ := s.do("root", "GET", loc, nil); resp.StatusCode != http.StatusNoContent {
		t.Errorf("an upload after GC: %s", resp.Status)
	}
}

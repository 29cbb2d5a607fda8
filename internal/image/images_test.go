package image_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/internal/image"
)

// spoil flips a bit of a stored blob.
func spoil(t *testing.T, s *image.Images, d v1.Hash) {
	t.Helper()
	p := filepath.Join(s.Store().Dir(), "blobs", "sha256", d.Hex)
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestImages(t *testing.T) {
	s := store(t)
	img := compose(t, nil, "one", layer(t, s.Store(), "a", []byte("a")))
	other := compose(t, nil, "two", layer(t, s.Store(), "b", []byte("b")))
	w, err := s.Put(t.Context(), []image.Ref{ref(t, "app:1"), ref(t, "localhost:5000/app:1")}, img, nil)
	if err != nil || len(w.Names) != 2 || w.Kept != 1 {
		t.Fatalf("%+v, %v", w, err)
	}
	m, id := digests(t, img)
	for _, name := range []string{"app:1", "docker.io/library/app:1", "localhost:5000/app:1", "app@" + m.String(), id.String(), m.Hex} {
		got, err := s.Get(t.Context(), ref(t, name), v1.Platform{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameImage(t, got, img)
		if err := validate.Image(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got.Kind != image.KindStore || !strings.HasSuffix(got.Reference, "app@"+m.String()) {
			t.Errorf("%s: kind %s, reference %s", name, got.Kind, got.Reference)
		}
	}
	if _, err := s.Put(t.Context(), []image.Ref{ref(t, "app:1")}, other, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(t.Context(), ref(t, "app:1"), ref(t, "z:9")); err != nil {
		t.Fatal(err)
	}
	l, err := s.List(t.Context())
	if err != nil || len(l) != 3 || l[0].Ref.Name() != "index.docker.io/library/app:1" || l[0].Labels["test"] != "two" || l[2].Labels["test"] != "one" {
		t.Errorf("list %+v, %v", l, err)
	}
	// Other tools read the directory as an OCI layout.
	idx, err := layout.ImageIndexFromPath(s.Store().Dir())
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"app:1", "z:9"} {
		if err := s.Remove(t.Context(), ref(t, name)); err != nil {
			t.Error(err)
		}
	}
	if err := s.Remove(t.Context(), ref(t, "app:1")); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("removing it again: %v", err)
	}
	p, err := s.Prune(t.Context(), -time.Hour)
	if err != nil || p.Blobs != 3 {
		t.Errorf("pruned %+v, %v; want layer, config and manifest of one image", p, err)
	}
	if _, err := s.Get(t.Context(), ref(t, "localhost:5000/app:1"), v1.Platform{}); err != nil {
		t.Error(err)
	}
}

func TestImagesErrors(t *testing.T) {
	s := store(t)
	l := layer(t, s.Store(), "a", []byte("a"))
	img := compose(t, nil, "one", l)
	if _, err := s.Put(t.Context(), []image.Ref{ref(t, "app")}, img, nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(t.Context(), ref(t, "app"), v1.Platform{OS: "linux", Architecture: "s390x"})
	if _, ok := errors.AsType[*image.PlatformError](err); !ok || !strings.Contains(err.Error(), `image "app:latest" is not for platform linux/s390x: it has linux/`) {
		t.Errorf("platform: %v", err)
	}
	d, _ := l.Digest()
	if err := s.Store().Remove(d.String()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), ref(t, "app"), v1.Platform{}); !errors.Is(err, image.ErrNotFound) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("lost layer: %v", err)
	}
	if err := os.WriteFile(filepath.Join(s.Store().Dir(), "index.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), ref(t, "app"), v1.Platform{}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("garbled index: %v", err)
	}
	layer(t, s.Store(), "a", []byte("a"))
	if _, err := s.Put(t.Context(), []image.Ref{ref(t, "app")}, img, nil); err != nil {
		t.Errorf("after it: %v", err)
	}
	for _, bad := range []string{"oci:x", "app@sha256:" + hex64, hex64} {
		if _, err := s.Put(t.Context(), []image.Ref{ref(t, bad)}, img, nil); err == nil {
			t.Errorf("%s is accepted as a name", bad)
		}
	}
}

func TestLayout(t *testing.T) {
	s := store(t)
	dir := filepath.Join(t.TempDir(), "out")
	img := compose(t, nil, "one", layer(t, s.Store(), "a", unique(1<<20)), layer(t, s.Store(), "b", []byte("b")))
	two := compose(t, nil, "two", layer(t, s.Store(), "b", []byte("b")))
	var steps int
	w, err := image.WriteLayout(t.Context(), ref(t, "oci:"+dir), []image.Ref{ref(t, "app:1")}, img, func(image.Step) { steps++ })
	if err != nil || w.Sent != 2 || steps == 0 {
		t.Fatalf("%+v, %v, %d steps", w, err, steps)
	}
	if w, err := image.WriteLayout(t.Context(), ref(t, "oci:"+dir+":1"), nil, img, nil); err != nil || w.Sent != 0 || w.Kept != 2 {
		t.Errorf("again: %+v, %v", w, err)
	}
	got, err := image.ReadLayout(t.Context(), ref(t, "oci:"+dir), v1.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	sameImage(t, got, img)
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
	if _, err := image.WriteLayout(t.Context(), ref(t, "oci:"+dir+":2"), nil, two, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := image.ReadLayout(t.Context(), ref(t, "oci:"+dir), v1.Platform{}); err == nil || !strings.Contains(err.Error(), `["1" "2"]`) {
		t.Errorf("two images and no tag: %v", err)
	}
	if got, err = image.ReadLayout(t.Context(), ref(t, "oci:"+dir+":2"), v1.Platform{}); err != nil {
		t.Fatal(err)
	}
	sameImage(t, got, two)
	if _, err := image.ReadLayout(t.Context(), ref(t, "oci:"+dir+":3"), v1.Platform{}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("no such tag: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "blobs", "sha256", ".tmp*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := image.ReadLayout(t.Context(), ref(t, "oci:"+t.TempDir()), v1.Platform{}); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("no layout: %v", err)
	}
}

// A layout somebody else made: bad bytes, FIFOs and links are errors, at once.
func TestLayoutHostile(t *testing.T) {
	s := store(t)
	img := compose(t, nil, "one", layer(t, s.Store(), "a", unique(1000)))
	ls, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, _ := ls[0].Digest()
	for name, f := range map[string]func(string) error{
		"other bytes": func(p string) error { return os.WriteFile(p, []byte("other"), 0o644) },
		"fifo":        func(p string) error { return errors.Join(os.Remove(p), exec.Command("mkfifo", p).Run()) },
		"link":        func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := image.WriteLayout(t.Context(), ref(t, "oci:"+dir), nil, img, nil); err != nil {
				t.Fatal(err)
			}
			if err := f(filepath.Join(dir, "blobs", "sha256", d.Hex)); err != nil {
				t.Fatal(err)
			}
			got, err := image.ReadLayout(t.Context(), ref(t, "oci:"+dir), v1.Platform{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store(t).Put(t.Context(), []image.Ref{ref(t, "app")}, got, nil); err == nil {
				t.Error("bad layer is accepted")
			}
		})
	}
}

func TestPlatforms(t *testing.T) {
	s := store(t)
	dir := t.TempDir()
	p, err := layout.Write(dir, emptyIndex())
	if err != nil {
		t.Fatal(err)
	}
	idx := emptyIndex()
	want := map[string]v1.Hash{}
	for _, name := range []string{"linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"} {
		pl, err := image.ParsePlatform(name)
		if err != nil {
			t.Fatal(err)
		}
		img := compose(t, nil, name, layer(t, s.Store(), "a", []byte(name)))
		c, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		c.OS, c.Architecture, c.Variant = pl.OS, pl.Architecture, pl.Variant
		if img, err = mutate.ConfigFile(img, c); err != nil {
			t.Fatal(err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &pl}})
		want[name], _ = digests(t, img)
	}
	if err := p.AppendIndex(idx); err != nil {
		t.Fatal(err)
	}
	for asked, found := range map[string]string{"linux/amd64": "linux/amd64", "linux/arm": "linux/arm/v7", "linux/arm/v6": "linux/arm/v6", "linux/arm64/v8": "linux/arm64"} {
		pl, _ := image.ParsePlatform(asked)
		got, err := image.ReadLayout(t.Context(), ref(t, "oci:"+dir), pl)
		if err != nil {
			t.Errorf("%s: %v", asked, err)
		} else if got.ManifestDigest != want[found] {
			t.Errorf("%s gives another image than %s", asked, found)
		}
	}
	pl, _ := image.ParsePlatform("linux/riscv64")
	_, err = image.ReadLayout(t.Context(), ref(t, "oci:"+dir), pl)
	if err == nil || !strings.Contains(err.Error(), "not for platform linux/riscv64: it has linux/amd64, linux/arm/v6, linux/arm/v7, linux/arm64") {
		t.Errorf("error %v", err)
	}
}

func TestForeignLayer(t *testing.T) {
	s := store(t)
	img := mutate.MediaType(compose(t, nil, "x", layer(t, s.Store(), "a", []byte("a"))), types.DockerManifestSchema2)
	img, err := mutate.Append(img, mutate.Addendum{Layer: layer(t, s.Store(), "w", []byte("w")), MediaType: types.DockerForeignLayer, URLs: []string{"https://example.com/x"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), []image.Ref{ref(t, "w")}, img, nil); err == nil || !strings.Contains(err.Error(), "foreign layer") {
		t.Errorf("error %v", err)
	}
}

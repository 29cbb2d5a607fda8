package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/image"
)

// bigImage has 200 MB of layers that do not compress, so that what is measured is moving bytes.
func bigImage(b *testing.B, s *image.Images) v1.Image {
	r := rand.NewChaCha8([32]byte{})
	var ls []v1.Layer
	for i := range 4 {
		content := make([]byte, 50_000_000)
		_, err := r.Read(content)
		if err != nil {
			b.Fatal(err)
		}
		copy(content, unique(100))
		ls = append(ls, layer(b, s.Store(), fmt.Sprint(i), content))
	}
	return compose(b, nil, "big", ls...)
}

// BenchmarkPush is 200 MB of new layers into a real registry; BenchmarkCopy is what `cat` to a file and a
// sync would take for the same bytes.
func BenchmarkPush(b *testing.B) {
	s := store(b)
	img := bigImage(b, s)
	b.SetBytes(200_000_000)
	for b.Loop() {
		b.StopTimer()
		addr := realRegistry(b, b.TempDir(), "")
		g := client(b, image.RegistryOptions{})
		b.StartTimer()
		if w, err := g.Push(b.Context(), []image.Ref{ref(b, addr+"/x")}, img, image.PushOptions{}); err != nil || w.Sent != 4 {
			b.Fatal(w, err)
		}
	}
}

func BenchmarkCopy(b *testing.B) {
	s := store(b)
	ls, err := bigImage(b, s).Layers()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(200_000_000)
	for b.Loop() {
		for _, l := range ls {
			d, err := l.Digest()
			if err != nil {
				b.Fatal(err)
			}
			in, err := os.Open(filepath.Join(s.Store().Dir(), "blobs", "sha256", d.Hex))
			if err != nil {
				b.Fatal(err)
			}
			out, err := os.Create(filepath.Join(b.TempDir(), d.Hex))
			if err != nil {
				b.Fatal(err)
			}
			_, err = io.Copy(struct{ io.Writer }{out}, in) // no reflink, no copy in the kernel: what cat does
			if err := errors.Join(err, in.Close(), out.Close()); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkLoad is 100 MB of text-like layers, new to the engine; BenchmarkLoadUnchanged an image it has.
func BenchmarkLoad(b *testing.B) {
	e := connect(b)
	remove(b, e, "slipway.test/bench:1")
	s := store(b)
	for b.Loop() {
		b.StopTimer()
		content := bytes.Repeat(unique(1000), 100_000)
		img := compose(b, nil, "x", layer(b, s.Store(), "x", content))
		b.StartTimer()
		if _, err := image.LoadEngine(b.Context(), e, []image.Ref{ref(b, "slipway.test/bench:1")}, img, image.LoadOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoadUnchanged(b *testing.B) {
	e := connect(b)
	remove(b, e, "slipway.test/bench:2")
	s := store(b)
	img := compose(b, nil, "x", layer(b, s.Store(), "x", unique(1<<20)))
	for b.Loop() {
		if _, err := image.LoadEngine(b.Context(), e, []image.Ref{ref(b, "slipway.test/bench:2")}, img, image.LoadOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

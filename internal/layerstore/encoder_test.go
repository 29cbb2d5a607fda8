package layerstore_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/layerstore"
)

func encode(t testing.TB, kind layerstore.Compression, b []byte, chunk int) []byte {
	t.Helper()
	var out bytes.Buffer
	want := digestOf(b)
	z := layerstore.NewCompressor(kind).NewEncoder(&out)
	for len(b) > 0 {
		n := min(chunk, len(b))
		if _, err := z.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got := z.DiffID(); got != want {
		t.Errorf("diffID %s, want %s", got, want)
	}
	return out.Bytes()
}

// The bytes depend neither on the number of cores nor on how the tar arrives, nor on the run.
func TestEncoderIsDeterministic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, kind := range []layerstore.Compression{layerstore.Gzip, layerstore.Zstd} {
		for _, size := range []int{0, 1, 1 << 20, 2 << 20, 1<<20 + 1, 3<<20 + 12345} {
			content := noise(size)
			want := ""
			for _, procs := range []int{1, 2, 8} {
				runtime.GOMAXPROCS(procs)
				for _, chunk := range []int{32 << 10, 3<<20 + 7} {
					got := encode(t, kind, content, chunk)
					if want == "" {
						want = digestOf(got)
					}
					if digestOf(got) != want {
						t.Errorf("%s, size %d, %d cores, chunks of %d: other bytes", kind, size, procs, chunk)
					}
					z, err := layerstore.NewDecoder(bytes.NewReader(got))
					if err != nil {
						t.Fatal(err)
					}
					if back, err := io.ReadAll(z); err != nil || !bytes.Equal(back, content) {
						t.Errorf("%s, size %d: not the same after a round trip: %v", kind, size, err)
					}
				}
			}
		}
	}
}

// The digests of a known input: they move only with a new id of the encoding.
func TestEncoderGolden(t *testing.T) {
	for kind, want := range map[layerstore.Compression]string{
		layerstore.Gzip: "sha256:807791b31333f1bc608e23a363c4a874bdc057d42791c1e8afd20100872132b5",
		layerstore.Zstd: "sha256:d180d59727b834fb01e23dada05920de2a7d00395778c309795d04922c6a5804",
	} {
		if got := digestOf(encode(t, kind, noise(3<<20), 32<<10)); got != want {
			t.Errorf("%s's bytes have digest %s, want %s: images of the same source change, so name a new encoding", kind, got, want)
		}
	}
}

// More layers at once than a Compressor has blocks all come to their end, each with its own bytes.
func TestCompressorIsShared(t *testing.T) {
	c := layerstore.NewCompressor(layerstore.Gzip)
	content := noise(5 << 19)
	var wg sync.WaitGroup
	for n := range 2*runtime.GOMAXPROCS(0) + 8 {
		wg.Go(func() {
			var out bytes.Buffer
			z := c.NewEncoder(&out)
			b := content[n*1000:]
			for len(b) > 0 {
				k := min(50_000, len(b))
				if _, err := z.Write(b[:k]); err != nil {
					t.Error(err)
				}
				b = b[k:]
			}
			if err := z.Close(); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(out.Bytes(), encode(t, layerstore.Gzip, content[n*1000:], 1<<20)) {
				t.Errorf("layer %d is not what it is alone", n)
			}
		})
	}
	wg.Wait()
}

// brokenWriter takes some bytes and then none.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// An error below ends one encoder and leaves the blocks to the others.
func TestEncoderTellsErrors(t *testing.T) {
	c := layerstore.NewCompressor(layerstore.Gzip)
	content := bytes.Repeat(noise(1<<20), 12)
	for _, left := range []int{0, 5, 2 << 20} {
		z := c.NewEncoder(&brokenWriter{left})
		_, werr := z.Write(content)
		if err := z.Close(); !errors.Is(err, io.ErrShortWrite) || werr != nil && !errors.Is(werr, io.ErrShortWrite) {
			t.Errorf("room for %d bytes: write %v, close %v", left, werr, err)
		}
	}
	var out bytes.Buffer
	z := c.NewEncoder(&out)
	if _, err := z.Write(content[:3<<20]); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil || !bytes.Equal(out.Bytes(), encode(t, layerstore.Gzip, content[:3<<20], 1<<20)) {
		t.Errorf("after others failed: other bytes, %v", err)
	}
}

// A store has a layer in several forms, and gives each to who wants it.
func TestForms(t *testing.T) {
	s := open(t)
	tar := noise(100_000)
	id := digestOf(tar)
	for _, kind := range []layerstore.Compression{layerstore.Zstd, layerstore.Gzip} {
		if _, ok := s.As(kind).Known(id); ok {
			t.Errorf("%s: known before it was written", kind)
		}
		w, err := s.Writer(t.Context()) // whatever the store is asked for: what is written counts
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(encode(t, kind, tar, 999)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(id); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Any(id); !ok {
			t.Errorf("%s: not found for who takes any form", kind)
		}
	}
	for kind, want := range map[layerstore.Compression]types.MediaType{"": types.OCILayer, layerstore.Gzip: types.OCILayer, layerstore.Zstd: types.OCILayerZStd} {
		l, ok := s.As(kind).Layer(id)
		if !ok {
			t.Fatalf("%s: no layer", kind)
		}
		if got, err := l.MediaType(); err != nil || got != want {
			t.Errorf("%s: media type %s, %v", kind, got, err)
		}
		if n, ok := l.(interface{ TarSize() (int64, bool) }).TarSize(); !ok || n != int64(len(tar)) {
			t.Errorf("%s: tar of %d bytes, %v; want %d", kind, n, ok, len(tar))
		}
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, tar) {
			t.Errorf("%s: not the same after a round trip: %v", kind, err)
		}
		r.Close()
	}
	if _, err := layerstore.ParseCompression("xz"); err == nil {
		t.Error("xz is taken for a form")
	}
}

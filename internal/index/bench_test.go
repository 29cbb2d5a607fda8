package index_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/slipway-build/slipway/internal/index"
)

// million is how many versions BenchmarkMillion generates.
var million = flag.Int("index.versions", 1_000_000, "versions of the generated index of BenchmarkMillion")

// generate is the tar.gz of an index with so many versions, of the shape of the public one: forty a buildpack, one in a
// thousand yanked, some pre-releases. The newest release of every buildpack is the image of the letter f.
func generate(t testing.TB, versions int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	const each = 40
	for i := range max(1, versions/each) {
		name := fmt.Sprintf("vendor-%d/buildpack-%d", i%60, i)
		n, err := index.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		for v := range each {
			version, letter, yanked := fmt.Sprintf("%d.%d.%d", v/10, v%10, i%7), "a", false
			switch {
			case v == each-1:
				version, yanked = "99.0.0", i%25 == 0
			case v == each-2:
				version += "-rc.1"
			case v == each-3:
				letter = "f"
			}
			if v == each-1 && !yanked {
				letter = "f"
			}
			text.WriteString(row(name, version, letter, yanked))
		}
		h := &tar.Header{Name: n.Path(), Size: int64(text.Len()), Mode: 0o644, Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := text.WriteTo(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// public is the public index where SLIPWAY_INDEX names a tar of it, else one of its size and shape.
func public(t testing.TB) []byte {
	t.Helper()
	at := os.Getenv("SLIPWAY_INDEX")
	if at == "" {
		return generate(t, 15_000)
	}
	b, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPublic reads the public index, or one of its shape: every buildpack of it is found again, from the read model, in
// the version that its rows say is the newest release.
func TestPublic(t *testing.T) {
	tree, err := index.ReadTar(t.Context(), bytes.NewReader(public(t)))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Buildpacks) < 300 || tree.Versions < 14_000 || len(tree.Faults) > 20 {
		t.Fatalf("%d buildpacks, %d versions, faults %v", len(tree.Buildpacks), tree.Versions, tree.Faults)
	}
	x := open(t, tree)
	for _, b := range tree.Buildpacks {
		got, ok, err := x.Get(b.Name)
		if err != nil || !ok || len(got.Versions) != len(b.Versions) {
			t.Fatalf("%s: %t %v, %d versions, want %d", b.Name, ok, err, len(got.Versions), len(b.Versions))
		}
		for i, v := range b.Versions {
			if w := got.Versions[i]; w.Version != v.Version || w.Address != v.Address || w.Yanked != v.Yanked {
				t.Fatalf("%s: %+v, want %+v", b.Name, w, v)
			}
			if exact, err := got.Choose(v.Version); err != nil || exact.Address != v.Address {
				t.Errorf("%s@%s: %+v %v", b.Name, v.Version, exact, err)
			}
		}
	}
}

// TestGenerated is the choice of the newest release, where it is known.
func TestGenerated(t *testing.T) {
	tree, err := index.ReadTar(t.Context(), bytes.NewReader(generate(t, 4000)))
	if err != nil || len(tree.Faults) > 0 {
		t.Fatal(err, tree.Faults)
	}
	x := open(t, tree)
	for name := range x.Names() {
		n, err := index.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := x.Get(n)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := b.Choose(""); err != nil || v.Address != address("f") {
			t.Errorf("%s: %+v %v", name, v, err)
		}
	}
}

func open(t testing.TB, tree *index.Tree) *index.Index {
	t.Helper()
	at := filepath.Join(t.TempDir(), "model")
	if err := index.WriteModel(at, index.Head{Name: "ours"}, tree); err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// BenchmarkLoad reads the tar of the public index, or of one of its shape.
func BenchmarkLoad(b *testing.B) { benchmarkLoad(b, public(b)) }

// BenchmarkLoadMillion reads a million versions.
func BenchmarkLoadMillion(b *testing.B) { benchmarkLoad(b, generate(b, *million)) }

func benchmarkLoad(b *testing.B, text []byte) {
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := index.ReadTar(b.Context(), bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkResolve chooses of every buildpack in turn, and reports the hundredth part that takes longest: cold, when its
// rows are read, and warm; and warm by ranges, which many have no release of.
func BenchmarkResolve(b *testing.B) { benchmarkResolve(b, public(b)) }

// BenchmarkResolveMillion is BenchmarkResolve of a million versions.
func BenchmarkResolveMillion(b *testing.B) { benchmarkResolve(b, generate(b, *million)) }

func benchmarkResolve(b *testing.B, text []byte) {
	tree, err := index.ReadTar(b.Context(), bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	at := filepath.Join(b.TempDir(), "model")
	if err := index.WriteModel(at, index.Head{Name: "ours"}, tree); err != nil {
		b.Fatal(err)
	}
	tree = nil
	for b.Loop() {
		x, err := index.Open(at)
		if err != nil {
			b.Fatal(err)
		}
		names := slices.Collect(x.Names())
		for _, run := range []struct{ unit, want string }{{"cold-p99-ns", ""}, {"warm-p99-ns", ""}, {"caret-p99-ns", "^1"}, {"none-p99-ns", "^77"}, {"span-p99-ns", ">=1, <2"}} {
			var took []time.Duration
			for _, name := range names {
				n, _ := index.ParseName(name)
				start := time.Now()
				p, _, err := x.Get(n)
				if err == nil {
					_, err = p.Choose(run.want)
				}
				took = append(took, time.Since(start))
				if _, none := errors.AsType[*index.NoVersionError](err); err != nil && !none {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100]), run.unit)
		}
		if err := x.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSearch looks for what people look for.
func BenchmarkSearch(b *testing.B) {
	tree, err := index.ReadTar(b.Context(), bytes.NewReader(public(b)))
	if err != nil {
		b.Fatal(err)
	}
	x := open(b, tree)
	for b.Loop() {
		for _, text := range []string{"node", "go", "java", "paketo", "buildpack-1", "zz"} {
			fmt.Fprint(io.Discard, len(x.Search(text)))
		}
	}
}

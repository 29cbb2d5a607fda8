package layerstore_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-build/slipway/internal/layerstore"
)

func open(t testing.TB) *layerstore.Store {
	t.Helper()
	s, err := layerstore.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tarOf is a tar of one file, and its diffID.
func tarOf(t testing.TB, name, content string) ([]byte, string) {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), digestOf(b.Bytes())
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// put stores a tar as a layer.
func put(t testing.TB, s *layerstore.Store, b []byte) layerstore.Entry {
	t.Helper()
	w, err := s.Writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	z := layerstore.NewEncoder(w)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := w.Commit(digestOf(b))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func blobPath(s *layerstore.Store, digest string) string {
	return filepath.Join(s.Dir(), "blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func TestLayerRoundTrip(t *testing.T) {
	s := open(t)
	content, diffID := tarOf(t, "a", "hello")
	if _, ok := s.Layer(diffID); ok {
		t.Fatal("an empty store has the layer")
	}
	e := put(t, s, content)
	again, err := layerstore.Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	l, ok := again.Layer(diffID)
	if !ok {
		t.Fatal("the layer is not found after a second Open")
	}
	if d, _ := l.Digest(); d.String() != e.Digest {
		t.Errorf("digest %s, want %s", d, e.Digest)
	}
	for name, read := range map[string]func() (io.ReadCloser, error){"compressed": l.Compressed, "uncompressed": l.Uncompressed} {
		r, err := read()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := diffID
		if name == "compressed" {
			want = e.Digest
		}
		if digestOf(got) != want {
			t.Errorf("%s: digest %s, want %s", name, digestOf(got), want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	marker, err := os.ReadFile(filepath.Join(s.Dir(), "oci-layout"))
	if err != nil || string(marker) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %q, %v", marker, err)
	}
}

// What is broken on disk is a miss, and is gone afterwards.
func TestCorruptIsMiss(t *testing.T) {
	content, diffID := tarOf(t, "a", strings.Repeat("hello ", 1000))
	spoil := map[string]func(path string, b []byte) error{
		"truncated": func(p string, b []byte) error { return os.WriteFile(p, b[:len(b)/2], 0o644) },
		"empty":     func(p string, _ []byte) error { return os.WriteFile(p, nil, 0o644) },
		"flipped": func(p string, b []byte) error {
			b[len(b)/2] ^= 1
			return os.WriteFile(p, b, 0o644)
		},
		"gone": func(p string, _ []byte) error { return os.Remove(p) },
		"fifo": func(p string, _ []byte) error {
			return errors.Join(os.Remove(p), exec.Command("mkfifo", p).Run())
		},
		"link": func(p string, _ []byte) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) },
	}
	for name, f := range spoil {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			e := put(t, s, content)
			p := blobPath(s, e.Digest)
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := f(p, b); err != nil {
				t.Fatal(err)
			}
			if l, ok := s.Layer(diffID); ok {
				if name != "flipped" {
					t.Fatal("a broken blob is found")
				}
				for _, read := range []func() (io.ReadCloser, error){l.Compressed, l.Uncompressed} {
					r, err := read()
					if err == nil {
						_, err = io.Copy(io.Discard, r)
						r.Close()
					}
					if err == nil {
						t.Error("a flipped bit is not noticed")
					}
				}
			}
			if _, ok := s.Known(diffID); ok {
				t.Error("the layer is still known")
			}
			if again := put(t, s, content); again != e {
				t.Errorf("writing it again gives %v, want %v", again, e)
			}
		})
	}
}

func TestGarbledMemo(t *testing.T) {
	content, diffID := tarOf(t, "a", "x")
	for _, memo := range []string{"", "{", `{"diffID":"sha256:00"}`, `{"diffID":"` + diffID + `","digest":"../../x"}`} {
		s := open(t)
		put(t, s, content)
		path := filepath.Join(s.Dir(), "memo", strings.TrimPrefix(diffID, "sha256:"))
		if err := os.WriteFile(path, []byte(memo), 0o644); err != nil {
			t.Fatal(err)
		}
		if e, ok := s.Known(diffID); ok {
			t.Errorf("memo %q: known as %v", memo, e)
		}
	}
}

func TestPathVerifies(t *testing.T) {
	s := open(t)
	content, _ := tarOf(t, "a", "x")
	e := put(t, s, content)
	p, err := s.Path(e.Digest, true)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	b[10] ^= 0xff
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Path(e.Digest, true); err == nil {
		t.Fatal("a corrupt blob passes")
	} else if _, ok := errors.AsType[*layerstore.CorruptError](err); !ok {
		t.Errorf("error is %v, want a CorruptError", err)
	}
	if _, err := s.Path(e.Digest, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after it: %v, want not exist", err)
	}
	for _, bad := range []string{"", "x", "sha256:..", "sha512:" + strings.Repeat("0", 128), "sha256:" + strings.Repeat("A", 64)} {
		if _, err := s.Path(bad, false); err == nil {
			t.Errorf("digest %q is accepted", bad)
		}
	}
}

// noise is text that compresses about as well as source code does.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 3000)
	for i := range words {
		words[i] = fmt.Sprintf("%x", r.Uint32()>>uint(r.IntN(24)))
	}
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[r.IntN(1+r.IntN(len(words)))])
		b.WriteByte(" \n.,;(){}"[r.IntN(9)])
	}
	return b.Bytes()[:n]
}

func TestDecoderReadsZstdAndTar(t *testing.T) {
	content, _ := tarOf(t, "a", "hello")
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"zstd": z.EncodeAll(content, nil), "tar": content} {
		r, err := layerstore.NewDecoder(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %v", name, err)
		}
		r.Close()
	}
}

func TestCommitBlobChecksDigest(t *testing.T) {
	s := open(t)
	w, err := s.Writer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "x"); err != nil {
		t.Fatal(err)
	}
	want := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	if _, _, err := w.CommitBlob(want); err == nil {
		t.Error("another digest is accepted")
	}
	if _, err := w.Commit(digestOf([]byte("x"))); err == nil {
		t.Error("a closed writer commits")
	}
	ctx, cancel := context.WithCancel(t.Context())
	w, err = s.Writer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a cancelled writer writes")
	}
	w.Abort()
	left, err := os.ReadDir(filepath.Join(s.Dir(), "staging"))
	if err != nil || len(left) > 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
	for size, ok := range map[int64]bool{3: true, 2: false, 4: false} {
		h, _, _ := v1.SHA256(strings.NewReader("abc"))
		err := open(t).ImportBlob(t.Context(), h, size, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("abc")), nil })
		if (err == nil) != ok {
			t.Errorf("import of 3 bytes as %d: %v", size, err)
		}
	}
}

// TestPrivate opens a store with the umask of a machine that shares everything with a group.
func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "images")
	if _, err := layerstore.Open(dir); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(dir)
	if err != nil || fi.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may use the store: %v, %v", fi.Mode(), err)
	}
}

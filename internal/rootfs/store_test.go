package rootfs_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/rootfs"
)

type entry struct {
	name, link, body string
	kind             byte
	mode             int64
	uid              int
}

func layer(t testing.TB, entries ...entry) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.mode == 0 {
			e.mode = 0o755
		}
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Uid: e.uid, Gid: e.uid, Size: int64(len(e.body)), ModTime: time.Unix(1, 0), Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func open(t testing.TB) *rootfs.Store {
	t.Helper()
	s, err := rootfs.OpenStore(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStack: what layers remove and replace is removed and replaced in the mount.
func TestStack(t *testing.T) {
	if os.Geteuid() != 0 {
		if _, err := open(t).Add(t.Context(), imageOf(t, layer(t, entry{name: "x", kind: tar.TypeReg, uid: os.Geteuid() + 1}))); err == nil {
			t.Error("another user's file without being root")
		}
		return
	}
	dir, reg, sym, hard := byte(tar.TypeDir), byte(tar.TypeReg), byte(tar.TypeSymlink), byte(tar.TypeLink)
	s := open(t)
	img := imageOf(t,
		layer(t, entry{name: "a/", kind: dir, mode: 0o1750, uid: 7}, entry{name: "a/gone", kind: reg, body: "x"}, entry{name: "a/stays", kind: reg, body: "1", mode: 0o4755, uid: 3},
			entry{name: "b/", kind: dir}, entry{name: "b/hidden", kind: reg, body: "x"}, entry{name: "c/", kind: dir}, entry{name: "c/in", kind: reg}, entry{name: "implied/deep/file", kind: reg, body: "y"}),
		layer(t, entry{name: "a/", kind: dir, mode: 0o1750, uid: 7}, entry{name: "a/.wh.gone", kind: reg}, entry{name: "b/.wh..wh..opq", kind: reg}, entry{name: "b/new", kind: reg, body: "z"}, entry{name: "c", kind: sym, link: "a"},
			entry{name: "hard", kind: hard, link: "b/new"}, entry{name: "twice", kind: reg, body: "first"}, entry{name: "twice", kind: reg, body: "second"}),
	)
	id, err := s.Add(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Image(id)
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	if err := (rootfs.Overlay{Lower: got.Lower}).Mount(at); err != nil {
		t.Fatal(err)
	}
	defer rootfs.Unmount(at)
	for name, want := range map[string]string{
		"a/stays": "1", "b/new": "z", "hard": "z", "twice": "second", "implied/deep/file": "y", "c/stays": "1",
		"a/gone": "-", "b/hidden": "-", "c/in": "-", "a/.wh.gone": "-",
	} {
		b, err := os.ReadFile(filepath.Join(at, name))
		if err != nil {
			b = []byte("-")
		}
		if string(b) != want {
			t.Errorf("%s: %q, want %q", name, b, want)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(at, "a"), &st); err != nil || st.Mode&0o7777 != 0o1750 || st.Uid != 7 || st.Mtim.Sec != 1 {
		t.Errorf("a: %+v, %v", st, err)
	}
	if err := unix.Lstat(filepath.Join(at, "a/stays"), &st); err != nil || st.Mode&0o7777 != 0o4755 || st.Uid != 3 || st.Mtim.Sec != 1 {
		t.Errorf("a/stays: %+v, %v", st, err)
	}
}

// TestLayerTwice: an image may have a layer twice, and another between that changes what the first gave.
func TestLayerTwice(t *testing.T) {
	if os.Geteuid() != 0 {
		return // nobody else mounts
	}
	dir, reg := byte(tar.TypeDir), byte(tar.TypeReg)
	twice := layer(t, entry{name: "a/", kind: dir}, entry{name: "a/file", kind: reg, body: "1"}, entry{name: "a/.wh.base", kind: reg})
	s := open(t)
	id, err := s.Add(t.Context(), imageOf(t,
		layer(t, entry{name: "a/", kind: dir}, entry{name: "a/base", kind: reg, body: "x"}), twice,
		layer(t, entry{name: "a/.wh.file", kind: reg}, entry{name: "a/base", kind: reg, body: "y"}, entry{name: "b", kind: reg, body: "2"}), twice))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Image(id)
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	if err := (rootfs.Overlay{Lower: got.Lower}).Mount(at); err != nil {
		t.Fatal(err)
	}
	defer rootfs.Unmount(at)
	for name, want := range map[string]string{"a/file": "1", "a/base": "-", "b": "2"} {
		b, err := os.ReadFile(filepath.Join(at, name))
		if err != nil {
			b = []byte("-")
		}
		if string(b) != want {
			t.Errorf("%s: %q, want %q", name, b, want)
		}
	}
}

// TestHostileLayers: nothing is written outside, nothing stays of what is refused.
func TestHostileLayers(t *testing.T) {
	outside := t.TempDir()
	reg, sym, hard, dev := byte(tar.TypeReg), byte(tar.TypeSymlink), byte(tar.TypeLink), byte(tar.TypeChar)
	for name, entries := range map[string][]entry{
		"above":             {{name: "../../evil", kind: reg, body: "x"}},
		"absolute":          {{name: "//" + outside + "/evil", kind: reg, body: "x"}},
		"through a link":    {{name: "l", kind: sym, link: outside}, {name: "l/evil", kind: reg, body: "x"}},
		"relative link":     {{name: "l", kind: sym, link: "../../../../../../../.." + outside}, {name: "l/evil", kind: reg, body: "x"}},
		"hard link out":     {{name: "h", kind: hard, link: "../../../../etc/passwd"}},
		"hard link by link": {{name: "l", kind: sym, link: "/etc"}, {name: "h", kind: hard, link: "l/passwd"}},
		"loop":              {{name: "l", kind: sym, link: "l"}, {name: "l/evil", kind: reg, body: "x"}},
		"whiteout device":   {{name: "w", kind: dev}},
		"whiteout of dots":  {{name: ".wh...", kind: reg}},
		"root as a file":    {{name: "./.", kind: reg, body: "x"}},
		"proc":              {{name: "l", kind: sym, link: "/proc/self/root" + outside}, {name: "l/evil", kind: reg, body: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			_, err := s.Add(t.Context(), imageOf(t, layer(t, entries...)))
			if err != nil && strings.ContainsAny(err.Error(), "\n") {
				t.Errorf("more than a line: %v", err)
			}
			if names, _ := os.ReadDir(outside); len(names) > 0 {
				t.Fatalf("written outside: %v", names)
			}
			_, evil := os.Lstat("/evil")
			if evil == nil {
				t.Fatal("written to /evil")
			}
			if st, err := os.Stat("/etc/passwd"); err == nil && st.Sys() != nil {
				var s unix.Stat_t
				if unix.Stat("/etc/passwd", &s) == nil && s.Nlink > 1 {
					t.Error("the host's file got a further name")
				}
			}
			if err == nil {
				return // it was written inside, where a process in the image would find it too
			}
			for _, d := range []string{"layers", "images", "staging"} {
				names, _ := os.ReadDir(filepath.Join(s.Dir(), d))
				if len(names) > 0 {
					t.Errorf("refused (%v), but left in %s: %v", err, d, names)
				}
			}
		})
	}
}

// TestDamage: an image of which anything is missing or changed is not there, and can be added again.
func TestDamage(t *testing.T) {
	s := open(t)
	img := imageOf(t, layer(t, entry{name: "f", kind: tar.TypeReg, body: "x", uid: os.Geteuid()}))
	id, err := s.Add(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	hex := strings.TrimPrefix(id, "sha256:")
	for name, damage := range map[string]func() error{
		"config cut":   func() error { return os.Truncate(filepath.Join(s.Dir(), "images", hex), 10) },
		"config gone":  func() error { return os.Remove(filepath.Join(s.Dir(), "images", hex)) },
		"layer gone":   func() error { return os.RemoveAll(filepath.Join(s.Dir(), "layers")) },
		"layer a file": func() error { return replaceByFiles(filepath.Join(s.Dir(), "layers")) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Image(id); !errors.Is(err, rootfs.ErrNoImage) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "layer gone" {
			if err := os.Mkdir(filepath.Join(s.Dir(), "layers"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Add(t.Context(), img); err != nil {
			t.Errorf("%s: add again: %v", name, err)
		}
		if !s.Has(id) {
			t.Errorf("%s: not there after it was added again", name)
		}
	}
}

func replaceByFiles(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		p := filepath.Join(dir, n.Name())
		if err := errors.Join(os.RemoveAll(p), os.WriteFile(p, nil, 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// TestPrune: what is used stays.
func TestPrune(t *testing.T) {
	s := open(t)
	old := imageOf(t, layer(t, entry{name: "old", kind: tar.TypeReg, uid: os.Geteuid()}), layer(t, entry{name: "shared", kind: tar.TypeReg, uid: os.Geteuid()}))
	young := imageOf(t, layer(t, entry{name: "shared", kind: tar.TypeReg, uid: os.Geteuid()}))
	oldID, err := s.Add(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	youngID, err := s.Add(t.Context(), young)
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(s.Dir(), "images", strings.TrimPrefix(oldID, "sha256:")), past, past); err != nil {
		t.Fatal(err)
	}
	unlock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.Prune(time.Minute); err != nil || n != 0 {
		t.Errorf("pruned %d while in use, %v", n, err)
	}
	unlock()
	if n, err := s.Prune(time.Minute); err != nil || n != 1 {
		t.Errorf("pruned %d, %v", n, err)
	}
	if s.Has(oldID) || !s.Has(youngID) {
		t.Error("the wrong image went")
	}
	if names, _ := os.ReadDir(filepath.Join(s.Dir(), "layers")); len(names) != 1 {
		t.Errorf("layers left: %v", names)
	}
}

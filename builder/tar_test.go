package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// put makes files below dir: "d/" is a directory, "l -> t" a link, "a = b" a hard link, "p |" a named pipe, all
// else a file that holds its own name.
func put(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		name, target, link := strings.Cut(n, " -> ")
		hard, first, isHard := strings.Cut(n, " = ")
		fifo, isFIFO := strings.CutSuffix(n, " |")
		var err error
		switch {
		case link:
			err = os.Symlink(target, at(t, dir, name))
		case isHard:
			err = os.Link(filepath.Join(dir, first), at(t, dir, hard))
		case isFIFO:
			err = syscall.Mkfifo(at(t, dir, fifo), 0o644)
		case strings.HasSuffix(n, "/"):
			err = os.MkdirAll(filepath.Join(dir, n), 0o755)
		default:
			err = os.WriteFile(at(t, dir, n), []byte(n), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func at(t *testing.T, dir, name string) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

func treeLayer(dir string) Layer {
	return Layer{ID: "t:l", parts: []layerPart{treePart{anchor: dir, name: "/l", uid: 7, gid: 8}}}
}

func tarOf(t *testing.T, l Layer) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := l.WriteTar(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func headers(t *testing.T, b []byte) []*tar.Header {
	t.Helper()
	var hs []*tar.Header
	tr := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return hs
		}
		if err != nil {
			t.Fatal(err)
		}
		hs = append(hs, h)
	}
}

func entryNames(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	for _, h := range headers(t, b) {
		out = append(out, h.Name)
	}
	return out
}

func TestTarIsNormalised(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "b", "a/x", "a-b", "link -> /etc/passwd")
	if err := os.Chmod(filepath.Join(dir, "b"), 0o751); err != nil {
		t.Fatal(err)
	}
	for _, h := range headers(t, tarOf(t, treeLayer(dir))) {
		if !h.ModTime.Equal(LayerTime()) || h.Uid != 7 || h.Gid != 8 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s: mtime %v, owner %d:%d %q:%q", h.Name, h.ModTime, h.Uid, h.Gid, h.Uname, h.Gname)
		}
		if h.Name == "/l/b" && h.Mode != 0o751 {
			t.Errorf("mode of b is %o", h.Mode)
		}
		if h.Name == "/l/link" && (h.Typeflag != tar.TypeSymlink || h.Linkname != "/etc/passwd") {
			t.Errorf("link became %c to %s", h.Typeflag, h.Linkname)
		}
	}
}

func TestTarOrder(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "b", "a/x", "a/x.d/1", "a/x-1", "a-b", "a.c/z", "a0")
	byDir := []string{"/l", "/l/a", "/l/a/x", "/l/a/x-1", "/l/a/x.d", "/l/a/x.d/1", "/l/a-b", "/l/a.c", "/l/a.c/z", "/l/a0", "/l/b"}
	if got := entryNames(t, tarOf(t, treeLayer(dir))); !slices.Equal(got, byDir) {
		t.Errorf("by directory:\n%q\nwant\n%q", got, byDir)
	}
	l := treeLayer(dir)
	p := l.parts[0].(treePart)
	p.byPath = true
	l.parts[0] = p
	byPath := slices.Sorted(slices.Values(byDir))
	if got := entryNames(t, tarOf(t, l)); !slices.Equal(got, byPath) {
		t.Errorf("by path:\n%q\nwant\n%q", got, byPath)
	}
}

func TestTarSameBytesWhateverTheTimesAndOrder(t *testing.T) {
	names := []string{"z", "a/1", "a/2", "m/n/o", "link -> z"}
	one, two := t.TempDir(), t.TempDir()
	put(t, one, names...)
	slices.Reverse(names)
	old := syscall.Umask(0o027)
	put(t, two, names...)
	syscall.Umask(old)
	for _, n := range []string{"z", "a/1", "a/2", "m/n/o"} {
		if err := os.Chmod(filepath.Join(two, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"", "a", "m", "m/n"} {
		if err := errors.Join(os.Chmod(filepath.Join(two, n), 0o755), os.Chmod(filepath.Join(one, n), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Unix(1e9, 5)
	if err := os.Chtimes(filepath.Join(two, "z"), past, past); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tarOf(t, treeLayer(one)), tarOf(t, treeLayer(two))) {
		t.Error("the same files gave different bytes")
	}
}

func TestTarHostileTree(t *testing.T) {
	dir := t.TempDir()
	weird := []string{"-rf", "new\nline", "\x1b[31m", "tr ", "inv\xff\xfe", "e\u0301", "\u00e9", "Case", "case", strings.Repeat("n", 255)}
	put(t, dir, append([]string{"fifo |", "self -> self", "x -> y", "y -> x", "up -> ../../../..", "out -> /etc"}, weird...)...)
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := map[string]*tar.Header{}
	for _, h := range headers(t, tarOf(t, treeLayer(dir))) {
		got[strings.TrimPrefix(h.Name, "/l/")] = h
	}
	for _, n := range weird {
		if h := got[n]; h == nil || h.Typeflag != tar.TypeReg || h.Size != int64(len(n)) {
			t.Errorf("%q: %+v", n, h)
		}
	}
	if got["fifo"] == nil || got["fifo"].Typeflag != tar.TypeFifo {
		t.Error("the named pipe is not kept as one")
	}
	if got["sock"] != nil {
		t.Error("the socket is in the layer")
	}
	for _, n := range []string{"self", "x", "out", "up"} {
		if got[n] == nil || got[n].Typeflag != tar.TypeSymlink {
			t.Errorf("%s is not kept as a link", n)
		}
	}
}

func TestTarLongLinkChain(t *testing.T) {
	dir := t.TempDir()
	for i := range 10_000 {
		if err := os.Symlink(fmt.Sprintf("l%05d", i+1), filepath.Join(dir, fmt.Sprintf("l%05d", i))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(headers(t, tarOf(t, treeLayer(dir)))); n != 10_001 {
		t.Errorf("%d entries", n)
	}
}

// A file of several names is there as often, because the reference cannot restore a hard link.
func TestTarHardLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	put(t, elsewhere, "shared")
	put(t, dir, "b/one", "a = b/one", "c = a")
	if err := os.Link(filepath.Join(elsewhere, "shared"), filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, h := range headers(t, tarOf(t, treeLayer(dir))) {
		kinds[h.Name] = string(h.Typeflag) + h.Linkname
	}
	for name, want := range map[string]string{"/l/a": "0", "/l/b/one": "0", "/l/c": "0", "/l/d": "0"} {
		if kinds[name] != want {
			t.Errorf("%s is %q, want %q", name, kinds[name], want)
		}
	}
}

func TestTarStripsSetuid(t *testing.T) {
	dir := t.TempDir()
	for i := range 13 {
		n := fmt.Sprintf("s%02d", i)
		put(t, dir, n)
		if err := os.Chmod(filepath.Join(dir, n), 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
			t.Fatal(err)
		}
	}
	var warnings []string
	l := treeLayer(dir)
	l.warn = func(s string) { warnings = append(warnings, s) }
	for _, h := range headers(t, tarOf(t, l)) {
		if h.Mode&0o6000 != 0 {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
	}
	if len(warnings) != 11 || !strings.Contains(warnings[0], `"/l/s00"`) || !strings.Contains(warnings[10], "3 more files") {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestTarRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string)
		want string
	}{
		{"whiteout", func(t *testing.T, dir string) { put(t, dir, "d/.wh.x") }, `"/l/d/.wh.x": names that begin with .wh.`},
		{"opaque", func(t *testing.T, dir string) { put(t, dir, ".wh..wh..opq") }, `"/l/.wh..wh..opq"`},
		{"sparse terabyte", func(t *testing.T, dir string) {
			put(t, dir, "big")
			if err := os.Truncate(filepath.Join(dir, "big"), 1<<40); err != nil {
				t.Fatal(err)
			}
		}, `"/l/big": with its 1099511627776 bytes the layer is larger than the limit`},
		{"deep", func(t *testing.T, dir string) {
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			for range 1030 {
				if err := root.Mkdir("d", 0o755); err != nil {
					t.Fatal(err)
				}
				next, err := root.OpenRoot("d")
				root.Close()
				if err != nil {
					t.Fatal(err)
				}
				root = next
			}
			root.Close()
		}, "more than 1024 directories deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(t, dir)
			start := time.Now()
			err := treeLayer(dir).WriteTar(t.Context(), io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if d := time.Since(start); d > 30*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestTarRefusesDevices(t *testing.T) {
	l := Layer{ID: "t:l", parts: []layerPart{treePart{anchor: "/dev", name: "/l", keep: func(rel string) bool { return rel == "" || rel == "null" }}}}
	err := l.WriteTar(t.Context(), io.Discard)
	if err == nil || !strings.Contains(err.Error(), `"/l/null" is a device node`) {
		t.Errorf("got %v", err)
	}
}

func TestTarFollowsNoLinkToTheTree(t *testing.T) {
	dir, secret := t.TempDir(), t.TempDir()
	put(t, secret, "key")
	put(t, dir, "bp -> "+secret)
	l := Layer{parts: []layerPart{treePart{anchor: dir, below: []string{"bp"}, name: "/l"}}}
	if err := l.WriteTar(t.Context(), io.Discard); err == nil {
		t.Error("a link in place of a layer directory was followed")
	}
}

func TestTarEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "big")
	if err := os.Truncate(filepath.Join(dir, "big"), 32<<30); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := treeLayer(dir).WriteTar(ctx, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestTarMemoryIsFlat(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "big")
	if err := os.Truncate(filepath.Join(dir, "big"), 256<<20); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := treeLayer(dir).WriteTar(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("a file of 256 MiB took %d bytes of memory", grown)
	}
}

func BenchmarkTar(b *testing.B) {
	dir := b.TempDir()
	for i := range 10_000 {
		d := filepath.Join(dir, fmt.Sprint(i/100))
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprint(i)), bytes.Repeat([]byte("x"), 4000), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(40_000_000)
	for b.Loop() {
		if err := treeLayer(dir).WriteTar(b.Context(), sha256.New()); err != nil {
			b.Fatal(err)
		}
	}
}

package parcel

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func targz(t *testing.T, entries ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, h := range entries {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = "content of " + h.Name
		}
		h.Size = int64(len(body))
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "a.tar.gz")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func reg(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}
}

func TestUntar(t *testing.T) {
	file := targz(t, tar.Header{Typeflag: tar.TypeDir, Name: "top/", Mode: 0o755}, reg("top/bin/tool", 0o755),
		reg("top/data", 0o600), tar.Header{Typeflag: tar.TypeSymlink, Name: "top/link", Linkname: "bin/tool"})
	dst := filepath.Join(t.TempDir(), "out")
	if err := Untar(t.Context(), file, dst, Strip); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dst, "link"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("tool through its link: %v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(dst, "data")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("data is not readable by all: %v, %v", info, err)
	}
}

func TestUntarStaysInside(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"parent":        {reg("top/../../escape", 0o644)},
		"link absolute": {{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: "/etc"}},
		"link out":      {{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: "../../x"}},
		"through link":  {{Typeflag: tar.TypeSymlink, Name: "top/l", Linkname: "."}, reg("top/l/../../../escape", 0o644)},
		"device":        {{Typeflag: tar.TypeChar, Name: "top/null"}},
		"fifo":          {{Typeflag: tar.TypeFifo, Name: "top/fifo"}},
		"hard link":     {{Typeflag: tar.TypeLink, Name: "top/h", Linkname: "/etc/passwd"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			err := Untar(t.Context(), targz(t, entries...), filepath.Join(base, "a/b"), func(n string, m fs.FileMode) (string, fs.FileMode) { return strings.TrimPrefix(n, "top/"), m })
			if err == nil {
				t.Error("accepted")
			}
			if _, err := os.Lstat(filepath.Join(base, "escape")); err == nil {
				t.Error("wrote outside")
			}
		})
	}
}

func TestUnzip(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	zw := zip.NewWriter(f)
	for _, n := range []string{"m@v1/a/b.txt", "m@v1/skip", "m@v1/../../escape"} {
		w, err := zw.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(n))
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	base := t.TempDir()
	dst := filepath.Join(base, "x/y")
	err = Unzip(t.Context(), name, dst, func(n string, m fs.FileMode) (string, fs.FileMode) {
		rel, ok := strings.CutPrefix(n, "m@v1/")
		if !ok || rel == "skip" {
			return "", m
		}
		return rel, m
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dst, "a/b.txt")); err != nil || string(b) != "m@v1/a/b.txt" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(dst, "skip")); err == nil {
		t.Error("skip was unpacked")
	}
}

func FuzzUntar(f *testing.F) {
	f.Add([]byte("no archive"))
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	tw.WriteHeader(&tar.Header{Name: "a/../../b", Typeflag: tar.TypeReg, Size: 1})
	tw.Write([]byte("x"))
	tw.Close()
	zw.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		file := filepath.Join(base, "in")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		Untar(t.Context(), file, filepath.Join(base, "out/deep"), Strip)
		entries, err := os.ReadDir(base)
		if err != nil || len(entries) > 2 {
			t.Fatalf("something was written outside: %v, %v", entries, err)
		}
	})
}

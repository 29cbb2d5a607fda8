package platform

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// TestProjectPaths gives buildpacks by a descriptor that somebody else may have written: no directory outside of the
// source comes into the build by it, nor one of the directory in which slipway runs.
func TestProjectPaths(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	for _, d := range []string{filepath.Join(dir, "host"), filepath.Join(source, "own")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"out": "../host", "absolute": filepath.Join(dir, "host"), "in": "own"} {
		if err := os.Symlink(to, filepath.Join(source, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ id, version, uri, want string }{
		{uri: "own", want: real + "/own"},
		{uri: "./own", want: real + "/own"},
		{uri: "in", want: real + "/own"},
		{uri: "file://own", want: real + "/own"},
		{uri: "out"}, {uri: "absolute"}, {uri: "../host"}, {uri: "own/../../host"}, {uri: "file://../host"},
		{uri: filepath.Join(dir, "host")}, {uri: "file://" + filepath.Join(dir, "host")}, {uri: filepath.Join(source, "own")},
		{uri: "oci:" + dir}, {uri: "oci:own"}, {uri: "./absent"}, {uri: "file://absent"},
		{uri: "host", want: prefixNamed + "host"},
		{id: "host", want: prefixNamed + "host"},
		{id: "host", version: "1", want: prefixNamed + "host@1"},
		{uri: "example.org/bp:1", want: prefixNamed + "example.org/bp:1"},
		{uri: "docker://example.org/bp:1", want: "docker://example.org/bp:1"},
		{uri: "urn:cnb:builder:a/b", want: "urn:cnb:builder:a/b"},
		{uri: "from=builder", want: "from=builder"},
	} {
		j := &job{o: Options{Source: source}}
		got, err := j.projectBuildpack(cnb.ProjectBuildpack{ID: cnb.ID(tc.id), Version: tc.version, URI: tc.uri}, "group-0")
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("id %q, uri %q: %q, %v; want %q", tc.id, tc.uri, got, err, tc.want)
		}
	}
	j := &job{o: Options{Source: source}}
	if err := j.applyProject(&cnb.Project{Builder: "oci:" + dir}); err == nil {
		t.Error("a descriptor chose a directory of the machine as the builder")
	}
}

// TestNamed gives buildpack arguments of other people, which name no directory of this machine however they are written.
func TestNamed(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("host", 0o755); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]string{
		"host": "named:host", dir: "named:" + dir, "file://" + dir: "named:file://" + dir, "oci:" + dir: "named:oci:" + dir, "named:host": "named:named:host",
		"docker://example.org/bp:1": "docker://example.org/bp:1", "urn:cnb:builder:a/b": "urn:cnb:builder:a/b", "from=builder": "from=builder",
	} {
		if got := Named(arg); got != want {
			t.Errorf("%q becomes %q, want %q", arg, got, want)
		}
	}
	for _, arg := range []string{"named:host", "named:" + dir, "named:file://" + dir, "named:oci:" + dir, "docker://oci:" + dir} {
		j := &job{builder: &builderImage{}}
		if e, err := j.buildpack(t.Context(), arg); err == nil {
			t.Errorf("%q was found: %+v", arg, e)
		}
	}
}

// TestPlainDir looks for buildpacks in an unpacked package whose author put links in their places.
func TestPlainDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "good", "1"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"good/2": "/etc", "good/3": "1", "bad": "/"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "good", "4"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := plainDir(dir, "good", "1"); err != nil || got != filepath.Join(dir, "good", "1") {
		t.Errorf("%s, %v", got, err)
	}
	for _, names := range [][]string{{"good", "2"}, {"good", "3"}, {"good", "4"}, {"good", "5"}, {"bad", "etc"}} {
		if got, err := plainDir(dir, names...); err == nil {
			t.Errorf("%v: %s would be mounted", names, got)
		}
	}
}

func TestCheckPackage(t *testing.T) {
	one := map[string]cnb.BuildpackLayerInfo{"1": {}}
	many := map[string]cnb.BuildpackLayerInfo{}
	for i := range maxPackaged + 1 {
		many[strings.Repeat("1", i+1)] = cnb.BuildpackLayerInfo{}
	}
	for what, l := range map[string]cnb.BuildpackLayersLabel{
		"parent":       {"..": one},
		"version":      {"a": {"../../etc": {}}},
		"dots":         {"a": {"..": {}}},
		"none":         {"a": {"": {}}},
		"a terminal's": {"a": {"1\x1b[31m": {}}},
		"many":         {"a": many},
	} {
		if err := checkPackage(l); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if err := checkPackage(cnb.BuildpackLayersLabel{"a/b": {"1.0.0": {}, "2": {}}}); err != nil {
		t.Error(err)
	}
}

// TestUnpackLayout unpacks .cnb files that would fill the disk, lead out, or wait for ever.
func TestUnpackLayout(t *testing.T) {
	dir := t.TempDir()
	for what, h := range map[string]*tar.Header{
		"sparse": {Typeflag: tar.TypeReg, Name: "big", Size: 512, PAXRecords: map[string]string{"comment": "x"}},
		"up":     {Typeflag: tar.TypeReg, Name: "../up"},
		"link":   {Typeflag: tar.TypeSymlink, Name: "blobs", Linkname: "/"},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		text := b.Bytes()
		if what == "sparse" {
			text = sparse(t)
		}
		name := filepath.Join(dir, what+".cnb")
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		if err := unpackLayout(t.Context(), name, to); err == nil {
			t.Errorf("%s: unpacked", what)
		}
		if fi, err := os.Stat(filepath.Join(to, "big")); err == nil && fi.Size() > 1<<20 {
			t.Errorf("%s: wrote %d bytes", what, fi.Size())
		}
	}
	fifo := filepath.Join(dir, "fifo.cnb")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- unpackLayout(t.Context(), fifo, t.TempDir()) }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("a FIFO was unpacked")
		}
	case <-time.After(10 * time.Second):
		t.Error("a FIFO is waited for")
	}
}

// sparse is a tar whose only file has one byte and says that it has 1 TiB (GNU sparse format 0.1).
func sparse(t *testing.T) []byte {
	t.Helper()
	var records bytes.Buffer
	for _, kv := range [][2]string{{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.name", "big"}, {"GNU.sparse.size", "1099511627776"}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", "0,1"}} {
		records.WriteString(record(kv[0], kv[1]))
	}
	var b bytes.Buffer
	for _, part := range []struct {
		kind byte
		data []byte
	}{{'x', records.Bytes()}, {'0', []byte("x")}} {
		var one bytes.Buffer
		w := tar.NewWriter(&one)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: int64(len(part.data)), Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(part.data); err != nil || w.Flush() != nil {
			t.Fatal(err)
		}
		block := one.Bytes()
		block[156] = part.kind
		sum := 0
		copy(block[148:156], "        ")
		for _, c := range block[:512] {
			sum += int(c)
		}
		copy(block[148:156], []byte(octal(sum)+"\x00 "))
		b.Write(block)
	}
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

func octal(n int) string {
	s := ""
	for range 6 {
		s = string(rune('0'+n%8)) + s
		n /= 8
	}
	return s
}

// record is one PAX record: its own length, a space, key=value, a newline.
func record(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	n := len(rest) + 2
	if len(rest)+1 < 10 {
		n = len(rest) + 1
	}
	return string(rune('0'+n/10)) + string(rune('0'+n%10)) + rest
}

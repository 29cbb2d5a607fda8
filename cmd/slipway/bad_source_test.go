package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tarFile writes a tar of headers with no contents.
func tarFile(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range headers {
		h.Mode = 0o644
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "app.tar")
	write(t, at, buf.String())
	return at
}

// zipFile writes a zip of files; a name that ends with "@" is a link to what follows it.
func zipFile(t *testing.T, names ...string) string {
	t.Helper()
	var buf bytes.Buffer
	zw := zip.NewWriter(&buf)
	for _, n := range names {
		w, err := zw.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("text")); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "app.zip")
	write(t, at, buf.String())
	return at
}

// appWith is a source directory with one thing in it that change makes.
func appWith(t *testing.T, change func(dir string) error) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	write(t, filepath.Join(dir, "hello.txt"), "hello\n")
	if err := change(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func badSources(t *testing.T, y *yard) {
	empty := t.TempDir()
	fifo := filepath.Join(t.TempDir(), "app.tar")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(y.app, "hello.txt")
	linkOut := appWith(t, func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "secret")) })
	linkUp := appWith(t, func(dir string) error { return os.Symlink("../../..", filepath.Join(dir, "up")) })
	excluded := appWith(t, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "project.toml"), []byte("[_]\nschema-version = \"0.2\"\n[io.buildpacks]\nexclude = [\"*\"]\n"), 0o644)
	})
	truncated := filepath.Join(t.TempDir(), "app.tgz")
	write(t, truncated, "\x1f\x8b\x08\x00\x00\x00\x00\x00")
	brokenZip, brokenTar := filepath.Join(t.TempDir(), "broken.zip"), filepath.Join(t.TempDir(), "broken.tar")
	write(t, brokenZip, "PK\x03\x04 and no more")
	write(t, brokenTar, strings.Repeat("a", 257)+"ustar\x00"+strings.Repeat("b", 600))
	from := func(path string) []string { return []string{"--path", path} }
	y.try(t,
		bad{name: "missing", args: from("./nowhere"), code: 1, says: []string{"./nowhere"}, hides: notBuilding},
		bad{name: "empty", args: from(empty), code: 1, says: []string{empty, "no files"}, hides: notBuilding},
		bad{name: "all excluded", args: from(excluded), code: 1, says: []string{excluded, "exclude"}, hides: notBuilding},
		bad{name: "no archive", args: from(text), code: 1, says: []string{text, "zip", "tar"}, hides: notBuilding},
		bad{name: "FIFO as the source", args: from(fifo), code: 1, says: []string{fifo}, hides: notBuilding},
		bad{name: "zip-slip", args: from(zipFile(t, "a", "../../evil")), code: 1, says: []string{"app.zip", `"../../evil"`}, hides: notBuilding},
		bad{name: "zip absolute", args: from(zipFile(t, "/etc/evil")), code: 1, says: []string{"app.zip", `"/etc/evil"`}, hides: notBuilding},
		bad{name: "tar-slip", args: from(tarFile(t, tar.Header{Typeflag: tar.TypeReg, Name: "../evil"})), code: 1, says: []string{"app.tar", `"../evil"`}, hides: notBuilding},
		bad{name: "link out of a directory", args: from(linkOut), code: 1, says: []string{linkOut, `"secret"`, "/etc/passwd"}, hides: notBuilding},
		bad{name: "link above a directory", args: from(linkUp), code: 1, says: []string{linkUp, `"up"`}, hides: notBuilding},
		bad{name: "link out of a tar", args: from(tarFile(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "/etc/passwd"})), code: 1,
			says: []string{"app.tar", `"link"`}, hides: notBuilding},
		bad{name: "hard link out of a tar", args: from(tarFile(t, tar.Header{Typeflag: tar.TypeLink, Name: "link", Linkname: "/etc/passwd"})), code: 1,
			says: []string{"app.tar", `"link"`}, hides: notBuilding},
		bad{name: "device in a tar", args: from(tarFile(t, tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3})), code: 1,
			says: []string{"app.tar", `"null"`, "device"}, hides: notBuilding},
		bad{name: "truncated", args: from(truncated), code: 1, says: []string{"app.tgz", "gzip", "ends too early"}, hides: notBuilding},
		bad{name: "broken zip", args: from(brokenZip), code: 1, says: []string{"broken.zip", "zip"}, hides: notBuilding},
		bad{name: "broken tar", args: from(brokenTar), code: 1, says: []string{"broken.tar", "tar"}, hides: notBuilding},
	)
	t.Run("FIFO in the source", func(t *testing.T) { // is left out
		t.Parallel()
		w := y.work(t)
		dir := appWith(t, func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644) })
		code, stdout, stderr := w.build(nil, "--path", dir)
		if code != 0 || !bytes.Contains([]byte(stdout), []byte(`"pipe"`)) {
			t.Errorf("exit code %d, want 0 and a warning that names the pipe\n%s%s", code, stdout, stderr)
		}
		w.nothingLeft()
	})
}

func badDescriptors(t *testing.T, y *yard) {
	project := func(text string) string {
		return appWith(t, func(dir string) error { return os.WriteFile(filepath.Join(dir, "project.toml"), []byte(text), 0o644) })
	}
	const v2 = "[_]\nschema-version = \"0.2\"\n"
	from := func(text string) []string { return []string{"--path", project(text)} }
	elsewhere := filepath.Join(t.TempDir(), "other.toml")
	write(t, elsewhere, v2+"[[io.buildpacks.build.env]]\nname = \"A=B\"\nvalue = \"x\"\n")
	pipe := appWith(t, func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "project.toml"), 0o644) })
	y.try(t,
		bad{name: "no TOML", args: from(v2 + "[io.buildpacks\n"), code: 1, says: []string{"project.toml:3"}, hides: notBuilding},
		bad{name: "schema version", args: from("[_]\nschema-version = \"9.9\"\n"), code: 1, says: []string{"project.toml:2", "9.9", "0.2"}, hides: notBuilding},
		bad{name: "string for an array", args: from(v2 + "[io.buildpacks]\nexclude = \"*.md\"\n"), code: 1, says: []string{"project.toml:4", "exclude", "array"}, hides: notBuilding},
		bad{name: "include and exclude", args: from(v2 + "[io.buildpacks]\nexclude = [\"a\"]\ninclude = [\"b\"]\n"), code: 1, says: []string{"project.toml", "include", "exclude"}, hides: notBuilding},
		bad{name: "pattern", args: from(v2 + "[io.buildpacks]\nexclude = [\"[a\"]\n"), code: 1, says: []string{"[a"}, hides: notBuilding},
		bad{name: "name of a variable", args: []string{"--descriptor", elsewhere}, code: 1, says: []string{elsewhere + ":4", "A=B"}, hides: notBuilding},
		bad{name: "buildpack without an id", args: from(v2 + "[[io.buildpacks.group]]\nversion = \"1\"\n"), code: 1, says: []string{"project.toml:3"}, hides: notBuilding},
		bad{name: "absent buildpack", args: from(v2 + "[[io.buildpacks.group]]\nid = \"no/such\"\nversion = \"1\"\n"), code: 1, says: []string{"no/such@1", y.builder}, hides: notBuilding},
		bad{name: "missing", args: []string{"--descriptor", "./nowhere.toml"}, code: 1, says: []string{"./nowhere.toml"}, hides: notBuilding},
		bad{name: "FIFO", args: []string{"--path", pipe}, code: 1, says: []string{"project.toml", "not a regular file"}, hides: notBuilding},
		bad{name: "large", args: from(v2 + "# " + string(bytes.Repeat([]byte("x"), 2<<20))), code: 1, says: []string{"project.toml", "limit"}, hides: notBuilding},
	)
}

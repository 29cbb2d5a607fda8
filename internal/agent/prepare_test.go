package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/internal/source"
)

func TestPrepare(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	binding := t.TempDir()
	if err := errors.Join(
		os.Mkdir(filepath.Join(binding, "..2024"), 0o755),
		os.WriteFile(filepath.Join(binding, "..2024", "type"), []byte("postgresql\n"), 0o600),
		os.Symlink("..2024", filepath.Join(binding, "..data")),
		os.Symlink("..data/type", filepath.Join(binding, "type")),
		os.WriteFile(filepath.Join(binding, "password"), []byte("s3cret"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	d := testDirs(t)
	p := Preparation{
		Dirs: d, Env: map[string]string{"BP_X": "1", "EMPTY": ""}, Bindings: map[string]string{"db": binding},
		Files: []File{{Path: "/platform/ca/bundle.pem", Data: []byte("PEM")}},
	}
	for range 2 { // again is fine
		if err := c.Prepare(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"platform/env/BP_X": "1", "platform/env/EMPTY": "", "platform/bindings/db/type": "postgresql\n",
		"platform/bindings/db/password": "s3cret", "platform/ca/bundle.pem": "PEM",
	} {
		b, err := os.ReadFile(filepath.Join(d.Root, name))
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for name, want := range map[string]os.FileMode{
		"": 0o700, "workspace": 0o755, "layers": 0o755, "slipway": 0o755, "platform/env": 0o755, "platform/bindings/db/password": 0o644,
	} {
		fi, err := os.Stat(filepath.Join(d.Root, name))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
}

func TestPrepareRefuses(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	dir := func(make func(dir string) error) map[string]string {
		d := t.TempDir()
		if err := make(d); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"db": d}
	}
	file := func(d, name, data string) error { return os.WriteFile(filepath.Join(d, name), []byte(data), 0o644) }
	for _, tc := range []struct {
		name, want string
		p          Preparation
	}{
		{"env name", "A=B", Preparation{Env: map[string]string{"A=B": "x"}}},
		{"env path", "../x", Preparation{Env: map[string]string{"../x": "x"}}},
		{"env value", "at most", Preparation{Env: map[string]string{"A": strings.Repeat("x", maxEnvValue+1)}}},
		{"env zero", "zero byte", Preparation{Env: map[string]string{"A": "a\x00b"}}},
		{"suffix", "unknown suffix", Preparation{BuildConfig: map[string]string{"A.replace": "x"}}},
		{"binding name", "cannot be a directory", Preparation{Bindings: map[string]string{"../x": "/tmp"}}},
		{"binding absent", "no such file", Preparation{Bindings: map[string]string{"db": "/does/not/exist"}}},
		{"binding type", `no file "type"`, Preparation{Bindings: dir(func(d string) error { return nil })}},
		{"binding types", "one line", Preparation{Bindings: dir(func(d string) error { return file(d, "type", "a\nb") })}},
		{"binding link", "escapes", Preparation{Bindings: dir(func(d string) error {
			return errors.Join(file(d, "type", "x"), os.Symlink("../../etc/passwd", filepath.Join(d, "user")))
		})}},
		{"binding fifo", "not a regular file", Preparation{Bindings: dir(func(d string) error {
			return errors.Join(file(d, "type", "x"), syscall.Mkfifo(filepath.Join(d, "pipe"), 0o644))
		})}},
		{"binding dir", "files only", Preparation{Bindings: dir(func(d string) error {
			return errors.Join(file(d, "type", "x"), os.Mkdir(filepath.Join(d, "sub"), 0o755))
		})}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.p.Dirs = testDirs(t)
			if err := c.Prepare(t.Context(), tc.p); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestUsageAndRemove(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	d := testDirs(t)
	if err := c.Prepare(t.Context(), Preparation{Dirs: d}); err != nil {
		t.Fatal(err)
	}
	empty, err := c.Usage(t.Context(), d.Root)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "keep")
	app := filepath.Join(d.Root, "workspace")
	if err := errors.Join(
		os.WriteFile(outside, make([]byte, 1<<20), 0o644),
		os.WriteFile(filepath.Join(app, "data"), make([]byte, 1<<20), 0o644),
		os.Link(filepath.Join(app, "data"), filepath.Join(app, "again")),
		os.Symlink(filepath.Dir(outside), filepath.Join(app, "link")),
		syscall.Mkfifo(filepath.Join(app, "pipe"), 0o644),
		os.MkdirAll(filepath.Join(app, "sealed", "in"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	u, err := c.Usage(t.Context(), d.Root)
	if grown := u.Bytes - empty.Bytes; err != nil || grown < 1<<20 || grown > 1<<20+64<<10 || u.Files-empty.Files != 5 {
		t.Errorf("usage %+v after %+v, %v", u, empty, err)
	}
	if twice, err := c.Usage(t.Context(), d.Root, app, filepath.Join(d.Root, "nothing")); err != nil || twice.Files != u.Files-1 {
		t.Errorf("with a directory of its own in it: %+v, before %+v, %v", twice, u, err)
	}
	for i := range 100 { // empty files take no blocks, but there is an end to inodes
		if err := os.WriteFile(filepath.Join(app, "empty"+strconv.Itoa(i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if more, err := c.Usage(t.Context(), d.Root); err != nil || more.Bytes < u.Bytes+100*leastFile {
		t.Errorf("100 empty files: usage %+v after %+v, %v", more, u, err)
	}
	if err := os.Chmod(filepath.Join(app, "sealed"), 0); err != nil {
		t.Fatal(err)
	}
	deepen(t, app, 2100)
	if err := c.Remove(t.Context(), d.Root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(d.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
	if err := c.Remove(t.Context(), d.Root); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	for _, dir := range []string{"/", "/tmp", "relative/path", "/tmp/.."} {
		if err := c.Remove(t.Context(), dir); err == nil {
			t.Errorf("removed %q", dir)
		}
	}
}

// deepen makes a chain of directories that is longer than any path.
func deepen(t *testing.T, dir string, depth int) {
	t.Helper()
	fd, err := syscall.Open(dir, syscall.O_DIRECTORY|syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		if err := syscall.Mkdirat(fd, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := syscall.Openat(fd, "d", syscall.O_DIRECTORY|syscall.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		syscall.Close(fd)
		fd = next
	}
	syscall.Close(fd)
}

func TestCopyOut(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	d := testDirs(t)
	if err := c.Prepare(t.Context(), Preparation{Dirs: d}); err != nil {
		t.Fatal(err)
	}
	sbom := filepath.Join(d.Root, "layers/sbom/launch/a_b")
	if err := errors.Join(
		os.MkdirAll(sbom, 0o755),
		os.WriteFile(filepath.Join(sbom, "sbom.cdx.json"), []byte("{}"), 0o600),
		os.Symlink("/etc/passwd", filepath.Join(sbom, "link.json")),
		syscall.Mkfifo(filepath.Join(sbom, "pipe.json"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "out")
	if err := c.CopyOut(t.Context(), d, "/layers/sbom", to); err != nil {
		t.Fatal(err)
	}
	var got []string
	filepath.WalkDir(to, func(p string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			got = append(got, strings.TrimPrefix(p, to))
		}
		return err
	})
	if !slices.Equal(got, []string{"/launch/a_b/sbom.cdx.json"}) {
		t.Errorf("copied %v", got)
	}
	if err := c.CopyOut(t.Context(), d, "/layers/none", to); err != nil {
		t.Errorf("a directory that is not there: %v", err)
	}
	if err := os.Symlink("/etc", filepath.Join(d.Root, "layers/evil")); err != nil {
		t.Fatal(err)
	}
	if err := c.CopyOut(t.Context(), d, "/layers/evil", to); err == nil {
		t.Error("copied through a link that leaves the root")
	}
}

func TestSource(t *testing.T) {
	c := newCollector(t, newTestHost(t))
	d := testDirs(t)
	if err := c.Prepare(t.Context(), Preparation{Dirs: d}); err != nil {
		t.Fatal(err)
	}
	app := t.TempDir()
	if err := os.WriteFile(filepath.Join(app, "index.html"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	req := source.Request{Path: app, Dest: d.Host(d.App), UID: d.UID, GID: d.GID}
	res, err := c.Source(t.Context(), req)
	if err != nil || res.Files != 1 || res.Bytes != 5 || res.Kind != source.Dir || !strings.HasPrefix(res.Digest, "sha256:") {
		t.Errorf("got %+v, %v", res, err)
	}
	if b, err := os.ReadFile(filepath.Join(d.Root, "workspace/index.html")); err != nil || string(b) != "hello" {
		t.Errorf("unpacked %q, %v", b, err)
	}
	req.Path = filepath.Join(app, "none")
	if _, err := c.Source(t.Context(), req); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), req.Path) {
		t.Errorf("no source: %v", err)
	}
}

package source

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An item is an entry of a source in a test. The kind is the tar type; mode 0 means 0644.
type item struct {
	name string
	text string
	kind byte
	mode int64
	link string
}

var mtime = time.Date(2020, 1, 2, 3, 4, 6, 0, time.UTC)

func tarOf(t testing.TB, items []item, compress bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Typeflag: i.kind, Mode: i.mode, Linkname: i.link, ModTime: mtime}
		if i.kind == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(i.text))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if i.kind == tar.TypeXGlobalHeader {
			h = &tar.Header{Typeflag: i.kind, PAXRecords: map[string]string{"comment": strings.Repeat("0", 40)}}
		}
		must(t, w.WriteHeader(h))
		if _, err := w.Write([]byte(i.text)); err != nil {
			t.Fatal(err)
		}
	}
	must(t, w.Close())
	if !compress {
		return b.Bytes()
	}
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	g.Write(b.Bytes())
	must(t, g.Close())
	return z.Bytes()
}

func zipOf(t testing.TB, items []item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, i := range items {
		h := &zip.FileHeader{Name: i.name, Method: zip.Deflate, Modified: mtime}
		mode, text := fs.FileMode(i.mode), i.text
		if mode == 0 {
			mode = 0o644
		}
		switch i.kind {
		case tar.TypeDir:
			h.Name, mode = i.name+"/", mode|fs.ModeDir
		case tar.TypeSymlink:
			mode, text = mode|fs.ModeSymlink, i.link
		case tar.TypeChar:
			mode |= fs.ModeDevice | fs.ModeCharDevice
		case tar.TypeFifo:
			mode |= fs.ModeNamedPipe
		}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		must(t, err)
		f.Write([]byte(text))
	}
	must(t, w.Close())
	return b.Bytes()
}

// dirOf makes a directory source.
func dirOf(t *testing.T, items []item) string {
	t.Helper()
	dir := t.TempDir()
	for _, i := range items {
		name := filepath.Join(dir, i.name)
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		mode := fs.FileMode(i.mode)
		if mode == 0 {
			mode = 0o644
		}
		switch i.kind {
		case tar.TypeDir:
			must(t, os.MkdirAll(name, 0o755))
			must(t, os.Chmod(name, mode))
		case tar.TypeSymlink:
			must(t, os.Symlink(i.link, name))
		case tar.TypeFifo:
			must(t, syscall.Mkfifo(name, 0o644))
		default:
			must(t, os.WriteFile(name, []byte(i.text), 0o600))
			must(t, os.Chmod(name, mode))
			must(t, os.Chtimes(name, mtime, mtime))
		}
	}
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fileOf(t *testing.T, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "source")
	must(t, os.WriteFile(name, b, 0o644))
	return name
}

// list is the tree below dir, one line per entry.
func list(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		s := fi.Mode().String() + " " + rel
		if fi.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += " " + string(b)
		} else if l, err := os.Readlink(p); err == nil {
			s += " -> " + l
		}
		out = append(out, s)
		return nil
	}))
	slices.Sort(out)
	return strings.Join(out, "\n") + "\n"
}

var app = []item{
	{name: "bin", kind: tar.TypeDir, mode: 0o755},
	{name: "bin/run", text: "#!", mode: 0o755},
	{name: "empty", kind: tar.TypeDir, mode: 0o700},
	{name: "index.js", text: "1"},
	{name: "link", kind: tar.TypeSymlink, link: "bin/../index.js", mode: 0o777},
	{name: "bin/up", kind: tar.TypeSymlink, link: "../index.js", mode: 0o777},
	{name: "dangling", kind: tar.TypeSymlink, link: "nothing/here", mode: 0o777},
	{name: "set", text: "u", mode: 0o4755},
}

const appTree = `-rw-r--r-- index.js 1
-rwxr-xr-x bin/run #!
-rwxr-xr-x set u
Lrwxrwxrwx bin/up -> ../index.js
Lrwxrwxrwx dangling -> nothing/here
Lrwxrwxrwx link -> bin/../index.js
drwx------ empty
drwxr-xr-x bin
`

func unpack(t *testing.T, path string, change func(*Request)) (*Result, string, error) {
	t.Helper()
	dest := t.TempDir()
	req := Request{Path: path, Dest: dest, UID: -1, GID: -1}
	if change != nil {
		change(&req)
	}
	res, err := Unpack(t.Context(), req)
	return res, dest, err
}

func TestKindsGiveTheSame(t *testing.T) {
	slices := func(f func([]item) string) string { return f(app) }
	digests := map[string]bool{}
	for name, path := range map[string]string{
		"dir":    slices(func(i []item) string { return dirOf(t, i) }),
		"zip":    fileOf(t, zipOf(t, app)),
		"tar":    fileOf(t, tarOf(t, app, false)),
		"tar.gz": fileOf(t, tarOf(t, app, true)),
	} {
		res, dest, err := unpack(t, path, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := strings.ReplaceAll(list(t, dest), "rwsr", "rwxr"); got != appTree {
			t.Errorf("%s:\n%s", name, got)
		}
		if fi, err := os.Stat(filepath.Join(dest, "set")); err != nil || fi.Mode()&fs.ModeSetuid != 0 {
			t.Errorf("%s: setuid is kept", name)
		}
		if fi, err := os.Stat(filepath.Join(dest, "index.js")); err != nil || !fi.ModTime().Equal(mtime) {
			t.Errorf("%s: index.js has the time %v", name, fi.ModTime())
		}
		if res.Files != 3 || res.Bytes != 4 {
			t.Errorf("%s: %+v", name, res)
		}
		digests[res.Digest] = true
	}
	if len(digests) != 1 {
		t.Errorf("digests differ: %v", digests)
	}
}

func TestDigestSeesEverything(t *testing.T) {
	base := []item{{name: "a", text: "1"}, {name: "d", kind: tar.TypeDir, mode: 0o755}, {name: "l", kind: tar.TypeSymlink, link: "a"}}
	seen := map[string]string{}
	for name, items := range map[string][]item{
		"base":    base,
		"content": {{name: "a", text: "2"}, base[1], base[2]},
		"name":    {{name: "b", text: "1"}, base[1], base[2]},
		"mode":    {{name: "a", text: "1", mode: 0o755}, base[1], base[2]},
		"no dir":  {base[0], base[2]},
		"link":    {base[0], base[1], {name: "l", kind: tar.TypeSymlink, link: "./a"}},
	} {
		res, _, err := unpack(t, fileOf(t, tarOf(t, items, false)), nil)
		must(t, err)
		if other, ok := seen[res.Digest]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[res.Digest] = name
	}
}

func TestRefused(t *testing.T) {
	ok := item{name: "ok", text: "1"}
	link := func(name, to string) item { return item{name: name, kind: tar.TypeSymlink, link: to} }
	for _, c := range []struct {
		name  string
		items []item
		kinds string // t, z, d
		want  string
	}{
		{"empty", []item{}, "tzd", "it has no files: there is nothing to build"},
		{"directories only", []item{{name: "a", kind: tar.TypeDir, mode: 0o755}}, "tzd", "it has no files"},
		{"dot dot", []item{{name: "../x", text: "1"}}, "tz", `entry "../x": the name leaves the app directory`},
		{"inner dot dot", []item{ok, {name: "a/../../x", text: "1"}}, "tz", `entry "a/../../x": the name leaves`},
		{"absolute", []item{{name: "/etc/x", text: "1"}}, "tz", `entry "/etc/x": an absolute name leaves`},
		{"link out", []item{ok, link("l", "../x")}, "tzd", `link "l" leads out of the app directory, to "../x": remove it or add it to exclude`},
		{"link out below", []item{ok, link("a/l", "../../x")}, "tzd", `link "a/l" leads out`},
		{"absolute link", []item{ok, link("l", "/etc/passwd")}, "tzd", `link "l" leads out of the app directory, to "/etc/passwd"`},
		{"link through a link", []item{ok, link("s", "."), link("x", "s/..")}, "tzd", `link "x" leads out of the app directory, to "s/.."`},
		{"file through a link", []item{ok, link("s", "."), link("x", "s/.."), {name: "x/y", text: "1"}}, "tz", `entry "x": is below or in place of something that is no directory`},
		{"file below a file", []item{ok, {name: "ok/x", text: "1"}}, "tz", `entry "ok": is below or in place of`},
		{"device", []item{ok, {name: "dev", kind: tar.TypeChar}}, "tz", `entry "dev": is a device`},
		{"hard link out", []item{ok, {name: "h", kind: tar.TypeLink, link: "../../etc/passwd"}}, "t", `hard link "h": entry "../../etc/passwd": the name leaves`},
		{"hard link to a link", []item{ok, link("l", "ok"), {name: "h", kind: tar.TypeLink, link: "l"}}, "t", `hard link "h": its target "l" is not a file`},
		{"deep", []item{ok, {name: strings.Repeat("a/", 300) + "x", text: "1"}}, "t", `entry "a/a/`},
		{"long", []item{ok, {name: strings.Repeat("a", 5000), text: "1"}}, "t", `entry "aaa`},
	} {
		for _, k := range c.kinds {
			var path string
			switch k {
			case 't':
				path = fileOf(t, tarOf(t, c.items, true))
			case 'z':
				path = fileOf(t, zipOf(t, c.items))
			case 'd':
				path = dirOf(t, c.items)
			}
			_, _, err := unpack(t, path, nil)
			if want := "source " + path + ": " + c.want; err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s (%c):\n got %v\nwant %s", c.name, k, err, want)
			}
		}
	}
}

func TestNoSource(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o644))
	for path, want := range map[string]string{
		filepath.Join(dir, "absent"):           "no such file or directory",
		fifo:                                   "neither a directory nor a regular file",
		fileOf(t, nil):                         "the file is empty",
		fileOf(t, []byte("just text")):         "not a directory, a zip file, a tar file",
		fileOf(t, []byte("PK\x03\x04 broken")): "not a valid zip file",
		fileOf(t, []byte("\x1f\x8b broken")):   "not a valid gzip file",
		fileOf(t, tarOf(t, app, true)[:60]):    "not a valid tar file",
		fileOf(t, zipOf(t, app)[:200]):         "not a valid zip file",
	} {
		_, _, err := unpack(t, path, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "source "+path+": "+want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestLimits(t *testing.T) {
	big := fileOf(t, tarOf(t, []item{{name: "zeros", text: string(make([]byte, 14<<20))}}, true))
	zipped := fileOf(t, zipOf(t, []item{{name: "zeros", text: string(make([]byte, 14<<20))}}))
	small := fileOf(t, tarOf(t, app, true))
	for _, c := range []struct {
		name, path string
		limits     Limits
		want       string
	}{
		{"ratio", big, Limits{}, `"zeros": the files have more than 13107200 bytes together`},
		{"ratio of a zip file", zipped, Limits{}, `"zeros": the files have more than 13107200 bytes together`},
		{"bytes", small, Limits{Bytes: 3}, "the files have more than 3 bytes together"},
		{"files", small, Limits{Files: 4}, "more than 4 entries, the limit"},
		{"files of a directory", dirOf(t, app), Limits{Files: 4}, "more than 4 entries, the limit"},
		{"bytes of a directory", dirOf(t, app), Limits{Bytes: 3}, "the files have more than 3 bytes together"},
		{"archive", small, Limits{Archive: 10}, "the archive has"},
		{"list of a zip file", fileOf(t, zipOf(t, slices.Repeat(app, 20))), Limits{Files: 20}, "its list of entries has"},
	} {
		_, _, err := unpack(t, c.path, func(r *Request) { r.Limits = c.limits })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	if _, _, err := unpack(t, big, func(r *Request) { r.Limits = Limits{Ratio: 1000} }); err != nil {
		t.Errorf("a larger ratio: %v", err)
	}
}

func TestSparseFileIsRefusedAtOnce(t *testing.T) {
	dir := dirOf(t, app)
	f, err := os.Create(filepath.Join(dir, "sparse"))
	must(t, err)
	if err := f.Truncate(1 << 40); err != nil {
		must(t, f.Truncate(1<<37))
	}
	f.Close()
	start := time.Now()
	_, _, err = unpack(t, dir, nil)
	if err == nil || !strings.Contains(err.Error(), `"sparse": the files have more than`) || time.Since(start) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestFilter(t *testing.T) {
	items := []item{
		{name: "a.log", text: "1"}, {name: "keep.log", text: "1"}, {name: "src/a.go", text: "1"}, {name: "src/b.log", text: "1"},
		{name: "node_modules/x/y.js", text: "1"}, {name: "sub/node_modules/z.js", text: "1"}, {name: "out", kind: tar.TypeSymlink, link: "/etc"},
		{name: "tmp", text: "a file"}, {name: "e", kind: tar.TypeDir, mode: 0o755}, {name: "sub", kind: tar.TypeDir, mode: 0o755},
	}
	for _, c := range []struct {
		name             string
		include, exclude []string
		want             string
	}{
		{"exclude", nil, []string{"*.log", "!keep.log", "out", "node_modules"}, "keep.log src/a.go tmp e/ sub/"},
		{"rooted", nil, []string{"/node_modules", "out"}, "a.log keep.log src/a.go src/b.log sub/node_modules/z.js tmp e/"},
		{"directories only", nil, []string{"tmp/", "node_modules/", "out", "e/"}, "a.log keep.log src/a.go src/b.log tmp sub/"},
		{"with a path", nil, []string{"src/*.log", "out", "**/node_modules"}, "a.log keep.log src/a.go tmp e/ sub/"},
		{"all but", nil, []string{"*", "!src/**"}, "src/a.go src/b.log"},
		{"comments", nil, []string{"#src", "", "./out"}, "a.log keep.log src/a.go src/b.log node_modules/x/y.js sub/node_modules/z.js tmp e/"},
		{"include", []string{"src", "*.log"}, nil, "a.log keep.log src/a.go src/b.log"},
		{"include but", []string{"src/", "!*.log"}, nil, "src/a.go"},
		{"nothing", []string{"absent"}, nil, "error no file is left after include and exclude of project.toml"},
		{"both", []string{"a"}, []string{"b"}, "error include and exclude cannot both be given"},
		{"bad", nil, []string{"[a"}, `error include or exclude: pattern "[a"`},
	} {
		for kind, path := range map[string]string{"tar": fileOf(t, tarOf(t, items, true)), "zip": fileOf(t, zipOf(t, items)), "dir": dirOf(t, items)} {
			_, dest, err := unpack(t, path, func(r *Request) { r.Include, r.Exclude = c.include, c.exclude })
			if want, ok := strings.CutPrefix(c.want, "error "); ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s, %s: %v", c.name, kind, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, %s: %v", c.name, kind, err)
				continue
			}
			got := leaves(t, dest)
			want := strings.Fields(c.want)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: got %v, want %v", c.name, kind, got, want)
			}
		}
	}
}

// leaves are the files, and the empty directories with a slash.
func leaves(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.IsDir() {
			es, err := os.ReadDir(p)
			if err != nil || len(es) > 0 {
				return err
			}
			rel += "/"
		}
		out = append(out, rel)
		return nil
	}))
	slices.Sort(out)
	return out
}

func TestDescriptor(t *testing.T) {
	const text = "[_]\nschema-version = \"0.2\"\n[io.buildpacks]\nexclude = [\"secret\"]\n"
	items := append(slices.Clone(app), item{name: "secret", text: "s"}, item{name: "project.toml", text: text})
	for kind, path := range map[string]string{"tar": fileOf(t, tarOf(t, items, true)), "zip": fileOf(t, zipOf(t, items)), "dir": dirOf(t, items)} {
		res, dest, err := unpack(t, path, nil)
		must(t, err)
		if _, err := os.Stat(filepath.Join(dest, "secret")); err == nil || string(res.Descriptor) != text {
			t.Errorf("%s: descriptor %q, secret: %v", kind, res.Descriptor, err)
		}
		res, dest, err = unpack(t, path, func(r *Request) { r.Descriptor = []byte("[build]\nexclude = [\"index.js\"]\n") })
		must(t, err)
		if _, err := os.Stat(filepath.Join(dest, "index.js")); err == nil || string(res.Descriptor) == text {
			t.Errorf("%s: the given descriptor does not count", kind)
		}
	}
	path := dirOf(t, append(slices.Clone(app), item{name: "project.toml", text: "[_]\nschema-version = \"9\"\n"}))
	_, _, err := unpack(t, path, nil)
	if want := "source " + path + `: project.toml:2: _.schema-version: unknown project descriptor schema version "9"`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	fifo := dirOf(t, append(slices.Clone(app), item{name: "project.toml", kind: tar.TypeFifo}))
	if _, _, err := unpack(t, fifo, nil); err == nil || !strings.Contains(err.Error(), "project.toml: not a regular file") {
		t.Errorf("FIFO: %v", err)
	}
}

// TestLock: the lock file is found in the root of every kind of source, and nowhere else.
func TestLock(t *testing.T) {
	items := append(slices.Clone(app), item{name: "deep/slipway.lock", text: "other"}, item{name: "slipway.lock", text: "first"})
	for kind, path := range map[string]string{
		"tar": fileOf(t, tarOf(t, items, true)), "zip": fileOf(t, zipOf(t, items)), "dir": dirOf(t, items),
		"unwrapped tar": fileOf(t, tarOf(t, within("x", items), true)), "unwrapped zip": fileOf(t, zipOf(t, within("x", items))),
	} {
		if s, err := Tell(t.Context(), path, strings.HasPrefix(kind, "unwrapped")); err != nil || string(s.Lock) != "first" || s.Descriptor != nil {
			t.Errorf("%s: %q %v", kind, s, err)
		}
	}
	for _, path := range []string{fileOf(t, tarOf(t, app, true)), fileOf(t, zipOf(t, app)), dirOf(t, app), fileOf(t, tarOf(t, within("x", items), true))} {
		if s, err := Tell(t.Context(), path, false); err != nil || s.Lock != nil {
			t.Errorf("%s has none: %q %v", path, s, err)
		}
	}
	link := dirOf(t, append(slices.Clone(app), item{name: "slipway.lock", kind: tar.TypeSymlink, link: "/etc/passwd"}))
	if s, err := Tell(t.Context(), link, false); err == nil {
		t.Errorf("a link out of the source: %q", s)
	}
}

func TestSkipped(t *testing.T) {
	items := append(slices.Clone(app), item{name: "pipe", kind: tar.TypeFifo})
	for kind, path := range map[string]string{"tar": fileOf(t, tarOf(t, items, true)), "zip": fileOf(t, zipOf(t, items)), "dir": dirOf(t, items)} {
		res, dest, err := unpack(t, path, nil)
		must(t, err)
		if list(t, dest) != appTree || !slices.Equal(res.Skipped, []string{"pipe"}) {
			t.Errorf("%s: %v\n%s", kind, res.Skipped, list(t, dest))
		}
	}
}

func TestTarPeculiarities(t *testing.T) {
	items := []item{
		{name: "./", kind: tar.TypeDir, mode: 0o700}, {name: "./a", text: "old"}, {name: "./a", text: "new"},
		{name: "ro", kind: tar.TypeDir, mode: 0o555}, {name: "ro/f", text: "1", mode: 0o400}, {name: "hard", kind: tar.TypeLink, link: "./a"},
		{name: "x/y/z", text: "1"}, {name: "x", kind: tar.TypeDir, mode: 0o711},
	}
	res, dest, err := unpack(t, fileOf(t, tarOf(t, items, false)), nil)
	must(t, err)
	t.Cleanup(func() { os.Chmod(filepath.Join(dest, "ro"), 0o755) })
	want := "-r-------- ro/f 1\n-rw-r--r-- a new\n-rw-r--r-- hard new\n-rw-r--r-- x/y/z 1\ndr-xr-xr-x ro\ndrwx--x--x x\ndrwxr-xr-x x/y\n"
	if got := list(t, dest); got != want || res.Files != 4 {
		t.Errorf("%d files:\n%s", res.Files, got)
	}
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		if _, _, err := unpack(t, dirOf(t, app), func(r *Request) { r.UID, r.GID = os.Getuid(), os.Getgid() }); err != nil {
			t.Error(err)
		}
	}
	_, dest, err := unpack(t, dirOf(t, app), func(r *Request) { r.UID, r.GID = 1234, 4321 })
	if os.Geteuid() != 0 { // who may not give files away
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("for another user: %v", err)
		}
		return
	}
	must(t, err)
	must(t, filepath.WalkDir(dest, func(p string, _ fs.DirEntry, walkErr error) error {
		must(t, walkErr)
		fi, err := os.Lstat(p)
		if err != nil {
			return err
		}
		if st := fi.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 4321 {
			t.Errorf("%s is of %d:%d", p, st.Uid, st.Gid)
		}
		return nil
	}))
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err := Unpack(ctx, Request{Path: dirOf(t, app), Dest: t.TempDir(), UID: -1, GID: -1})
	if err == nil || !strings.HasSuffix(err.Error(), "enough") {
		t.Errorf("got %v", err)
	}
}

func TestDestinationInsideTheSource(t *testing.T) {
	dir := dirOf(t, app)
	dest := filepath.Join(dir, "state/build")
	must(t, os.MkdirAll(dest, 0o755))
	res, err := Unpack(t.Context(), Request{Path: dir, Dest: dest, UID: -1, GID: -1})
	if err != nil || res.Files != 3 {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestChangingSource reads a directory while links and files in it are swapped: nothing from outside it may
// come along.
func TestChangingSource(t *testing.T) {
	outside := dirOf(t, []item{{name: "secret", text: "SECRET"}})
	dir := dirOf(t, app)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		sub, file := filepath.Join(dir, "swap"), filepath.Join(dir, "bin/swapped")
		for ctx.Err() == nil {
			os.Mkdir(sub, 0o755)
			os.WriteFile(filepath.Join(sub, "secret"), []byte("mine"), 0o644)
			os.WriteFile(file, []byte("mine"), 0o644)
			os.RemoveAll(sub)
			os.Remove(file)
			os.Symlink(outside, sub)
			os.Symlink(filepath.Join(outside, "secret"), file)
			os.Remove(sub)
			os.Remove(file)
		}
	}()
	for range 300 {
		_, dest, err := unpack(t, dir, func(r *Request) { r.Exclude = []string{"absent"} })
		tree := list(t, dest)
		if strings.Contains(tree, "SECRET") {
			t.Fatalf("read from outside (%v):\n%s", err, tree)
		}
		os.RemoveAll(dest)
	}
	cancel()
	<-done
}

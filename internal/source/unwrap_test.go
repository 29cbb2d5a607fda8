package source

import (
	"archive/tar"
	"strings"
	"testing"
)

// within puts items into a directory.
func within(dir string, items []item) []item {
	var out []item
	for _, i := range items {
		i.name = dir + "/" + i.name
		if i.kind == tar.TypeLink {
			i.link = dir + "/" + i.link
		}
		out = append(out, i)
	}
	return out
}

// TestUnwrap: an archive that has everything in one directory is what is in that, and only where that was asked for.
func TestUnwrap(t *testing.T) {
	commit := item{kind: tar.TypeXGlobalHeader}
	top := item{name: "app-0123abc", kind: tar.TypeDir, mode: 0o755}
	described := append([]item{{name: "project.toml", text: "[_]\nschema-version = \"0.2\"\n[io.buildpacks]\nexclude = [\"index.js\"]\n"}}, app...)
	for _, c := range []struct {
		what  string
		items []item
		is    []item // what it is the same as
	}{
		{"github's and gitlab's", append([]item{top}, within("app-0123abc", app)...), app},
		{"without an entry for the directory", within("my app", app), app},
		{"a name that begins with ./", within("./x", app), app},
		{"a descriptor in it", within("x", described), described},
		{"a directory in the directory", within("x/y", app), within("y", app)},
		{"an app as it is", app, app},
		{"a file beside the directory", append(within("x", app), item{name: "y", text: "y"}), append(within("x", app), item{name: "y", text: "y"})},
		{"two directories", append(within("x", app), within("y", app)...), append(within("x", app), within("y", app)...)},
		{"an entry for the root", append([]item{{name: ".", kind: tar.TypeDir, mode: 0o755}}, within("x", app)...), within("x", app)},
		{"a site", within("public", app), within("public", app)},
		{"sources alone", within("Src", app), within("Src", app)},
		{"a hidden directory", within(".well-known", app), within(".well-known", app)},
		{"one file", []item{{name: "x", text: "y"}}, []item{{name: "x", text: "y"}}},
	} {
		want, _, err := unpack(t, fileOf(t, tarOf(t, c.is, true)), nil)
		must(t, err)
		for form, b := range map[string][]byte{"tar": tarOf(t, append([]item{commit}, c.items...), false), "tgz": tarOf(t, c.items, true), "zip": zipOf(t, c.items)} {
			path := fileOf(t, b)
			got, dest, err := unpack(t, path, func(r *Request) { r.Unwrap = true })
			if err != nil || got.Digest != want.Digest || string(got.Descriptor) != string(want.Descriptor) {
				t.Errorf("%s, as %s: %v\n%s", c.what, form, err, list(t, dest))
			}
			if s, err := Tell(t.Context(), path, true); err != nil || string(s.Descriptor) != string(want.Descriptor) {
				t.Errorf("%s, as %s: the descriptor is %q, %v", c.what, form, s.Descriptor, err)
			}
			if got, dest, err := unpack(t, path, nil); err != nil || len(c.items) > 0 && strings.Contains(c.what, "github") && (got.Digest == want.Digest || !strings.Contains(list(t, dest), "app-0123abc/index.js")) {
				t.Errorf("%s, as %s and not unwrapped: %v\n%s", c.what, form, err, list(t, dest))
			}
		}
	}
}

// TestUnwrapLinks: hard links follow, and neither they nor names lead out of what was unwrapped.
func TestUnwrapLinks(t *testing.T) {
	ask := func(r *Request) { r.Unwrap = true }
	good := []item{{name: "a/x", text: "1"}, {name: "a/y", kind: tar.TypeLink, link: "a/x"}}
	if _, dest, err := unpack(t, fileOf(t, tarOf(t, good, true)), ask); err != nil || list(t, dest) != "-rw-r--r-- x 1\n-rw-r--r-- y 1\n" {
		t.Errorf("%v\n%s", err, list(t, dest))
	}
	for _, bad := range [][]item{
		{{name: "a/x", text: "1"}, {name: "a/y", kind: tar.TypeLink, link: "x"}},
		{{name: "a/x", text: "1"}, {name: "a/y", kind: tar.TypeSymlink, link: "../a/x"}},
		{{name: "a/x", text: "1"}, {name: "a/../../y", text: "2"}},
	} {
		if _, dest, err := unpack(t, fileOf(t, tarOf(t, bad, true)), ask); err == nil {
			t.Errorf("%v became\n%s", bad, list(t, dest))
		}
	}
}

// TestPackIsNotUnwrapped: a directory that has one directory stays what it is, on its way through an archive of ours.
func TestPackIsNotUnwrapped(t *testing.T) {
	dir := tree(t, map[string]string{"backend/main.go": "package main"})
	want, _, err := unpack(t, dir, nil)
	must(t, err)
	var b strings.Builder
	if _, err := Pack(t.Context(), PackRequest{Dir: dir}, &b); err != nil {
		t.Fatal(err)
	}
	got, dest, err := unpack(t, fileOf(t, []byte(b.String())), func(r *Request) { r.Unwrap = true })
	if err != nil || got.Digest != want.Digest {
		t.Errorf("%v\n%s", err, list(t, dest))
	}
}

// TestFiles: of an archive are read those files that are asked for, in what it is when it is unwrapped, and of each as
// much as shows that it is too large.
func TestFiles(t *testing.T) {
	files := []item{{name: "app.json", text: "{}"}, {name: "Procfile", text: "web: ./a-long-command"}, {name: "project.toml", text: "not asked for"}, {name: "sub/app.json", text: "[]"}}
	wrapped := within("app-0123abc", files)
	for form, b := range map[string][]byte{"tar": tarOf(t, wrapped, false), "tgz": tarOf(t, wrapped, true), "zip": zipOf(t, wrapped), "as it is": tarOf(t, files, true)} {
		got, err := Files(t.Context(), fileOf(t, b), true, 10, "app.json", "Procfile", "README")
		if err != nil || len(got) != 2 || string(got["app.json"]) != "{}" || string(got["Procfile"]) != "web: ./a-lo" {
			t.Errorf("%s: %q, %v", form, got, err)
		}
	}
	if got, err := Files(t.Context(), fileOf(t, tarOf(t, wrapped, true)), false, 10, "app.json"); err != nil || len(got) != 0 {
		t.Errorf("not unwrapped: %q, %v", got, err)
	}
	if _, err := Files(t.Context(), t.TempDir(), true, 10, "app.json"); err == nil || !strings.Contains(err.Error(), "no archive") {
		t.Errorf("a directory: %v", err)
	}
}

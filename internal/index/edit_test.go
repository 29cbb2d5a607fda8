package index_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/index"
)

// digestOf is a digest of 64 times a digit.
func digestOf(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func rowOf(version, yanked, digit string) string {
	return fmt.Sprintf(`{"ns":"acme","name":"java","version":"%s","yanked":%s,"addr":"r.test/acme/java@%s"}`+"\n", version, yanked, digestOf(digit))
}

func TestAddAndYank(t *testing.T) {
	t.Parallel()
	n := must(index.ParsePublished("acme/java"))(t)
	v := must(index.ParseVersion("1.0.0", "r.test/acme/java@"+digestOf("a")))(t)
	file, changed, err := index.Add(nil, n, v)
	if err != nil || !changed || string(file) != rowOf("1.0.0", "false", "a") {
		t.Fatalf("%q %v %v", file, changed, err)
	}
	if same, changed, err := index.Add(file, n, v); err != nil || changed || string(same) != string(file) {
		t.Errorf("the same once more: %q %v %v", same, changed, err)
	}
	other := v
	other.Address = "r.test/acme/java@" + digestOf("b")
	if same, _, err := index.Add(file, n, other); !errors.Is(err, index.ErrTaken) || string(same) != string(file) {
		t.Errorf("another digest: %q %v", same, err)
	}
	// A line that is wrong, and one without an end, are not ours to repair.
	torn := "{broken\n" + strings.TrimSuffix(rowOf("0.9.0", "false", "c"), "\n")
	file, _, err = index.Add([]byte(torn), n, v)
	if err != nil || string(file) != torn+"\n"+rowOf("1.0.0", "false", "a") {
		t.Errorf("%q %v", file, err)
	}
	yanked, changed, err := index.Yank(file, n, "1.0.0", true)
	if err != nil || !changed || string(yanked) != torn+"\n"+rowOf("1.0.0", "true", "a") {
		t.Errorf("yank: %q %v %v", yanked, changed, err)
	}
	if _, changed, err := index.Yank(yanked, n, "1.0.0", true); changed || err != nil {
		t.Errorf("yank again: %v %v", changed, err)
	}
	if again, changed, err := index.Add(yanked, n, v); changed || err != nil || string(again) != string(yanked) {
		t.Errorf("what is yanked comes back by registering it: %q %v %v", again, changed, err)
	}
	if back, changed, err := index.Yank(yanked, n, "1.0.0", false); err != nil || !changed || string(back) != string(file) {
		t.Errorf("undo: %q %v %v", back, changed, err)
	}
	if _, _, err := index.Yank(file, n, "2.0.0", true); !errors.Is(err, index.ErrNoVersion) {
		t.Error(err)
	}
}

func TestPublishedNames(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "acme", "acme/", "/java", "acme/java/x", "....", "../java", "acme/..xy", "acme/.x", "Acme/java", "acme/ja va", "acme/ja_va", "acme/con", "nul/java", "lpt9.x/java", "acme/java.", "acme/" + strings.Repeat("x", 254), "-a/b"} {
		if n, err := index.ParsePublished(bad); err == nil {
			t.Errorf("%q is %v", bad, n)
		}
	}
	for _, good := range []string{"acme/java", "a/b", "acme.io/java-11", "com0/x", "console/x"} {
		if _, err := index.ParsePublished(good); err != nil {
			t.Error(err)
		}
	}
}

// TestChanges: what somebody may push, and what not; each refusal is one line that names file and line.
func TestChanges(t *testing.T) {
	t.Parallel()
	const path = "ja/va/acme_java"
	one, two := rowOf("1.0.0", "false", "a"), rowOf("2.0.0", "false", "b")
	for _, tc := range []struct {
		name, path, before, after string
		want                      string // kinds and versions, or a part of the error
	}{
		{"a first version", path, "", one, "ADD 1.0.0"},
		{"another one", path, one, one + two, "ADD 2.0.0"},
		{"yanked", path, one + two, rowOf("1.0.0", "true", "a") + two, "YANK 1.0.0"},
		{"back", path, rowOf("1.0.0", "true", "a"), one, "UNYANK 1.0.0"},
		{"of Windows", path, one, one + strings.Replace(two, "\n", "\r\n", 1), "ADD 2.0.0"},
		{"nothing", path, one, one, ""},
		{"a damaged line stays", path, "{x\n", "{x\n" + one, "ADD 1.0.0"},

		{"another address", path, one, rowOf("1.0.0", "false", "b"), path + ":1: the line of version 1.0.0 was changed in more than yanked"},
		{"yanked and moved", path, one, rowOf("1.0.0", "true", "b"), path + ":1: "},
		{"a damaged line is mended", path, "{x\n", one, path + ":1: a line that was there was changed"},
		{"taken away", path, one + two, one, "1 lines are gone"},
		{"in between", path, one, two + one, path + ":1: "},
		{"twice", path, one, one + rowOf("1.0.0", "false", "b"), path + ":2: version 1.0.0 is there already"},
		{"twice, both new", path, "", one + rowOf("1.0.0", "false", "b"), path + ":2: version 1.0.0 is there already"},
		{"new and yanked", path, "", rowOf("1.0.0", "true", "a"), "is new, and yanked"},
		{"a tag", path, "", strings.Replace(one, "@"+digestOf("a"), ":1", 1), "is no HOST/REPOSITORY@sha256:DIGEST"},
		{"a short digest", path, "", strings.Replace(one, "aaaa", "aaa", 1), "is no HOST/REPOSITORY@sha256:DIGEST"},
		{"no version", path, "", rowOf("1.0", "false", "a"), "is no semantic version"},
		{"a long version", path, "", rowOf("1.0.0-"+strings.Repeat("x", 200), "false", "a"), "more than 128 bytes"},
		{"no JSON", path, one, one + "not json\n", path + ":2: it is not a JSON object"},
		{"an empty line", path, one, one + "\n", path + ":2: "},
		{"not in the form", path, "", strings.Replace(one, `"ns"`, ` "ns"`, 1), "not in the one form"},
		{"a field twice", path, "", strings.Replace(one, `"yanked":false`, `"yanked":true,"yanked":false`, 1), "not in the one form"},
		{"64 KiB", path, "", `{"ns":"` + strings.Repeat("a", 64<<10) + "\"}\n", "bytes or more"},
		{"of another", path, "", strings.Replace(one, `"java"`, `"jav"`, 1), "belongs into another file"},
		{"no end", path, "", strings.TrimSpace(one), "its last line does not end"},
		{"another file", "README.md", "", "x\n", "is no file of an index"},
		{"another place", "aa/va/acme_java", "", one, "is no file of an index"},
		{"deeper", "x/" + path, "", one, "is no file of an index"},
		{"dots", "../../etc/x_java", "", one, "is no file of an index"},
		{"upper case", "ja/va/Acme_java", "", one, "is no file of an index"},
	} {
		changes, err := index.Changes(tc.path, []byte(tc.before), []byte(tc.after))
		var got []string
		for _, c := range changes {
			got = append(got, string(c.Kind)+" "+c.Version.Version)
		}
		text := strings.Join(got, ", ")
		if err != nil {
			if text = err.Error(); strings.Contains(text, "\n") || len(text) > 400 || len(changes) > 0 {
				t.Errorf("%s: the error: %.500q, changes %v", tc.name, text, changes)
			}
		}
		taken := tc.want == "" || strings.HasSuffix(tc.want, " 1.0.0") && err == nil || strings.HasPrefix(tc.want, "ADD ")
		if bad := tc.want == "" && text != "" || !strings.Contains(text, tc.want); bad || taken != (err == nil) {
			t.Errorf("%s: %.300q, want %q", tc.name, text, tc.want)
		}
	}
}

// TestKeep: an index that the process keeps itself is asked first, and never synced.
func TestKeep(t *testing.T) {
	t.Parallel()
	s := must(index.OpenSet(t.TempDir()))(t)
	x := index.New(index.Head{Name: "own"}, &index.Tree{})
	n := must(index.ParsePublished("acme/java"))(t)
	y := must(x.With(n, []byte(rowOf("1.0.0", "false", "a")+rowOf("2.0.0", "true", "b")), "rev", x.Synced))(t)
	now := x
	s.Keep("own", func() (*index.Index, error) { return now, nil })
	if _, err := s.ResolveKnown("acme/java"); !errors.Is(err, index.ErrUnknown) {
		t.Error(err)
	}
	now = y
	for _, find := range []func() (index.Resolution, error){
		func() (index.Resolution, error) { return s.Find(t.Context(), "urn:cnb:registry:acme/java", "") },
		func() (index.Resolution, error) { return s.ResolveKnown("acme/java@1") },
		func() (index.Resolution, error) { return s.Resolve("acme/java", "own") },
	} {
		if r, err := find(); err != nil || r.Version != "1.0.0" || r.Index != "own" || r.Revision != "rev" {
			t.Errorf("%+v %v", r, err)
		}
	}
	if x.HasNamespace("acme") || !y.HasNamespace("acme") || y.HasNamespace("acm") || y.HasNamespace("acme/java") || s.Namespace("acme") != "own" {
		t.Error("namespaces")
	}
	if y.Head.Versions != 2 || y.Head.Buildpacks != 1 || len(y.Search("java")) != 1 {
		t.Errorf("%+v", y.Head)
	}
	if done, err := s.Sync(t.Context(), "own", false); err != nil || done.Index != "own" {
		t.Error(done, err)
	}
}

// must is for what must not fail.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

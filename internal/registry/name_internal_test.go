package registry

import (
	"path"
	"strings"
	"testing"
)

// FuzzParseTarget holds that what is parsed reads the same again, which is what olareg does with it, and that no name
// leads out of its directory or into another repository's files.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{
		"/v2/", "/v2", "/v2/a/b/manifests/v1", "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/id", "/v2/a/tags/list", "/v2/../a/tags/list",
		"/v2/a/blobs/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "/v2/manifests/tags/manifests/list",
		"/v2/a//b/manifests/v1", "/v2/blobs/uploads/blobs/uploads", "/v2/a/index.json/tags/list", "//v2/a/tags/list", "/v2/a/manifests/a:b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTarget(s)
		if err != nil || got.kind == api {
			return
		}
		if again, err := parseTarget(got.path()); err != nil || again != got {
			t.Errorf("%q is %+v, and %q is %+v, %v", s, got, got.path(), again, err)
		}
		if got.path() != path.Clean(s) && got.path() != s && got.path() != s+"/" {
			t.Errorf("%q became %q", s, got.path())
		}
		dir := path.Join(repositoriesDir, got.repo)
		if dir != repositoriesDir+"/"+got.repo || strings.Contains(got.repo, "..") || strings.Contains("/"+got.repo+"/", "/blobs/") || strings.Contains(got.repo, "/_") {
			t.Errorf("%q lies in %q", s, dir)
		}
		if tag := got.tag(); tag != "" && checkTag(tag) != nil {
			t.Errorf("%q has the tag %q", s, tag)
		}
	})
}

package fetch

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// template is a repository with an app.json, a README, a directory, and files that nobody wants here.
func template(t *testing.T, r *repo) string {
	noise := make([]byte, 3<<10)
	_, err := rand.Read(noise)
	must(t, err)
	docs := r.tree("100644 blob "+r.blob("docs")+"\tapp.json", "040000 tree "+r.tree("100644 blob "+r.blob("deep")+"\tapp.json")+"\tdeep")
	return r.tree(
		"100644 blob "+r.blob(`{"name": "x"}`)+"\tapp.json", "100644 blob "+r.blob(strings.Repeat("readme ", 1000))+"\tREADME.md",
		"120000 blob "+r.blob("/etc/passwd")+"\tlink", "100644 blob "+r.blob(string(noise))+"\tnoise", "040000 tree "+docs+"\tdocs",
		"100644 blob "+r.blob(strings.Repeat("a", 50<<10))+"\tbomb", "160000 commit "+strings.Repeat("1", 40)+"\tsub",
	)
}

func want(files ...FileRequest) func([]string) []FileRequest {
	return func([]string) []FileRequest { return files }
}

func TestFiles(t *testing.T) {
	r := newRepo(t)
	first := r.commit("main", template(t, r))
	hidden := r.commit("", r.tree("100644 blob "+r.blob("hidden")+"\tapp.json"))
	v2 := backend(t, filepath.Dir(r.dir))
	old := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Header.Del("Git-Protocol")
		v2.ServeHTTP(w, req)
	})
	for name, c := range map[string]struct {
		h       http.Handler
		setting []string
	}{
		"filters": {v2, nil}, "no filters": {v2, []string{"uploadpack.allowFilter", "false"}}, "an old server with filters": {old, nil},
		"no trees": {v2, []string{"uploadpackfilter.tree.maxDepth", "0"}}, "no filter that is known": {v2, []string{"uploadpackfilter.allow", "false"}},
	} {
		t.Run(name, func(t *testing.T) {
			r.git("", "config", "uploadpack.allowFilter", "true")
			if c.setting != nil {
				before := c.setting[0]
				r.git("", append([]string{"config"}, c.setting...)...)
				defer r.git("", "config", "--unset", before)
			}
			server, ca := serveTLS(t, c.h)
			f := fetcher(t, ca)
			req := GitRequest{URL: gitURL(t, server.URL+"/app.git"), Commit: first, Limits: Limits{Archive: 16 << 20, Memory: 1 << 50}}
			var names []string
			got, err := f.Files(t.Context(), req, func(all []string) []FileRequest {
				names = all
				return []FileRequest{{"app.json", 100, false}, {"absent", 100, false}, {"README.md", 10, true}, {"bomb", 5, false}}
			})
			if err != nil || string(got["app.json"].Data) != `{"name": "x"}` || got["app.json"].Size != 13 || string(got["README.md"].Data) != "readme rea" || got["README.md"].Size != 7000 || got["bomb"].Size != 50<<10 || len(got) != 3 {
				t.Errorf("%v, %v", slices.Collect(maps.Keys(got)), err)
			}
			if fmt.Sprint(names) != "[README.md app.json bomb noise]" {
				t.Errorf("there are %v", names)
			}
			for dir, text := range map[Dir]string{"docs": "docs", "docs/deep": "deep"} {
				req.Dir = dir
				got, err := f.Files(t.Context(), req, want(FileRequest{"app.json", 100, false}))
				if err != nil || string(got["app.json"].Data) != text {
					t.Errorf("%s: %v, %v", dir, got, err)
				}
			}
			for _, dir := range []Dir{"absent", "app.json", "docs/absent", "link", "sub"} {
				req.Dir = dir
				got, err := f.Files(t.Context(), req, want())
				if !errors.Is(err, ErrNoDir) {
					t.Errorf("%s: %v, %v", dir, got, err)
				}
				wantLine(t, err, `no such directory: "`+string(dir)+`"`)
			}
			req.Dir = ""
			req.Commit = Commit(strings.Repeat("2", 40))
			if _, err := f.Files(t.Context(), req, want()); !errors.Is(err, ErrNoRef) {
				t.Error(err)
			}
			req.Commit = hidden
			if got, err := f.Files(t.Context(), req, want(FileRequest{"app.json", 100, false})); (err == nil) != (string(got["app.json"].Data) == "hidden") || err != nil && !errors.Is(err, ErrNoRef) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// A repository that is larger than the limit is not fetched for a small file; a file that is, is refused.
func TestFilesOfLargeRepository(t *testing.T) {
	r := newRepo(t)
	noise := func(n int) string {
		b := make([]byte, n)
		_, err := rand.Read(b)
		must(t, err)
		return r.blob(string(b))
	}
	inner := r.tree("100644 blob "+noise(2<<20)+"\ta", "100644 blob "+noise(2<<20)+"\tb")
	commit := r.commit("main", r.tree("100644 blob "+r.blob("{}")+"\tapp.json", "100644 blob "+noise(2<<20)+"\tlarge", "040000 tree "+inner+"\tsrc"))
	r.git("", "config", "uploadpack.allowFilter", "true")
	var sent int64
	h := backend(t, filepath.Dir(r.dir))
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { h.ServeHTTP(&counting{w, &sent}, req) }))
	f := fetcher(t, ca)
	req := GitRequest{URL: gitURL(t, server.URL+"/app.git"), Commit: commit, Limits: Limits{Archive: 256 << 10, Memory: 1 << 50}}
	got, err := f.Files(t.Context(), req, want(FileRequest{"app.json", 100, false}))
	if err != nil || string(got["app.json"].Data) != "{}" || sent > 64<<10 {
		t.Errorf("%v, %v, and %d bytes were sent", got, err, sent)
	}
	bomb := req // fifty megabytes that come as a few
	bomb.Commit = r.commit("bomb", r.tree("100644 blob "+r.blob(strings.Repeat("a", 50<<20))+"\tapp.json"))
	got, err = f.Files(t.Context(), bomb, want(FileRequest{"app.json", 100, false}))
	if err != nil || len(got["app.json"].Data) != 100 || got["app.json"].Size != 50<<20 {
		t.Errorf("%d bytes, %v", got["app.json"].Size, err)
	}
	_, err = f.Files(t.Context(), req, want(FileRequest{"large", 100, false}))
	if limit, ok := errors.AsType[*LimitError](err); !ok || !strings.Contains(limit.Error(), "large: more than 262144 bytes come") {
		t.Error(err)
	}
	got, err = f.Files(t.Context(), req, want(FileRequest{"app.json", 100, false}, FileRequest{"large", 100, true}))
	if err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	// Where the server cannot leave anything out, the limit is of all of it.
	r.git("", "config", "uploadpack.allowFilter", "false")
	if _, err = f.Files(t.Context(), req, want(FileRequest{"app.json", 100, false})); err == nil {
		t.Error("all of it came")
	} else if _, ok := errors.AsType[*LimitError](err); !ok {
		t.Error(err)
	}
}

// counting counts what a server sends.
type counting struct {
	http.ResponseWriter
	n *int64
}

func (c *counting) Write(b []byte) (int, error) {
	*c.n += int64(len(b))
	return c.ResponseWriter.Write(b)
}

func TestResolvePath(t *testing.T) {
	r := newRepo(t)
	main := r.commit("main", r.app("1"))
	slash := r.commit("feature/x", r.app("2"))
	other := r.commit("feat", r.app("3"))
	r.git("", "tag", "-a", "-m", "t", "v1/rc", string(slash))
	server, ca := serveTLS(t, backend(t, filepath.Dir(r.dir)))
	f := fetcher(t, ca)
	req := GitRequest{URL: gitURL(t, server.URL+"/app.git"), Limits: Limits{Memory: 1 << 50}}
	for path, want := range map[string]At{
		"": {"", main, ""}, "main": {"main", main, ""}, "/main/": {"main", main, ""}, "main/docs/app": {"main", main, "docs/app"}, "feature/x": {"feature/x", slash, ""}, "feature/x/y": {"feature/x", slash, "y"},
		"feat/x": {"feat", other, "x"}, "v1/rc/z": {"v1/rc", slash, "z"}, "refs/heads/feature/x": {"refs/heads/feature/x", slash, ""}, "refs/tags/v1/rc": {"refs/tags/v1/rc", slash, ""},
		string(other) + "/docs": {"", other, "docs"}, "main/" + strings.Repeat("a/", 40) + "b": {"main", main, strings.Repeat("a/", 40) + "b"},
		"absent": {}, "feature": {}, "feature/y": {}, "--upload-pack=x": {}, "a b": {}, "main~1": {},
	} {
		got, err := f.ResolvePath(t.Context(), req, path)
		if got != want || (want == At{}) != errors.Is(err, ErrNoRef) {
			t.Errorf("%q is %+v, %v", path, got, err)
		}
	}
}

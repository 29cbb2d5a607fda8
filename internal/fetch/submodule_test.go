package fetch

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// link commits an app with submodules: lines "path url commit".
func (r *repo) link(branch string, text string) Commit {
	var modules strings.Builder
	entries := []string{"100644 blob " + r.blob("of "+branch) + "\tfile"}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if f[1] != "none" {
			modules.WriteString("[submodule \"" + f[0] + "\"]\n\tpath = " + f[0] + "\n\turl = " + f[1] + "\n\tupdate = rebase\n")
		}
		entries = append(entries, "160000 commit "+f[2]+"\t"+f[0])
	}
	return r.commit(branch, r.tree(append(entries, "100644 blob "+r.blob(modules.String())+"\t.gitmodules")...))
}

func TestSubmodules(t *testing.T) {
	r := newRepo(t)
	h := backend(t, filepath.Dir(r.dir))
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, pw, _ := req.BasicAuth(); pw != canary { // for the submodules too
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		req.URL.Path = strings.Replace(req.URL.Path, "/lib.git", "/app.git", 1)
		h.ServeHTTP(w, req)
	}))
	leaf := r.commit("leaf", r.tree("100644 blob "+r.blob("leaf")+"\tfile"))
	inner := r.link("inner", "leaf ../lib.git "+string(leaf))
	r.link("main", "mid ./../lib.git "+string(inner)+"\nabs "+server.URL+"/app.git "+string(leaf))
	r.link("loopback", "sub https://127.0.0.2/x.git "+string(leaf))
	r.link("file", "sub file://"+r.dir+" "+string(leaf))
	r.link("ext", "sub ext::sh "+string(leaf))
	r.link("option", "sub --upload-pack=x "+string(leaf))
	r.link("out", "sub ../../../x "+string(leaf))
	r.link("nowhere", "sub none "+string(leaf))
	r.link("half", "other none "+string(leaf)+"\nsub ../app.git "+string(leaf))
	deep := leaf
	for range maxNesting + 1 {
		deep = r.link("deep", "sub ../app.git "+string(deep))
	}
	f := fetcher(t, ca)
	req := func(ref Ref) GitRequest {
		return GitRequest{URL: gitURL(t, withUser(server.URL+"/app.git")), Ref: ref, Submodules: true}
	}
	_, files, err := get(t, f, req("main"))
	must(t, err)
	for name, want := range map[string]string{"file": "of main", "mid/file": "of inner", "mid/leaf/file": "leaf", "abs/file": "leaf"} {
		if files[name] != want {
			t.Errorf("%s is %q, not %q", name, files[name], want)
		}
	}
	for ref, want := range map[Ref]string{
		"loopback": `submodule "sub": fetch https://127.0.0.2/x.git: "127.0.0.2" is a loopback address`, "file": "no URL of the form", "ext": "no URL of the form",
		"option": "disallowed submodule url", "out": "leads out of the host", "nowhere": "no .gitmodules that says", "half": "does not say where it is", "deep": "more than 4 deep",
	} {
		_, _, err := get(t, f, req(ref))
		wantLine(t, err, want)
	}
	small := req("main")
	for limit, ok := range map[int]bool{8: false, 9: true} { // of all together
		small.Limits.Files = limit
		_, _, err = get(t, f, small)
		if _, is := errors.AsType[*LimitError](err); is == ok {
			t.Errorf("%d files: %v", limit, err)
		}
	}
	// Not asked for, they are empty, wherever they are.
	plain := req("loopback")
	plain.Submodules = false
	if _, files, err := get(t, f, plain); err != nil || files["file"] != "of loopback" {
		t.Errorf("%v, %v", files, err)
	}
}

func TestRelativeURLs(t *testing.T) {
	for in, want := range map[string]string{
		"https://h/o/r.git ../x.git": "https://h/o/x.git", "https://h/o/r.git ./x": "https://h/o/r.git/x", "https://h/o/r/ ../../a/b": "https://h/a/b",
		"https://h/r ../../x": "", "git@h:o/r.git ../x.git": "git@h:o/x.git", "git@h:r ../x": "git@h:x", "git@h:r ../../x": "", "git@h:r ../-x": "",
		"ssh://u@h:22/o/r ../x": "ssh://u@h:22/o/x", "https://h/o/r https://other/x": "https://other/x",
	} {
		base, rel, _ := strings.Cut(in, " ")
		u, err := gitURL(t, base).relative(rel)
		if u.String() != want || (want == "") != (err != nil) {
			t.Errorf("%s: %q, %v", in, u, err)
		}
	}
	m := &modules{root: GitRequest{URL: gitURL(t, withUser("https://h/r")), Credentials: Credentials{Key: []byte("k")}}}
	for url, has := range map[string]bool{"https://h/x": true, "https://other/x": false, "https://h:1/x": false, "ssh://h/x": false, "git@h:x": false} {
		if got := m.credentials(gitURL(t, url)); (got.Password == canary) != has || !has && len(got.Key) > 0 {
			t.Errorf("%s gets credentials: %t", url, !has)
		}
	}
}

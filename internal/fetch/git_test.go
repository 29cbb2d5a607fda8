package fetch

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGit(t *testing.T) {
	r := newRepo(t)
	first := r.commit("main", r.app("1"))
	second := r.commit("main", r.app("2"), string(first))
	other := r.commit("topic/x", r.app("other"), string(first))
	r.git("", "tag", "-a", "-m", "t", "v1", string(first))
	hidden := r.commit("", r.app("hidden")) // no ref is at it
	v2 := backend(t, filepath.Dir(r.dir))
	server, ca := serveTLS(t, v2)
	// An older server gives out only what a ref is at.
	old, oldCA := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Header.Del("Git-Protocol")
		v2.ServeHTTP(w, req)
	}))
	for _, c := range []struct {
		ref          Ref
		commit, want Commit
		version      string
		old          bool // fails there
	}{
		{"", "", second, "2", false}, {"main", "", second, "2", false}, {"refs/heads/topic/x", "", other, "other", false}, {"v1", "", first, "1", false},
		{"", first, first, "1", false}, {"main", first, first, "1", false}, {"", hidden, hidden, "hidden", true}, {"v1", second, second, "2", false},
	} {
		for name, f := range map[string]*Fetcher{server.URL: fetcher(t, ca), old.URL: fetcher(t, oldCA)} {
			if name == old.URL && c.commit == "" {
				continue // there is no difference
			}
			commit, files, err := get(t, f, GitRequest{URL: gitURL(t, name+"/app.git"), Ref: c.ref, Commit: c.commit})
			if c.old && name == old.URL {
				if !errors.Is(err, ErrNoRef) {
					t.Errorf("%q at %q of an old server: %v", c.ref, c.commit, err)
				}
				continue
			}
			if err != nil || commit != c.want || files["version"] != c.version {
				t.Errorf("%q at %q, old server %t: %s, %v, %v", c.ref, c.commit, name == old.URL, commit, files, err)
				continue
			}
			want := map[string]string{
				".gitattributes": files[".gitattributes"], "version": c.version, "secret.txt": "all of it", "subst": "$Format:%H$",
				"run": "#!/bin/sh\n", "link": "-> version", "sub/": "",
			}
			if fmt.Sprint(files) != fmt.Sprint(want) {
				t.Errorf("got %v\nwant %v", files, want)
			}
		}
	}
	f := fetcher(t, ca)
	for name, req := range map[string]GitRequest{"ref": {Ref: "absent"}, "commit": {Commit: Commit(strings.Repeat("2", 40))}, "tree": {Commit: Commit(r.app("1"))}} {
		req.URL = gitURL(t, server.URL+"/app.git")
		if _, _, err := get(t, f, req); !errors.Is(err, ErrNoRef) {
			t.Errorf("a %s that is not there: %v", name, err)
		}
	}
	for ref, want := range map[Ref]Commit{"": second, "main": second, "v1": first, "refs/tags/v1": first, "topic/x": other, "x": "", "absent": ""} {
		got, err := f.Resolve(t.Context(), GitRequest{URL: gitURL(t, server.URL+"/app.git"), Ref: ref})
		if got != want || (want == "") != errors.Is(err, ErrNoRef) {
			t.Errorf("%q is at %q, %v", ref, got, err)
		}
	}
	_, _, err := get(t, f, GitRequest{URL: gitURL(t, server.URL+"/absent.git")})
	wantLine(t, err, "the repository is not there")
}

// Of a directory nothing else comes: its names, modes, times and ends of lines are those of a checkout of it all.
func TestGitDir(t *testing.T) {
	r := newRepo(t)
	leaf := r.commit("leaf", r.tree("100644 blob "+r.blob("leaf")+"\tfile"))
	app := r.tree("100644 blob "+r.blob("a\n")+"\ta.txt", "100644 blob "+r.blob("x")+"\tout.bin", "120000 blob "+r.blob("a.txt")+"\tin", "160000 commit "+string(leaf)+"\tsub", "040000 tree "+r.app("1")+"\tdeep")
	apps := r.tree("040000 tree "+app+"\tmy app", "040000 tree "+r.app("2")+"\tmy app 2", "120000 blob "+r.blob("my app")+"\tlink")
	modules := r.blob("[submodule \"s\"]\n\tpath = apps/my app/sub\n\turl = ../app.git\n")
	r.commit("main", r.tree("100644 blob "+r.blob("*.txt text eol=crlf\n")+"\t.gitattributes", "100644 blob "+modules+"\t.gitmodules", "040000 tree "+apps+"\tapps", "100644 blob "+r.blob(strings.Repeat("x", 5000))+"\tlarge"))
	server, ca := serveTLS(t, backend(t, filepath.Dir(r.dir)))
	f := fetcher(t, ca)
	req := GitRequest{URL: gitURL(t, server.URL+"/app.git"), Dir: "apps/my app", Limits: Limits{Bytes: 1000, Files: 15}}
	_, files, err := get(t, f, req)
	must(t, err)
	want := map[string]string{
		"a.txt": "a\r\n", "out.bin": "x", "in": "-> a.txt", "sub/": "", "deep/": "", "deep/version": "1", "deep/secret.txt": "all of it", "deep/subst": "$Format:%H$", "deep/run": "#!/bin/sh\n",
		"deep/link": "-> version", "deep/sub/": "", "deep/.gitattributes": files["deep/.gitattributes"],
	}
	if fmt.Sprint(files) != fmt.Sprint(want) {
		t.Errorf("got %q\nwant %q", files, want)
	}
	req.Dir, req.Limits = "", Limits{Bytes: 1000}
	_, _, err = get(t, f, req)
	wantLine(t, err, "more than 1000 bytes")
	for _, dir := range []Dir{"apps/absent", "apps/link", "apps/link/deep", "apps/my app/sub", "apps/my app/a.txt", "apps/my", "apps/*", ":(glob)**"} {
		req.Dir = dir
		_, _, err := get(t, f, req)
		if wantLine(t, err, fmt.Sprintf("no such directory: %q", dir)); !errors.Is(err, ErrNoDir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	// A submodule is found by what .gitmodules of the root says.
	deep := r.tree("160000 commit "+string(leaf)+"\tsub", "120000 blob "+r.blob("../../large")+"\tout")
	r.commit("subs", r.tree("100644 blob "+modules+"\t.gitmodules", "040000 tree "+r.tree("040000 tree "+deep+"\tmy app")+"\tapps"))
	var out bytes.Buffer
	req = GitRequest{URL: req.URL, Ref: "subs", Dir: "apps/my app", Submodules: true, Limits: Limits{Memory: 1 << 50}}
	_, err = f.Git(t.Context(), req, &out)
	must(t, err)
	if names := fmt.Sprint(names(t, &out)); names != "[out sub/ sub/file]" {
		t.Error(names)
	}
	// What leads out of the directory leads out of the app.
	req.Submodules = false
	_, _, err = get(t, f, req)
	wantLine(t, err, `link "out" leads out of the app directory`)
}

// names are those of a tar's entries.
func names(t *testing.T, r io.Reader) (all []string) {
	t.Helper()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		if h.ModTime.Unix() != 1700000000 {
			t.Errorf("%s is of %v, and not of when it was committed", h.Name, h.ModTime)
		}
		all = append(all, h.Name)
	}
}

func TestParseDir(t *testing.T) {
	for in, want := range map[string]Dir{"": "", "/": "", "app": "app", "examples/app//": "examples/app", "a b/-x": "a b/-x", "a:b/é": "a:b/é", "..a/...": "..a/..."} {
		if got, err := ParseDir(in); got != want || err != nil {
			t.Errorf("%q is %q, %v", in, got, err)
		}
	}
	for _, in := range []string{".", "..", "../x", "a/../b", "a/./b", "/etc", "a//b", ".git", "a/.GIT/b", `a\b`, "a\nb", "a\x00", "\xff", strings.Repeat("x", 1025)} {
		got, err := ParseDir(in)
		if wantLine(t, err, "a path below the root of the repository"); got != "" {
			t.Errorf("%q is %q", in, got)
		}
	}
}

func TestGitCredentials(t *testing.T) {
	r := newRepo(t)
	r.commit("main", r.app("1"))
	var f *Fetcher
	users := map[string]int{}
	h := backend(t, filepath.Dir(r.dir))
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, pw, ok := req.BasicAuth()
		if where := findCanary(f.Dir); where != "" {
			t.Errorf("the password is in %s", where)
		}
		if !ok || pw != canary {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		users[user]++
		if strings.HasPrefix(req.URL.Path, "/mirror") { // sends back what it got
			w.Header().Set("Content-Type", "text/plain")
			http.Error(w, "fatal: I know "+pw, http.StatusInternalServerError)
			return
		}
		h.ServeHTTP(w, req)
	}))
	f = fetcher(t, ca)
	token := strings.Replace(server.URL, "https://", "https://"+strings.ReplaceAll(strings.ReplaceAll(canary, "/", "%2F"), "+", "%2B")+"@", 1)
	for name, req := range map[string]GitRequest{
		"user":           {URL: gitURL(t, withUser(server.URL+"/app.git"))},
		"x-access-token": {URL: gitURL(t, token+"/app.git")},
		"given":          {URL: gitURL(t, server.URL+"/app.git"), Credentials: Credentials{User: "given", Password: canary}},
	} {
		if _, files, err := get(t, f, req); err != nil || files["version"] != "1" || users[name] == 0 {
			t.Errorf("%s: %v, %v, %v", name, files, err, users)
		}
	}
	_, _, err := get(t, f, GitRequest{URL: gitURL(t, server.URL+"/app.git")})
	wantLine(t, err, "wants other credentials")
	_, _, err = get(t, f, GitRequest{URL: gitURL(t, server.URL+"/app.git"), Credentials: Credentials{Password: "wr0ng"}})
	wantLine(t, err, "wants other credentials")
	_, _, err = get(t, f, GitRequest{URL: gitURL(t, withUser(server.URL+"/mirror/app.git"))})
	wantLine(t, err, "500")
	// Another host gets no credentials, and neither does a question of another form.
	c := Credentials{User: "u", Password: canary}
	for prompt, want := range map[string]string{
		"Username for 'https://h:1': ": "u", "Password for 'https://u@h:1': ": canary, "Password for 'https://h': ": "", "Password for 'http://h:1': ": "",
		"Password for 'https://h:1@evil': ": "", "Password: ": "", "": "", "Password for 'https://h:1'evil': ": "",
	} {
		if got, _ := c.answer("h:1", prompt); got != want {
			t.Errorf("%q: %q", prompt, got)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(s, canary) {
		t.Error(s)
	}
}

// findCanary looks for the password where others could see it: in the arguments of processes, and in files.
func findCanary(dir string) (where string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			lines = append(lines, p)
		}
		return nil
	})
	for _, p := range lines {
		if b, err := os.ReadFile(p); err == nil && bytes.Contains(b, []byte(canary)) {
			where = p + ": " + string(b)
		}
	}
	return where
}

func TestGitReachesPublicAddressesOnly(t *testing.T) {
	r := newRepo(t)
	r.commit("main", r.app("1"))
	h := backend(t, filepath.Dir(r.dir))
	plain := httptest.NewServer(h) // would serve it
	t.Cleanup(plain.Close)
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for prefix, to := range map[string]string{
			"/loopback": "https://127.0.0.2/app.git", "/metadata": "https://169.254.169.254/app.git", "/plain": plain.URL + "/app.git", "/file": "file://" + r.dir,
		} {
			if rest, ok := strings.CutPrefix(req.URL.Path, prefix); ok {
				http.Redirect(w, req, to+rest+"?"+req.URL.RawQuery, http.StatusMovedPermanently)
				return
			}
		}
		h.ServeHTTP(w, req)
	}))
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	f := fetcher(t, ca)
	f.Dialer.Resolver = nameServer(t, "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.9")
	if _, files, err := get(t, f, GitRequest{URL: gitURL(t, "https://example.com"+port+"/app.git")}); err != nil || files["version"] != "1" {
		t.Errorf("by name: %v, %v", files, err)
	}
	// The same name is elsewhere now; and every other way in.
	f.Dialer.Resolver = nameServer(t, "127.0.0.9")
	for url, want := range map[string]string{
		"https://example.com" + port + "/app.git": `"example.com" is at 127.0.0.9, a loopback address`,
		"https://127.0.0.2" + port + "/app.git":   `"127.0.0.2" is a loopback address`,
		"https://[::1]" + port + "/app.git":       `a loopback address`,
		"https://10.0.0.1/app.git":                `a private address`,
		server.URL + "/loopback":                  `"127.0.0.2" is a loopback address`,
		server.URL + "/metadata":                  `metadata`,
	} {
		_, _, err := get(t, f, GitRequest{URL: gitURL(t, url)})
		wantLine(t, err, want)
		if _, ok := errors.AsType[*RefusedError](err); !ok {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{server.URL + "/plain", server.URL + "/file"} {
		if _, _, err := get(t, f, GitRequest{URL: gitURL(t, url)}); err == nil {
			t.Errorf("%s: a redirect to another protocol is followed", url)
		}
	}
}

func TestGitLimits(t *testing.T) {
	r := newRepo(t)
	random := make([]byte, 3<<20)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	r.commit("main", r.tree("100644 blob "+r.blob("1")+"\ta", "100644 blob "+r.blob("2")+"\tb", "100644 blob "+r.blob("3")+"\tc"))
	r.commit("big", r.tree("100644 blob "+r.blob(string(random))+"\tbig"))
	bomb := r.tree("100644 blob " + r.blob("boom") + "\tf")
	for range 8 {
		var entries []string
		for i := range 16 {
			entries = append(entries, fmt.Sprintf("040000 tree %s\t%02d", bomb, i))
		}
		bomb = r.tree(entries...)
	}
	r.commit("bomb", bomb)
	release := make(chan struct{})
	h := backend(t, filepath.Dir(r.dir))
	server, ca := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/stall") {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			io.WriteString(w, "001e# service=git-upload-pack\n0000")
			w.(http.Flusher).Flush()
			<-release
			return
		}
		h.ServeHTTP(w, req)
	}))
	t.Cleanup(func() { close(release) })
	f := fetcher(t, ca)
	for _, c := range []struct {
		path   string
		ref    Ref
		limits Limits
		want   string
	}{
		{"/app.git", "main", Limits{Files: 2}, "the commit has more than 2 files and directories, the limit"},
		{"/app.git", "bomb", Limits{}, "the commit has more than 200000 files"},
		{"/app.git", "main", Limits{Bytes: 2}, "the files of the commit have more than 2 bytes"},
		{"/app.git", "big", Limits{Archive: 1 << 20}, "more than 1048576 bytes come, the limit"},
		{"/stall.git", "main", Limits{Stall: 300 * time.Millisecond}, "nothing came for 300ms"},
		{"/stall.git", "main", Limits{Time: time.Second}, "it was not done after 1s"},
	} {
		_, _, err := get(t, f, GitRequest{URL: gitURL(t, server.URL+c.path), Ref: c.ref, Limits: c.limits})
		wantLine(t, err, c.want)
		if e, ok := errors.AsType[*LimitError](err); !ok || e.URL != server.URL+c.path {
			t.Errorf("%s: %#v", c.want, err)
		}
	}
	if _, files, err := get(t, f, GitRequest{URL: gitURL(t, server.URL+"/app.git"), Ref: "main"}); err != nil || len(files) != 3 {
		t.Errorf("afterwards: %v, %v", files, err)
	}
}

func TestGitHostileTrees(t *testing.T) {
	r := newRepo(t)
	evil := r.blob("#!/bin/sh\ntouch /tmp/owned\n")
	raw := func(branch string, entries ...string) {
		var b strings.Builder
		for _, e := range entries {
			b.WriteString(e)
		}
		r.commit(branch, r.git(b.String(), "hash-object", "-t", "tree", "-w", "--literally", "--stdin"))
	}
	binary := func(hash string) string {
		b, err := hex.DecodeString(hash)
		must(t, err)
		return string(b)
	}
	for branch, name := range map[string]string{"dotgit": ".git", "upper": ".GIT", "dotdot": "..", "dot": ".", "slash": "../../x"} {
		raw(branch, "100644 "+name+"\x00"+binary(evil))
	}
	r.commit("linkout", r.tree("120000 blob "+r.blob("../../etc/passwd")+"\tl", "100644 blob "+evil+"\ta"))
	r.commit("linkabs", r.tree("120000 blob "+r.blob("/etc/passwd")+"\tl", "100644 blob "+evil+"\ta"))
	server, ca := serveTLS(t, backend(t, filepath.Dir(r.dir)))
	f := fetcher(t, ca)
	for branch, want := range map[string]string{
		"dotgit": "hasDotgit", "upper": "hasDotgit", "dotdot": "hasDotdot", "dot": "hasDot", "slash": "fullPathname", "linkout": "leads out of the app directory", "linkabs": "leads out of the app directory",
	} {
		_, files, err := get(t, f, GitRequest{URL: gitURL(t, server.URL+"/app.git"), Ref: Ref(branch)})
		if err == nil {
			t.Errorf("%s is taken: %v", branch, files)
			continue
		}
		wantLine(t, err, want)
	}
	for path, ok := range map[string]bool{
		"a/b": true, ".gitignore": true, "a/.git": false, ".GiT/x": false, "..": false, "a/../b": false, "./a": false, "a//b": false, "/a": false,
		strings.Repeat("a/", 300): false, strings.Repeat("a", 5000): false,
	} {
		if err := checkPath(path); (err == nil) != ok {
			t.Errorf("%.50q: %v", path, err)
		}
	}
}

func TestProxyServesItsGitOnly(t *testing.T) {
	ended, over := context.WithCancelCause(t.Context())
	defer over(nil)
	f := &Fetcher{Dialer: allow("127.0.0.1/32")}
	p, err := startProxy(ended, f, "x", Limits{}.withDefaults(), over, func(string) (string, bool) { return canary, true })
	must(t, err)
	defer p.stop()
	for _, method := range []string{http.MethodConnect, http.MethodPost, http.MethodGet} {
		for _, user := range []string{"", "slipway:wrong", "slipway:" + p.password} {
			req := httptest.NewRequestWithContext(t.Context(), method, "http://"+p.listener.Addr().String(), nil)
			if name, pw, ok := strings.Cut(user, ":"); ok {
				req.SetBasicAuth(name, pw)
				req.Header.Set("Proxy-Authorization", req.Header.Get("Authorization"))
			}
			w := httptest.NewRecorder()
			if strings.HasSuffix(user, p.password) && method == http.MethodConnect {
				continue // that is what the other tests do
			}
			p.ServeHTTP(w, req)
			if served := w.Code == http.StatusOK; served != (method == http.MethodPost && strings.HasSuffix(user, p.password)) || !served && strings.Contains(w.Body.String(), canary) {
				t.Errorf("%s by %q: %d", method, user, w.Code)
			}
		}
	}
}

func TestParseRefAndCommit(t *testing.T) {
	for in, want := range map[string]Ref{"": "", "HEAD": "", "main": "main", "refs/heads/a-b": "refs/heads/a-b", "v1.0": "v1.0", "ünï": "ünï"} {
		if got, err := ParseRef(in); got != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"-x", "--upload-pack=x", "a b", "a..b", "a:b", "+a", "*", "a/*", "a/-b", "x.lock", "/a", "a/", "a\nb", "@", "a@{1}", "a^{}", "a~1", "\xff", strings.Repeat("a", 201)} {
		if got, err := ParseRef(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
	for in, ok := range map[string]bool{
		strings.Repeat("a1", 20): true, strings.Repeat("a1", 32): true, strings.Repeat("A1", 20): false, "": false, "main": false, strings.Repeat("-1", 20): false,
	} {
		if _, err := ParseCommit(in); (err == nil) != ok {
			t.Errorf("%q: %v", in, err)
		}
	}
}

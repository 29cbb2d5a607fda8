package gitserver

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// random writes a file that no compression makes smaller, and commits it.
func (d *tree) random(file string, bytes int64) Hash {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, file))
	must(d.t, err)
	_, err = io.CopyN(f, rand.Reader, bytes)
	must(d.t, err)
	must(d.t, f.Close())
	d.git("add", "--", file)
	d.git("commit", "-q", "-m", file)
	return d.head()
}

func TestPackLimit(t *testing.T) {
	w, d := newWorld(t, Limits{Pack: 1 << 20}), newTree(t)
	d.random("large", 3<<20)
	d.wantPush(false, []string{w.url(token), "main"}, "remote:  !     The push has more than 1 MiB", "(the push is too large)")
	if w.at(mainRef) != Zero {
		t.Error("a push that is too large moved main")
	}
	must(t, w.handler.Stop(t.Context()))
	w.wantClean()
}

func TestSourceLimits(t *testing.T) {
	w, d := newWorld(t, Limits{Files: 20, Options: 19}), newTree(t)
	w.builds(func(_ context.Context, p *Push, u Update) error {
		_, err := names(t, p, u.New)
		return err
	})
	w.app.Limits.Source = 1 << 20
	d.commit("small", "x")
	d.random("dir/../large.bin", 2<<20)
	d.wantPush(false, []string{w.url(token), "main"}, "The files of the source have more than 1 MiB.", `2 MiB  "large.bin"`, "(the source is too large)")
	d.git("rm", "-q", "large.bin")
	for i := range 20 {
		must(t, os.WriteFile(filepath.Join(d.dir, fmt.Sprint("f", i)), nil, 0o644))
	}
	d.git("add", ".")
	d.git("commit", "-q", "-m", "many")
	d.wantPush(false, []string{w.url(token), "main"}, "more than 20 files and directories")
	d.git("rm", "-q", "f0", "f1", "f2", "f3")
	d.git("commit", "-q", "-m", "fewer")
	d.wantPush(true, []string{w.url(token), "main"}, "main -> main")

	long := make([]string, 20)
	for i := range long {
		long[i] = "--push-option=" + strings.Repeat("x", 10)
	}
	d.commit("small", "y")
	d.wantPush(false, append(long, w.url(token), "main"), "At most 19 push options")
	d.wantPush(false, []string{"-o", strings.Repeat("x", maxOption+1), w.url(token), "main"}, "at most 1024 bytes")
	d.wantPush(false, []string{w.url(token), "main^{tree}:refs/heads/main"})
}

// TestTreeBomb is a tree of a few objects that names 10^9 files. It is counted up to the limit and no further.
func TestTreeBomb(t *testing.T) {
	w, d := newWorld(t, Limits{Files: 1000}), newTree(t)
	w.builds(func(_ context.Context, p *Push, u Update) error {
		_, err := names(t, p, u.New)
		return err
	})
	for range 9 {
		tree := d.git("rev-parse", "HEAD:")
		d.git("read-tree", "--empty")
		for i := range 10 {
			d.git("read-tree", "--prefix="+fmt.Sprint("d", i), tree)
		}
		if len(d.git("ls-files")) > 1<<14 {
			break // the index lists them all; from here on trees are made of trees
		}
		d.git("commit", "-q", "-m", "ten times as much")
	}
	for range 6 {
		tree := d.git("rev-parse", "HEAD:")
		cmd := d.command("mktree")
		var list strings.Builder
		for i := range 10 {
			fmt.Fprintf(&list, "040000 tree %s\td%d\n", tree, i)
		}
		cmd.Stdin = strings.NewReader(list.String())
		out, err := cmd.Output()
		must(t, err)
		d.git("update-ref", "HEAD", d.git("commit-tree", "-m", "bomb", strings.TrimSpace(string(out))))
	}
	d.wantPush(false, []string{w.url(token), "main"}, "more than 1000 files and directories")
}

func TestAuthorization(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	must(t, w.repos.Create(t.Context(), w.app.ID, "main"))
	d.wantPush(false, []string{w.url("wrong"), "main"}, "remote: A token is needed as the password", "Authentication failed")
	d.wantPush(false, []string{w.url("foreign"), "main"}, "remote: There is no such app, or it is not yours.", "not found")
	d.wantPush(false, []string{w.url("reader"), "main"}, "remote: This token or key may not do that", "403")
	d.wantPush(false, []string{w.server.URL + "/demo.git", "main"}, "could not read Username")
	d.wantPush(false, []string{strings.Replace(w.url(token), "demo", "other", 1), "main"}, "not found")
	d.wantPush(true, []string{w.url(token), "main"})
	must(t, w.waitMoved())

	for _, c := range []struct {
		method, path, user string
		want               int
	}{
		{"GET", "/demo.git/info/refs?service=git-receive-pack", "", 401},
		{"POST", "/demo.git/git-receive-pack", "", 401},
		{"POST", "/demo.git/git-upload-pack", "", 401},
		{"POST", "/demo.git/git-receive-pack", "reader", 403},
		{"POST", "/demo.git/git-receive-pack", "foreign", 404},
		{"GET", "/demo.git/info/refs", token, 403},
		{"GET", "/demo.git/info/refs?service=git-upload-archive", token, 403},
		{"GET", "/demo.git/HEAD", token, 404},
		{"GET", "/demo.git/git-receive-pack", token, 404},
		{"GET", "/../demo.git/info/refs?service=git-upload-pack", token, 404},
		{"GET", "/demo.git/info/refs?service=git-upload-pack", token, 200},
		{"POST", "/demo.git/git-receive-pack", token, 400}, // cut short
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, w.server.URL+c.path, nil)
		must(t, err)
		if c.user != "" {
			req.SetBasicAuth("x", c.user)
		}
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		must(t, errors.Join(err, res.Body.Close()))
		if res.StatusCode != c.want {
			t.Errorf("%s %s as %q: %s, want %d", c.method, c.path, c.user, res.Status, c.want)
		}
		if challenge := res.Header.Get("WWW-Authenticate"); (challenge != "") != (c.want == 401) {
			t.Errorf("%s %s as %q: WWW-Authenticate %q", c.method, c.path, c.user, challenge)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.server.URL+"/demo.git/info/refs?service=git-upload-pack", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != 200 {
		t.Errorf("a bearer token: %s", res.Status)
	}
}

// TestCompressed asks as git does before it sends something large, in the encodings that a client may use.
func TestCompressed(t *testing.T) {
	w := newWorld(t, Limits{})
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := io.WriteString(z, flush)
	must(t, errors.Join(err, z.Close()))
	for _, c := range []struct {
		encoding, body string
		want           int
	}{
		{"", flush, 200},
		{"gzip", zipped.String(), 200},
		{"x-gzip", zipped.String(), 200},
		{"gzip", flush, 400},
		{"gzip", zipped.String()[:12], 400},
		{"br", flush, 400},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", w.server.URL+"/demo.git/git-receive-pack", strings.NewReader(c.body))
		must(t, err)
		req.SetBasicAuth("x", token)
		req.Header.Set("Content-Encoding", c.encoding)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		must(t, res.Body.Close())
		if res.StatusCode != c.want {
			t.Errorf("%q %q: %s, want %d", c.encoding, c.body, res.Status, c.want)
		}
	}
}

// TestLargePush is one that the client sends in chunks, after it asked whether somebody is there.
func TestLargePush(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	w.builds(func(_ context.Context, p *Push, u Update) error {
		_, err := names(t, p, u.New)
		return err
	})
	tip := d.random("large", 20<<20)
	d.wantPush(true, []string{w.url(token), "main"}, "main -> main")
	must(t, w.waitMoved())
	if w.at(mainRef) != tip {
		t.Error("main did not move")
	}
}

// TestFetchOfMany has the client ask a question so long that it compresses it.
func TestFetchOfMany(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	d.wantPush(true, []string{w.url(token), "main"})
	other := &tree{t, filepath.Join(t.TempDir(), "o")}
	d.git("clone", "-q", w.url(token), other.dir)
	stream := &strings.Builder{}
	for i := range 400 { // commits that the server does not know: the client offers them
		fmt.Fprintf(stream, "commit refs/heads/side\ncommitter n <e> %d +0000\ndata 1\nx\nM 100644 inline f\ndata %d\n%d\n", 1e9+i, len(fmt.Sprint(i)), i)
	}
	cmd := other.command("fast-import", "--quiet")
	cmd.Stdin = strings.NewReader(stream.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d.commit("a", "two\n")
	d.wantPush(true, []string{w.url(token), "main"})
	trace := other.git("-c", "protocol.version=0", "fetch", w.url(token), "main")
	wantTexts(t, trace, "FETCH_HEAD")
	if got := other.git("rev-parse", "FETCH_HEAD"); got != string(d.head()) {
		t.Errorf("fetched %s, want %s", got, d.head())
	}
}

// TestMaintain packs what many pushes left, and waits for nobody.
func TestMaintain(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	repo := w.repos.path(w.app.ID)
	for i := range 3 {
		d.commit("a", fmt.Sprint(i))
		d.wantPush(true, []string{w.url(token), "main"})
		must(t, w.waitMoved())
	}
	packs := func() int {
		found, err := filepath.Glob(filepath.Join(repo, "objects/pack/*.pack"))
		must(t, err)
		return len(found)
	}
	if packs() != 3 {
		t.Fatalf("%d packs after 3 pushes", packs())
	}
	must(t, w.handler.Stop(t.Context())) // a client has its answer a moment before its session has ended
	for i := range 20 {                  // as if there had been many more
		cmd := w.repos.command(t.Context(), repo, "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet")
		cmd.Stdin = strings.NewReader(fmt.Sprintf("commit refs/tags/t%d\ncommitter n <e@e> %d +0000\ndata 1\nx\n", i, 1e9+i))
		_, err := runCommand(cmd)
		must(t, err)
	}
	leave := w.repos.gates.use(w.app.ID, nil)
	if done, err := w.repos.Maintain(t.Context(), w.app.ID); done || err != nil {
		t.Errorf("maintained under a user: %v, %v", done, err)
	}
	leave(false)
	must(t, os.Mkdir(filepath.Join(repo, "objects/tmp_objdir-incoming-x"), 0o755))
	if done, err := w.repos.Maintain(t.Context(), w.app.ID); !done || err != nil {
		t.Errorf("not maintained: %v, %v", done, err)
	}
	if packs() != 1 {
		t.Errorf("%d packs after maintenance, want 1", packs())
	}
	w.wantClean()
	w.wantSound()
}

// TestCount counts in listings that are not what git prints.
func TestCount(t *testing.T) {
	const line = "100644 blob 1111111111111111111111111111111111111111       5\ta\x00"
	for listing, want := range map[string]string{
		"":                               "",
		line + line:                      "",
		line + line + line:               "more than 2 files",
		strings.TrimSuffix(line, "\x00"): "unexpected EOF",
		"nonsense\x00":                   "nonsense",
		strings.Replace(line, "\ta", "\t"+strings.Repeat("a/", 3000), 1): "too long",
		strings.Replace(line, "\ta", "\t"+strings.Repeat("a", 90000), 1): "too long",
		strings.Replace(line, "5", "11", 1):                              "have more than 10 bytes",
	} {
		err := count(strings.NewReader(listing), 2, 10)
		text := ""
		if r, ok := err.(*Refusal); ok {
			text = r.Reason + " " + strings.Join(r.Lines, " ")
		} else if err != nil {
			text = err.Error()
		}
		if (want == "") != (err == nil) || !strings.Contains(text, want) {
			t.Errorf("%.100q: %q, want %q", listing, text, want)
		}
	}
}

package daemon_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// archive is a tar.gz of files, given as pairs of name and text.
func archive(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for i := 0; i+1 < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(files[i+1]))
	}
	if w.Close() != nil || z.Close() != nil {
		t.Fatal("the archive cannot be made")
	}
	return b.Bytes()
}

// submit asks for a build of a source.
func (a *app) submit(source map[string]any) reply {
	a.t.Helper()
	return a.api("POST", "/builds", map[string]any{"source_blob": source})
}

// built waits for a build that must succeed, and looks for its image.
func (a *app) built(r reply) buildView {
	a.t.Helper()
	var b buildView
	r.want(201).into(&b)
	b = a.ended(b.Number)
	if b.State != "succeeded" {
		a.t.Fatalf("the build: %+v\n%s", b.Failure, a.log(b.Number))
	}
	eventually(a.t, "latest moves", func() bool { return a.tag("latest") == b.Result.Digest })
	return b
}

// TestUpload builds what was put to a place for it, and follows the build without a token.
func TestUpload(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	var src struct {
		Blob struct {
			Get string `json:"get_url"`
			Put string `json:"put_url"`
		} `json:"source_blob"`
	}
	a.ask(t, "POST", "/sources", nil).want(201).into(&src)
	text := archive(t, "build.sh", "echo uploaded\n", "index.txt", "hello")
	put := func() reply { return a.ask(t, "PUT", src.Blob.Put, string(text), "Authorization: ") }
	if got := put().want(200); !strings.Contains(got.text, fmt.Sprintf("SHA256:%x", sha256.Sum256(text))) {
		t.Errorf("PUT answers %s", got.text)
	}
	put().want(409)
	first := a.submit(map[string]any{"url": src.Blob.Get, "version": "v7"})
	b := a.built(first)
	if b.Trigger != "api" {
		t.Errorf("the build: %+v", b)
	}
	if stream := a.ask(t, "GET", b.Stream, nil, "Authorization: ").want(200).text; !strings.Contains(stream, "[test/script] uploaded\n") || stream != a.log(1) {
		t.Errorf("the stream: %q", stream)
	}
	if events := a.ask(t, "GET", b.Stream, nil, "Accept: text/event-stream").want(200).text; !strings.Contains(events, "uploaded") || !strings.Contains(events, "succeeded") {
		t.Errorf("the events: %q", events)
	}
	var again buildView
	a.api("POST", "/builds/1/retry", nil).want(201).into(&again)
	if again = a.ended(again.Number); again.State != "succeeded" || again.Result.Digest != b.Result.Digest {
		t.Errorf("built again: %+v %+v", again, again.Failure)
	}
}

// TestBadUpload hands in what is no archive: that is the app's fault, and nobody is told where it lies here.
func TestBadUpload(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	var src struct {
		Blob map[string]string `json:"source_blob"`
	}
	a.ask(t, "POST", "/sources", nil).want(201).into(&src)
	a.ask(t, "PUT", src.Blob["put_url"], "no archive at all").want(200)
	a.submit(map[string]any{"url": src.Blob["get_url"]}).want(201)
	b := a.ended(1)
	if b.State != "failed" || b.Failure.Blame != "app" || b.Failure.Code != "source" || strings.Contains(b.Failure.Reason+a.log(1), a.data) {
		t.Errorf("%+v\n%s", b.Failure, a.log(1))
	}
}

// TestTarballURL fetches an archive, and finds out when it is not the one that was meant.
func TestTarballURL(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, nil)
	text := archive(t, "app-0123abc/build.sh", "echo fetched\n", "app-0123abc/index.txt", "hello") // as GitHub packs it
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/app.tgz" && r.URL.RequestURI() != "/signed.tgz?X-Signature=a%2Fb&Expires=9" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(text)
	}))
	defer server.Close()
	sum := fmt.Sprintf("SHA256:%x", sha256.Sum256(text))
	b := a.built(a.submit(map[string]any{"url": server.URL + "/app.tgz", "checksum": sum}))
	if log := a.log(b.Number); !strings.Contains(log, "Fetching "+server.URL) || !strings.Contains(log, "fetched") {
		t.Errorf("the log:\n%s", log)
	}
	// A signed URL is whole when it is fetched, by whoever builds it again too.
	b = a.built(a.submit(map[string]any{"url": server.URL + "/signed.tgz?X-Signature=a%2Fb&Expires=9"}))
	again := a.built(a.api("POST", fmt.Sprintf("/builds/%d/retry", b.Number), nil))
	if log := a.log(again.Number); !strings.Contains(log, "Fetching "+server.URL+"/signed.tgz?...\n") {
		t.Errorf("the log:\n%s", log)
	}
	for _, c := range []struct{ url, sum, says string }{
		{server.URL + "/app.tgz", "SHA256:" + strings.Repeat("0", 64), "checksum"},
		{server.URL + "/gone.tgz", "", "404"},
		{strings.Replace(server.URL, "127.0.0.1", "127.0.0.2", 1) + "/app.tgz", "", "fetch.allow"},
	} {
		var b buildView
		a.submit(map[string]any{"url": c.url, "checksum": c.sum}).want(201).into(&b)
		b = a.ended(b.Number)
		if b.State != "failed" || b.Failure.Blame != "app" || b.Failure.Code != "source" || !strings.Contains(b.Failure.Reason, c.says) || b.Failure.Next == "" {
			t.Errorf("%s: %+v", c.url, b.Failure)
		}
	}
}

// TestGitURL builds the repository of another app, which the service fetches from itself.
func TestGitURL(t *testing.T) {
	t.Parallel()
	s := common(t)
	from := s.newApp(t, nil)
	commit := from.commit("build.sh", "echo from git $(ls -A | tr '\\n' ' ')\n", "apps/web/build.sh", "echo from below $(ls -A | tr '\\n' ' ')\n", "apps/web/more.txt", "x")
	from.push(true, []string{"slipway", "main"})
	proxy := httputil.NewSingleHostReverseProxy(must(url.Parse(s.url))(t))
	proxy.ErrorLog = nil
	server := httptest.NewTLSServer(proxy)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "https://")
	repository := server.URL + "/" + from.name + ".git"

	a := s.newApp(t, nil)
	if r := a.submit(map[string]any{"url": repository, "git": true, "ref": "main"}).want(422); strings.Contains(r.text, "\\n") {
		t.Errorf("without credentials: %s", r.text)
	}
	a.api("PUT", "/git-credentials/"+host, map[string]string{"username": "x", "password": s.token}).want(200)
	b := a.built(a.submit(map[string]any{"url": repository, "git": true, "ref": "main"}))
	if log := a.log(b.Number); b.Source.Commit != commit || !strings.Contains(log, "from git apps build.sh\n") {
		t.Errorf("commit %s, want %s; the log:\n%s", b.Source.Commit, commit, log)
	}
	b = a.built(a.submit(map[string]any{"url": repository, "git": true, "ref": "main", "dir": "apps/web/"}))
	b = a.built(a.api("POST", fmt.Sprintf("/builds/%d/retry", b.Number), nil))
	if log := a.log(b.Number); b.Source.Dir != "apps/web" || !strings.Contains(log, ", directory apps/web\n") || !strings.Contains(log, "from below build.sh more.txt\n") {
		t.Errorf("directory %q; the log:\n%s", b.Source.Dir, log)
	}
	a.submit(map[string]any{"url": repository, "git": true, "ref": "main", "dir": "apps/none"}).want(201).into(&b)
	if b = a.ended(b.Number); b.State != "failed" || b.Failure.Blame != "app" || !strings.HasSuffix(b.Failure.Reason, `no such directory: "apps/none" (links to directories and submodules are none)`) || b.Failure.Next == "" {
		t.Errorf("no such directory: %+v", b.Failure)
	}
	for _, in := range []map[string]any{{"url": repository, "git": true, "dir": "../x"}, {"url": server.URL + "/x.tgz", "dir": "x"}} {
		if r := a.submit(in).want(422); !strings.Contains(r.text, "dir") {
			t.Errorf("%v: %s", in, r.text)
		}
	}
	for _, c := range []struct{ url, ref, says string }{
		{repository, "nowhere", "no such branch, tag or commit"},
		{strings.Replace(repository, "127.0.0.1", "127.0.0.2", 1), "main", "fetch.allow"},
		{"https://10.11.12.13/x.git", "main", "fetch.allow"},
		{"http://127.0.0.1/x.git", "main", "https://"},
		{"file:///etc", "main", "URL"},
		{strings.Replace(repository, "https://", "https://x:secret@", 1), "main", "git-credentials"},
	} {
		if r := a.submit(map[string]any{"url": c.url, "git": true, "ref": c.ref}).want(422); !strings.Contains(r.text, c.says) {
			t.Errorf("%s: %s, want %q", c.url, r.text, c.says)
		}
	}
}

package platform_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/platform"
)

// files serves contents by https and counts requests. fetcher may reach it.
func files(t *testing.T, contents map[string][]byte) (url string, fetcher *fetch.Fetcher, requests *atomic.Int32) {
	t.Helper()
	requests = new(atomic.Int32)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		b, ok := contents[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return s.URL, &fetch.Fetcher{CA: ca, Dialer: fetch.Dialer{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}}, requests
}

// archive is a directory's files as a .tgz, below top.
func archive(t *testing.T, dir, top string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range []string{"buildpack.toml", "bin/detect", "bin/build"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: top + name, Mode: 0o755, Size: int64(len(text))})
		}
		if err == nil {
			_, err = w.Write(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// TestDownload takes buildpacks from URLs: packages and archives, in builds, recipes and project.toml.
func TestDownload(t *testing.T) {
	t.Parallel()
	y := open(t)
	dir := script(t, "test/far", "echo this came from afar")
	out := filepath.Join(t.TempDir(), "far.cnb")
	if _, err := platform.PackageBuildpack(t.Context(), y.machine, platform.PackageOptions{File: out, Path: dir}); err != nil {
		t.Fatal(err)
	}
	cnb, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{"/far.cnb": cnb, "/far.tgz": archive(t, dir, "far-1/"), "/flat.tgz": archive(t, dir, ""), "/rubbish": []byte("rubbish"), "/empty": {}}
	url, fetcher, requests := files(t, contents)
	m := *y.machine
	m.Fetch = fetcher
	build := func(o platform.Options) (*record, error) {
		r := &record{}
		o.Image, o.Output = name(t), platform.Output{Store: true}
		if o.Source == "" {
			o.Source = app(t)
		}
		_, err := y.try(t, &m, o, r)
		return r, err
	}
	sum := "#sha256=" + sumOf(cnb)
	project := app(t, "project.toml", fmt.Sprintf("[_]\nschema-version = \"0.2\"\n[[io.buildpacks.group]]\nuri = %q\n", url+"/far.cnb"+sum))
	for _, o := range []platform.Options{
		{Buildpacks: []string{url + "/far.cnb"}}, {Buildpacks: []string{url + "/far.tgz"}}, {Buildpacks: []string{url + "/flat.tgz"}},
		{Buildpacks: []string{platform.Named(url + "/far.cnb")}}, {Source: project},
	} {
		if r, err := build(o); err != nil || len(r.lacks("this came from afar")) > 0 {
			t.Errorf("%v %s: %v\n%s", o.Buildpacks, o.Source, err, r)
		}
	}
	before := requests.Load()
	if _, err := build(platform.Options{Buildpacks: []string{url + "/far.cnb" + sum}}); err != nil || requests.Load() != before {
		t.Errorf("what was here was fetched again: %v", err)
	}
	for arg, want := range map[string]string{
		url + "/far.cnb#sha256=" + strings.Repeat("0", 64): "its checksum is SHA256:" + sumOf(cnb) + ", not SHA256:0000",
		url + "/far.cnb#sha256=12":                         "behind # stands sha256= and 64 hexadecimal digits",
		url + "/far.cnb#md5=12":                            "behind # stands sha256= and 64 hexadecimal digits",
		url + "/none.cnb":                                  "the server answers 404 Not Found",
		url + "/rubbish":                                   "it is no buildpack package (a .cnb file: an OCI layout in a tar): it is not a valid tar file",
		url + "/empty":                                     "it is no buildpack package",
		"http://127.0.0.1:1/x.cnb":                         "tarballs are fetched by https only",
		"https://127.0.0.2:1/x.cnb":                        `"127.0.0.2" is a loopback address, which is not connected to`,
		"https://a b/x.cnb":                                "the URL has characters that must be written as %XX",
		"ftp://example.com/x.cnb":                          "it is neither a path",
	} {
		if _, err := build(platform.Options{Buildpacks: []string{arg}}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", arg, err, want)
		}
	}
	recipe := t.TempDir()
	write(t, recipe, 0o644, "all/buildpack.toml", "api = \"0.12\"\n[buildpack]\nid = \"test/all\"\nversion = \"2\"\n[[order]]\n[[order.group]]\nid = \"test/far\"\nversion = \"1\"\n",
		"package.toml", fmt.Sprintf("[buildpack]\nuri = \"all\"\n[[dependencies]]\nuri = %q\n", url+"/far.cnb"+sum))
	done, err := platform.PackageBuildpack(t.Context(), &m, platform.PackageOptions{File: filepath.Join(recipe, "x.cnb"), Config: filepath.Join(recipe, "package.toml")})
	if err != nil || len(done.Buildpacks) != 2 {
		t.Errorf("in a recipe: %v %v", done, err)
	}
}

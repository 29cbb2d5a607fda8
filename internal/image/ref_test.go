package image_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/image"
)

const hex64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseRef(t *testing.T) {
	tests := []struct{ in, name, familiar string }{
		{"debian", "index.docker.io/library/debian:latest", "debian:latest"},
		{"debian:trixie", "index.docker.io/library/debian:trixie", "debian:trixie"},
		{"docker.io/debian", "index.docker.io/library/debian:latest", "debian:latest"},
		{"docker.io/library/debian", "index.docker.io/library/debian:latest", "debian:latest"},
		{"Index.Docker.IO./library/debian", "index.docker.io/library/debian:latest", "debian:latest"},
		{"registry-1.docker.io:443/a/b:c", "index.docker.io/a/b:c", "a/b:c"},
		{"a/b/c", "index.docker.io/a/b/c:latest", "a/b/c:latest"},
		{"localhost/a", "localhost/a:latest", "localhost/a:latest"},
		{"localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000/a:b"},
		{"REG.example.com:443/a", "reg.example.com/a:latest", "reg.example.com/a:latest"},
		{"reg.example.com:5000/a@sha256:" + hex64, "reg.example.com:5000/a@sha256:" + hex64, "reg.example.com:5000/a@sha256:" + hex64},
		{"a:b@sha256:" + hex64, "index.docker.io/library/a@sha256:" + hex64, "a@sha256:" + hex64},
		{"127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "127.0.0.1:5000/x:latest"},
		{"[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"},
		{hex64, "sha256:" + hex64, "sha256:" + hex64},
		{"sha256:" + hex64, "sha256:" + hex64, "sha256:" + hex64},
		{"oci:dir", "oci:dir", "oci:dir"},
	}
	for _, tt := range tests {
		r, err := image.ParseRef(tt.in)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if r.Name() != tt.name || r.Familiar() != tt.familiar {
			t.Errorf("%s: name %q, familiar %q; want %q, %q", tt.in, r.Name(), r.Familiar(), tt.name, tt.familiar)
		}
		again, err := image.ParseRef(r.Name())
		if err != nil || again.Name() != r.Name() {
			t.Errorf("%s: its name %q reads as %q, %v", tt.in, r.Name(), again.Name(), err)
		}
	}
}

func TestParseRefLayout(t *testing.T) {
	for in, want := range map[string][3]string{
		"oci:dir":                       {"dir", "", ""},
		"oci:./dir/x/":                  {"dir/x", "", ""},
		"oci:/a/b:tag":                  {"/a/b", "tag", ""},
		"oci:/a:b/c":                    {"/a:b/c", "", ""},
		"oci:a@sha256:" + hex64:         {"a", "", "sha256:" + hex64},
		"oci:/a@b/c:v1@sha256:" + hex64: {"/a@b/c", "v1", "sha256:" + hex64},
	} {
		r, err := image.ParseRef(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := [3]string{r.Dir(), r.Tag(), r.Digest()}; got != want || !r.IsLayout() {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestParseRefErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "empty",
		"-x":                             "flag",
		"https://example.com/a":          "no scheme",
		"docker://a":                     "no scheme",
		"A":                              "lower case",
		"a/B":                            "lower case",
		"a//b":                           "empty path segment",
		"a/../b":                         "want lower-case",
		"a b":                            "want lower-case",
		"a\nb":                           "want lower-case",
		"a:":                             "tag",
		"a:-x":                           "tag",
		"a:" + strings.Repeat("x", 129):  "tag",
		"a@sha256:12":                    "want sha256",
		"a@sha512:" + hex64:              "want sha256",
		"oci:":                           "no directory",
		"oci:d:a b":                      "not a tag",
		"reg.example.com@evil.com:5000/": "@",
		strings.Repeat("a/", 3000):       "longer",
	} {
		_, err := image.ParseRef(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want it to say %q", in, err, want)
		} else if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
			t.Errorf("%q: not one clear line: %q", in, err)
		}
	}
}

func TestSameImage(t *testing.T) {
	tests := []struct {
		a, b        string
		image, repo bool
	}{
		{"debian", "docker.io/library/debian:latest", true, true},
		{"debian:a", "debian:b", false, true},
		{"debian", "debian@sha256:" + hex64, false, true},
		{"reg.example.com:443/a", "REG.example.com./a", true, true},
		{"reg.example.com:5000/a", "reg.example.com/a", false, false},
		{"oci:a", "oci:./a/", true, false},
		{"oci:a", "a", false, false},
		{hex64, "sha256:" + hex64, true, false},
	}
	for _, tt := range tests {
		a, aerr := image.ParseRef(tt.a)
		b, berr := image.ParseRef(tt.b)
		if aerr != nil || berr != nil {
			t.Fatal(aerr, berr)
		}
		if a.SameImage(b) != tt.image || b.SameImage(a) != tt.image {
			t.Errorf("%s and %s: same image %v, want %v", tt.a, tt.b, a.SameImage(b), tt.image)
		}
		if a.SameRepository(b) != tt.repo {
			t.Errorf("%s and %s: same repository %v, want %v", tt.a, tt.b, a.SameRepository(b), tt.repo)
		}
	}
}

func TestParsePlatform(t *testing.T) {
	for _, good := range []string{"linux/amd64", "linux/arm/v7"} {
		if p, err := image.ParsePlatform(good); err != nil || p.String() != good {
			t.Errorf("%s: %v, %v", good, p, err)
		}
	}
	for _, bad := range []string{"", "linux", "linux/", "/amd64", "linux/a b", "a/b/c/d", "Linux/amd64"} {
		if _, err := image.ParsePlatform(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"debian", "a.b:5/c/d:e@sha256:" + hex64, "oci:/x:y", "[::1]:5000/x", hex64, "a@b", "::", "A.b/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := image.ParseRef(s)
		if err != nil {
			return
		}
		if !r.IsLayout() && (strings.ContainsAny(r.Name(), " \n\x00\\?#%") || strings.HasPrefix(r.Name(), "-") || strings.Contains(r.Name(), "/../")) {
			t.Errorf("%q becomes %q", s, r.Name())
		}
		again, err := image.ParseRef(r.Name())
		if err != nil || again.Name() != r.Name() || !again.SameImage(r) {
			t.Errorf("%q has name %q, which reads as %q, %v", s, r.Name(), again.Name(), err)
		}
	})
}

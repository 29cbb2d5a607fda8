package image

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	dXNlcjpwYXNz = "dXNlcjpwYXNz" // user:pass
	b2s6b2s      = "b2s6b2s="     // ok:ok
)

func TestKeychain(t *testing.T) {
	bin := t.TempDir()
	helper := "#!/bin/sh\nread host\ncase $host in\nhelped.example.com) echo '{\"Username\":\"h\",\"Secret\":\"s\"}';;\ntoken.example.com) echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}';;\nhttps://index.docker.io/v1/) echo '{\"Username\":\"hub\",\"Secret\":\"s\"}';;\nbroken.example.com) echo no; exit 0;;\n*) echo credentials not found in native keychain; exit 1;;\nesac\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, config, headers, image string
		want                         authn.AuthConfig
		err                          string
	}{
		{name: "no file", image: "a.example.com/x"},
		{name: "auth", config: `{"auths":{"a.example.com":{"auth":"` + dXNlcjpwYXNz + `"}}}`, image: "a.example.com/x", want: authn.AuthConfig{Username: "user", Password: "pass"}},
		{name: "other host", config: `{"auths":{"a.example.com":{"auth":"` + dXNlcjpwYXNz + `"}}}`, image: "b.example.com/x"},
		{name: "other port", config: `{"auths":{"a.example.com":{"auth":"` + dXNlcjpwYXNz + `"}}}`, image: "a.example.com:5000/x"},
		{name: "suffix", config: `{"auths":{"example.com":{"auth":"` + dXNlcjpwYXNz + `"}}}`, image: "a.example.com/x"},
		{name: "url key", config: `{"auths":{"https://A.example.com/v2/":{"auth":"` + dXNlcjpwYXNz + `"}}}`, image: "a.example.com/x", want: authn.AuthConfig{Username: "user", Password: "pass"}},
		{name: "longest path", config: `{"auths":{"a.example.com":{"auth":"` + dXNlcjpwYXNz + `"},"a.example.com/team":{"auth":"` + b2s6b2s + `"}}}`, image: "a.example.com/team/x", want: authn.AuthConfig{Username: "ok", Password: "ok"}},
		{name: "no half segment", config: `{"auths":{"a.example.com/team":{"auth":"` + b2s6b2s + `"}}}`, image: "a.example.com/teamwork/x"},
		{name: "hub", config: `{"auths":{"https://index.docker.io/v1/":{"auth":"` + b2s6b2s + `"}}}`, image: "debian", want: authn.AuthConfig{Username: "ok", Password: "ok"}},
		{name: "identity token", config: `{"auths":{"a.example.com":{"auth":"` + dXNlcjpwYXNz + `","identitytoken":"t"}}}`, image: "a.example.com/x", want: authn.AuthConfig{IdentityToken: "t"}},
		{name: "helper", config: `{"credHelpers":{"helped.example.com":"test"}}`, image: "helped.example.com/x", want: authn.AuthConfig{Username: "h", Password: "s"}},
		{name: "helper token", config: `{"credHelpers":{"token.example.com":"test"}}`, image: "token.example.com/x", want: authn.AuthConfig{IdentityToken: "t"}},
		{name: "store", config: `{"credsStore":"test"}`, image: "debian", want: authn.AuthConfig{Username: "hub", Password: "s"}},
		{name: "store has none", config: `{"credsStore":"test","auths":{"a.example.com":{"auth":"` + b2s6b2s + `"}}}`, image: "a.example.com/x", want: authn.AuthConfig{Username: "ok", Password: "ok"}},
		{name: "helper's name is a path", config: `{"credsStore":"../../bin/sh"}`, image: "a.example.com/x", err: "not a credential helper's name"},
		{name: "helper is missing", config: `{"credsStore":"gone"}`, image: "a.example.com/x", err: "docker-credential-gone is not on PATH"},
		{name: "helper says nonsense", config: `{"credsStore":"test"}`, image: "broken.example.com/x", err: "answered no JSON"},
		{name: "not JSON", config: `{`, image: "a.example.com/x", err: "not valid JSON"},
		{name: "not base64", config: `{"auths":{"a.example.com":{"auth":"%%%"}}}`, image: "a.example.com/x", err: "not base64"},
		{name: "headers win", headers: `{"a.example.com":"Bearer b"}`, config: `{"auths":{"a.example.com":{"auth":"` + b2s6b2s + `"}}}`, image: "a.example.com/x", want: authn.AuthConfig{RegistryToken: "b"}},
		{name: "header basic", headers: `{"https://a.example.com":"Basic ` + dXNlcjpwYXNz + `"}`, image: "a.example.com/x", want: authn.AuthConfig{Username: "user", Password: "pass"}},
		{name: "header identity", headers: `{"index.docker.io":"X-Identity i"}`, image: "debian", want: authn.AuthConfig{IdentityToken: "i"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			headers, err := parseRegistryAuth(tt.headers)
			if err != nil {
				t.Fatal(err)
			}
			k := &keychain{headers: headers, config: filepath.Join(t.TempDir(), "config.json"), env: []string{"PATH=" + bin + ":/bin:/usr/bin"}}
			if tt.config != "" {
				if err := os.WriteFile(k.config, []byte(tt.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r, err := ParseRef(tt.image)
			if err != nil {
				t.Fatal(err)
			}
			repo, err := name.NewRepository(r.Repository())
			if err != nil {
				t.Fatal(err)
			}
			auth, err := k.ResolveContext(t.Context(), repo)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := authn.Authorization(context.Background(), auth)
			if err != nil {
				t.Fatal(err)
			}
			got.Auth = ""
			if *got != tt.want {
				t.Errorf("got %+v, want %+v", *got, tt.want)
			}
		})
	}
}

func TestRegistryAuthErrors(t *testing.T) {
	for _, in := range []string{"{", `[]`, `{"a":1}`, `{"a":"geheim"}`, `{"a":"Basic geheim"}`, `{"a":"Digest geheim"}`, `{"a":"Basic "}`} {
		_, err := parseRegistryAuth(in)
		if err == nil || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "CNB_REGISTRY_AUTH") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestSameParty(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"index.docker.io", "auth.docker.io"}:            true,
		{"registry.example.com:5000", "example.com"}:     true,
		{"registry.example.com", "EXAMPLE.com."}:         true,
		{"127.0.0.1:5000", "localhost:6000"}:             true,
		{"[::1]:5000", "127.0.0.1"}:                      true,
		{"registry.example.com", "example.com.evil.org"}: false,
		{"registry.example.com", "registry-example.com"}: false,
		{"a.co.uk", "b.co.uk"}:                           false,
		{"one.github.io", "two.github.io"}:               false,
		{"10.0.0.1", "10.0.0.2"}:                         false,
		{"10.0.0.1:1", "10.0.0.1:2"}:                     true,
		{"registry.example.com", "169.254.169.254"}:      false,
		{"localhost", "example.com"}:                     false,
		{"registry", "auth"}:                             false,
		{"registry", "registry"}:                         true,
	} {
		if got := sameParty(pair[0], pair[1]); got != want {
			t.Errorf("%s and %s: %v, want %v", pair[0], pair[1], got, want)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	for _, s := range []string{
		`{"schemaVersion":2,"config":{"digest":"sha256:00","size":1},"layers":[]}`,
		`{"schemaVersion":2,"manifests":[{"digest":"sha256:00","platform":{"os":"linux"}}]}`,
		`{"a.example.com":"Basic dTpw"}`, `{"auths":{"a":{"auth":"dTpw"}}}`, `[]`, `null`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseManifest(b); err == nil && m.Config.Digest.Algorithm != "sha256" {
			t.Errorf("config digest %v is accepted", m.Config.Digest)
		}
		if idx, err := parseIndex(b); err == nil {
			if d, err := selectPlatform(idx, v1.Platform{OS: "linux", Architecture: "amd64"}); err == nil && d.Digest.Algorithm != "sha256" {
				t.Errorf("digest %v is selected", d.Digest)
			}
		}
		_, _ = parseRegistryAuth(string(b)) // must not panic
	})
}

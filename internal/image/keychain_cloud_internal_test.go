package image

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-build/slipway/internal/cloud"
)

const ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

// endpoint is a cloud that answers everything alike.
type endpoint struct {
	status int
	body   string
	asked  int
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	e.asked++
	return &http.Response{StatusCode: e.status, Body: io.NopCloser(strings.NewReader(e.body)), Header: http.Header{}, Request: r}, nil
}

func awsEnv(name string) string {
	return map[string]string{"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}[name]
}

func TestCloudComesLast(t *testing.T) {
	e := &endpoint{status: 200, body: `{"authorizationData":[{"authorizationToken":"QVdTOnA="}]}`} // AWS:p
	for _, tt := range []struct {
		host, headers, config string
		want                  authn.AuthConfig
		asked                 int
	}{
		{host: ecr, headers: `{"` + ecr + `":"Bearer b"}`, want: authn.AuthConfig{RegistryToken: "b"}},
		{host: ecr, config: `{"auths":{"` + ecr + `":{"auth":"` + b2s6b2s + `"}}}`, want: authn.AuthConfig{Username: "ok", Password: "ok"}},
		{host: "registry.example.com"},
		{host: ecr, want: authn.AuthConfig{Username: "AWS", Password: "p"}, asked: 1},
	} {
		headers, err := parseRegistryAuth(tt.headers)
		if err != nil {
			t.Fatal(err)
		}
		e.asked = 0
		k := &keychain{headers: headers, config: filepath.Join(t.TempDir(), "config.json"), cloud: cloud.New(awsEnv, e)}
		if tt.config != "" {
			if err := os.WriteFile(k.config, []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		repo, err := name.NewRepository(tt.host + "/app")
		if err != nil {
			t.Fatal(err)
		}
		auth, err := k.ResolveContext(t.Context(), repo)
		if err != nil {
			t.Fatal(err)
		}
		got, err := authn.Authorization(t.Context(), auth)
		if err != nil {
			t.Fatal(err)
		}
		if got.Auth = ""; *got != tt.want || e.asked != tt.asked {
			t.Errorf("%s: got %+v, asked %d times; want %+v, %d", tt.host, *got, e.asked, tt.want, tt.asked)
		}
	}
}

// TestCloudRefuses: why the cloud gave nothing is told when the registry refuses, and not before.
func TestCloudRefuses(t *testing.T) {
	g := &Registry{keychain: &keychain{cloud: cloud.New(awsEnv, &endpoint{status: 403, body: `{"message":"key is disabled"}`})}}
	ref, err := ParseRef(ecr + "/app")
	if err != nil {
		t.Fatal(err)
	}
	repo, err := name.NewRepository(ref.Repository())
	if err != nil {
		t.Fatal(err)
	}
	if auth, err := g.keychain.ResolveContext(t.Context(), repo); err != nil || auth != authn.Anonymous {
		t.Fatalf("got %v, %v", auth, err)
	}
	refused := g.failed("read", ref, &transport.Error{StatusCode: http.StatusUnauthorized})
	if text := refused.Error(); !strings.Contains(text, "wants credentials") || !strings.Contains(text, "key is disabled") {
		t.Errorf("refused: %v", text)
	}
	if other := g.failed("read", ref, errors.New("no")).Error(); strings.Contains(other, "disabled") {
		t.Errorf("another failure: %v", other)
	}
}

package cloud

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// google is the lookup of Container Registry or Artifact Registry, nil for others'.
func (k *Keychain) google(host string) lookup {
	if host != "gcr.io" && !strings.HasSuffix(host, ".gcr.io") && !strings.HasSuffix(host, ".pkg.dev") {
		return nil
	}
	return func(ctx context.Context) (Login, time.Time, error) {
		t, err := k.googleToken(ctx)
		if err != nil {
			return Login{}, time.Time{}, fmt.Errorf("credentials of Google: %w", err)
		}
		if t.AccessToken == "" {
			return Login{}, time.Time{}, errors.New("credentials of Google: an answer without a token")
		}
		life := time.Duration(t.ExpiresIn) * time.Second
		return Login{Username: "oauth2accesstoken", Password: t.AccessToken}, k.now().Add(life), nil
	}
}

type googleAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

// googleToken follows Google's "application default credentials": the file of a variable, the file that gcloud leaves,
// the metadata service.
func (k *Keychain) googleToken(ctx context.Context) (googleAnswer, error) {
	file := k.env("GOOGLE_APPLICATION_CREDENTIALS")
	named := file != ""
	if !named {
		dir := k.env("CLOUDSDK_CONFIG")
		if home := k.env("HOME"); dir == "" && home != "" {
			dir = filepath.Join(home, ".config", "gcloud")
		}
		if dir == "" {
			return k.googleMetadata(ctx)
		}
		file = filepath.Join(dir, "application_default_credentials.json")
	}
	b, err := readSmall(file)
	switch {
	case err == nil:
		return k.googleFile(ctx, file, b)
	case named || !errors.Is(err, fs.ErrNotExist):
		return googleAnswer{}, err
	}
	return k.googleMetadata(ctx)
}

// googleKey is a credentials file, of whichever type.
type googleKey struct {
	Type         string
	ClientEmail  string `json:"client_email"`
	PrivateKey   string `json:"private_key"`
	PrivateKeyID string `json:"private_key_id"`
	TokenURI     string `json:"token_uri"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	RefreshToken string `json:"refresh_token"`
}

func (k *Keychain) googleFile(ctx context.Context, file string, b []byte) (t googleAnswer, err error) {
	var key googleKey
	if json.Unmarshal(b, &key) != nil {
		return t, fmt.Errorf("%s: not valid JSON", file)
	}
	var form url.Values
	at := "https://oauth2.googleapis.com/token"
	switch key.Type {
	case "service_account":
		at = or(key.TokenURI, at)
		assertion, err := key.assertion(at, k.now())
		if err != nil {
			return t, fmt.Errorf("%s: %w", file, err)
		}
		form = url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	case "authorized_user":
		form = url.Values{"grant_type": {"refresh_token"}, "client_id": {key.ClientID}, "client_secret": {key.ClientSecret}, "refresh_token": {key.RefreshToken}}
	default:
		return t, fmt.Errorf("%s: credentials of type %.40q are not spoken here: use docker's credential helper of Google", file, key.Type)
	}
	if !strings.HasPrefix(at, "https://") {
		return t, fmt.Errorf("%s: token_uri: want https://", file)
	}
	r, err := postForm(at, form)
	if err != nil {
		return t, err
	}
	return t, k.ask(ctx, r, &t)
}

// assertion is the signed token by which a service account asks for access (RFC 7523).
func (g googleKey) assertion(audience string, now time.Time) (string, error) {
	block, _ := pem.Decode([]byte(g.PrivateKey))
	if block == nil {
		return "", errors.New("private_key: not in PEM form")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return "", errors.New("private_key: not an RSA key")
	}
	header, err1 := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": g.PrivateKeyID})
	claims, err2 := json.Marshal(map[string]any{
		"iss": g.ClientEmail, "scope": googleScope, "aud": audience, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// googleMetadata asks for the token of the machine's or the cluster's service account.
func (k *Keychain) googleMetadata(ctx context.Context) (t googleAnswer, err error) {
	host := k.env("GCE_METADATA_HOST")
	if host == "" && k.env("K_SERVICE") == "" && !k.runsOn("Google") {
		return t, errNone
	}
	r, err := get("http://"+or(host, "169.254.169.254")+"/computeMetadata/v1/instance/service-accounts/default/token", "Metadata-Flavor", "Google")
	if err != nil {
		return t, err
	}
	err = call(ctx, flavoured{k.local}, metadataTime, r, &t)
	if err != nil && host == "" {
		return t, errNone // another cloud's machine, or one without a service account
	}
	return t, err
}

// flavoured believes Google's metadata service only: other clouds have theirs at the same address.
type flavoured struct{ http.RoundTripper }

func (f flavoured) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := f.RoundTripper.RoundTrip(r)
	if err == nil && resp.Header.Get("Metadata-Flavor") != "Google" {
		resp.Body.Close()
		return nil, errors.New("not Google's metadata service")
	}
	return resp, err
}

package image

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/internal/cloud"
)

const (
	maxDockerConfig = 4 << 20
	maxHelperOutput = 64 << 10
	helperTime      = 30 * time.Second
	hubKey          = "https://index.docker.io/v1/" // Docker Hub's key in docker's config.json
)

var helperPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`) })

// keychain finds the credentials for a registry: CNB_REGISTRY_AUTH first (platform, "Registry
// Authentication"), then docker's config.json with its helpers, then for registries of clouds those of the cloud. No
// credentials is anonymous, not an error.
type keychain struct {
	headers map[string]string // host, or host/path -> Authorization value
	config  string            // path of config.json, may be absent
	env     []string          // for credential helpers
	kept    remembered
	cloud   *cloud.Keychain // nil is none
}

// parseRegistryAuth reads CNB_REGISTRY_AUTH: a JSON object from registry to the value of an Authorization
// header, of the kinds Basic, Bearer and X-Identity.
func parseRegistryAuth(s string) (map[string]string, error) {
	if s == "" {
		return nil, nil
	}
	var raw map[string]string
	if err := json.Unmarshal([]byte(s), &raw); err != nil {
		// The text holds secrets: the decoder's message could quote them.
		return nil, errors.New("CNB_REGISTRY_AUTH: not a JSON object of registry to authorization header")
	}
	out, err := addHeaders(nil, raw)
	if err != nil {
		return nil, fmt.Errorf("CNB_REGISTRY_AUTH: %w", err)
	}
	return out, nil
}

// addHeaders adds headers, whose keys are as people write them, over those that there are.
func addHeaders(have, more map[string]string) (map[string]string, error) {
	if have == nil {
		have = map[string]string{}
	}
	for registry, header := range more {
		if _, err := parseAuthHeader(header); err != nil {
			return nil, fmt.Errorf("registry %q: %w", clip(registry), err)
		}
		host, path := splitKey(registry)
		have[strings.TrimSuffix(host+"/"+path, "/")] = header
	}
	return have, nil
}

func parseAuthHeader(header string) (authn.AuthConfig, error) {
	kind, value, ok := strings.Cut(strings.TrimSpace(header), " ")
	value = strings.TrimSpace(value)
	if !ok || value == "" {
		return authn.AuthConfig{}, errors.New("want \"Basic ...\", \"Bearer ...\" or \"X-Identity ...\"")
	}
	switch strings.ToLower(kind) {
	case "basic":
		user, password, err := decodeAuth(value)
		return authn.AuthConfig{Username: user, Password: password}, err
	case "bearer":
		return authn.AuthConfig{RegistryToken: value}, nil
	case "x-identity":
		return authn.AuthConfig{IdentityToken: value}, nil
	}
	return authn.AuthConfig{}, errors.New("want \"Basic ...\", \"Bearer ...\" or \"X-Identity ...\"")
}

func decodeAuth(s string) (user, password string, err error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", "", errors.New("credentials are not base64")
	}
	user, password, ok := strings.Cut(string(b), ":")
	if !ok {
		return "", "", errors.New("credentials are not user:password")
	}
	return user, strings.TrimRight(password, "\x00"), nil
}

// splitKey normalises a key of a credentials file: scheme and API version go, the host gets its one form.
func splitKey(key string) (host, path string) {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, path, _ = strings.Cut(strings.TrimSuffix(key, "/"), "/")
	if path == "v1" || path == "v2" {
		path = ""
	}
	if h, err := normaliseHost(host); err == nil {
		host = h
	}
	return host, path
}

// Resolve implements authn.Keychain.
func (k *keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), r)
}

// ResolveContext implements authn.ContextKeychain. The longest matching repository prefix wins.
func (k *keychain) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	if auth, ok := k.kept.get(r.String()); ok {
		return auth, nil
	}
	host := r.RegistryStr()
	if h, err := normaliseHost(host); err == nil {
		host = h
	}
	_, path, _ := strings.Cut(r.String(), "/")
	if header, ok := lookup(k.headers, host, path); ok {
		c, err := parseAuthHeader(header)
		if err != nil {
			return nil, err
		}
		return authn.FromConfig(c), nil
	}
	c, err := k.fromConfig(ctx, host, path)
	if err != nil {
		return nil, err
	}
	if c == (authn.AuthConfig{}) && k.cloud != nil {
		l := k.cloud.Login(ctx, host)
		c = authn.AuthConfig{Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken}
	}
	if c == (authn.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(c), nil
}

// lookup finds host/path, then each shorter path, then the host.
func lookup[V any](m map[string]V, host, path string) (V, bool) {
	for {
		if v, ok := m[strings.TrimSuffix(host+"/"+path, "/")]; ok {
			return v, true
		}
		if path == "" {
			var none V
			return none, false
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
	}
}

// dockerConfig is the part of docker's config.json that holds credentials.
type dockerConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	} `json:"auths"`
	CredHelpers map[string]string `json:"credHelpers"`
	CredsStore  string            `json:"credsStore"`
}

func (k *keychain) fromConfig(ctx context.Context, host, path string) (authn.AuthConfig, error) {
	none := authn.AuthConfig{}
	c, err := k.readConfig()
	if err != nil {
		return none, err
	}
	helpers := map[string]string{}
	for key, h := range c.CredHelpers {
		hh, p := splitKey(key)
		helpers[strings.TrimSuffix(hh+"/"+p, "/")] = h
	}
	if h, ok := lookup(helpers, host, path); ok {
		return k.helper(ctx, h, host)
	}
	if c.CredsStore != "" {
		if ac, err := k.helper(ctx, c.CredsStore, host); err != nil || ac != none {
			return ac, err
		}
	}
	auths := map[string]authn.AuthConfig{}
	for key, a := range c.Auths {
		hh, p := splitKey(key)
		ac := authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
		if a.Auth != "" {
			if ac.Username, ac.Password, err = decodeAuth(a.Auth); err != nil {
				return none, fmt.Errorf("registry credentials in %s: %q: %w", k.config, clip(key), err)
			}
		}
		if ac.IdentityToken != "" {
			ac.Username, ac.Password = "", ""
		}
		if ac != none {
			auths[strings.TrimSuffix(hh+"/"+p, "/")] = ac
		}
	}
	ac, _ := lookup(auths, host, path)
	return ac, nil
}

// readConfig reads docker's config.json. An absent one holds nothing.
func (k *keychain) readConfig() (dockerConfig, error) {
	var c dockerConfig
	if k.config == "" {
		return c, nil
	}
	f, err := os.Open(k.config)
	if notExist(err) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read registry credentials: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDockerConfig))
	if err != nil {
		return c, fmt.Errorf("read registry credentials: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("registry credentials in %s: not valid JSON", k.config)
	}
	return c, nil
}

// helper asks docker-credential-NAME. "Not found" is no credentials.
func (k *keychain) helper(ctx context.Context, helper, host string) (authn.AuthConfig, error) {
	none := authn.AuthConfig{}
	if !helperPattern().MatchString(helper) {
		return none, fmt.Errorf("registry credentials in %s: %q is not a credential helper's name", k.config, clip(helper))
	}
	program, err := k.find("docker-credential-" + helper)
	if err != nil {
		return none, fmt.Errorf("registry credentials for %s: %w (named in %s)", host, err, k.config)
	}
	ctx, cancel := context.WithTimeout(ctx, helperTime)
	defer cancel()
	server := host
	if host == name.DefaultRegistry {
		server = hubKey
	}
	var out capped
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Env, cmd.Stdin, cmd.Stdout = k.env, strings.NewReader(server), &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if strings.Contains(strings.ToLower(out.String()), "credentials not found") {
			return none, nil
		}
		return none, fmt.Errorf("registry credentials for %s: run docker-credential-%s: %w", host, helper, err)
	}
	var c struct{ Username, Secret string }
	if json.Unmarshal(out.Bytes(), &c) != nil {
		return none, fmt.Errorf("registry credentials for %s: docker-credential-%s answered no JSON", host, helper)
	}
	if c.Username == "<token>" {
		return authn.AuthConfig{IdentityToken: c.Secret}, nil
	}
	return authn.AuthConfig{Username: c.Username, Password: c.Secret}, nil
}

// find looks a program up in the PATH of the given environment.
func (k *keychain) find(program string) (string, error) {
	for _, dir := range filepath.SplitList(envValue(k.env, "PATH")) {
		if !filepath.IsAbs(dir) {
			continue
		}
		p := filepath.Join(dir, program)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("credential helper %s is not on PATH", program)
}

// envValue is the last value of a variable in a list of NAME=value.
func envValue(env []string, name string) string {
	v := ""
	for _, kv := range env {
		if n, val, ok := strings.Cut(kv, "="); ok && n == name {
			v = val
		}
	}
	return v
}

// capped keeps the first bytes that are written to it and drops the rest.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := maxHelperOutput - c.Len(); room > 0 {
		c.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

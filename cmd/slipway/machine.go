package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// state is the directory of Slipway's own files: SLIPWAY_HOME, else below XDG_DATA_HOME or the home directory.
func (a *app) state() (string, error) {
	if d := a.getenv("SLIPWAY_HOME"); d != "" {
		return filepath.Abs(d)
	}
	if d := a.getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "slipway"), nil
	}
	if d := a.getenv("HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, ".local", "share", "slipway"), nil
	}
	return "", errors.New("neither SLIPWAY_HOME nor HOME is set: say in SLIPWAY_HOME where images and caches are kept")
}

// machine opens what commands work on.
func (a *app) machine(ctx context.Context) (*platform.Machine, error) {
	s, err := a.machineSettings()
	if err != nil {
		return nil, err
	}
	m, err := platform.Open(ctx, s)
	if err == nil {
		m.StaleIndex = a.syncBeside
	}
	return m, err
}

// machineSettings are what flags, configuration and environment say of this machine.
func (a *app) machineSettings() (none platform.Settings, err error) {
	state, err := a.state()
	if err != nil {
		return none, err
	}
	t, err := a.tools(state)
	if err != nil {
		return none, err
	}
	trust, err := a.trust()
	if err != nil {
		return none, err
	}
	s, err := a.config()
	if err != nil {
		return none, err
	}
	networks := slices.Concat(s.AllowNetworks, a.allow)
	dialer := fetch.Dialer{Setting: "--allow-network"}
	for _, n := range networks {
		p, err := platform.ParseNetwork(n)
		if err != nil {
			return none, err
		}
		dialer.Allow = append(dialer.Allow, p)
	}
	return platform.Settings{
		Fetch: &fetch.Fetcher{Dialer: dialer, CA: trust.Bundle, Proxy: a.proxyFor()},
		State: state, Tools: t, Version: version, Copy: a.getenv("SLIPWAY_RESTORE") == "copy",
		Registry: image.RegistryOptions{
			CA: trust.Bundle, Env: a.environ, DockerConfig: filepath.Join(a.dockerConfig(), "config.json"),
			Insecure: slices.Concat(s.InsecureRegistries, a.insecure), UserAgent: "slipway/" + version, Auth: a.serviceAuth(),
		},
		Docker:  docker.FromEnv(a.environ, a.getenv("HOME")),
		Runtime: firstOf(a.runtime, a.getenv("SLIPWAY_RUNTIME"), s.Runtime),
		Allow:   slices.Concat(networks, a.proxyAddresses()),
	}, nil
}

// dockerConfig is the directory of docker's own configuration, which has the registries' credentials.
func (a *app) dockerConfig() string {
	if d := a.getenv("DOCKER_CONFIG"); d != "" {
		return d
	}
	return filepath.Join(a.getenv("HOME"), ".docker")
}

// tools are our own binaries for containers: those that this one holds, or those of SLIPWAY_TOOLS, a directory.
func (a *app) tools(state string) (t platform.Tools, err error) {
	if d := a.getenv("SLIPWAY_TOOLS"); d != "" {
		d, err = filepath.Abs(d)
		t = platform.ToolsIn(d)
	} else {
		var self string
		if self, err = os.Executable(); err != nil {
			return t, err
		}
		t, err = tools(state, self)
	}
	t.Version = lifecycleVersion
	return t, err
}

// bundles are where systems keep their CA certificates.
func bundles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	}
}

// bundle is the file that this host trusts: SSL_CERT_FILE or its relatives, else the system's; "" where
// there is none. name is the variable that said it.
func (a *app) bundle() (path, name string) {
	for _, name := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"} {
		if f := a.getenv(name); f != "" {
			return f, name
		}
	}
	for _, f := range bundles() {
		if _, err := os.Stat(f); err == nil {
			return f, ""
		}
	}
	return "", ""
}

// trust is what this host trusts, plus --ca-cert and NODE_EXTRA_CA_CERTS.
func (a *app) trust() (platform.Trust, error) {
	var t platform.Trust
	bundle, name := a.bundle()
	if bundle != "" {
		b, err := os.ReadFile(bundle)
		if err != nil && name != "" {
			return t, fmt.Errorf("%s: %w", name, err)
		}
		t.Bundle = b
	}
	for _, f := range a.caCerts {
		b, err := readPEM(f)
		if err != nil {
			return t, usagef("--ca-cert %s: %w", f, err)
		}
		t.Extra = append(append(t.Extra, b...), '\n')
	}
	// In many companies it is the bundle once more.
	if f := a.getenv("NODE_EXTRA_CA_CERTS"); f != "" && f != bundle {
		if b, err := readPEM(f); err == nil && !bytes.Equal(b, t.Bundle) {
			t.Extra = append(append(t.Extra, b...), '\n')
		}
	}
	if len(t.Extra) > 0 {
		t.Bundle = slices.Concat(t.Bundle, []byte("\n"), t.Extra)
	}
	return t, nil
}

func readPEM(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("there is no such file")
	}
	if err != nil {
		return nil, err
	}
	if !strings.Contains(string(b), "-----BEGIN CERTIFICATE-----") {
		return nil, errors.New("it holds no PEM certificate")
	}
	return b, nil
}

// proxy is the proxy settings of this host.
func (a *app) proxy() []string {
	var out []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if v := a.getenv(name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// proxyFor says through which proxy of this host a URL is asked for, nil for none.
func (a *app) proxyFor() func(*url.URL) (*url.URL, error) {
	either := func(name string) string { return firstOf(a.getenv(name), a.getenv(strings.ToLower(name))) }
	proxy := httpproxy.Config{HTTPProxy: either("HTTP_PROXY"), HTTPSProxy: either("HTTPS_PROXY"), NoProxy: either("NO_PROXY")}
	return proxy.ProxyFunc()
}

// proxyAddresses are where this host's proxies are, which builds have to reach. A name that nobody knows is the
// build's to complain of.
func (a *app) proxyAddresses() (out []string) {
	for _, kv := range a.proxy() {
		name, value, _ := strings.Cut(kv, "=")
		if strings.EqualFold(name, "no_proxy") {
			continue
		}
		if !strings.Contains(value, "://") {
			value = "http://" + value
		}
		u, err := url.Parse(value)
		if err != nil {
			continue
		}
		addresses, _ := net.LookupHost(u.Hostname())
		out = append(out, addresses...)
	}
	return out
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// resolver finds image arguments for commands that read images.
func resolver(m *platform.Machine, policy image.Policy) *image.Resolver {
	return &image.Resolver{Images: m.Images, Registry: m.Registry, Engine: m.Engine, Policy: policy}
}

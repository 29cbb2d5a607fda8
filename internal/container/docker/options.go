package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// DefaultHost is where Docker listens when nothing else is said.
const DefaultHost = "unix:///var/run/docker.sock"

// Options say which engine to talk to. The zero value is the local one.
type Options struct {
	Host string // unix:///path or tcp://host:port; empty: DefaultHost
	TLS  *TLS   // nil: plain
	// APIVersion fixes the API's version; empty: the newest both sides know.
	APIVersion string
	// Origin is where Host was said ("DOCKER_HOST", `context "rootless"`), for
	// error messages.
	Origin string
	// Dial connects to the engine in place of the usual way, for a caller that has to do something around it;
	// nil is the usual way.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// err is what was wrong with the settings; New returns it.
	err error
}

// TLS names the files of a TLS connection; an empty name is not used.
type TLS struct {
	CA, Cert, Key string
	SkipVerify    bool
}

// FromEnv finds the engine as the docker command does, from environ and the
// docker configuration below home: DOCKER_HOST with DOCKER_TLS_VERIFY and
// DOCKER_CERT_PATH, else DOCKER_CONTEXT, else the configuration's current
// context, else the default socket, else the user's own (rootless) one. What
// is wrong is said by New.
func FromEnv(environ []string, home string) Options {
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	config := env["DOCKER_CONFIG"]
	if config == "" && home != "" {
		config = filepath.Join(home, ".docker")
	}
	o := Options{}
	switch {
	case env["DOCKER_HOST"] != "":
		o.Host, o.Origin = env["DOCKER_HOST"], "DOCKER_HOST"
		o.TLS = envTLS(env, config)
	default:
		name, origin, err := currentContext(env, config)
		if err == nil && name != "" && name != "default" {
			o, err = readContext(config, name)
			o.Origin = origin
		} else {
			o.Host = defaultHost(env["XDG_RUNTIME_DIR"])
		}
		o.err = err
	}
	o.APIVersion = env["DOCKER_API_VERSION"]
	return o
}

// envTLS follows the docker command: a certificate path switches TLS on, and
// only DOCKER_TLS_VERIFY makes it check the server.
func envTLS(env map[string]string, config string) *TLS {
	dir, verify := env["DOCKER_CERT_PATH"], env["DOCKER_TLS_VERIFY"] != ""
	if dir == "" && !verify {
		return nil
	}
	if dir == "" {
		dir = config
	}
	t := tlsFiles(dir)
	t.SkipVerify = !verify
	return &t
}

// tlsFiles are those of the well-known names in dir that exist.
func tlsFiles(dir string) TLS {
	file := func(name string) string {
		p := filepath.Join(dir, name)
		if _, err := os.Stat(p); err != nil {
			return ""
		}
		return p
	}
	return TLS{CA: file("ca.pem"), Cert: file("cert.pem"), Key: file("key.pem")}
}

func defaultHost(runtimeDir string) string {
	if _, err := os.Stat(strings.TrimPrefix(DefaultHost, "unix://")); err == nil || runtimeDir == "" {
		return DefaultHost
	}
	own := filepath.Join(runtimeDir, "docker.sock")
	if _, err := os.Stat(own); err != nil {
		return DefaultHost
	}
	return "unix://" + own
}

// currentContext is the name of the chosen context, and where it was chosen.
func currentContext(env map[string]string, config string) (name, origin string, err error) {
	if name := env["DOCKER_CONTEXT"]; name != "" {
		return name, fmt.Sprintf("context %q (DOCKER_CONTEXT)", name), nil
	}
	if config == "" {
		return "", "", nil
	}
	file := filepath.Join(config, "config.json")
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("read the docker configuration: %w", err)
	}
	var c struct {
		CurrentContext string `json:"currentContext"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return "", "", fmt.Errorf("read the docker configuration %s: %w", file, err)
	}
	return c.CurrentContext, fmt.Sprintf("context %q of %s", c.CurrentContext, file), nil
}

// readContext reads one context from the store below config: its directories
// are named by the SHA-256 of the context's name.
func readContext(config, name string) (Options, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	file := filepath.Join(config, "contexts", "meta", id, "meta.json")
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Options{}, fmt.Errorf("docker context %q does not exist (no %s); `docker context ls` lists what does", name, file)
	}
	if err != nil {
		return Options{}, fmt.Errorf("read docker context %q: %w", name, err)
	}
	return parseContext(name, b, filepath.Join(config, "contexts", "tls", id, "docker"))
}

// parseContext reads a context's meta.json; tlsDir may hold its certificates.
func parseContext(name string, b []byte, tlsDir string) (Options, error) {
	var meta struct {
		Endpoints map[string]struct {
			Host          string
			SkipTLSVerify bool
		}
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return Options{}, fmt.Errorf("read docker context %q: %w", name, err)
	}
	ep, ok := meta.Endpoints["docker"]
	if !ok || ep.Host == "" {
		return Options{}, fmt.Errorf("docker context %q names no docker endpoint", name)
	}
	o := Options{Host: ep.Host}
	if t := tlsFiles(tlsDir); t != (TLS{}) || ep.SkipTLSVerify {
		t.SkipVerify = ep.SkipTLSVerify
		o.TLS = &t
	}
	return o, nil
}

// check refuses hosts we cannot talk to and returns the one to use.
func (o Options) check() (host string, err error) {
	if o.err != nil {
		return "", o.err
	}
	host = o.Host
	if host == "" {
		host = DefaultHost
	}
	from := ""
	if o.Origin != "" {
		from = ", from " + o.Origin + ","
	}
	scheme, rest, ok := strings.Cut(host, "://")
	switch {
	case !ok || rest == "":
		return "", fmt.Errorf("docker host %q%s is not an address like %s or tcp://host:2376", host, from, DefaultHost)
	case scheme == "ssh":
		return "", fmt.Errorf("docker host %q%s is reached by ssh, which cannot share this machine's files with a build; run slipway on that machine, or choose a local engine with DOCKER_HOST=%s", host, from, DefaultHost)
	case scheme == "unix" && !filepath.IsAbs(rest):
		return "", fmt.Errorf("docker host %q%s: the socket's path is not absolute", host, from)
	case scheme != "unix" && scheme != "tcp":
		return "", fmt.Errorf("docker host %q%s: only unix:// and tcp:// are supported", host, from)
	}
	return host, nil
}

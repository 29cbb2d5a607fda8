// Package cloud finds the credentials of registries that clouds run (Amazon ECR, Azure ACR, Google's Artifact Registry)
// the way the clouds' own tools do, from environment, files and metadata services. It speaks their few requests itself:
// their libraries would make the lifecycle several times as large. A registry of nobody's gets nothing from here.
package cloud

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Times of this package. A metadata service is a link away or not there; some take their time to answer.
const (
	publicTime   = 15 * time.Second
	metadataTime = 5 * time.Second
	connectTime  = time.Second     // to a metadata service
	early        = 5 * time.Minute // before a login's end it is fetched anew
	failureTime  = time.Minute     // a failure is not asked for again within
)

// errNone says that this cloud's credentials are nowhere to be found, which is no failure.
var errNone = errors.New("no credentials")

// A Login is what a registry accepts: a user and a password, or a refresh token.
type Login struct{ Username, Password, IdentityToken string }

// A Keychain finds logins and keeps them until they end. It is safe for concurrent use.
type Keychain struct {
	env    func(string) string
	public http.RoundTripper // to the clouds' endpoints
	local  http.RoundTripper // to metadata services: never through a proxy
	sys    string            // /sys: says whose machine this is
	now    func() time.Time

	mu    sync.Mutex
	known map[string]*entry // by host
}

// An entry is the state of one registry.
type entry struct {
	mu    sync.Mutex
	login Login
	err   error
	until time.Time
}

// New makes a Keychain that takes the variables of clouds from env and reaches their endpoints by public. It contacts
// nobody and reads no file.
func New(env func(string) string, public http.RoundTripper) *Keychain {
	local := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: connectTime}).DialContext}
	return &Keychain{env: env, public: public, local: local, sys: "/sys", now: time.Now, known: map[string]*entry{}}
}

// A lookup asks a cloud for the login of one registry and says when it ends.
type lookup func(ctx context.Context) (Login, time.Time, error)

// lookup chooses the cloud by the registry's name alone. CNB_REGISTRY_AUTH_KEYCHAIN_SKIP_<cloud>=true turns one off.
func (k *Keychain) lookup(host string) lookup {
	for _, c := range []struct {
		name string
		find func(host string) lookup
	}{{"AMAZON", k.amazon}, {"AZURE", k.azure}, {"GOOGLE", k.google}} {
		if find := c.find(host); find != nil && k.env("CNB_REGISTRY_AUTH_KEYCHAIN_SKIP_"+c.name) != "true" {
			return find
		}
	}
	return nil
}

// Login finds the login of a registry, whose name is in lower case. No credentials, and a cloud that refuses them, are
// the zero Login: many images of clouds are there for everybody. Failure says why.
func (k *Keychain) Login(ctx context.Context, host string) Login {
	find := k.lookup(host)
	if find == nil {
		return Login{}
	}
	e := k.entry(host)
	e.mu.Lock()
	defer e.mu.Unlock()
	if k.now().Before(e.until) {
		return e.login
	}
	login, until, err := find(ctx)
	if ctx.Err() != nil {
		return Login{} // says nothing about the cloud
	}
	e.login, e.err, e.until = login, err, until.Add(-early)
	if err != nil {
		e.login, e.until = Login{}, k.now().Add(failureTime)
	}
	return e.login
}

// Failure is why the credentials that are there gave no login for the registry, nil where there was nothing to go wrong.
func (k *Keychain) Failure(host string) error {
	if k.lookup(host) == nil {
		return nil
	}
	e := k.entry(host)
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(e.err, errNone) {
		return nil
	}
	return e.err
}

func (k *Keychain) entry(host string) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known[host] == nil {
		k.known[host] = &entry{}
	}
	return k.known[host]
}

// runsOn says whether this machine may be one of the cloud's, by what its firmware says of itself, so that its metadata
// service is worth a second. In a cluster the firmware may be hidden.
func (k *Keychain) runsOn(marks ...string) bool {
	if k.env("KUBERNETES_SERVICE_HOST") != "" {
		return true
	}
	for _, name := range []string{"class/dmi/id/sys_vendor", "class/dmi/id/product_name", "class/dmi/id/chassis_asset_tag", "class/dmi/id/bios_vendor", "hypervisor/uuid"} {
		b, err := os.ReadFile(filepath.Join(k.sys, name))
		if err != nil {
			continue
		}
		for _, m := range marks {
			if strings.HasPrefix(strings.TrimSpace(string(b)), m) {
				return true
			}
		}
	}
	return false
}

// readSecret reads a file that a variable names.
func readSecret(path string) (string, error) {
	b, err := readSmall(path)
	return strings.TrimSpace(string(b)), err
}

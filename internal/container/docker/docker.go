// Package docker is container.Runtime on the Docker Engine API (1.40 and
// later, local or by TCP), and the engine's images as internal/image needs
// them. It uses no engine verb that reads or writes files of a container, execs
// in one, or builds.
package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
)

const (
	// reachTimeout bounds the first word with the engine.
	reachTimeout = 10 * time.Second
	// cleanTimeout bounds kill and removal, which go on after a cancel.
	cleanTimeout = 30 * time.Second
)

// Runtime starts containers on one engine. Safe for concurrent use.
type Runtime struct {
	api   *client.Client
	host  string
	owner container.Owner

	wg   sync.WaitGroup // removals in the background
	mu   sync.Mutex
	errs []error // of removals in the background, for Close
}

var (
	_ container.Runtime  = (*Runtime)(nil)
	_ container.Preparer = (*Runtime)(nil)
	_ container.Sweeper  = (*Runtime)(nil)
	_ container.Prepared = (*Prepared)(nil)
)

// New connects to the engine. When there is none the error is an
// *UnavailableError: one line that says why and what to do.
func New(ctx context.Context, o Options) (*Runtime, error) {
	host, err := o.check()
	if err != nil {
		return nil, err
	}
	opts := []client.Opt{}
	if o.TLS != nil {
		hc, err := o.TLS.client()
		if err != nil {
			return nil, fmt.Errorf("docker host %s: %w", host, err)
		}
		opts = append(opts, client.WithHTTPClient(hc))
	}
	opts = append(opts, client.WithHost(host), client.WithUserAgent("slipway"))
	if o.Dial != nil {
		opts = append(opts, client.WithDialContext(o.Dial))
	}
	if o.APIVersion != "" {
		opts = append(opts, client.WithAPIVersion(o.APIVersion))
	}
	api, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker host %s: %w", host, err)
	}
	reach, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if _, err := api.Ping(reach, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		api.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to Docker: %w", context.Cause(ctx))
		}
		return nil, diagnose(host, o.Origin, err)
	}
	return &Runtime{api: api, host: host, owner: container.Self()}, nil
}

func (t TLS) client() (*http.Client, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.SkipVerify}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read the engine's CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", t.CA)
		}
	}
	if t.Cert != "" || t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate for the engine: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	tr := &http.Transport{TLSClientConfig: c, MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second}
	return &http.Client{Transport: tr, CheckRedirect: client.CheckRedirect}, nil
}

// Host is the engine's address.
func (r *Runtime) Host() string { return r.host }

// Local reports whether the engine is on this machine's sockets, and so, short
// of virtual machines, on its files.
func (r *Runtime) Local() bool { return strings.HasPrefix(r.host, "unix://") }

// Close waits for removals that still go on and drops the connections. Its
// error says what could not be removed; a later Sweep will find it.
func (r *Runtime) Close() error {
	r.wg.Wait()
	err := r.api.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	err = errors.Join(append(r.errs, err)...)
	r.errs = nil
	return err
}

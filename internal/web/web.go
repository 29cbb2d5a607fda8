// Package web is the HTTP API of the build service: apps, builds, logs, releases, secrets, users and tokens, in the shapes
// of the Platform API v3 where a resource exists there. It is the table of its routes (routes.go), from which the
// multiplexer, what a token must be allowed for each, and the OpenAPI document all come; what a request does is done by
// store and service. Git and the registry speak protocols of their own and are served beside it.
package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/button"
	deploying "github.com/slipway-build/slipway/internal/deploy" // deploy is a need
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/health"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/registrar"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/setups"
	"github.com/slipway-build/slipway/internal/store"
)

// Apps is told of what happens to apps, to keep what they have elsewhere: repositories of git and of images. An error
// of Created takes the app back; one of the others is ours, and what was recorded stays.
type Apps interface {
	Created(ctx context.Context, app build.App) error
	Changed(ctx context.Context, before, after build.App) error
	Deleted(ctx context.Context, app build.App) error
}

// Options are what New needs. Fields without "may be" in their comment must be set.
type Options struct {
	Store   *store.Store
	Service *service.Service
	Logs    *logs.Dir
	Sources *fetch.Sources

	Apps Apps // may be nil
	// Resolve tells which commit a ref of a git repository is at, when a build of it is made. It may be nil: then that
	// is found out when the build runs.
	Resolve func(ctx context.Context, app build.App, repository fetch.GitURL, ref fetch.Ref) (fetch.Commit, error)
	// Preflight says in one line why no build of the app could work; the build is not accepted then. It may be nil.
	Preflight func(ctx context.Context, app build.App) error
	// Offers lists the buildpacks of the default builder and of the index, the newest version of each first. It may be nil:
	// then none is known.
	Offers func(ctx context.Context) ([]Offer, error)
	// Deploys does what is to happen after releases, and runs apps, at most LocalApps, and commands. It may be nil: then
	// there is nothing of that.
	Deploys   *deploying.Host
	LocalApps int
	// Setups make apps of templates. It may be nil: then there are none. Template reads one, as somebody names it, at the
	// commit where it is now; it may be nil: then apps are set up of archives only.
	Setups   *setups.Setups
	Template func(ctx context.Context, who build.Actor, text string) (button.Pinned, error)
	// Registrar keeps the index of buildpacks. It may be nil: then there is none.
	Registrar *registrar.Registrar
	// PrivateIndex has the index read by bearers of a token only.
	PrivateIndex bool
	// Health has the last reports of whether the images of indexes are there: of the service's own, and of those that its
	// builds look into. It may be nil: then nothing is known.
	Health func(ctx context.Context) ([]*health.Report, error)
	// Ready says in one line why the service cannot do its work.
	Ready func(ctx context.Context) error
	// Workers counts how many builds can run at once.
	Workers func() int
	// Fault hears of what goes wrong on our side; the client gets no more of it than the Request-Id.
	Fault func(error)

	// BaseURL is where clients find the service, without a slash at its end; it may be empty: then it is what the
	// client asked for.
	BaseURL  string
	Registry string // host of the images of apps that name no repository
	Version  string
	// Key signs the URLs that work without a token: 32 bytes that nobody else has, the same after a restart.
	Key         []byte
	SourceLimit int64 // bytes of an uploaded source, as it is sent
	PlainHTTP   bool  // webhooks and the APIs of forges may be http:// too

	// Stall is how long a client may neither send nor take anything; 0 is one minute.
	Stall time.Duration
}

// server is what handlers share.
type server struct {
	Options
	signer  signer
	base    *url.URL // nil: what the client asked for
	handler http.Handler
	bodies  chan struct{} // large ones of hooks that are read
}

// New makes the API.
func New(o Options) (http.Handler, error) {
	if o.Store == nil || o.Service == nil || o.Logs == nil || o.Sources == nil || o.Ready == nil || o.Workers == nil || o.Fault == nil {
		return nil, errors.New("web: a part of the service is missing in the options")
	}
	if len(o.Key) < 32 || o.SourceLimit <= 0 || o.Registry == "" {
		return nil, errors.New("web: it needs a key of 32 bytes, a limit for sources, and the registry's host")
	}
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	s := &server{Options: o, signer: signer{o.Key}, bodies: make(chan struct{}, bodiesAtOnce)}
	if o.BaseURL != "" {
		u, err := url.Parse(o.BaseURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.HasSuffix(u.Path, "/") {
			return nil, fmt.Errorf("base URL %.200q: it is http:// or https://, a host, and no slash at the end", o.BaseURL)
		}
		s.base = u
	}
	routes := s.routes()
	document, err := openAPI(routes, o.Version)
	if err != nil {
		return nil, err
	}
	for i := range routes {
		if routes[i].document {
			routes[i].serve = func(_ context.Context, c *call) error { return c.send(http.StatusOK, "application/json", document) }
		}
	}
	mux, err := s.mux(routes)
	if err != nil {
		return nil, err
	}
	s.handler = s.front(mux)
	return s.handler, nil
}

// at is a URL of the service as the client of a request would ask for it.
func (s *server) at(r *http.Request, path string) *url.URL {
	if s.base != nil {
		return s.base.JoinPath(path)
	}
	u := &url.URL{Scheme: "http", Host: r.Host, Path: path}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u
}

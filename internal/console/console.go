// Package console is the pages of the build service: what a person sees in a browser. It signs people in with a token,
// shows them what the token sees, and asks store and service for the rest; of JSON it speaks nothing. Pages are made on the
// server and work without JavaScript, but for what is followed live.
//
// # A page of this package
//
// A page is a line in the table of routes (see routes), a handler that is given a visit, and a template below page/ that
// defines "main". Handlers return errors, which become pages; a form posts to a route of its own, with
//
//	{{template "csrf" .}}
//
// in it: without that field no POST reaches its handler. Nothing of a page is inline: no script, no style, no handler; the
// policy that is sent with every answer forbids it.
package console

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/limit"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/registrar"
	"github.com/slipway-build/slipway/internal/service"
	"github.com/slipway-build/slipway/internal/setups"
	"github.com/slipway-build/slipway/internal/store"
)

// Options are what New needs. Fields without "may be" in their comment must be set.
type Options struct {
	Store   *store.Store
	Service *service.Service
	Logs    *logs.Dir
	Sources *fetch.Sources
	// Tries bounds wrong tokens at the door.
	Tries *limit.Tries

	// Registrar keeps the index of buildpacks. It may be nil: then there is none.
	Registrar *registrar.Registrar
	// Builtin lists the buildpacks of the default builder. It may be nil: then none is known.
	Builtin func(ctx context.Context) ([]Buildpack, error)
	// Preflight says in one line why no build of the app could work. It may be nil.
	Preflight func(ctx context.Context, app build.App) error
	// Templates say where the templates of deploy buttons come from, and read them. Without hosts there are none.
	Templates Templates
	// Setups make apps of templates. It may be nil: then templates are shown, and not deployed.
	Setups *setups.Setups
	// Created makes what a new app has outside of the record. It may be nil.
	Created func(ctx context.Context, app build.App) error
	// Cache tells of the build cache that an app has now; false: none. It may be nil.
	Cache func(build.App) (Cache, bool)
	// Disk tells how full the file system of the data directory is. It may be nil.
	Disk func() (Disk, error)
	// Ready says in one line why the service cannot do its work.
	Ready func(ctx context.Context) error
	// Fault hears of what goes wrong on our side; the visitor gets no more of it than the Request-Id.
	Fault func(error)

	// BaseURL is where the service is found, without a slash at its end; it may be empty: then it is what was asked for.
	BaseURL  string
	Builder  string // of apps that name none
	Registry string // host of the images of apps that name no repository
	Version  string
	Workers  int          // builds at once
	Limits   build.Limits // of apps that set none
	// Key signs the URLs of badges: 32 bytes that nobody else has, the same after a restart.
	Key []byte
}

// A Cache is what is kept of an app for its next build.
type Cache struct {
	Bytes  int64
	Layers int
	Used   time.Time
}

// A Buildpack is a version of one that the default builder brings.
type Buildpack struct{ ID, Version, Description, Homepage string }

// A Disk is how much room a file system has.
type Disk struct{ Total, Free int64 }

// A Console is an http.Handler for the paths that Serves names.
type Console struct {
	Options
	base   *url.URL // nil: what was asked for
	assets assets
	pages  map[string]*template.Template
	mux    *http.ServeMux
	first  map[string]bool // first parts of the paths that are served
	cross  *http.CrossOriginProtection
	trends *statistics
	built  builtin
	stall  time.Duration // how long a browser may take nothing of a page, or take to send a form
	// session is how often whoever follows something is looked at again: their session may have ended.
	session time.Duration
	shelf   *shelf
	drafts  drafts
}

// New makes the console.
func New(o Options) (*Console, error) {
	if o.Store == nil || o.Service == nil || o.Logs == nil || o.Sources == nil || o.Tries == nil || o.Ready == nil || o.Fault == nil || len(o.Key) < 32 {
		return nil, errors.New("console: a part of the service is missing in the options")
	}
	c := &Console{Options: o, first: map[string]bool{}, cross: http.NewCrossOriginProtection(), stall: time.Minute, session: 30 * time.Second}
	c.trends = &statistics{store: o.Store, facts: facts{store: o.Store, logs: o.Logs}}
	if o.BaseURL != "" {
		u, err := url.Parse(o.BaseURL)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("console: base URL %.200q is none", o.BaseURL)
		}
		c.base = u
		if err := c.cross.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return nil, fmt.Errorf("console: %w", err)
		}
	}
	var err error
	if c.shelf, err = newShelf(o.Templates); err != nil {
		return nil, err
	}
	if c.assets, err = openAssets(); err != nil {
		return nil, err
	}
	if c.pages, err = c.templates(); err != nil {
		return nil, err
	}
	c.mux = c.register(c.routes())
	return c, nil
}

// Serves tells whether a request is for a page of the console. What is not, is the API's.
func (c *Console) Serves(r *http.Request) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return c.first[first]
}

// A need is what a route asks of its visitor. The zero need is none: a route without one cannot be made.
type need string

const (
	anybody  need = "anybody"
	signedIn need = "a session"
	admin    need = "an administrator's session, of a token for all apps"
)

// A route is a line of the table. Patterns are those of http.ServeMux.
type route struct {
	method, path string
	need         need
	serve        func(ctx context.Context, v *visit) error
}

// routes is the table of all pages, and of what their forms post to.
func (c *Console) routes() []route {
	all := []route{
		{"GET", "/{$}", anybody, home},
		{"GET", "/console/{$}", signedIn, home},
		{"GET", "/console/sign-in", anybody, c.signInPage},
		{"POST", "/console/sign-in", anybody, c.signIn},
		{"POST", "/console/sign-out", anybody, c.signOut},
		{"GET", "/assets/{file}", anybody, c.asset},
	}
	return slices.Concat(all, c.pageRoutes(), c.deployRoutes(), c.setupRoutes())
}

func home(_ context.Context, v *visit) error { return v.redirect("/console/apps") }

func (c *Console) register(routes []route) *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range routes {
		if r.need == "" || r.serve == nil {
			panic("console: the route " + r.path + " says not what it needs") // a mistake of ours, and every test finds it
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(r.path, "{$}"), "/"), "/")
		c.first[strings.TrimSuffix(first, "{$}")] = true
		mux.HandleFunc(r.method+" "+r.path, func(_ http.ResponseWriter, req *http.Request) {
			v, ok := req.Context().Value(visitKey{}).(*visit)
			if !ok {
				panic("console: a route was served without the front door")
			}
			v.Request = req // with the values of its path
			if err := v.admit(r); err != nil {
				v.fail(err)
				return
			}
			if err := r.serve(req.Context(), v); err != nil {
				v.fail(err)
			}
		})
	}
	return mux
}

// at is a URL of the service as the visitor would ask for it.
func (c *Console) at(r *http.Request, path string) *url.URL {
	if c.base != nil {
		return c.base.JoinPath(path)
	}
	u := &url.URL{Scheme: "http", Host: r.Host, Path: path}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u
}

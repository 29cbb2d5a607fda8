package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// A need is what a route asks of its caller. The zero need is none: a route without one cannot be made.
type need string

const (
	nobody need = "nobody" // anybody may ask
	bearer need = "token"  // any valid token
	public need = "nobody, or read where the service's index is private"

	read   = need(build.VerbRead)
	deploy = need(build.VerbDeploy)
	config = need(build.VerbConfig)
	manage = need(build.VerbManage)

	publish   need = "deploy, with a token for all apps"
	manageAll need = "manage, with a token for all apps"
	admin     need = "manage, with an administrator's token for all apps"

	signedPut    = need(toPut) // a signature of the id in the path
	signedFollow = need(toFollow)

	hooked need = "the URL of a hook, and a forge's signature with its secret"
)

// An endpoint serves a route. in and out are the types of its JSON bodies, nil where it has none; they come from the
// handler's own signature, so that the OpenAPI document cannot say anything else.
type endpoint struct {
	serve    func(ctx context.Context, c *call) error
	in, out  reflect.Type
	status   int
	also     []int    // other statuses of success, with the same answer
	media    []string // of an answer that is no JSON
	takes    string   // media type of a body that is no JSON
	params   []param  // beside those of the path
	document bool     // serves the OpenAPI document
}

// A param is what a request may have in its query or header, as the document tells it.
type param struct{ in, name, kind, does string }

// A route is a line of the table.
type route struct {
	method, path string
	need         need
	does         string
	endpoint
}

// give is the endpoint of a handler that takes no body.
func give[Out any](status int, f func(context.Context, *call) (Out, error)) endpoint {
	return endpoint{status: status, out: reflect.TypeFor[Out](), serve: func(ctx context.Context, c *call) error {
		v, err := f(ctx, c)
		if err != nil {
			return err
		}
		return c.answer(v)
	}}
}

// take is the endpoint of a handler that takes a JSON body.
func take[In, Out any](status int, f func(context.Context, *call, In) (Out, error)) endpoint {
	e := give(status, func(ctx context.Context, c *call) (out Out, err error) {
		var in In
		limit := int64(0)
		if l, ok := any(in).(interface{ limit() int64 }); ok {
			limit = l.limit()
		}
		if err := c.decode(&in, limit); err != nil {
			return out, err
		}
		return f(ctx, c, in)
	})
	e.in = reflect.TypeFor[In]()
	return e
}

// also is an endpoint with other statuses of success.
func also(e endpoint, statuses ...int) endpoint {
	e.also = statuses
	return e
}

// raw is the endpoint of a handler that writes the answer itself.
func raw(f func(context.Context, *call) error, media ...string) endpoint {
	return endpoint{status: http.StatusOK, media: media, serve: f}
}

// logOf is the endpoint of a handler that sends a log.
func logOf(f func(context.Context, *call) error) endpoint {
	e := raw(f, "text/plain", "text/event-stream")
	e.params = []param{
		{"query", "offset", "integer", "Where in the log to begin, in bytes."},
		{"query", "limit", "integer", "Bytes of a page; a page is at most 1 MiB. Log-Next is where the next one begins."},
		{"query", "follow", "boolean", "Go on until the log has ended. Events always do."},
		{"query", "plain", "boolean", "Text without colours and other control sequences."},
		{"header", "Last-Event-ID", "integer", "The offset of the last event that came."},
	}
	return e
}

// mux serves the routes of a table.
func (s *server) mux(routes []route) (*http.ServeMux, error) {
	mux := http.NewServeMux()
	for _, r := range routes {
		if err := r.check(); err != nil {
			return nil, err
		}
		mux.HandleFunc(r.method+" "+r.path, func(_ http.ResponseWriter, req *http.Request) {
			c, ok := req.Context().Value(callKey{}).(*call)
			if !ok {
				panic("web: a request that did not come through the front door")
			}
			c.Request, c.status, c.registry = req, r.status, r.need == public
			err := s.admit(req.Context(), c, r)
			if err == nil {
				err = r.serve(req.Context(), c)
			}
			if err != nil {
				c.fail(err)
			}
		})
	}
	return mux, nil
}

func (r route) check() error {
	switch r.need {
	case nobody, public, bearer, read, deploy, config, manage, publish, manageAll, admin, signedPut, signedFollow, hooked:
	default:
		return fmt.Errorf("web: route %s %s does not say what a caller needs: %q", r.method, r.path, r.need)
	}
	if r.serve == nil || r.status == 0 || r.does == "" {
		return fmt.Errorf("web: route %s %s is not complete", r.method, r.path)
	}
	return nil
}

// inApp tells whether a route is about one app, which its actor must see.
func (r route) inApp() bool { return strings.HasPrefix(r.path, "/apps/{app}") }

// admit lets a request through to a route's handler. The verb goes first: without it, a token learns nothing of what
// there is.
func (s *server) admit(ctx context.Context, c *call, r route) (err error) {
	if err := accepts(c.Header); err != nil {
		return err
	}
	switch r.need {
	case nobody:
		return nil
	case public:
		if !s.PrivateIndex {
			return nil
		}
	case signedPut, signedFollow:
		id, err := build.ParseID(c.PathValue("id"))
		if err != nil || !s.signer.valid(purpose(r.need), id, c.URL.Query().Get("sig"), time.Now()) {
			return forbidden("this URL was changed, or its time is over: ask for a new one")
		}
		return nil
	case hooked: // what it signs is the handler's to look at, who has the body
		c.hook, c.app, c.secrets, err = s.Store.OpenHook(ctx, c.PathValue("token"))
		if errors.Is(err, build.ErrNotFound) {
			err = &problem{http.StatusNotFound, "not_found", "there is no such hook: look at the URL that the forge has"}
		}
		return err
	}
	if c.actor, err = s.authenticate(ctx, c.Request); err != nil {
		return err
	}
	if err := r.need.allows(c.actor); err != nil {
		return err
	}
	if r.inApp() {
		c.app, err = s.Store.App(ctx, c.actor, c.PathValue("app"))
	}
	return err
}

// allows is the law of who may call what, but for whose an app is.
func (n need) allows(a build.Actor) error {
	verb := build.Verb(n)
	switch n {
	case bearer:
		return nil
	case public:
		verb = build.VerbRead
	case publish:
		verb = build.VerbDeploy
	case manageAll, admin:
		verb = build.VerbManage
	}
	switch {
	case !a.Can(verb):
		return forbidden(fmt.Sprintf("the token lacks the scope %s", verb))
	case (n == publish || n == manageAll || n == admin) && a.Token.App != "":
		return forbidden("the token is for one app only")
	case n == admin && !a.User.Admin:
		return forbidden("this is for administrators")
	}
	return nil
}

// authenticate finds who bears the token of a request: Bearer, or the password of Basic.
func (s *server) authenticate(ctx context.Context, r *http.Request) (build.Actor, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if _, password, ok := r.BasicAuth(); ok {
		token = password
	} else if !strings.EqualFold(scheme, "Bearer") {
		return build.Actor{}, unauthorized()
	}
	a, err := s.Store.Authenticate(ctx, strings.TrimSpace(token))
	if errors.Is(err, build.ErrNotFound) {
		err = unauthorized()
	}
	return a, err
}

const mediaType = "application/vnd.heroku+json"

// accepts refuses a client that asks for another version of the API than the third.
func accepts(h http.Header) error {
	for _, line := range h.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			media, params, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(media), mediaType) {
				continue
			}
			for param := range strings.SplitSeq(params, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
				if strings.EqualFold(name, "version") && !strings.HasPrefix(strings.Trim(value, `"`), "3") {
					return &problem{http.StatusNotAcceptable, "not_acceptable", fmt.Sprintf("version %.20q of the API is not known: this is version 3", value)}
				}
			}
		}
	}
	return nil
}

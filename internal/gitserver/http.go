package gitserver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/limit"
)

const (
	receivePack = "git-receive-pack"
	uploadPack  = "git-upload-pack"
)

// verbs are what the services of git need.
func verbOfService(service string) (build.Verb, bool) {
	switch service {
	case receivePack:
		return build.VerbDeploy, true
	case uploadPack:
		return build.VerbRead, true
	}
	return "", false
}

// A route is what a URL asks for.
type route struct {
	app, service string
	advertise    bool // which refs there are, which is how every exchange begins
}

// parseRoute reads /<app>.git/info/refs?service=<service>, and /<app>.git/<service>.
func parseRoute(req *http.Request) (route, bool) {
	app, rest, ok := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), ".git/")
	if _, err := build.ParseAppName(app); err != nil || !ok {
		return route{}, false
	}
	switch {
	case rest == "info/refs" && (req.Method == http.MethodGet || req.Method == http.MethodHead):
		return route{app, req.URL.Query().Get("service"), true}, true
	case (rest == receivePack || rest == uploadPack) && req.Method == http.MethodPost:
		return route{app, rest, false}, true
	}
	return route{}, false
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	r, ok := parseRoute(req)
	if !ok {
		refuse(w, http.StatusNotFound, "There is nothing here. The URL of an app's repository ends in /<app>.git")
		return
	}
	verb, ok := verbOfService(r.service)
	if !ok {
		refuse(w, http.StatusForbidden, "This server speaks git's smart protocol only. Use a newer git.")
		return
	}
	err := h.serve(req.Context(), credential(req), r.app, verb, func(ctx context.Context, app build.App, actor build.Actor) (killed bool, err error) {
		switch {
		case r.advertise:
			return false, h.advertise(ctx, w, req, app, r.service)
		case r.service == receivePack:
			return h.servePush(ctx, w, req, app, actor)
		}
		return false, h.serveFetch(ctx, w, req, app)
	})
	if err != nil {
		h.deny(w, err)
	}
}

func refuse(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, line+"\n")
}

func (h *Handler) deny(w http.ResponseWriter, err error) {
	code, line := status(err)
	switch code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="Slipway", charset="UTF-8"`)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "30")
	case http.StatusInternalServerError:
		h.fault(err)
	}
	refuse(w, code, line)
}

func credential(req *http.Request) Credential {
	_, token, ok := req.BasicAuth()
	if !ok {
		token, _ = strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	}
	return Credential{Token: token}
}

// version is what may be passed on of the header Git-Protocol.
var version = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9=:.]{1,64}$`) })

func protocolEnv(v string) []string {
	if version().MatchString(v) {
		return []string{"GIT_PROTOCOL=" + v}
	}
	return nil
}

// advertise answers with the refs of the repository and what the service can do.
func (h *Handler) advertise(ctx context.Context, w http.ResponseWriter, req *http.Request, app build.App, service string) error {
	out := httpClient(w, h.Limits.withDefaults().Idle)
	stop := context.AfterFunc(req.Context(), func() { out.leave() })
	defer stop()
	w.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
	var head bytes.Buffer
	packet(&head, []byte("# service="+service+"\n")) // a Buffer takes all
	head.WriteString(flush)
	out.Write(head.Bytes())
	return h.advertiseTo(ctx, out, app, service, req.Header.Get("Git-Protocol"))
}

func (h *Handler) advertiseTo(ctx context.Context, out *client, app build.App, service, protocol string) error {
	cmd := h.Repos.command(ctx, h.Repos.path(app.ID), strings.TrimPrefix(service, "git-"), "--stateless-rpc", "--advertise-refs", ".")
	cmd.Env = append(cmd.Env, protocolEnv(protocol)...)
	if err := stream(cmd, nil, out); !out.left() {
		return err
	}
	return nil
}

// fetchFor is the most that one fetch may take.
const fetchFor = 30 * time.Minute

// serveFetch answers a fetch or clone with the objects that the client lacks. It ends with the client.
func (h *Handler) serveFetch(ctx context.Context, w http.ResponseWriter, req *http.Request, app build.App) error {
	ctx, cancel := context.WithTimeout(ctx, fetchFor)
	defer cancel()
	limits := h.Limits.withDefaults()
	out := httpClient(w, limits.Idle)
	defer context.AfterFunc(req.Context(), cancel)()
	body, err := body(w, req, limits.Idle)
	if err != nil {
		refuse(w, http.StatusBadRequest, "The request cannot be read.")
		return nil
	}
	question, err := io.ReadAll(io.LimitReader(body, limits.Fetch+1))
	if err != nil || int64(len(question)) > limits.Fetch {
		refuse(w, http.StatusRequestEntityTooLarge, "The request is cut short or too large.")
		return nil
	}
	cmd := h.Repos.command(ctx, h.Repos.path(app.ID), "upload-pack", "--stateless-rpc", ".")
	cmd.Env = append(cmd.Env, protocolEnv(req.Header.Get("Git-Protocol"))...)
	w.Header().Set("Content-Type", "application/x-"+uploadPack+"-result")
	err = stream(cmd, bytes.NewReader(question), out)
	if out.left() || req.Context().Err() != nil {
		return nil
	}
	return err
}

// body is what the client sends, without the compression that it may have. Every read has its own deadline.
func body(w http.ResponseWriter, req *http.Request, idle time.Duration) (io.Reader, error) {
	in := &patient{req.Body, http.NewResponseController(w), limit.Pace{Stall: idle}}
	switch req.Header.Get("Content-Encoding") {
	case "", "identity":
		return in, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(in)
		return &gunzip{z, in}, err
	}
	return nil, fmt.Errorf("unknown encoding %s", quote(req.Header.Get("Content-Encoding")))
}

// servePush is a push over HTTP. killed tells that its git did not end by itself.
func (h *Handler) servePush(ctx context.Context, w http.ResponseWriter, req *http.Request, app build.App, actor build.Actor) (killed bool, err error) {
	limits := h.Limits.withDefaults()
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex() // a refusal is sent while the client still sends; HTTP/2 can without being asked
	// A body that is not read to its end keeps the server from reading the next request.
	defer func() { _, _ = io.CopyN(io.Discard, req.Body, 4<<10) }()
	in, err := body(w, req, limits.Idle)
	if err != nil {
		refuse(w, http.StatusBadRequest, "The request cannot be read.")
		return false, nil
	}
	buffered := bufio.NewReaderSize(in, 64<<10)
	commands, err := readHead(buffered)
	if err != nil {
		refuse(w, http.StatusBadRequest, "The request is not a push that this server understands: "+err.Error())
		return false, nil
	}
	w.Header().Set("Content-Type", "application/x-"+receivePack+"-result")
	out := httpClient(w, limits.Idle)
	if len(commands.commands) == 0 { // git asks so before it sends something large
		out.Write(nil)
		return false, nil
	}
	stop := context.AfterFunc(req.Context(), func() { out.leave() })
	defer stop()
	p := &session{app: app, actor: actor, head: commands, in: buffered, out: out, gone: out.gone, limits: limits}
	err = h.receive(ctx, p)
	return p.killed, err
}

// gunzip reads to the end of what it decompresses, so that the server knows that the request is over and looks whether
// the client is still there.
type gunzip struct {
	*gzip.Reader
	in io.Reader
}

func (g *gunzip) Read(b []byte) (int, error) {
	n, err := g.Reader.Read(b)
	if errors.Is(err, io.EOF) {
		_, _ = io.CopyN(io.Discard, g.in, 4096)
	}
	return n, err
}

// patient reads what comes at its pace.
type patient struct {
	r    io.Reader
	rc   *http.ResponseController
	pace limit.Pace
}

func (p *patient) Read(b []byte) (int, error) {
	began := time.Now()
	_ = p.rc.SetReadDeadline(p.pace.Deadline()) // not every server can
	n, err := p.r.Read(b)
	p.pace.Came(n, began)
	if err != nil {
		_ = p.rc.SetReadDeadline(time.Time{}) // after the end the server reads on, to learn that the client went away
	}
	return n, err
}

// A client takes what is written to it until it goes away; from then on what is written is dropped, so that whoever
// writes goes on. Every write is sent at once.
type client struct {
	send func(p []byte) error
	once sync.Once
	gone chan struct{} // closed when the client went away
}

// newClient is a client to which send sends; that does not block for good.
func newClient(send func(p []byte) error) *client {
	return &client{send: send, gone: make(chan struct{})}
}

func httpClient(w http.ResponseWriter, idle time.Duration) *client {
	rc := http.NewResponseController(w)
	return newClient(func(p []byte) error {
		_ = rc.SetWriteDeadline(time.Now().Add(idle)) // not every server can
		_, err := w.Write(p)
		if err == nil {
			err = rc.Flush()
		}
		if errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
		return err
	})
}

func (c *client) leave() { c.once.Do(func() { close(c.gone) }) }

func (c *client) left() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// Write never fails.
func (c *client) Write(p []byte) (int, error) {
	if c.left() {
		return len(p), nil
	}
	if c.send(p) != nil {
		c.leave()
	}
	return len(p), nil
}

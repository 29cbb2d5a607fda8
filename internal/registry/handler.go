package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/olareg/olareg/types"
	"github.com/opencontainers/go-digest"
)

func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff") // anybody's bytes, where a browser finds the console too
	access, ok := credentials(req)
	if !ok {
		unauthenticated(w)
		return
	}
	t, err := parseTarget(req.URL.Path)
	if err != nil {
		refuseTarget(w, err)
		return
	}
	access.Repository, access.Verb, access.Tag = t.repo, t.verb(req.Method), t.tag()
	if access.Verb == "" {
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "this method is not for this resource")
		return
	}
	if access.Verb == Pull {
		access.Tag = ""
	}
	switch err := r.authorize(req.Context(), access); {
	case errors.Is(err, ErrUnauthenticated):
		unauthenticated(w)
	case errors.Is(err, ErrDenied):
		unknown(w)
	case err != nil:
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the access could not be checked")
	default:
		r.dispatch(w, req, t, access)
	}
}

func (r *Registry) dispatch(w http.ResponseWriter, req *http.Request, t target, access Access) {
	if t.kind == api {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
		return
	}
	if access.Verb == Push && t.kind != session {
		rp, err := r.ensure(t.repo)
		switch {
		case err != nil:
			refuse(w, http.StatusInternalServerError, "UNKNOWN", "the repository could not be made")
		case t.kind == uploads:
			r.startUpload(w, req, rp, access)
		default:
			r.putManifest(w, req, rp, t)
		}
		return
	}
	rp, err := r.lookup(t.repo)
	switch {
	case errors.Is(err, ErrNotFound):
		unknown(w)
	case err != nil:
		refuse(w, http.StatusInternalServerError, "UNKNOWN", "the repository could not be read")
	case t.kind == session:
		r.serveSession(w, req, rp, t)
	case access.Verb == Delete:
		r.deleteManifest(w, req, rp, t)
	default:
		r.read(w, req, rp, t)
	}
}

// credentials takes those of the request; ok is false if there are none.
func credentials(req *http.Request) (a Access, ok bool) {
	if user, password, basic := req.BasicAuth(); basic {
		return Access{Username: user, Password: password}, user != "" || password != ""
	}
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return Access{Token: token}, strings.EqualFold(scheme, "Bearer") && token != ""
}

// read streams a blob, a manifest or a list. The repository is locked only until the answer begins. A HEAD is how a
// pushing client asks what it need not push, so what it finds is young again to GC.
func (r *Registry) read(w http.ResponseWriter, req *http.Request, rp *repository, t target) {
	rp.mu.Lock()
	begun := &beginning{ResponseWriter: w, then: sync.OnceFunc(rp.mu.Unlock)}
	if req.Method == http.MethodHead {
		begun.first = func(status int) {
			if d := digest.Digest(w.Header().Get(types.HeaderDockerDigest)); status == http.StatusOK && d.Validate() == nil {
				rp.touch(d)
			}
		}
	}
	defer begun.then()
	inner := derive(req, req.Method, t, nil)
	inner.URL.RawQuery = req.URL.RawQuery
	if t.kind == manifests && acceptsAll(req.Header.Values("Accept")) {
		inner.Header["Accept"] = manifestTypes()
	}
	if err := rp.open(); err != nil {
		a := newAnswer()
		a.fail(err)
		a.send(w)
		return
	}
	rp.inner.ServeHTTP(begun, inner)
}

func manifestTypes() []string {
	return []string{
		types.MediaTypeOCI1Manifest, types.MediaTypeOCI1ManifestList, types.MediaTypeDocker2Manifest, types.MediaTypeDocker2ManifestList,
	}
}

func acceptsAll(accept []string) bool {
	all := strings.Join(accept, ",")
	return strings.TrimSpace(all) == "" || strings.Contains(all, "*/*")
}

// derive makes the request that olareg gets from one that we got.
func derive(req *http.Request, method string, t target, body io.ReadCloser) *http.Request {
	inner := req.Clone(req.Context())
	inner.Method, inner.URL.Path, inner.URL.RawPath, inner.URL.RawQuery = method, t.path(), "", ""
	inner.Body = http.NoBody
	if body != nil {
		inner.Body = body
	}
	return inner
}

// beginning calls first and then, once, when the answer begins.
type beginning struct {
	http.ResponseWriter
	first func(status int)
	then  func()
	begun bool
}

func (b *beginning) WriteHeader(status int) {
	if !b.begun {
		b.begun = true
		if b.first != nil {
			b.first(status)
		}
		b.then()
	}
	b.ResponseWriter.WriteHeader(status)
}

func (b *beginning) Write(p []byte) (int, error) {
	if !b.begun {
		b.WriteHeader(http.StatusOK)
	}
	return b.ResponseWriter.Write(p)
}

// ReadFrom keeps the kernel's own way from file to socket.
func (b *beginning) ReadFrom(from io.Reader) (int64, error) {
	if !b.begun {
		b.WriteHeader(http.StatusOK)
	}
	return io.Copy(b.ResponseWriter, from)
}

// Unwrap is for http.ResponseController.
func (b *beginning) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// answer holds olareg's small answers back until what they promise is on the disk.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{header: http.Header{}} }

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// fail makes it the answer for a repository that could not be opened.
func (a *answer) fail(err error) {
	if errors.Is(err, ErrNotFound) {
		unknown(a)
		return
	}
	refuse(a, http.StatusInternalServerError, "UNKNOWN", "the repository could not be read")
}

func (a *answer) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	if a.status >= http.StatusBadRequest && a.body.Len() > 0 {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.status)
	_, _ = a.body.WriteTo(w)
}

func unauthenticated(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="slipway registry", charset="UTF-8"`)
	refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "credentials are needed: a username and password, or a bearer token")
}

// unknown is said of what is not there and of what is not theirs to see, in the same words.
func unknown(w http.ResponseWriter) {
	refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "there is no such repository")
}

func refuseTarget(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errPath):
		refuse(w, http.StatusNotFound, "UNSUPPORTED", err.Error())
	case errors.Is(err, errName):
		refuse(w, http.StatusBadRequest, "NAME_INVALID", err.Error())
	default:
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", err.Error())
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(types.ErrorResp{Errors: []types.ErrorInfo{{Code: code, Message: message}}})
}

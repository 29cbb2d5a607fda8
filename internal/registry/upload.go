package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/limit"
)

// An upload is a blob on its way in. Its bytes go to a file of olareg's as they come.
type upload struct {
	repo *repository
	id   string
	turn chan struct{} // holds one token while a request writes to it

	size int64 // under Registry.mu, as is last
	last time.Time
}

func (r *Registry) startUpload(w http.ResponseWriter, req *http.Request, rp *repository, access Access) {
	q := req.URL.Query()
	if from := q.Get("from"); from != "" && r.mount(req.Context(), rp, access, from, digest.Digest(q.Get("mount"))) {
		w.Header().Set("Location", target{blobs, rp.name, q.Get("mount")}.path())
		w.WriteHeader(http.StatusCreated)
		return
	}
	r.expire()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if !r.mayUpload(rp) {
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many uploads have begun and are not finished")
		return
	}
	// The query is not passed on: a blob in the body of this request is one that the client sends again (distribution
	// 1.1, "Single POST", lets a registry answer 202).
	a := rp.do(derive(req, http.MethodPost, target{kind: uploads, repo: rp.name}, nil))
	loc, err := url.Parse(a.header.Get("Location"))
	if a.status != http.StatusAccepted || err != nil {
		a.send(w)
		return
	}
	u := &upload{repo: rp, id: path.Base(loc.Path), turn: make(chan struct{}, 1), last: time.Now()}
	r.mu.Lock()
	r.uploads[u.id] = u
	r.mu.Unlock()
	a.header.Set("Docker-Upload-UUID", u.id)
	a.header.Set("Range", "0-0")
	a.send(w)
}

// mayUpload is called with rp.mu held, which makes the limit of one repository exact; the other may be passed by as many
// as there are repositories.
func (r *Registry) mayUpload(rp *repository) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, u := range r.uploads {
		if u.repo == rp {
			n++
		}
	}
	return len(r.uploads) < r.limits.Uploads && n < r.limits.RepositoryLoad
}

// mount links a blob of another repository into rp, where the client may pull there. Otherwise, and whatever goes wrong,
// the client uploads: it does not learn whether the blob is there.
func (r *Registry) mount(ctx context.Context, rp *repository, access Access, from string, d digest.Digest) bool {
	if checkDigest(d) != nil {
		return false
	}
	access.Repository, access.Verb, access.Tag = from, Pull, ""
	if checkName(from) != nil || r.authorize(ctx, access) != nil {
		return false
	}
	source, err := r.lookup(from)
	if err != nil {
		return false
	}
	source.commit.Lock()
	err = source.seal(d)
	source.commit.Unlock()
	if err != nil {
		return false
	}
	rp.commit.Lock()
	defer rp.commit.Unlock()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if rp.seal(d) != nil { // it is not there
		if r.root.Link(source.blob(d), rp.blob(d)) != nil || r.sync(path.Dir(rp.blob(d))) != nil {
			return false
		}
	}
	return rp.touch(d)
}

func (r *Registry) serveSession(w http.ResponseWriter, req *http.Request, rp *repository, t target) {
	r.mu.Lock()
	u := r.uploads[t.arg]
	r.mu.Unlock()
	if u == nil || u.repo != rp {
		refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload: it is finished, given up, or too old")
		return
	}
	// A client that lost its connection may come again before we have noticed.
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	case <-req.Context().Done():
		return
	}
	switch req.Method {
	case http.MethodDelete:
		r.forget(u)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet:
		rp.mu.Lock()
		a := rp.do(derive(req, http.MethodGet, t, nil))
		rp.mu.Unlock()
		fixRange(a)
		a.send(w)
	case http.MethodPatch:
		a := r.write(w, req, u, t)
		fixRange(a)
		a.send(w)
	case http.MethodPut:
		r.finish(w, req, u, t)
	}
}

// write adds the body of a request to an upload. The repository is locked until the body is read.
func (r *Registry) write(w http.ResponseWriter, req *http.Request, u *upload, t target) *answer {
	r.mu.Lock()
	left := r.limits.Blob - u.size
	r.mu.Unlock()
	a := newAnswer()
	if req.ContentLength > left {
		r.forget(u)
		refuse(a, http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("a blob may have %d bytes", r.limits.Blob))
		return a
	}
	u.repo.mu.Lock()
	in := &body{
		ReadCloser: req.Body, first: sync.OnceFunc(u.repo.mu.Unlock), left: left,
		conn: http.NewResponseController(w), pace: limit.Pace{Stall: r.limits.Stall},
	}
	defer in.first()
	inner := derive(req, http.MethodPatch, t, in)
	inner.URL.RawQuery = url.Values{"state": {req.URL.Query().Get("state")}}.Encode()
	if err := u.repo.open(); err != nil {
		a.fail(err)
		return a
	}
	u.repo.inner.ServeHTTP(a, inner)
	in.first()
	r.mu.Lock()
	u.size, u.last = u.size+in.n, time.Now()
	r.mu.Unlock()
	if in.over {
		r.forget(u)
		a = newAnswer()
		refuse(a, http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("a blob may have %d bytes", r.limits.Blob))
	}
	return a
}

// finish ends an upload: the rest of its bytes, its name, its seal. If the repository has a blob of that name it is left
// as it is, since a manifest may rely on its being sealed.
func (r *Registry) finish(w http.ResponseWriter, req *http.Request, u *upload, t target) {
	d := digest.Digest(req.URL.Query().Get("digest"))
	if err := checkDigest(d); err != nil {
		refuse(w, http.StatusBadRequest, "DIGEST_INVALID", err.Error())
		return
	}
	state := req.URL.Query().Get("state")
	if req.ContentLength != 0 {
		a := r.write(w, req, u, t)
		loc, err := url.Parse(a.header.Get("Location"))
		if a.status != http.StatusAccepted || err != nil {
			a.send(w)
			return
		}
		state = loc.Query().Get("state")
	}
	a := r.commit(req, u, t, d, state)
	a.send(w)
}

func (r *Registry) commit(req *http.Request, u *upload, t target, d digest.Digest, state string) *answer {
	rp := u.repo
	rp.commit.Lock()
	defer rp.commit.Unlock()
	rp.mu.Lock()
	there := rp.seal(d) == nil && rp.touch(d)
	a := newAnswer()
	if !there {
		inner := derive(req, http.MethodPut, t, nil)
		inner.Header.Del("Content-Range")
		inner.URL.RawQuery = url.Values{"state": {state}, "digest": {string(d)}}.Encode()
		a = rp.do(inner)
	}
	rp.mu.Unlock()
	r.forget(u) // also if it failed: the bytes are not those of the digest, and will not be
	if !there && a.status != http.StatusCreated {
		return a
	}
	if err := rp.seal(d); err != nil {
		a = newAnswer()
		refuse(a, http.StatusInternalServerError, "UNKNOWN", "the blob could not be made durable")
		return a
	}
	rp.touch(d)
	killpoint.Here(killpoint.BlobStored)
	a = newAnswer()
	a.header.Set("Location", target{blobs, rp.name, string(d)}.path())
	a.header.Set("Docker-Content-Digest", string(d))
	a.WriteHeader(http.StatusCreated)
	return a
}

// expire gives up what is abandoned.
func (r *Registry) expire() {
	var old []*upload
	r.mu.Lock()
	for _, u := range r.uploads {
		if time.Since(u.last) > r.limits.UploadAge {
			old = append(old, u)
		}
	}
	r.mu.Unlock()
	for _, u := range old {
		r.abandon(u)
	}
}

// abandon gives an upload up unless a request is writing to it.
func (r *Registry) abandon(u *upload) {
	select {
	case u.turn <- struct{}{}:
		r.forget(u)
		<-u.turn
	default:
	}
}

// forget takes an upload off the list and its file off the disk, if it is still there. The caller has the turn, and not
// the repository.
func (r *Registry) forget(u *upload) {
	r.mu.Lock()
	_, known := r.uploads[u.id]
	delete(r.uploads, u.id)
	r.mu.Unlock()
	if known {
		u.repo.mu.Lock()
		defer u.repo.mu.Unlock()
		u.repo.do(u.repo.request(context.Background(), http.MethodDelete, target{session, u.repo.name, u.id}))
	}
}

// forgetAll takes a repository's uploads off the list, and says which they were.
func (r *Registry) forgetAll(rp *repository) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id, u := range r.uploads {
		if u.repo == rp {
			delete(r.uploads, id)
			ids = append(ids, id)
		}
	}
	return ids
}

// fixRange says "nothing yet" in the way that clients can read.
func fixRange(a *answer) {
	if a.header.Get("Range") == "0--1" {
		a.header.Set("Range", "0-0")
	}
}

var errTooLarge = errors.New("the blob is too large")

// body is a request's body on its way into an upload.
type body struct {
	io.ReadCloser
	first func() // called before the first read
	conn  *http.ResponseController
	pace  limit.Pace
	left  int64
	n     int64
	over  bool
}

func (b *body) Read(p []byte) (int, error) {
	b.first()
	// A writer of a response that has no connection has no deadlines either, and then none is needed.
	began := time.Now()
	_ = b.conn.SetReadDeadline(b.pace.Deadline())
	n, err := b.ReadCloser.Read(p)
	b.pace.Came(n, began)
	if err != nil {
		_ = b.conn.SetReadDeadline(time.Time{}) // what follows on this connection has its own
	}
	if int64(n) > b.left {
		b.over = true
		return 0, errTooLarge
	}
	b.left, b.n = b.left-int64(n), b.n+int64(n)
	return n, err
}

package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/olareg/olareg/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/limit"
)

// contents is what a manifest of any kind names.
type contents struct {
	Config    *types.Descriptor  `json:"config"`
	Layers    []types.Descriptor `json:"layers"`
	Manifests []types.Descriptor `json:"manifests"`
	Subject   *types.Descriptor  `json:"subject"`
}

// blobs are the digests of what a manifest cannot be without, other manifests apart.
func (c contents) blobs() []digest.Digest {
	var list []digest.Digest
	if c.Config != nil {
		list = append(list, c.Config.Digest)
	}
	for _, l := range c.Layers {
		list = append(list, l.Digest)
	}
	return list
}

func (c contents) children() []digest.Digest {
	var list []digest.Digest
	for _, m := range c.Manifests {
		list = append(list, m.Digest)
	}
	return list
}

func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, rp *repository, t target) {
	text, err := io.ReadAll(http.MaxBytesReader(w, &body{
		ReadCloser: req.Body, first: func() {}, left: r.limits.Manifest + 1,
		conn: http.NewResponseController(w), pace: limit.Pace{Stall: r.limits.Stall},
	}, r.limits.Manifest))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", fmt.Sprintf("a manifest may have %d bytes", r.limits.Manifest))
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "MANIFEST_INVALID", "the manifest did not come whole")
		return
	}
	a := rp.put(req, t, text)
	a.send(w)
}

// put stores a manifest under its digest, makes it and all it names durable, and only then moves the tag, if t has one:
// a tag never names what could be lost.
func (rp *repository) put(req *http.Request, t target, text []byte) *answer {
	rp.commit.Lock()
	defer rp.commit.Unlock()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	var c contents
	if json.Unmarshal(text, &c) == nil { // otherwise olareg says what is wrong with it
		for _, d := range append(c.blobs(), c.children()...) {
			if d.Validate() == nil {
				_ = rp.seal(d) // what is not there olareg misses
			}
		}
	}
	d := digest.FromBytes(text)
	tag := t.tag()
	if tag == "" {
		d = digest.Digest(t.arg)
	}
	byDigest := target{manifests, rp.name, string(d)}
	a := rp.putBytes(req, byDigest, d, text)
	if a.status != http.StatusCreated {
		return a
	}
	err := rp.seal(d)
	if err == nil && c.Subject != nil {
		err = rp.sealReferrers()
	}
	if err == nil && tag != "" {
		a = rp.putBytes(req, t, d, text)
		if a.status != http.StatusCreated {
			return a
		}
	}
	killpoint.Here(killpoint.ManifestPut)
	if err == nil {
		err = rp.saveIndex()
	}
	if err != nil {
		a = newAnswer()
		refuse(a, http.StatusInternalServerError, "UNKNOWN", "the manifest could not be made durable")
		return a
	}
	rp.touch(d)
	return a
}

func (rp *repository) putBytes(req *http.Request, t target, d digest.Digest, text []byte) *answer {
	inner := derive(req, http.MethodPut, t, io.NopCloser(bytes.NewReader(text)))
	inner.URL.RawQuery = url.Values{"digest": {string(d)}}.Encode()
	inner.ContentLength = int64(len(text))
	return rp.change(inner)
}

// sealReferrers seals the lists of referrers, which olareg keeps as blobs of its own making.
func (rp *repository) sealReferrers() error {
	index, err := rp.readIndex(indexFile)
	if err != nil {
		return err
	}
	for _, d := range index.Manifests {
		if d.Annotations[types.AnnotReferrerSubject] != "" && d.Digest.Validate() == nil {
			err = errors.Join(err, rp.seal(d.Digest))
		}
	}
	return err
}

func (r *Registry) deleteManifest(w http.ResponseWriter, req *http.Request, rp *repository, t target) {
	a := rp.remove(derive(req, http.MethodDelete, t, nil))
	a.send(w)
}

// remove takes a tag, or a manifest with all its tags, out of the index. Bytes stay until GC.
func (rp *repository) remove(req *http.Request) *answer {
	rp.commit.Lock()
	defer rp.commit.Unlock()
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return rp.removeLocked(req)
}

// removeLocked is remove with commit and mu held.
func (rp *repository) removeLocked(req *http.Request) *answer {
	a := rp.change(req)
	if a.status != http.StatusAccepted {
		return a
	}
	if err := errors.Join(rp.sealReferrers(), rp.saveIndex()); err != nil {
		a = newAnswer()
		refuse(a, http.StatusInternalServerError, "UNKNOWN", "the removal could not be made durable")
	}
	return a
}

// failure is the error that an answer of olareg's stands for. That it knows no repository is what it says of one whose
// index it could not read.
func (a *answer) failure() error {
	if a.status == http.StatusNotFound && !bytes.Contains(a.body.Bytes(), []byte("NAME_UNKNOWN")) {
		return ErrNotFound
	}
	return fmt.Errorf("status %d: %s", a.status, strings.TrimSpace(a.body.String()))
}

package registry

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// errName marks a name that no repository can have.
var errName = errors.New("not a repository name")

// distribution 1.1, "Pulling manifests": the grammar of names and tags.
var (
	namePattern = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	})
	tagPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`) })
)

const (
	maxName      = 200
	maxComponent = 100 // far below what a file system allows
)

// checkName says whether a repository may have this name. Repositories lie in one another on disk (a/b inside a), so a
// component may not be called like a file of a layout.
func checkName(name string) error {
	if len(name) > maxName || !namePattern().MatchString(name) {
		return fmt.Errorf("%w: %.80q", errName, name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxComponent || part == "blobs" || part == "oci-layout" || strings.HasPrefix(part, "index.json") {
			return fmt.Errorf("%w: %.80q has the component %.80q", errName, name, part)
		}
	}
	return nil
}

func checkTag(tag string) error {
	if !tagPattern().MatchString(tag) {
		return fmt.Errorf("not a tag: %.80q", tag)
	}
	return nil
}

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("not a digest: %.80q", string(d))
	}
	return nil
}

// A resource is the kind of thing that a path of the API names.
type resource string

const (
	api       resource = "api"
	manifests resource = "manifests"
	blobs     resource = "blobs"
	uploads   resource = "uploads" // begin an upload
	session   resource = "session" // an upload that has begun
	referrers resource = "referrers"
	tags      resource = "tags"
)

// target is what a request is for.
type target struct {
	kind resource
	repo string
	arg  string // tag, digest or session
}

var errPath = errors.New("no such resource")

// parseTarget reads a request's path from its end, since a repository's name may be made of the API's words. Nothing is
// cleaned: "..", "//" and the like are in no name.
func parseTarget(path string) (target, error) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if path == "/v2" || ok && rest == "" {
		return target{kind: api}, nil
	}
	part := strings.Split(rest, "/")
	n := len(part)
	var t target
	switch {
	case !ok || n < 3:
		return t, errPath
	case n > 3 && part[n-3] == "blobs" && part[n-2] == "uploads" && part[n-1] != "":
		t = target{session, strings.Join(part[:n-3], "/"), part[n-1]}
	case n > 3 && part[n-3] == "blobs" && part[n-2] == "uploads": // a slash at the end
		t = target{uploads, strings.Join(part[:n-3], "/"), ""}
	case part[n-2] == "blobs" && part[n-1] == "uploads":
		t = target{uploads, strings.Join(part[:n-2], "/"), ""}
	case part[n-2] == "tags" && part[n-1] == "list":
		t = target{tags, strings.Join(part[:n-2], "/"), ""}
	case part[n-2] == "manifests" || part[n-2] == "blobs" || part[n-2] == "referrers":
		t = target{resource(part[n-2]), strings.Join(part[:n-2], "/"), part[n-1]}
	default:
		return t, errPath
	}
	if err := checkName(t.repo); err != nil {
		return t, err
	}
	return t, t.checkArg()
}

func (t target) checkArg() error {
	switch t.kind {
	case blobs, referrers:
		return checkDigest(digest.Digest(t.arg))
	case manifests:
		if strings.Contains(t.arg, ":") {
			return checkDigest(digest.Digest(t.arg))
		}
		return checkTag(t.arg)
	}
	return nil
}

// path is the target's in the API, as olareg gets it: made from what was parsed, so that both read the same.
func (t target) path() string {
	switch t.kind {
	case uploads:
		return "/v2/" + t.repo + "/blobs/uploads/"
	case session:
		return "/v2/" + t.repo + "/blobs/uploads/" + t.arg
	case tags:
		return "/v2/" + t.repo + "/tags/list"
	}
	return "/v2/" + t.repo + "/" + string(t.kind) + "/" + t.arg
}

// verb is what a method does to a target; "" if it is not allowed there. Blobs are not deleted through the API: other
// manifests may need them.
func (t target) verb(method string) Verb {
	read := method == http.MethodGet || method == http.MethodHead
	switch {
	case t.kind == uploads && method == http.MethodPost,
		t.kind == session && (method == http.MethodGet || method == http.MethodPatch || method == http.MethodPut || method == http.MethodDelete),
		t.kind == manifests && method == http.MethodPut:
		return Push
	case t.kind == manifests && method == http.MethodDelete:
		return Delete
	case read && t.kind != uploads && t.kind != session:
		return Pull
	}
	return ""
}

// tag is the tag that the target names, if it names one.
func (t target) tag() string {
	if t.kind == manifests && !strings.Contains(t.arg, ":") {
		return t.arg
	}
	return ""
}

// Package registry is the build service's own OCI registry on disk: the distribution API for docker, other clients and
// our workers, and the methods by which the service itself moves tags and collects garbage. It knows no users: who may
// do what is told by Options.Authorize.
//
// The protocol and the layout of a repository on disk (an OCI layout each) are olareg's, one server for each repository.
// What olareg leaves open is done here:
//
//   - An answer of success means that it is on the disk. A blob is sealed, which is to say made read-only, once its
//     bytes are synced; Open removes what is not sealed. The last index that is on the disk is kept beside the current
//     one, and takes its place if a power cut left that one broken.
//   - olareg's own garbage collection is off: it waits, with the whole registry locked, for a client that reads slowly,
//     and when closed it takes blobs whose manifest has not come yet. GC is ours.
//   - What olareg does with a repository's state runs one request at a time; bytes of blobs stream outside of that.
//   - A mount is a hard link, not a copy.
//   - An index that cannot be read is an error, and not an empty one; a change that cannot be written has not happened.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Errors that callers tell apart. Authorize answers with the first two.
var (
	// ErrUnauthenticated says that the credentials are none that we know: 401.
	ErrUnauthenticated = errors.New("credentials are not valid")
	// ErrDenied says that they do not allow this. The client sees 404, as for a repository that does not exist.
	ErrDenied = errors.New("access is denied")
	// ErrNotFound says that a repository, tag or manifest is not there.
	ErrNotFound = errors.New("not found")
)

// A Verb is what a request wants to do with a repository.
type Verb string

// The verbs. Delete is of manifests and tags; blobs are deleted by GC alone.
const (
	Pull   Verb = "pull"
	Push   Verb = "push"
	Delete Verb = "delete"
)

// Access is what Authorize decides on: one verb on one repository, and the credentials that came with the request,
// which are either a username with a password or a token.
type Access struct {
	Repository string // "" only to ask whether the credentials are good at all (GET /v2/)
	Tag        string // the tag that a push or delete names; "" when it goes by digest
	Verb       Verb

	Username, Password string // Basic
	Token              string // Bearer
}

// Limits bound what clients can make the registry hold. A zero field has the default beside it.
type Limits struct {
	Manifest       int64         // bytes of a manifest; 4 MiB
	Blob           int64         // bytes of a blob; 16 GiB
	Uploads        int           // begun and not finished, in all repositories; 256
	RepositoryLoad int           // the same, in one repository; 64
	UploadAge      time.Duration // an upload to which nothing was written for so long is abandoned; 1 h
	Stall          time.Duration // a request whose body brings nothing for so long is cut; 1 min
}

func (l Limits) withDefaults() Limits {
	if l.Manifest == 0 {
		l.Manifest = 4 << 20
	}
	if l.Blob == 0 {
		l.Blob = 16 << 30
	}
	if l.Uploads == 0 {
		l.Uploads = 256
	}
	if l.RepositoryLoad == 0 {
		l.RepositoryLoad = 64
	}
	if l.UploadAge == 0 {
		l.UploadAge = time.Hour
	}
	if l.Stall == 0 {
		l.Stall = time.Minute
	}
	return l
}

// Options are what a Registry is opened with.
type Options struct {
	Dir string // the registry's own directory, made if it is not there; used by one Registry at a time

	// Authorize says whether a request may go on: nil, ErrUnauthenticated, ErrDenied, or what hindered it (500).
	// A request without credentials is refused before. It is called from many requests at once.
	Authorize func(context.Context, Access) error

	Limits Limits
	Grace  time.Duration // what is younger, or was asked for by a pushing client since, is never garbage; 0: 1 h
}

// Registry is an open registry. Its methods are safe for concurrent use.
type Registry struct {
	dir       string
	root      *os.Root
	authorize func(context.Context, Access) error
	limits    Limits
	grace     time.Duration

	mu      sync.Mutex
	repos   map[string]*repository // those that were used since Open and exist
	uploads map[string]*upload     // by session
}

// Open opens the registry of a directory. What a crash left half done is removed: uploads, blobs that were not
// acknowledged, an index that is not whole.
func Open(ctx context.Context, o Options) (*Registry, error) {
	if o.Authorize == nil {
		return nil, errors.New("open registry: nobody says who may do what: Authorize is nil")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	r := &Registry{
		dir: dir, root: root, authorize: o.Authorize, limits: o.Limits.withDefaults(), grace: o.Grace,
		repos: map[string]*repository{}, uploads: map[string]*upload{},
	}
	if r.grace == 0 {
		r.grace = time.Hour
	}
	if err := r.repair(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open registry %s: %w", dir, err), root.Close())
	}
	return r, nil
}

// Handler serves /v2/. It may stand beside other handlers, under no prefix.
func (r *Registry) Handler() http.Handler { return http.HandlerFunc(r.serve) }

// Close gives up uploads that are not finished and lets go of the directory. No request may be under way.
func (r *Registry) Close() error {
	r.mu.Lock()
	open := make([]*upload, 0, len(r.uploads))
	for _, u := range r.uploads {
		open = append(open, u)
	}
	r.mu.Unlock()
	for _, u := range open {
		r.abandon(u)
	}
	return r.root.Close()
}

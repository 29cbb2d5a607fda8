package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
	"github.com/olareg/olareg/types"
	"github.com/opencontainers/go-digest"
)

// Names of files. Those in a repository's directory are no components of a repository's name: see checkName.
const (
	repositoriesDir = "repositories"
	indexFile       = "index.json"
	indexNext       = "index.json.next"
	indexSafe       = "index.json.safe" // the last index that is known to be on the disk
	layoutFile      = "oci-layout"
	blobsDir        = "blobs"
	uploadsDir      = "_uploads"
)

const sealed = 0o444

// A repository is an OCI layout on disk with olareg's server over it.
type repository struct {
	r    *Registry
	name string

	commit sync.Mutex     // held while a blob gets its name and is sealed, before mu; GC holds both
	mu     sync.Mutex     // held while olareg, or we, use more than the bytes of one blob
	inner  *olareg.Server // nil until it is needed: see open
}

func (r *Registry) server() *olareg.Server {
	yes, no := true, false
	return olareg.New(config.Config{
		Storage: config.ConfigStorage{
			StoreType: config.StoreDir, RootDir: filepath.Join(r.dir, repositoriesDir),
			GC: config.ConfigGC{Frequency: -1, GracePeriod: -1, RepoUploadMax: -1, Untagged: &no, EmptyRepo: &no},
		},
		API: config.ConfigAPI{
			DeleteEnabled: &yes, Manifest: config.ConfigAPIManifest{Limit: r.limits.Manifest},
			Referrer: config.ConfigAPIReferrer{PageCacheExpire: time.Minute, PageCacheLimit: 16, Limit: r.limits.Manifest},
		},
	})
}

func (r *Registry) repository(name string) *repository {
	r.mu.Lock()
	defer r.mu.Unlock()
	rp := r.repos[name]
	if rp == nil {
		rp = &repository{r: r, name: name}
		r.repos[name] = rp
	}
	return rp
}

// lookup finds a repository that exists.
func (r *Registry) lookup(name string) (*repository, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if _, err := r.root.Stat(path.Join(repositoriesDir, name, indexFile)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = ErrNotFound
		}
		return nil, fmt.Errorf("repository %s: %w", name, err)
	}
	return r.repository(name), nil
}

// ensure makes the repository if it does not exist.
func (r *Registry) ensure(name string) (*repository, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	rp := r.repository(name)
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return rp, rp.make()
}

// make is called with mu held.
func (rp *repository) make() error {
	root := rp.r.root
	if _, err := root.Stat(rp.path(indexFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	layout, err := json.Marshal(types.Layout{Version: types.LayoutVersion})
	if err != nil {
		return err
	}
	empty, err := json.Marshal(types.Index{
		SchemaVersion: 2, MediaType: types.MediaTypeOCI1ManifestList, Manifests: []types.Descriptor{},
		Annotations: map[string]string{types.AnnotReferrerConvert: "true"},
	})
	if err != nil {
		return err
	}
	if err := root.MkdirAll(rp.path(uploadsDir), 0o700); err != nil {
		return fmt.Errorf("make repository %s: %w", rp.name, err)
	}
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		if err := root.MkdirAll(rp.path(blobsDir, string(algorithm)), 0o700); err != nil {
			return fmt.Errorf("make repository %s: %w", rp.name, err)
		}
	}
	// The index is last: it is what makes the directory a repository.
	for _, f := range []struct {
		name string
		text []byte
	}{{layoutFile, layout}, {indexNext, empty}} {
		if err := root.WriteFile(rp.path(f.name), f.text, 0o600); err != nil {
			return fmt.Errorf("make repository %s: %w", rp.name, err)
		}
		if err := rp.r.sync(rp.path(f.name)); err != nil {
			return err
		}
	}
	if err := root.Rename(rp.path(indexNext), rp.path(indexFile)); err != nil {
		return fmt.Errorf("make repository %s: %w", rp.name, err)
	}
	dirs := []string{rp.path(blobsDir), rp.path()}
	for dir := path.Dir(rp.path()); dir != "."; dir = path.Dir(dir) {
		dirs = append(dirs, dir)
	}
	return errors.Join(rp.r.sync(append(dirs, ".")...), rp.saveIndex())
}

func (rp *repository) path(elements ...string) string {
	return path.Join(append([]string{repositoriesDir, rp.name}, elements...)...)
}

// blob is where the bytes of a digest are, which must be a valid one.
func (rp *repository) blob(d digest.Digest) string {
	return rp.path(blobsDir, string(d.Algorithm()), d.Encoded())
}

// open starts olareg on the repository, with mu held. A server that could not read the index, for want of a file
// descriptor or whatever, would take it to be empty, and write that down with the next change: so there is a server only
// once it has read it. Later failures leave what it remembers as it is.
func (rp *repository) open() error {
	if rp.inner != nil {
		return nil
	}
	if _, err := rp.readIndex(indexFile); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("repository %s: %w", rp.name, ErrNotFound)
		}
		return err
	}
	s, a := rp.r.server(), newAnswer()
	s.ServeHTTP(a, rp.request(context.Background(), http.MethodGet, target{tags, rp.name, ""}))
	if a.status != http.StatusOK { // 404, since the index could not be read
		return fmt.Errorf("index of %s: %w", rp.name, a.failure())
	}
	rp.inner = s
	return nil
}

// do asks olareg, in the service's name or as part of a request, with mu held. It does not fail otherwise than by status.
func (rp *repository) do(req *http.Request) *answer {
	a := newAnswer()
	if err := rp.open(); err != nil {
		a.fail(err)
		return a
	}
	rp.inner.ServeHTTP(a, req)
	a.WriteHeader(http.StatusInternalServerError) // if there was no answer at all
	return a
}

// change is do for what changes the index. olareg changes the one in memory first: if that on disk cannot follow, it is
// forgotten with all that this server remembers, uploads included, and the disk is right.
func (rp *repository) change(req *http.Request) *answer {
	a := rp.do(req)
	if a.status >= http.StatusInternalServerError {
		rp.reset()
	}
	return a
}

// reset gives up all uploads and starts olareg anew, with mu held.
func (rp *repository) reset() {
	for _, id := range rp.r.forgetAll(rp) {
		rp.do(rp.request(context.Background(), http.MethodDelete, target{session, rp.name, id}))
	}
	rp.inner = nil
}

// seal makes a blob durable, and says so in its mode; what is sealed already costs a stat. It is called with commit held.
func (rp *repository) seal(d digest.Digest) error {
	info, err := rp.r.root.Lstat(rp.blob(d))
	if err != nil || info.Mode().Perm() == sealed {
		return err
	}
	f, err := rp.r.root.Open(rp.blob(d))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, step := range []func() error{f.Sync, func() error { return f.Chmod(sealed) }, f.Sync} {
		if err := step(); err != nil {
			return fmt.Errorf("seal blob %s of %s: %w", d, rp.name, err)
		}
	}
	return rp.r.sync(path.Dir(rp.blob(d)))
}

// touch makes a blob young, so that GC leaves it to who is about to use it. It is called with mu held. What cannot be
// touched is not there.
func (rp *repository) touch(d digest.Digest) bool {
	now := time.Now()
	return rp.r.root.Chtimes(rp.blob(d), now, now) == nil
}

// saveIndex makes the index that olareg has just put in place durable, and keeps it as the safe one. It is called with
// mu held.
func (rp *repository) saveIndex() error {
	root := rp.r.root
	now, err := root.Stat(rp.path(indexFile))
	if err != nil {
		return fmt.Errorf("save index of %s: %w", rp.name, err)
	}
	if safe, err := root.Stat(rp.path(indexSafe)); err == nil && os.SameFile(now, safe) {
		return nil // and a rename to another name of the same file does nothing, the old name stays
	}
	if err := rp.r.sync(rp.path(indexFile), rp.path()); err != nil {
		return err
	}
	if err := root.Remove(rp.path(indexNext)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("save index of %s: %w", rp.name, err)
	}
	if err := root.Link(rp.path(indexFile), rp.path(indexNext)); err != nil {
		return fmt.Errorf("save index of %s: %w", rp.name, err)
	}
	if err := root.Rename(rp.path(indexNext), rp.path(indexSafe)); err != nil {
		return fmt.Errorf("save index of %s: %w", rp.name, err)
	}
	return rp.r.sync(rp.path())
}

// sync makes files or directories durable.
func (r *Registry) sync(names ...string) error {
	for _, name := range names {
		f, err := r.root.Open(name)
		if err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", name, err)
		}
	}
	return nil
}

// Repositories are the names of all repositories, sorted.
func (r *Registry) Repositories(ctx context.Context) ([]string, error) {
	var names []string
	err := fs.WalkDir(r.root.FS(), repositoriesDir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile
			return nil
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == blobsDir || d.Name() == uploadsDir):
			return fs.SkipDir
		case d.Name() == indexFile:
			names = append(names, strings.TrimPrefix(path.Dir(name), repositoriesDir+"/"))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// readIndex reads the index of one of the files that hold one.
func (rp *repository) readIndex(file string) (types.Index, error) {
	var index types.Index
	text, err := rp.r.root.ReadFile(rp.path(file))
	if err != nil {
		return index, fmt.Errorf("index of %s: %w", rp.name, err)
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return index, fmt.Errorf("index of %s: %w", rp.name, err)
	}
	return index, nil
}

// request makes one of the service's own requests to olareg.
func (rp *repository) request(ctx context.Context, method string, t target) *http.Request {
	req, err := http.NewRequestWithContext(ctx, method, "http://registry"+t.path(), nil)
	if err != nil {
		panic("registry: " + err.Error()) // the path was made from what was parsed
	}
	req.Header["Accept"] = manifestTypes()
	return req
}

// Package registrar keeps the buildpack registry index of the service itself: who may put what into it, and that it gets
// there whole. The index is a bare git repository, of which every change is a commit; what is asked of the API and what is
// pushed goes through the same checks. What an index is, and what may be done to one, is package index's to say.
//
// To builds of the service the index is the first of all, under Name: an app's urn:cnb:registry:ns/name is looked up here
// before any other index, without a network.
//
// A change, in order. Who asks owns the namespace, or may have it: one that is nobody's is whoever's comes first, but not
// where another index has buildpacks in it, for whose they would be taken. The image is there by its digest and says that it
// is the buildpack and version. What it says is recorded. Then the commit is made: git has it on disk before anybody is told.
package registrar

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/store"
)

// Name is what the index is called among those that a build looks into.
const Name = "own"

// branch is the one branch of the repository.
const (
	branch    = "main"
	branchRef = gitserver.RefName("refs/heads/" + branch)
)

// A Registrar keeps the index. Its fields are set before Open, and it is safe for concurrent use after that.
type Registrar struct {
	Store *store.Store
	Repos *gitserver.Repos
	// Look finds out what an image, HOST/REPOSITORY@DIGEST, says of itself. An error is for whoever registers it; where it
	// is no *build.InvalidError it is somebody else's fault.
	Look func(ctx context.Context, by build.Actor, address string) (Package, error)
	// Elsewhere names another index that has buildpacks of a namespace; "" is none.
	Elsewhere func(namespace string) string
	// AdminsOnly keeps namespaces that are nobody's for administrators to give.
	AdminsOnly bool
	// Fault hears of what goes wrong on our side and is told to nobody.
	Fault func(error)

	mu   sync.Mutex // one change of the API at a time
	now  atomic.Pointer[index.Index]
	load sync.Mutex
}

// A Package is what a buildpackage says of itself, the same for all its platforms.
type Package struct {
	ID, Version string
	Facts       build.BuildpackFacts
}

const readme = `This is the buildpack registry index of a Slipway build service. There is a file for each buildpack, and in it a line for
each version (https://github.com/buildpacks/spec/blob/main/extensions/buildpack-registry.md). To use it:

    pack config registries add ours THIS-URL --type git

To publish: slipway buildpack register IMAGE@DIGEST
`

// Open makes the repository where there is none, and reads the index.
func (r *Registrar) Open(ctx context.Context) error {
	if err := r.Repos.Create(ctx, build.IndexID, branch); err != nil {
		return fmt.Errorf("open the index: %w", err)
	}
	at, err := r.Repos.Ref(ctx, build.IndexID, branchRef)
	if err == nil && at == gitserver.Zero { // clients cannot clone what has no commit
		_, err = r.Repos.Commit(ctx, build.IndexID, branchRef, gitserver.Zero, "slipway", "An index\n", gitserver.File{Path: "README.md", Text: []byte(readme)})
	}
	if err == nil {
		err = r.reload(ctx)
	}
	if err != nil {
		return fmt.Errorf("open the index: %w", err)
	}
	return nil
}

// Index is the index as it is now. It never changes; ask again for what comes later.
func (r *Registrar) Index() *index.Index { return r.now.Load() }

// reload reads the index from the repository.
func (r *Registrar) reload(ctx context.Context) error {
	r.load.Lock()
	defer r.load.Unlock()
	at, err := r.Repos.Ref(ctx, build.IndexID, branchRef)
	if err != nil {
		return err
	}
	if x := r.now.Load(); x != nil && x.Revision == string(at) {
		return nil
	}
	tar, err := r.Repos.Tree(ctx, build.IndexID, at)
	if err != nil {
		return err
	}
	t, err := index.ReadTar(ctx, tar)
	if err := errors.Join(err, tar.Close()); err != nil {
		return err
	}
	x := index.New(index.Head{Name: Name, Source: string(build.IndexName), Revision: string(at)}, t)
	x.Synced = time.Now()
	r.now.Store(x)
	return nil
}

// A Result is what became of a version.
type Result struct {
	Buildpack string
	Version   string
	Address   string
	Yanked    bool
	Commit    string // of the index as it is then
	Changed   bool   // false: it was so already
}

// Register puts an image, which is named by its digest, into the index, as the buildpack and version that it says it is.
func (r *Registrar) Register(ctx context.Context, by build.Actor, name, why string) (Result, error) {
	if err := may(by); err != nil {
		return Result{}, err
	}
	address, err := addressOf(name)
	if err != nil {
		return Result{}, err
	}
	p, err := r.Look(ctx, by, address)
	if err != nil {
		return Result{}, err
	}
	n, v, err := p.names(address)
	if err != nil {
		return Result{}, err
	}
	if err := r.claim(ctx, by, n.NS, true); err != nil {
		return Result{}, err
	}
	if err := r.record(ctx, by, n, v, p.Facts); err != nil {
		return Result{}, err
	}
	killpoint.Here(killpoint.PackageRecorded)
	return r.change(ctx, by, index.Change{Kind: index.Added, Name: n, Version: v}, why, func(file []byte) ([]byte, bool, error) { return index.Add(file, n, v) })
}

// addressOf is an image's name as an index has it.
func addressOf(name string) (string, error) {
	ref, err := image.ParseRef(name)
	if err != nil {
		return "", invalid("image", err.Error())
	}
	if !ref.IsName() || ref.Digest() == "" {
		return "", invalid("image", "an index names images by their digest alone, HOST/REPOSITORY@sha256:DIGEST: a tag means another image tomorrow")
	}
	return strings.Replace(ref.Repository(), "index.docker.io/", "docker.io/", 1) + "@" + ref.Digest(), nil
}

// names are the buildpack and the version that a package at an address says it is.
func (p Package) names(address string) (index.Name, index.Version, error) {
	n, err := index.ParsePublished(p.ID)
	if err != nil {
		return n, index.Version{}, invalid("image", "it says that it is "+err.Error())
	}
	v, err := index.ParseVersion(p.Version, address)
	if err != nil {
		return n, v, invalid("image", err.Error())
	}
	return n, v, nil
}

func invalid(field, text string) error { return &build.InvalidError{Field: field, Text: text} }

func (r *Registrar) record(ctx context.Context, by build.Actor, n index.Name, v index.Version, facts build.BuildpackFacts) error {
	return r.Store.PutBuildpackImage(ctx, build.BuildpackImage{Buildpack: n.String(), Version: v.Version, Address: v.Address, User: by.User.ID, Facts: facts})
}

// Yank withdraws a version, or takes that back. It stays in the index: who names it exactly still gets it.
func (r *Registrar) Yank(ctx context.Context, by build.Actor, n index.Name, version string, yanked bool, why string) (Result, error) {
	if _, ok, err := r.Index().Get(n); err != nil || !ok {
		return Result{}, errors.Join(err, missing(n))
	}
	if err := r.claim(ctx, by, n.NS, false); err != nil {
		return Result{}, err
	}
	kind := index.Yanked
	if !yanked {
		kind = index.Restored
	}
	c := index.Change{Kind: kind, Name: n, Version: index.Version{Version: version, Yanked: yanked}}
	res, err := r.change(ctx, by, c, why, func(file []byte) ([]byte, bool, error) { return index.Yank(file, n, version, yanked) })
	if errors.Is(err, index.ErrNoVersion) {
		err = fmt.Errorf("%w: %w", build.ErrNotFound, err)
	}
	if err == nil && res.Changed {
		err = r.Store.TouchBuildpackImage(ctx, n.String(), version)
	}
	return res, err
}

func missing(n index.Name) error {
	return fmt.Errorf("%w: the index has no buildpack %s", build.ErrNotFound, n)
}

// maxWhy is the bytes of a reason.
const maxWhy = 1000

// change edits the file of a buildpack, in a commit of its own. A push that comes between is not overwritten: the edit is
// made again on top of it.
func (r *Registrar) change(ctx context.Context, by build.Actor, c index.Change, why string, edit func(file []byte) ([]byte, bool, error)) (Result, error) {
	if len(why) > maxWhy {
		return Result{}, invalid("reason", fmt.Sprintf("it has more than %d bytes", maxWhy))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for tries := 0; ; tries++ {
		res, err := r.commit(ctx, by, c, why, edit)
		if !errors.Is(err, build.ErrConflict) || errors.Is(err, index.ErrTaken) || tries == 5 {
			return res, err
		}
	}
}

func (r *Registrar) commit(ctx context.Context, by build.Actor, c index.Change, why string, edit func(file []byte) ([]byte, bool, error)) (Result, error) {
	at, err := r.Repos.Ref(ctx, build.IndexID, branchRef)
	if err != nil {
		return Result{}, err
	}
	if err := r.reload(ctx); err != nil { // no more than a look, where nobody pushed
		return Result{}, err
	}
	path := c.Name.Path()
	before, err := r.Repos.File(ctx, build.IndexID, at, path, maxFile)
	if err != nil {
		return Result{}, err
	}
	after, changed, err := edit(before)
	if errors.Is(err, index.ErrTaken) {
		return Result{}, fmt.Errorf("%w: %w", build.ErrConflict, err)
	}
	if err != nil {
		return Result{}, err
	}
	if changed {
		if len(after) > maxFile {
			return Result{}, fmt.Errorf("%w: buildpack %s has more versions than an index can have", build.ErrConflict, c.Name)
		}
		at, err = r.Repos.Commit(ctx, build.IndexID, branchRef, at, by.User.Name, message(c, why), gitserver.File{Path: path, Text: after})
		if err != nil {
			return Result{}, err
		}
		killpoint.Here(killpoint.IndexCommitted)
		if err := r.Store.NoteCommit(ctx, string(at), by, store.ViaAPI); err != nil {
			r.Fault(err) // the commit is there, and says itself who made it
		}
		x, err := r.Index().With(c.Name, after, string(at), time.Now())
		if err != nil {
			return Result{}, err
		}
		r.now.Store(x)
	}
	return r.result(c, string(at), changed)
}

// result is what the index says of a version.
func (r *Registrar) result(c index.Change, commit string, changed bool) (Result, error) {
	b, _, err := r.Index().Get(c.Name)
	if err != nil {
		return Result{}, err
	}
	for _, v := range b.Versions {
		if v.Version == c.Version.Version {
			return Result{Buildpack: c.Name.String(), Version: v.Version, Address: v.Address, Yanked: v.Yanked, Commit: commit, Changed: changed}, nil
		}
	}
	return Result{}, fmt.Errorf("the index has no version %s of %s, which was just there", c.Version.Version, c.Name)
}

// maxFile is the bytes of the versions of one buildpack: some hundred thousand of them.
const maxFile = 64 << 20

// message is that of a commit, in the words that pack and the public index have.
func message(c index.Change, why string) string {
	text := fmt.Sprintf("%s %s@%s\n", c.Kind, c.Name, c.Version.Version)
	if why = oneLine(why); why != "" {
		text += "\n" + why + "\n"
	}
	return text
}

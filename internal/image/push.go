package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// PushOptions refine a push.
type PushOptions struct {
	// From are images that lie in the same registry and share layers with the pushed one (the run image,
	// the previous image): their layers are mounted rather than sent.
	From     []*Image
	Progress Progress
	// Upload, which may be nil, has sent layers of the image already.
	Upload *Upload
	// ByDigest pushes to the names' repositories under the image's digest only: no tag is made or moved there.
	// That is for who moves the tags later, when all is well.
	ByDigest bool
}

// Push writes an image to a registry under one or more names of that registry: blobs side by side (asked
// for first, then mounted, else sent), the manifest after all of them, further names last. A name that
// already means the image costs one request.
func (g *Registry) Push(ctx context.Context, refs []Ref, img v1.Image, o PushOptions) (Written, error) {
	var w Written
	if len(refs) == 0 {
		return w, errors.New("push image: no name given")
	}
	for _, r := range refs {
		if !r.IsName() {
			return w, fmt.Errorf("push image: %q is not a name in a registry", r)
		}
		if r.Host() != refs[0].Host() {
			return w, fmt.Errorf("push image: %q and %q are in different registries", refs[0], r)
		}
	}
	if err := w.identify(img); err != nil {
		return w, fmt.Errorf("push image %q: %w", refs[0].Familiar(), err)
	}
	if o.ByDigest {
		refs = pinned(refs, w.Digest)
	}
	up := o.Upload
	if up == nil {
		var err error
		if up, err = g.NewUpload(ctx, refs[0]); err != nil {
			return w, err
		}
	}
	from := mounts(refs[0], o.From)
	for _, ref := range refs {
		r, err := g.reference(ref)
		if err != nil {
			return w, err
		}
		p := &pushImage{Image: img, from: from, host: ref.Host(), progress: o.Progress}
		if err := up.pusher.Push(ctx, r, p); err != nil {
			return w, g.failed("push", ref, err)
		}
		w.Names = append(w.Names, ref.Name())
		if p.opened != nil && w.Sent == 0 {
			w.Sent, w.Pushed = sent(append(p.opened, up.opened()...))
		}
		// What the first repository has now, the next can mount.
		p.offer(r.Context())
	}
	if m, err := img.Manifest(); err == nil {
		w.Kept = len(m.Layers) - w.Sent
	}
	return w, nil
}

// pinned are the digest's names in the repositories of refs, each repository once.
func pinned(refs []Ref, h v1.Hash) []Ref {
	var out []Ref
	for _, r := range refs {
		if !slices.ContainsFunc(out, r.SameRepository) {
			out = append(out, r.WithDigest(h))
		}
	}
	return out
}

// identify fills in what is the same for every writer.
func (w *Written) identify(img v1.Image) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	if _, err := parseManifest(manifest); err != nil {
		return err
	}
	w.ManifestSize = int64(len(manifest))
	if w.Digest, err = img.Digest(); err != nil {
		return err
	}
	w.ID, err = img.ConfigName()
	return err
}

// mounts says for each layer which repository of the target's registry has it.
func mounts(target Ref, from []*Image) map[v1.Hash]name.Repository {
	out := map[v1.Hash]name.Repository{}
	for _, f := range from {
		if f == nil || f.Kind == KindEngine || !f.Ref.IsName() || f.Ref.Host() != target.Host() {
			continue
		}
		m, err := f.Manifest()
		if err != nil {
			continue
		}
		for _, l := range m.Layers {
			out[l.Digest] = f.Ref.repo
		}
	}
	return out
}

// pushImage is an image whose layers report progress and know where they can be mounted from.
type pushImage struct {
	v1.Image
	from     map[v1.Hash]name.Repository
	host     string
	progress Progress
	opened   []*pushLayer
}

// Layers implements v1.Image.
func (p *pushImage) Layers() ([]v1.Layer, error) {
	ls, err := p.Image.Layers()
	if err != nil {
		return nil, err
	}
	out := make([]v1.Layer, len(ls))
	p.opened = nil
	for n, l := range ls {
		var ref name.Reference
		if ml, ok := l.(*remote.MountableLayer); ok {
			l, ref = ml.Layer, ml.Reference
		}
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		size, err := l.Size()
		if err != nil {
			return nil, err
		}
		pl := &pushLayer{Layer: l, step: Step{What: "push", Digest: digest.String(), Total: size}, progress: p.progress}
		p.opened = append(p.opened, pl)
		out[n] = pl
		if origin := originOf(l); origin.IsName() {
			ref = origin.repo.Digest(digest.String())
		}
		if repo, ok := p.from[digest]; ok {
			ref = repo.Digest(digest.String())
		}
		if ref != nil && ref.Context().RegistryStr() == p.host {
			out[n] = &remote.MountableLayer{Layer: pl, Reference: ref}
		}
	}
	return out, nil
}

// originOf is the repository that a layer came from, or the zero Ref.
func originOf(l v1.Layer) Ref {
	if r, ok := l.(*rawLayer); ok {
		switch src := r.src.(type) {
		case *remoteSource:
			return src.ref
		case storeSource:
			return src.origin
		}
	}
	return Ref{}
}

// sent counts what was uploaded of layers.
func sent(layers []*pushLayer) (n int, bytes int64) {
	for _, l := range layers {
		if l.read {
			n++
			bytes += l.step.Total
		}
	}
	return n, bytes
}

func (p *pushImage) offer(repo name.Repository) {
	for _, l := range p.opened {
		if d, err := l.Digest(); err == nil {
			p.from[d] = repo
		}
	}
}

type pushLayer struct {
	v1.Layer
	step     Step
	progress Progress
	read     bool // a blob is uploaded by one goroutine, which ends before the push does
}

// Compressed implements v1.Layer.
func (l *pushLayer) Compressed() (io.ReadCloser, error) {
	l.read = true
	rc, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	return &meter{ReadCloser: rc, step: l.step, progress: l.progress}, nil
}

// An Upload sends layers of an image to its repository before the image is whole: what it has sent, Push neither asks
// for nor sends again. Safe for concurrent use.
type Upload struct {
	pusher *remote.Pusher
	repo   name.Repository
	slots  chan struct{}

	mu     sync.Mutex
	layers []*pushLayer
}

// NewUpload begins an upload to the repository of ref. Nothing is asked of the registry yet.
func (g *Registry) NewUpload(ctx context.Context, ref Ref) (*Upload, error) {
	r, err := g.reference(ref)
	if err != nil {
		return nil, err
	}
	pusher, err := remote.NewPusher(g.options(ctx, ref)...)
	if err != nil {
		return nil, g.failed("push", ref, err)
	}
	return &Upload{pusher: pusher, repo: r.Context(), slots: make(chan struct{}, copyJobs)}, nil
}

// Layer returns when the registry has l, a layer whose digest is known. One that could not be sent is tried again by Push,
// which tells what is wrong.
func (u *Upload) Layer(ctx context.Context, l v1.Layer) error {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	size, err := l.Size()
	if err != nil {
		return err
	}
	pl := &pushLayer{Layer: l, step: Step{Total: size}}
	if err := u.pusher.Upload(ctx, u.repo, pl); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.layers = append(u.layers, pl)
	return nil
}

func (u *Upload) opened() []*pushLayer {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.layers
}

// CheckRead says whether the image can be read, without reading more than its manifest's head.
func (g *Registry) CheckRead(ctx context.Context, ref Ref) error {
	r, err := g.reference(ref)
	if err != nil {
		return err
	}
	o := g.optionsOver(ctx, ref, g.hasty())
	if _, err := remote.Head(r, o...); err == nil {
		return nil
	}
	// Some registries answer a HEAD badly; the error of a GET also says more.
	_, err = remote.Get(r, o...)
	return g.failed("read", ref, err)
}

// Delete removes an image by its digest, or a name where ref has none. Not every registry can.
func (g *Registry) Delete(ctx context.Context, ref Ref) error {
	r, err := g.reference(ref)
	if err != nil {
		return err
	}
	return registryError("delete", ref, remote.Delete(r, g.options(ctx, ref)...))
}

// CheckWrite says whether a push to the repository would be accepted: it begins an upload and takes it
// back. The registry keeps nothing.
func (g *Registry) CheckWrite(ctx context.Context, ref Ref) error {
	r, err := g.reference(ref)
	if err != nil {
		return err
	}
	return g.failed("write", ref, retry(ctx, func() error { return g.tryUpload(ctx, ref, r.Context()) }))
}

func (g *Registry) tryUpload(ctx context.Context, ref Ref, repo name.Repository) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	auth, err := authn.Resolve(ctx, g.keychain, repo)
	if err != nil {
		return err
	}
	tr, err := transport.NewWithContext(ctx, repo.Registry, auth, &guard{base: g.hasty(), host: ref.Host()}, []string{repo.Scope(transport.PushScope)})
	if err != nil {
		return err
	}
	client := &http.Client{Transport: tr, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return nil
	}}
	target := url.URL{Scheme: repo.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/blobs/uploads/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := transport.CheckError(resp, http.StatusCreated, http.StatusAccepted); err != nil {
		return err
	}
	if loc, err := resp.Location(); err == nil && sameParty(ref.Host(), loc.Host) {
		if req, err := http.NewRequestWithContext(ctx, http.MethodDelete, loc.String(), nil); err == nil {
			if resp, err := client.Do(req); err == nil {
				resp.Body.Close() // taking it back is a courtesy: uploads that nobody ends expire
			}
		}
	}
	return nil
}

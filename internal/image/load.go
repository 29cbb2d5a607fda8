package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// LoadOptions refine writing an image to an engine.
type LoadOptions struct {
	// Known are names or IDs of images in the engine that may share their lowest layers with the image (its
	// run image, its previous build). Layers they have are not sent.
	Known []string
	// Store keeps layers that lie in a registry and have to be fetched first. Without one they are
	// streamed through, one after another.
	Store    *layerstore.Store
	Progress Progress
}

// LoadEngine writes an image to a Docker engine and names it. The engine keeps the config byte for byte, so
// the image's ID there is the config digest that every other output has. An image that is there already is
// only named; of another one only the layers above the longest chain that the engine is known to have are
// sent. Should the engine lack one after all, the load is repeated in full.
func LoadEngine(ctx context.Context, e Engine, refs []Ref, img v1.Image, o LoadOptions) (Written, error) {
	w, err := loadEngine(ctx, e, refs, img, o)
	if err != nil {
		return w, fmt.Errorf("write image to Docker: %w", err)
	}
	return w, nil
}

func loadEngine(ctx context.Context, e Engine, refs []Ref, img v1.Image, o LoadOptions) (Written, error) {
	var w Written
	for _, r := range refs {
		if !r.IsName() || r.Digest() != "" {
			return w, fmt.Errorf("%q is not a name for an image in Docker, want name:tag", r)
		}
	}
	info, err := e.EngineInfo(ctx)
	if err != nil {
		return w, err
	}
	if w.ID, err = img.ConfigName(); err != nil {
		return w, err
	}
	if err := w.engineIdentity(img, info); err != nil {
		return w, err
	}
	have, err := e.Inspect(ctx, w.EngineID)
	if errors.Is(err, ErrNotFound) {
		err = w.send(ctx, e, refs, img, info, o)
	} else if err == nil && !lazyEngine(img) {
		ls, lerr := img.Layers()
		w.Kept, err = len(ls), lerr
	}
	if err != nil {
		return w, err
	}
	for _, r := range refs {
		// To name it again what it is named would have the engine write its index to disk.
		if !slices.Contains(have.RepoTags, r.Familiar()) {
			if err := e.Tag(ctx, w.EngineID, r.Familiar()); err != nil {
				return w, err
			}
		}
		w.Names = append(w.Names, r.Name())
	}
	return w, nil
}

// engineIdentity finds out how the engine would name the image. An image that came from the engine is not
// read for that.
func (w *Written) engineIdentity(img v1.Image, info EngineInfo) error {
	w.EngineID = w.ID.String()
	if lazyEngine(img) && !info.ContainerStore {
		return nil
	}
	id := *w
	if err := id.identify(img); err != nil {
		return err
	}
	w.Digest, w.ManifestSize = id.Digest, id.ManifestSize
	if info.ContainerStore {
		w.EngineID = w.Digest.String()
	}
	return nil
}

func (w *Written) send(ctx context.Context, e Engine, refs []Ref, img v1.Image, info EngineInfo, o LoadOptions) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	have := 0
	if !info.ContainerStore {
		if have, err = sharedChain(ctx, e, refs, layers, o.Known); err != nil {
			return err
		}
	}
	plain := !info.ContainerStore && !info.Remote
	for {
		if o.Store != nil {
			if layers, err = fetched(ctx, o.Store, layers, have, o.Progress); err != nil {
				return err
			}
		}
		a := archive{img: img, layers: layers, omit: have, plain: plain, classic: !info.ContainerStore, refs: refs, progress: o.Progress}
		err = stream(ctx, e, &a)
		w.Sent, w.Kept = len(layers)-have, have
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.Is(err, errTarSize) && plain:
			plain = false
		case have == 0:
			return err
		default:
			have = 0 // the engine lost a layer meanwhile, or cannot do with a part
		}
	}
}

// stream pipes an archive into the engine.
func stream(ctx context.Context, e Engine, a *archive) error {
	pr, pw := io.Pipe()
	done := make(chan error, 1) // the writer ends even when nobody waits any more
	go func() {
		err := a.write(ctx, pw)
		pw.CloseWithError(err)
		done <- err
	}()
	err := e.Load(ctx, pr)
	pr.CloseWithError(io.ErrClosedPipe)
	werr := <-done
	if werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		return werr // why the archive broke off says more than that the engine missed its end
	}
	return err
}

// sharedChain counts the lowest layers that the engine has in this order: those of images it knows.
func sharedChain(ctx context.Context, e Engine, refs []Ref, layers []v1.Layer, known []string) (int, error) {
	for _, r := range refs {
		known = append(known[:len(known):len(known)], r.Familiar())
	}
	best := 0
	for _, k := range known {
		if k == "" {
			continue
		}
		info, err := e.Inspect(ctx, k)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		n := 0
		for n < len(layers) && n < len(info.Config.RootFS.DiffIDs) {
			d, err := layers[n].DiffID()
			if err != nil {
				return 0, err
			}
			if d != info.Config.RootFS.DiffIDs[n] {
				break
			}
			n++
		}
		best = max(best, n)
	}
	return best, nil
}

// fetched brings the layers that will be sent to this machine, side by side.
func fetched(ctx context.Context, s *layerstore.Store, layers []v1.Layer, from int, progress Progress) ([]v1.Layer, error) {
	var far []v1.Layer
	out := append([]v1.Layer(nil), layers...)
	for n := from; n < len(layers); n++ {
		if isLocal(layers[n]) {
			continue
		}
		far = append(far, layers[n])
		e := layerstore.Entry{}
		d, err := layers[n].DiffID()
		if err != nil {
			return nil, err
		}
		h, err := layers[n].Digest()
		if err != nil {
			return nil, err
		}
		if e.Size, err = layers[n].Size(); err != nil {
			return nil, err
		}
		if e.MediaType, err = layers[n].MediaType(); err != nil {
			return nil, err
		}
		e.DiffID, e.Digest = d.String(), h.String()
		if out[n], err = s.NewLayer(e); err != nil {
			return nil, err
		}
	}
	_, _, err := copyLayers(ctx, s, far, "pull", progress)
	return out, err
}

// isLocal says whether reading the layer needs no network. An unknown kind of layer was made here.
func isLocal(l v1.Layer) bool {
	if r, ok := l.(*rawLayer); ok {
		switch src := r.src.(type) {
		case *remoteSource:
			return false
		case storeSource:
			return src.fetch == nil || src.store.Has(r.desc.Digest, r.desc.Size)
		}
	}
	return true
}

// EnsureEngine makes sure that the engine has an image and returns what to call it there. It is how a
// builder that lies in the store or in a registry becomes one that a container can start from.
func EnsureEngine(ctx context.Context, e Engine, img *Image, o LoadOptions) (string, error) {
	// What it is called there is asked for by ID first: no engine has another image under that, and to ask an
	// engine about itself takes it longer.
	for _, id := range []string{img.EngineID, digestText(img.ID)} {
		if id == "" {
			continue
		}
		if have, err := e.Inspect(ctx, id); err == nil {
			return have.ID, nil
		}
	}
	w, err := LoadEngine(ctx, e, nil, img, o)
	return w.EngineID, err
}

func digestText(h v1.Hash) string {
	if h == (v1.Hash{}) {
		return ""
	}
	return h.String()
}

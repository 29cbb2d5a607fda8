package image

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A Resolver finds the image that an argument means. Places that are nil are not asked. It is safe for
// concurrent use; contexts given to it must outlive the reading of the images it returns.
//
// A name is looked for, by policy:
//
//	if-not-present: the local store, Docker, what was pulled before in full, the registry
//	always:         the registry; on this machine only when the registry has no such image
//	never:          the local store, Docker, what was pulled before in full
type Resolver struct {
	Images   *Images
	Registry *Registry
	Engine   Engine
	Policy   Policy
	// Platform is what the image must run on; zero means linux on this machine's architecture.
	Platform v1.Platform
	Progress Progress
}

// Resolve finds one image argument.
func (r *Resolver) Resolve(ctx context.Context, arg string) (*Image, error) {
	ref, err := ParseRef(arg)
	if err != nil {
		return nil, err
	}
	return r.ResolveRef(ctx, ref)
}

// ResolveAny finds the first of several names for one image, such as a run image and its mirrors. When none
// can be had, the error names each with its reason.
func (r *Resolver) ResolveAny(ctx context.Context, args []string) (*Image, error) {
	var errs []error
	for _, a := range args {
		img, err := r.Resolve(ctx, a)
		if err == nil {
			return img, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, err)
	}
	switch len(errs) {
	case 0:
		return nil, errors.New("no image named")
	case 1:
		return nil, errs[0]
	}
	return nil, &TriedError{Names: args, Errs: errs}
}

// A TriedError says why each of several names of one image was of no use.
type TriedError struct {
	Names []string
	Errs  []error
}

// Unwrap gives every reason.
func (e *TriedError) Unwrap() []error { return e.Errs }

func (e *TriedError) Error() string {
	parts := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		parts[i] = err.Error()
	}
	return fmt.Sprintf("none of %d names can be used: %s", len(e.Names), strings.Join(parts, "; "))
}

// InEngine finds what a name means in Docker, whatever it means elsewhere. Bytes that the local store has too
// come from there.
func (r *Resolver) InEngine(ctx context.Context, ref Ref) (*Image, error) {
	own := *r
	if own.Platform.OS == "" {
		own.Platform = hostPlatform()
	}
	return own.fromEngine(ctx, ref)
}

// ResolveRef finds a parsed argument.
func (r *Resolver) ResolveRef(ctx context.Context, ref Ref) (*Image, error) {
	own := *r
	if own.Platform.OS == "" {
		own.Platform = hostPlatform()
	}
	switch {
	case ref.IsLayout():
		return ReadLayout(ctx, ref, own.Platform)
	case ref.IsID():
		return own.local(ctx, ref)
	case own.Registry == nil || own.Policy == PullNever:
		return own.local(ctx, ref)
	case own.Policy == PullAlways:
		return own.always(ctx, ref)
	}
	img, err := own.local(ctx, ref)
	if !errors.Is(err, ErrNotFound) {
		return img, err
	}
	img, rerr := own.remote(ctx, ref)
	if rerr != nil {
		return nil, &missError{local: err, remote: rerr}
	}
	return img, nil
}

func (r *Resolver) always(ctx context.Context, ref Ref) (*Image, error) {
	img, err := r.remote(ctx, ref)
	if err == nil {
		return img, nil
	}
	re, ok := errors.AsType[*RegistryError](err)
	if !ok || re.Reason != ReasonNotFound && re.Reason != ReasonUnauthorized && re.Reason != ReasonDenied {
		return nil, err
	}
	// An image that was made on this machine is in no registry. Docker Hub says "unauthorized" to those.
	if img, lerr := r.local(ctx, ref); lerr == nil {
		return img, nil
	}
	return nil, err
}

// local looks on this machine. ErrNotFound means in none of its places.
func (r *Resolver) local(ctx context.Context, ref Ref) (*Image, error) {
	var asked []string
	if r.Images != nil {
		asked = append(asked, "the local store")
		img, err := r.Images.Get(ctx, ref, r.Platform)
		if !errors.Is(err, ErrNotFound) {
			return img, err
		}
	}
	if r.Engine != nil {
		asked = append(asked, "Docker")
		img, err := r.fromEngine(ctx, ref)
		if !errors.Is(err, ErrNotFound) {
			return img, err
		}
	}
	if r.Images != nil {
		if img, ok := r.Images.pulled(ref, r.Platform); ok {
			return img, nil
		}
	}
	if len(asked) == 0 {
		asked = []string{"this machine"}
	}
	return nil, fmt.Errorf("image %q is not in %s: %w", ref.Familiar(), strings.Join(asked, " or "), ErrNotFound)
}

// remote asks the registry and remembers the answer.
func (r *Resolver) remote(ctx context.Context, ref Ref) (*Image, error) {
	img, err := r.Registry.Image(ctx, ref, r.Platform)
	if err != nil || r.Images == nil {
		return img, err
	}
	if err := r.Images.recordPulled(ctx, img, r.Platform); err != nil {
		return nil, err
	}
	// From now on blobs that are in the store come from there, the others from the registry.
	raw, err := img.RawManifest()
	if err != nil {
		return nil, err
	}
	inner, err := newRawImage(raw, storeSource{store: r.Images.store, fetch: r.Registry.source(ctx, ref).open, origin: ref})
	if err != nil {
		return nil, err
	}
	img.Image = inner
	return img, nil
}

// Fetch brings an image with all its layers into the local store, where it then is without network.
func (r *Resolver) Fetch(ctx context.Context, img *Image) error {
	if r.Images == nil {
		return errors.New("fetch image: there is no local store")
	}
	_, _, err := copyImage(ctx, r.Images.store, img, "pull", r.Progress)
	if err != nil {
		return fmt.Errorf("fetch image %q: %w", img.Ref.Familiar(), err)
	}
	return nil
}

// pulled finds what a registry name meant when it was last asked, if all its blobs are here.
func (i *Images) pulled(ref Ref, want v1.Platform) (*Image, bool) {
	if !ref.IsName() {
		return nil, false
	}
	for _, d := range i.read(i.pulledPath()).Manifests {
		if !meansPulled(d, ref, want) {
			continue
		}
		img, err := i.at(ref, d, want, storeSource{store: i.store}, true)
		return img, err == nil
	}
	return nil, false
}

// meansPulled says whether an entry of pulled.json is what the name stands for on a platform.
func meansPulled(d v1.Descriptor, ref Ref, want v1.Platform) bool {
	entry := d.Annotations[annotationName]
	if entry == pulledName(ref, want) {
		return true
	}
	name, _, ok := strings.Cut(entry, " ")
	if !ok || ref.Digest() != d.Digest.String() {
		return false
	}
	named, err := ParseRef(name)
	return err == nil && named.SameRepository(ref)
}

// missError says that an image is neither on this machine nor in its registry.
type missError struct{ local, remote error }

func (e *missError) Error() string {
	local := strings.TrimSuffix(e.local.Error(), ": "+ErrNotFound.Error())
	if re, ok := errors.AsType[*RegistryError](e.remote); ok {
		return local + ", and " + re.what()
	}
	return local + "; " + e.remote.Error()
}

func (e *missError) Unwrap() error { return e.remote }

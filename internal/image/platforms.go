package image

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// maxPlatforms bounds the images of one index that somebody else made.
const maxPlatforms = 32

// Images finds an image, or the images of an index for all their platforms. Manifests and configs are read and
// checked.
func (g *Registry) Images(ctx context.Context, ref Ref) ([]*Image, error) {
	all, err := g.images(ctx, ref)
	if err != nil {
		return nil, g.failed("read", ref, err)
	}
	return all, nil
}

func (g *Registry) images(ctx context.Context, ref Ref) ([]*Image, error) {
	r, err := g.reference(ref)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(g.options(ctx, ref)...)
	if err != nil {
		return nil, err
	}
	desc, err := puller.Get(ctx, r)
	if err != nil {
		return nil, err
	}
	src := &remoteSource{g: g, ctx: ctx, ref: ref, puller: puller, repo: r.Context()}
	if !isIndex(desc.MediaType, desc.Manifest) {
		raw, err := newRawImage(desc.Manifest, src)
		if err != nil {
			return nil, err
		}
		img, err := found(raw, KindRegistry, ref)
		return []*Image{img}, err
	}
	idx, err := parseIndex(desc.Manifest)
	if err != nil {
		return nil, err
	}
	if len(idx.Manifests) > maxPlatforms {
		return nil, fmt.Errorf("image index has more than %d images", maxPlatforms)
	}
	var all []*Image
	for _, d := range idx.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "" || d.Platform != nil && d.Platform.OS == "unknown" {
			continue // of an attestation
		}
		img, err := g.oneOf(ctx, src, ref, d)
		if err != nil {
			return nil, err
		}
		all = append(all, img)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("image index has no image")
	}
	return all, nil
}

func (g *Registry) oneOf(ctx context.Context, src *remoteSource, ref Ref, d v1.Descriptor) (*Image, error) {
	desc, err := src.puller.Get(ctx, src.repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, err
	}
	raw, err := newRawImage(desc.Manifest, src)
	if err != nil {
		return nil, err
	}
	return found(raw, KindRegistry, ref)
}

package image

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
	src, desc, err := g.open(ctx, ref)
	if err != nil {
		return nil, err
	}
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

// Platforms are those that a name in a registry is for; nil where it is one image and no index.
func (g *Registry) Platforms(ctx context.Context, ref Ref) ([]string, error) {
	_, desc, err := g.open(ctx, ref)
	if err != nil {
		return nil, g.failed("read", ref, err)
	}
	if !isIndex(desc.MediaType, desc.Manifest) {
		return nil, nil
	}
	idx, err := parseIndex(desc.Manifest)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref.Familiar(), err)
	}
	return platforms(idx.Manifests), nil
}

package image

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Tag makes the tag of a name mean a manifest that the same repository has. Doing it twice is no error.
func (g *Registry) Tag(ctx context.Context, ref Ref, digest string) error {
	at, err := ParseRef(ref.Repository() + "@" + digest)
	if err != nil || ref.Tag() == "" {
		return fmt.Errorf("tag %q: want a name with a tag, and the digest of a manifest, not %.80q", ref.Familiar(), digest)
	}
	from, err := g.reference(at)
	if err != nil {
		return err
	}
	desc, err := remote.Get(from, g.options(ctx, ref)...)
	if err == nil {
		err = remote.Tag(from.Context().Tag(ref.Tag()), desc, g.options(ctx, ref)...)
	}
	if err != nil {
		return g.failed("tag", ref, err)
	}
	return nil
}

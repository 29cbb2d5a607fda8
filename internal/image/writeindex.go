package image

import (
	"bytes"
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// PushIndex writes an image index to a registry: its images first, under their digests alone, then the index under the
// names. Digest and ManifestSize of what it returns are the index's.
func (g *Registry) PushIndex(ctx context.Context, refs []Ref, idx v1.ImageIndex, o PushOptions) (Written, error) {
	var w Written
	if len(refs) == 0 {
		return w, fmt.Errorf("push image index: no name given")
	}
	imgs, err := imagesOf(idx)
	if err != nil {
		return w, fmt.Errorf("push image index %q: %w", refs[0].Familiar(), err)
	}
	own := o
	own.ByDigest = true
	for _, img := range imgs {
		one, err := g.Push(ctx, refs, img, own)
		if err != nil {
			return w, err
		}
		w.Sent, w.Kept, w.Pushed = w.Sent+one.Sent, w.Kept+one.Kept, w.Pushed+one.Pushed
	}
	if err := w.identifyIndex(idx); err != nil {
		return w, fmt.Errorf("push image index %q: %w", refs[0].Familiar(), err)
	}
	if o.ByDigest {
		refs = pinned(refs, w.Digest)
	}
	for _, ref := range refs {
		up, err := g.NewUpload(ctx, ref)
		if err != nil {
			return w, err
		}
		r, err := g.reference(ref)
		if err != nil {
			return w, err
		}
		if err := up.pusher.Push(ctx, r, idx); err != nil {
			return w, g.failed("push", ref, err)
		}
		w.Names = append(w.Names, ref.Name())
	}
	return w, nil
}

// imagesOf are the images of an index that was made here.
func imagesOf(idx v1.ImageIndex) ([]v1.Image, error) {
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	var out []v1.Image
	for _, d := range m.Manifests {
		img, err := idx.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		out = append(out, img)
	}
	return out, nil
}

func (w *Written) identifyIndex(idx v1.ImageIndex) error {
	raw, err := idx.RawManifest()
	if err != nil {
		return err
	}
	w.ManifestSize = int64(len(raw))
	w.Digest, err = idx.Digest()
	return err
}

// WriteLayoutIndex is WriteLayout for an image index, which becomes one entry of the layout.
func WriteLayoutIndex(ctx context.Context, ref Ref, names []Ref, idx v1.ImageIndex, progress Progress) (Written, error) {
	var w Written
	fail := func(err error) (Written, error) { return w, fmt.Errorf("write OCI layout %s: %w", ref.Dir(), err) }
	if !ref.IsLayout() || ref.Digest() != "" {
		return w, fmt.Errorf("image %q: want oci:DIR or oci:DIR:tag to write to", ref)
	}
	imgs, err := imagesOf(idx)
	if err != nil {
		return fail(err)
	}
	l := layoutDir{ref.Dir()}
	for _, img := range imgs {
		if err := l.put(ctx, img, &w, progress); err != nil {
			return fail(err)
		}
	}
	if err := w.identifyIndex(idx); err != nil {
		return fail(err)
	}
	raw, err := idx.RawManifest()
	if err != nil {
		return fail(err)
	}
	mt, err := idx.MediaType()
	if err != nil {
		return fail(err)
	}
	if err := l.writeBytes(ctx, raw); err != nil {
		return fail(err)
	}
	w.Names = []string{"oci:" + l.dir}
	err = l.enter(v1.Descriptor{MediaType: mt, Digest: w.Digest, Size: w.ManifestSize, Annotations: layoutAnnotations(ref, names)})
	if err != nil {
		return fail(err)
	}
	return w, nil
}

// writeBytes puts a small blob down.
func (l layoutDir) writeBytes(ctx context.Context, b []byte) error {
	h, n, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return err
	}
	_, err = l.write(ctx, h, n, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
	return err
}

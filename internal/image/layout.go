package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// annotationFull is where containerd's tools look for an image's whole name.
const annotationFull = "io.containerd.image.name"

// A layoutDir is an OCI image layout directory that somebody may have made by hand: blobs are checked as
// they are read, and nothing but a regular file inside it is opened.
type layoutDir struct{ dir string }

func (l layoutDir) blob(h v1.Hash) string { return filepath.Join(l.dir, "blobs", h.Algorithm, h.Hex) }

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return f, nil
}

func (l layoutDir) open(d v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest.Algorithm != "sha256" || !hexPattern().MatchString(d.Digest.Hex) {
		return nil, fmt.Errorf("blob %s: want a sha256 digest", d.Digest)
	}
	f, err := openRegular(l.blob(d.Digest))
	if err != nil {
		return nil, fmt.Errorf("open blob of OCI layout: %w", err)
	}
	return &checkedReader{f: f, want: d, h: sha256.New()}, nil
}

// checkedReader ends with an error instead of io.EOF when the bytes are not those of the descriptor.
type checkedReader struct {
	f    *os.File
	want v1.Descriptor
	h    hash.Hash
	n    int64
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	r.h.Write(p[:n])
	if r.n += int64(n); r.n > r.want.Size {
		return 0, fmt.Errorf("blob %s is longer than %d bytes", r.want.Digest, r.want.Size)
	}
	if err == io.EOF && (r.n != r.want.Size || hex.EncodeToString(r.h.Sum(nil)) != r.want.Digest.Hex) {
		return n, fmt.Errorf("blob %s: its content differs from its digest", r.want.Digest)
	}
	return n, err
}

func (r *checkedReader) Close() error { return r.f.Close() }

func (l layoutDir) index() (*v1.IndexManifest, error) {
	f, err := openRegular(filepath.Join(l.dir, "index.json"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	return parseIndex(b)
}

// ReadLayout finds an image in an OCI layout directory: the one with the tag or the digest that the
// argument names, else the only one for the platform (zero: linux on this machine's architecture).
func ReadLayout(ctx context.Context, ref Ref, want v1.Platform) (*Image, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	l := layoutDir{ref.Dir()}
	idx, err := l.index()
	if notExist(err) {
		if _, serr := os.Stat(ref.Dir()); errors.Is(serr, fs.ErrNotExist) {
			return nil, fmt.Errorf("image %q: there is no directory %s: %w", ref, ref.Dir(), ErrNotFound)
		}
		return nil, fmt.Errorf("image %q: %s has no index.json, so it is no OCI layout: %w", ref, ref.Dir(), ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	if want.OS == "" {
		want = hostPlatform()
	}
	d, err := pick(idx, ref, want)
	if err == nil {
		var raw *rawImage
		if raw, err = imageAt(l, d, want); err == nil {
			img, err := found(raw, KindLayout, ref)
			if err != nil {
				return nil, fmt.Errorf("image %q: %w", ref, err)
			}
			img.Reference = "oci:" + ref.Dir() + "@" + img.ManifestDigest.String()
			return img, inPlatform(img, want)
		}
	}
	if pe, ok := errors.AsType[*PlatformError](err); ok {
		pe.Image = ref.String()
		return nil, pe
	}
	return nil, fmt.Errorf("image %q: %w", ref, err)
}

func pick(idx *v1.IndexManifest, ref Ref, want v1.Platform) (v1.Descriptor, error) {
	var tags []string
	for _, d := range idx.Manifests {
		tag := d.Annotations[annotationName]
		switch {
		case ref.Digest() != "" && d.Digest.String() == ref.Digest():
			return d, nil
		case ref.Digest() == "" && ref.Tag() != "" && tag == ref.Tag():
			return d, nil
		}
		if tag != "" {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	switch {
	case ref.Digest() != "":
		return v1.Descriptor{}, fmt.Errorf("the layout does not list %s: %w", ref.Digest(), ErrNotFound)
	case ref.Tag() != "":
		return v1.Descriptor{}, fmt.Errorf("the layout has no tag %q (it has %q): %w", ref.Tag(), tags, ErrNotFound)
	case len(idx.Manifests) == 0:
		return v1.Descriptor{}, fmt.Errorf("the layout is empty: %w", ErrNotFound)
	case len(idx.Manifests) == 1:
		return idx.Manifests[0], nil
	case len(slices.Compact(slices.Clone(tags))) > 1:
		return v1.Descriptor{}, fmt.Errorf("the layout has several images: add one of the tags %q to the argument", tags)
	}
	return selectPlatform(idx, want)
}

// WriteLayout writes an image to the OCI layout directory of an "oci:DIR[:tag]" argument, which is made
// when it is not there; other images in it stay. The entry is named by the argument's tag, else by the
// first name's, and an earlier entry of that name goes.
func WriteLayout(ctx context.Context, ref Ref, names []Ref, img v1.Image, progress Progress) (Written, error) {
	var w Written
	fail := func(err error) (Written, error) { return w, fmt.Errorf("write OCI layout %s: %w", ref.Dir(), err) }
	if !ref.IsLayout() || ref.Digest() != "" {
		return w, fmt.Errorf("image %q: want oci:DIR or oci:DIR:tag to write to", ref)
	}
	if err := w.identify(img); err != nil {
		return fail(err)
	}
	l := layoutDir{ref.Dir()}
	if err := l.put(ctx, img, &w, progress); err != nil {
		return fail(err)
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return fail(err)
	}
	d, err := describe(img, manifest)
	if err != nil {
		return fail(err)
	}
	d.Annotations = layoutAnnotations(ref, names)
	w.Names = []string{"oci:" + l.dir}
	if err := l.enter(d); err != nil {
		return fail(err)
	}
	return w, nil
}

// put writes the blobs of an image, its manifest the last.
func (l layoutDir) put(ctx context.Context, img v1.Image, w *Written, progress Progress) error {
	if err := os.MkdirAll(filepath.Join(l.dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	if err := l.writeLayers(ctx, layers, w, progress); err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	return errors.Join(l.writeBytes(ctx, config), l.writeBytes(ctx, manifest))
}

func layoutAnnotations(ref Ref, names []Ref) map[string]string {
	a := map[string]string{}
	if ref.Tag() != "" {
		a[annotationName] = ref.Tag()
	}
	if len(names) > 0 && names[0].IsName() {
		if a[annotationName] == "" && names[0].Tag() != "" {
			a[annotationName] = names[0].Tag()
		}
		a[annotationFull] = names[0].Name()
	}
	return a
}

// enter lists an image in index.json, under a lock on oci-layout.
func (l layoutDir) enter(d v1.Descriptor) error {
	marker, err := os.OpenFile(filepath.Join(l.dir, "oci-layout"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	defer marker.Close()
	if err := unix.Flock(int(marker.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if info, err := marker.Stat(); err != nil || info.Size() == 0 {
		if _, err := marker.WriteString(`{"imageLayoutVersion":"1.0.0"}`); err != nil {
			return err
		}
	}
	idx, err := l.index()
	if notExist(err) {
		idx = emptyIndex()
	} else if err != nil {
		return err
	}
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(o v1.Descriptor) bool {
		name := d.Annotations[annotationName]
		return o.Digest == d.Digest && o.Annotations[annotationName] == name || name != "" && o.Annotations[annotationName] == name
	})
	idx.Manifests = append(idx.Manifests, d)
	b, err := json.MarshalIndent(idx, "", "  ")
	if err != nil {
		return err
	}
	return l.replace("index.json", append(b, '\n'))
}

func (l layoutDir) replace(name string, b []byte) error {
	f, err := os.CreateTemp(l.dir, ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(0o644), unix.Fdatasync(int(f.Fd())), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(l.dir, name))
}

func (l layoutDir) writeLayers(ctx context.Context, layers []v1.Layer, w *Written, progress Progress) error {
	isNew := make([]bool, len(layers))
	seen := map[v1.Hash]bool{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copyJobs)
	for n, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		size, err := layer.Size()
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if seen[digest] {
			continue
		}
		seen[digest] = true
		g.Go(func() error {
			step := Step{What: "write", Digest: digest.String(), Total: size}
			err := retry(ctx, func() (err error) {
				isNew[n], err = l.write(ctx, digest, size, func() (io.ReadCloser, error) {
					rc, err := layer.Compressed()
					if err != nil {
						return nil, err
					}
					return &meter{ReadCloser: rc, step: step, progress: progress}, nil
				})
				return err
			})
			if err == nil && !isNew[n] {
				step.Done, step.Kept = size, true
				progress.step(step)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	sent := 0
	for _, n := range isNew {
		if n {
			sent++
		}
	}
	w.Sent, w.Kept = w.Sent+sent, w.Kept+len(seen)-sent
	return nil
}

// write puts a blob down unless it is there with its size; it says whether it was new.
func (l layoutDir) write(ctx context.Context, h v1.Hash, size int64, open func() (io.ReadCloser, error)) (bool, error) {
	path := l.blob(h)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == size {
		return false, nil
	}
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	r, err := open()
	if err != nil {
		return false, err
	}
	defer r.Close()
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), &contextReader{ctx: ctx, r: io.LimitReader(r, size+1)})
	if err == nil && (n != size || hex.EncodeToString(sum.Sum(nil)) != h.Hex) {
		err = fmt.Errorf("blob %s: its content differs from its digest", h)
	}
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return false, err
	}
	return true, os.Rename(f.Name(), path)
}

// contextReader ends a copy when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

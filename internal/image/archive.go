package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// An archive is an image as docker-archive and OCI layout in one tar: engines with the classic image store
// read manifest.json, those with containerd's read index.json.
type archive struct {
	img    v1.Image
	layers []v1.Layer
	omit   int // lowest layers whose bytes are left out
	// plain sends layers unpacked: dockerd up to 28 inflates on one core with a slower inflater than ours. A
	// containerd store wants the blobs themselves.
	plain bool
	// classic tells of an engine that keeps layers unpacked: old ones do not know zstd, and all are sent it unpacked.
	classic  bool
	refs     []Ref
	progress Progress
}

func (a *archive) write(ctx context.Context, w io.Writer) error {
	tw := tar.NewWriter(w)
	config, err := a.img.RawConfigFile()
	if err != nil {
		return err
	}
	manifest, err := a.img.RawManifest()
	if err != nil {
		return err
	}
	d, err := describe(a.img, manifest)
	if err != nil {
		return err
	}
	id := d.Annotations[annotationID]
	legacy := legacyManifest{Config: blobName(id), RepoTags: []string{}}
	files := []archiveFile{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {blobName(id), config}, {blobName(d.Digest.String()), manifest}}
	for _, f := range files {
		if err := f.write(tw); err != nil {
			return err
		}
	}
	sent := map[string]bool{}
	for n, l := range a.layers {
		h, err := l.Digest()
		if err != nil {
			return err
		}
		legacy.Layers = append(legacy.Layers, blobName(h.String()))
		if n < a.omit || sent[h.String()] {
			continue
		}
		sent[h.String()] = true
		if err := a.writeLayer(ctx, tw, l, h); err != nil {
			return fmt.Errorf("layer %s: %w", h, err)
		}
	}
	return a.finish(tw, legacy, d)
}

// finish writes the two tables of contents.
func (a *archive) finish(tw *tar.Writer, legacy legacyManifest, d v1.Descriptor) error {
	idx := emptyIndex()
	d.Annotations = nil
	for _, r := range a.refs {
		e := d
		e.Annotations = map[string]string{annotationFull: r.Name(), annotationName: r.Tag()}
		idx.Manifests = append(idx.Manifests, e)
	}
	if len(a.refs) == 0 {
		idx.Manifests = append(idx.Manifests, d)
	}
	for _, table := range []struct {
		name string
		v    any
	}{{"manifest.json", []legacyManifest{legacy}}, {"index.json", idx}} {
		b, err := json.Marshal(table.v)
		if err != nil {
			return err
		}
		if err := (archiveFile{table.name, b}).write(tw); err != nil {
			return err
		}
	}
	return tw.Close()
}

// errTarSize says that a layer's tar has not the length its blob promised: it goes out compressed then.
var errTarSize = errors.New("layer's tar has another length than its blob tells")

func (a *archive) writeLayer(ctx context.Context, tw *tar.Writer, l v1.Layer, h v1.Hash) error {
	if k, ok := l.(*knownLayer); ok {
		var err error
		if l, err = k.found(); err != nil {
			return err
		}
	}
	size, err := l.Size()
	if err != nil {
		return err
	}
	open, unpacked := l.Compressed, false
	if s, ok := l.(interface{ TarSize() (int64, bool) }); ok && (a.plain || a.classic && isZstd(l)) {
		if n, ok := s.TarSize(); ok {
			size, open, unpacked = n, l.Uncompressed, true
		}
	}
	rc, err := open()
	if err != nil {
		return err
	}
	defer rc.Close()
	if err := tw.WriteHeader(&tar.Header{Name: blobName(h.String()), Mode: 0o644, Size: size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	m := &meter{ReadCloser: rc, step: Step{What: "load", Digest: h.String(), Total: size}, progress: a.progress}
	n, err := io.CopyBuffer(tw, &contextReader{ctx: ctx, r: m}, make([]byte, 256<<10))
	if unpacked && (errors.Is(err, tar.ErrWriteTooLong) || err == nil && n < size) {
		if _, rerr := io.Copy(io.Discard, rc); rerr != nil {
			return rerr // a corrupt blob can unpack to another length, too
		}
		return errTarSize
	}
	return err
}

func isZstd(l v1.Layer) bool {
	kind, err := l.MediaType()
	return err == nil && kind == types.OCILayerZStd
}

// legacyManifest is an entry of docker-archive's manifest.json.
type legacyManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type archiveFile struct {
	name string
	b    []byte
}

func (f archiveFile) write(tw *tar.Writer) error {
	if err := tw.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.b)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := tw.Write(f.b)
	return err
}

func blobName(digest string) string { return "blobs/sha256/" + digest[len("sha256:"):] }

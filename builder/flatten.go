package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

// flat is the buildpacks of the package that are to be in one layer, and the others. One alone is not merged.
func (s PackageSpec) flat() (merged, apart []BuilderBuildpack, err error) {
	for _, r := range s.Apart {
		if !slices.ContainsFunc(s.Buildpacks, func(b BuilderBuildpack) bool { return b.Ref == r }) {
			return nil, nil, fmt.Errorf("buildpack %s, which is not to be flattened, is not in the package", r)
		}
	}
	if !s.Flatten {
		return nil, s.Buildpacks, nil
	}
	for _, b := range s.Buildpacks {
		if slices.Contains(s.Apart, b.Ref) {
			apart = append(apart, b)
		} else {
			merged = append(merged, b)
		}
	}
	if len(merged) < 2 {
		return nil, s.Buildpacks, nil
	}
	return merged, apart, nil
}

// merge puts buildpacks into one layer.
func (m *builderMaker) merge(ctx context.Context, all []BuilderBuildpack) error {
	parts := []layerPart{rootDirPart("/cnb"), rootDirPart(BuildpacksDir)}
	var names []string
	var last cnb.ID
	for _, b := range all {
		names = append(names, b.Ref.String())
		at := BuildpackPath(b.Ref)
		if b.ID != last { // versions of one id follow each other
			parts, last = append(parts, rootDirPart(path.Dir(at))), b.ID
		}
		if b.Layer != nil {
			parts = append(parts, packedPart{layer: b.Layer, root: at})
			continue
		}
		parts = append(parts, b.parts(at)...)
	}
	created := "Package: buildpacks " + strings.Join(names, ", ")
	l, err := m.Layer(ctx, Layer{ID: "flattened", CreatedBy: created, parts: parts})
	if err != nil {
		return fmt.Errorf("flatten buildpacks: %w", err)
	}
	diffID, err := l.DiffID()
	if err != nil {
		return fmt.Errorf("flatten buildpacks: %w", err)
	}
	for _, b := range all {
		m.list(b, diffID)
	}
	m.append(l, created)
	return nil
}

// packedPart is one buildpack's directory out of a layer that somebody else made.
type packedPart struct {
	layer v1.Layer
	root  string // its path in the tar
}

func (p packedPart) write(ctx context.Context, t *layerWriter) error {
	diffID, err := p.layer.DiffID()
	if err != nil {
		return err
	}
	r, err := p.layer.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	found := false
	err = verified(ctx, &bounded{r: r, left: maxPackage}, diffID.String(), func(r io.Reader) error {
		tr := tar.NewReader(r)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				return nil
			}
			if err == nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				return err
			}
			name := path.Join("/", h.Name)
			if name != p.root && !strings.HasPrefix(name, p.root+"/") {
				continue
			}
			found = true
			if err := p.entry(ctx, t, tr, h, name); err != nil {
				return err
			}
		}
	})
	if err == nil && !found {
		err = errors.New("nothing of it is there")
	}
	if err != nil {
		return fmt.Errorf("layer %s: copy %s: %w", diffID, p.root, err)
	}
	return nil
}

// entry writes one entry again: as root's, without what no layer of ours has.
func (p packedPart) entry(ctx context.Context, t *layerWriter, r io.Reader, h *tar.Header, name string) error {
	out := &tar.Header{Typeflag: h.Typeflag, Name: name, Mode: h.Mode & int64(modeKept)}
	if strings.HasPrefix(path.Base(name), ".wh.") {
		return fmt.Errorf("%q: names that begin with .wh. delete files of other layers and are refused", name)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		out.Size = h.Size
		if err := t.header(out); err != nil {
			return err
		}
		return t.copy(ctx, r, name, h.Size)
	case tar.TypeDir:
		return t.header(out)
	case tar.TypeSymlink:
		out.Linkname = h.Linkname
		return t.header(out)
	case tar.TypeLink:
		if out.Linkname = path.Join("/", h.Linkname); !strings.HasPrefix(out.Linkname, p.root+"/") {
			return fmt.Errorf("%q is a hard link to %q, which is not of the buildpack", name, h.Linkname)
		}
		return t.header(out)
	}
	return fmt.Errorf("%q is neither a file, a directory nor a link", name)
}

// bounded ends with an error where more comes than may.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("it is larger than %d bytes", int64(maxPackage))
	}
	return n, err
}

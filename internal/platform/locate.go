package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/classic"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/source"
)

// A located is what a buildpack's locator led to: a package, or a directory.
type located struct {
	pkg   *image.Image
	dir   string
	index *index.Resolution // where an index told the package
	from  classic.Origin    // of a directory
}

// locate finds what a locator of a recipe or of a command means, in pack's order: an index or an image where it says so,
// a URL, a path, an index, an image. A classic buildpack is converted.
func (m *Machine) locate(ctx context.Context, p place, arg string) (located, error) {
	at, err := m.locateAny(ctx, p, arg)
	if err != nil || at.pkg != nil {
		return at, err
	}
	return m.modern(at, p.tmp)
}

func (m *Machine) locateAny(ctx context.Context, p place, arg string) (located, error) {
	switch {
	case strings.HasPrefix(arg, prefixIndex):
		r, err := m.findIndexed(ctx, arg)
		if err != nil {
			return located{}, err
		}
		return m.noted(p.indexed(ctx, r))
	case strings.HasPrefix(arg, prefixDocker):
		img, err := p.Resolve(ctx, strings.TrimPrefix(arg, prefixDocker))
		return located{pkg: img}, err
	case isURL(arg):
		return m.locateURL(ctx, p, arg)
	}
	if scheme, _, ok := strings.Cut(arg, "://"); ok && scheme != "file" {
		return located{}, fmt.Errorf("%s is not fetched: name a directory, a .cnb file, https://HOST/FILE or docker://IMAGE", arg)
	}
	at, said := strings.CutPrefix(arg, "file://")
	said = said || strings.HasPrefix(at, ".") || filepath.IsAbs(at)
	if !filepath.IsAbs(at) {
		at = filepath.Join(p.dir, at)
	}
	fi, err := os.Stat(at)
	switch {
	case err == nil && fi.IsDir():
		return located{dir: at, from: originOf(at, false)}, nil
	case err == nil:
		return p.file(ctx, at, originOf(at, false))
	case !errors.Is(err, fs.ErrNotExist):
		return located{}, err
	case said:
		return located{}, errors.New("there is no such directory or file")
	}
	return m.locateName(ctx, p, arg)
}

// locateURL fetches a repository, or a file: a package, or an archive of a buildpack's directory.
func (m *Machine) locateURL(ctx context.Context, p place, arg string) (located, error) {
	if isGit(arg) {
		return m.cloneBuildpack(ctx, p.tmp, arg)
	}
	file, err := m.download(ctx, arg)
	if err != nil {
		return located{}, err
	}
	return p.file(ctx, file, originOf(arg, true))
}

// locateName finds what is no path.
func (m *Machine) locateName(ctx context.Context, p place, arg string) (located, error) {
	r, ok, err := m.known(arg)
	if err != nil {
		return located{}, err
	}
	if ok {
		return m.noted(p.indexed(ctx, r))
	}
	ref, err := image.ParseRef(arg)
	if p.sync && err == nil {
		here := *p.Resolver
		here.Policy = image.PullNever
		if img, err := here.ResolveRef(ctx, ref); err == nil {
			return located{pkg: img}, nil
		}
	}
	if (p.sync || !isImage(arg)) && m.mayIndex(arg) {
		r, err := m.findIndexed(ctx, arg)
		if err == nil {
			return m.noted(p.indexed(ctx, r))
		}
		return located{}, fmt.Errorf("there is no such directory, file or image here, and %w", err)
	}
	if !isImage(arg) {
		return located{}, errors.New("there is no such directory or file, and no index here has it")
	}
	img, err := p.Resolve(ctx, arg)
	return located{pkg: img}, err
}

// mayIndex says whether an index may have what a plain name means.
func (m *Machine) mayIndex(arg string) bool {
	_, ok := indexRef(arg)
	set, err := m.indexes()
	return ok && err == nil && len(set.Registries) > 0
}

// noted is what an index led to, of which is kept what it says of itself.
func (m *Machine) noted(at located, err error) (located, error) {
	if err == nil {
		m.noteBuildpack(at.pkg, false)
	}
	return at, err
}

// indexed brings the image that an index tells, which has to be what the index says.
func (p place) indexed(ctx context.Context, r index.Resolution) (located, error) {
	img, err := p.Resolve(ctx, r.Image)
	if err != nil {
		return located{}, fmt.Errorf("index %s says that it is %s: %w", r.Index, r.Image, err)
	}
	meta, _, err := readPackage(img)
	if err != nil {
		return located{}, err
	}
	if want, got := (cnb.Ref{ID: cnb.ID(r.Buildpack), Version: r.Version}), (cnb.Ref{ID: meta.ID, Version: meta.Version}); got != want {
		return located{}, fmt.Errorf("index %s says that %s is %s, which is of buildpack %s", r.Index, want, r.Image, got)
	}
	return located{pkg: img, index: &r}, nil
}

// file opens a package, or unpacks an archive of a buildpack's directory: pack takes both.
func (p place) file(ctx context.Context, file string, from classic.Origin) (located, error) {
	archive, err := isArchive(file)
	if err != nil {
		return located{}, err
	}
	if !archive {
		img, err := readPackageFile(ctx, file, p.tmp, p.Platform)
		return located{pkg: img}, err
	}
	dir, err := os.MkdirTemp(p.tmp, "archive-")
	if err != nil {
		return located{}, err
	}
	_, err = source.Unpack(ctx, source.Request{Path: file, Dest: dir, UID: -1, GID: -1, Unwrap: true})
	if err != nil {
		return located{}, fmt.Errorf("it is no archive of a buildpack's directory: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "buildpack.toml")); errors.Is(err, fs.ErrNotExist) && !classic.Is(dir) {
		return located{}, errors.New("it is an archive without a buildpack.toml, and no classic buildpack, which has bin/detect and bin/compile")
	}
	return located{dir: dir, from: from}, os.Chmod(dir, 0o755)
}

// isArchive tells an archive that is compressed from a .cnb file, which is not.
func isArchive(file string) (bool, error) {
	f, err := openRegular(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, 4)
	n, _ := f.Read(head) // an empty file is neither
	return bytes.HasPrefix(head[:n], []byte{0x1f, 0x8b}) || bytes.HasPrefix(head[:n], []byte("PK\x03\x04")), nil
}

// builderBuildpack is all buildpacks that one entry of a recipe brings.
func (m *Machine) builderBuildpack(ctx context.Context, p place, s cnb.ModuleSource) ([]builder.BuilderBuildpack, error) {
	at, err := m.locate(ctx, p, s.URI)
	if err != nil {
		return nil, err
	}
	is := func(r cnb.Ref) error {
		if s.ID != "" && s.ID != r.ID || s.Version != "" && s.Version != r.Version {
			return fmt.Errorf("it is %s, not %s as the recipe says", r, s.Ref)
		}
		return nil
	}
	if at.pkg == nil {
		b, err := readBuildpackFor(at.dir, p.target)
		if err != nil {
			return nil, err
		}
		return []builder.BuilderBuildpack{b}, is(b.Ref)
	}
	meta, _, err := readPackage(at.pkg)
	if err != nil {
		return nil, err
	}
	if err := is(cnb.Ref{ID: meta.ID, Version: meta.Version}); err != nil {
		return nil, err
	}
	return packaged(at.pkg)
}

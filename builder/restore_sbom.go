package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// maxSBOMs caps all SBOM files of one layer, and of one build, together. Restored ones are held in memory until their
// layer is verified. New ones may be thousands of sparse files, which take no room until they are copied, when nobody
// watches the disk any more.
const maxSBOMs = 128 << 20

// sboms restores the SBOM files of layers, first from the cache, then from the previous image: a layer that
// both know is about to be reused from the latter. Files come back for buildpacks of the group whose layers
// directory exists, because no other can use them.
func (r *restorer) sboms(ctx context.Context) error {
	dirs := map[string]cnb.Ref{}
	for _, el := range r.Group.Elements {
		if fi, err := r.root.Lstat(el.ID.Dir()); err == nil && fi.IsDir() && !el.Extension {
			dirs[el.ID.Dir()] = el.Ref
		}
	}
	if r.SBOMTree {
		defer r.root.RemoveAll("sbom")
	}
	if len(dirs) == 0 {
		return nil
	}
	if sha := r.cached.BOM.SHA; sha != "" {
		open := func(ctx context.Context) (io.ReadCloser, error) { return r.Cache.Open(ctx, sha) }
		if err := r.sbomLayer(ctx, "cache", sha, open, dirs); err != nil {
			return err
		}
	}
	if r.SBOMTree {
		return r.sbomTree(dirs)
	}
	if r.SBOM == nil || r.Previous.BOM == nil {
		return nil
	}
	return r.sbomLayer(ctx, "launch", r.Previous.BOM.SHA, r.SBOM, dirs)
}

// sbomLayer restores the files of one SBOM layer. One that cannot be read is a warning.
func (r *restorer) sbomLayer(ctx context.Context, kind, sha string, open func(context.Context) (io.ReadCloser, error), dirs map[string]cnb.Ref) error {
	files, err := r.readSBOMs(ctx, kind, sha, open, dirs)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		from := map[string]string{"cache": "the cache", "launch": "the previous image"}[kind]
		r.emit(Event{Kind: EventWarning, Text: fmt.Sprintf("SBOM files are not restored from %s: %v", from, err)})
		if kind == "cache" {
			r.drop(sha)
		}
		return nil
	}
	for _, name := range sortedKeys(files) {
		if err := r.Dirs.makeFile(r.root, name, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// readSBOMs is the SBOM files of a layer by the path below <layers> that they are restored to.
func (r *restorer) readSBOMs(ctx context.Context, kind, sha string, open func(context.Context) (io.ReadCloser, error), dirs map[string]cnb.Ref) (map[string][]byte, error) {
	rc, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	prefix := path.Join(r.Dirs.Layers, "sbom", kind) + "/"
	files := map[string][]byte{}
	total, entries := int64(0), 0
	err = verified(ctx, rc, sha, func(rd io.Reader) error {
		tr := tar.NewReader(rd)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read its tar: %w", err)
			}
			if entries++; entries > 100_000 {
				return errors.New("it has more than 100000 entries")
			}
			name, ok := sbomPlace(strings.TrimPrefix(path.Clean("/"+h.Name), prefix), dirs)
			if h.Typeflag != tar.TypeReg || !ok || !strings.HasPrefix(path.Clean("/"+h.Name), prefix) {
				continue
			}
			if total += h.Size; h.Size > maxSBOM || total > maxSBOMs {
				return fmt.Errorf("%.200q is too large", h.Name)
			}
			if files[name], err = io.ReadAll(tr); err != nil {
				return fmt.Errorf("read its tar: %w", err)
			}
		}
	})
	return files, err
}

// sbomPlace is where <buildpack>/<layer>/sbom.<ext> of an SBOM layer is restored to. Files that belong to a
// buildpack and to no layer are not restored.
func sbomPlace(rel string, dirs map[string]cnb.Ref) (string, bool) {
	parts := strings.Split(rel, "/")
	if len(parts) != 3 {
		return "", false
	}
	if _, ok := dirs[parts[0]]; !ok {
		return "", false
	}
	if _, err := cnb.ParseLayerName(parts[1]); err != nil {
		return "", false
	}
	ext, ok := strings.CutPrefix(parts[2], "sbom.")
	if !ok || cnb.SBOMMediaType(ext) == "" {
		return "", false
	}
	return path.Join(parts[0], parts[1]+".sbom."+ext), true
}

// sbomTree restores the SBOM files that lie below <layers>/sbom/launch, where an analysis that was a process of its
// own left the previous image's (platform, "restorer").
func (r *restorer) sbomTree(dirs map[string]cnb.Ref) error {
	const tree = "sbom/launch"
	left := int64(maxSBOMs)
	for _, dir := range sortedKeys(dirs) {
		layers, err := listDir(r.root, path.Join(tree, dir))
		if err != nil {
			continue // it has none, or it is no directory
		}
		for _, layer := range layers {
			files, err := listDir(r.root, path.Join(tree, dir, layer))
			if err != nil {
				continue // a file of the buildpack itself
			}
			for _, file := range files {
				name, ok := sbomPlace(path.Join(dir, layer, file), dirs)
				if !ok {
					continue
				}
				b, err := cnb.ReadFileIn(r.root, path.Join(tree, dir, layer, file), maxSBOM)
				if left -= int64(len(b)); err != nil || left < 0 {
					r.emit(Event{Kind: EventWarning, Text: fmt.Sprintf("SBOM file %s of the previous image is not restored: too large or not readable", path.Join(dir, layer, file))})
					continue
				}
				if err := r.Dirs.makeFile(r.root, name, b); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ExtractSBOM puts the previous image's SBOM layer, an uncompressed tar that has to be what diffID names, below
// <layers>/sbom, where a restore that is a process of its own finds it (platform, "analyzer").
func ExtractSBOM(ctx context.Context, dirs Dirs, limits Limits, diffID string, layer io.Reader) error {
	root, err := os.OpenRoot(dirs.Host(dirs.Layers))
	if err != nil {
		return inPhase("analyze", fmt.Errorf("open the layers directory: %w", err))
	}
	defer root.Close()
	err = extractSBOM(ctx, root, dirs, limits, diffID, layer)
	if err != nil {
		err = errors.Join(err, root.RemoveAll("sbom"))
	}
	return inPhase("analyze", err)
}

func extractSBOM(ctx context.Context, root *os.Root, dirs Dirs, limits Limits, diffID string, layer io.Reader) error {
	if !validDiffID(diffID) {
		return fmt.Errorf("SBOM layer %.100q of the previous image is not a digest", diffID)
	}
	if err := root.RemoveAll("sbom"); err != nil {
		return err
	}
	if err := dirs.makeDir(root, "sbom"); err != nil {
		return err
	}
	tree, err := root.OpenRoot("sbom")
	if err != nil {
		return err
	}
	defer tree.Close()
	x := &extraction{
		dirs: dirs, root: tree, prefix: path.Join(dirs.Layers, "sbom"), limits: limits.orDefault(),
		made: map[string]bool{"": true}, modes: []dirMode{{"", 0o755}}, buf: make([]byte, 32<<10),
	}
	defer x.closeParent()
	if err := verified(ctx, layer, diffID, func(r io.Reader) error { return x.all(ctx, r) }); err != nil {
		return fmt.Errorf("restore the SBOM layer of the previous image: %w", err)
	}
	return x.finish()
}

package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
)

// repair brings the directory back to what was acknowledged.
func (r *Registry) repair(ctx context.Context) error {
	if err := r.root.MkdirAll(repositoriesDir, 0o700); err != nil {
		return err
	}
	if err := r.sync("."); err != nil {
		return err
	}
	names, err := r.Repositories(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := errors.Join(r.repository(name).repair(), ctx.Err()); err != nil {
			return fmt.Errorf("repository %s: %w", name, err)
		}
	}
	return r.clear(ctx)
}

// clear ends the deletion of repositories that a crash cut, and the making of those that never came to be: what has
// blobs and no index.
func (r *Registry) clear(ctx context.Context) error {
	left := map[string]bool{} // each once, though it has blobs and uploads
	err := fs.WalkDir(r.root.FS(), repositoriesDir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || d.Name() != blobsDir && d.Name() != uploadsDir {
			return errors.Join(err, ctx.Err())
		}
		if _, err := r.root.Stat(path.Join(path.Dir(name), indexFile)); errors.Is(err, fs.ErrNotExist) {
			left[strings.TrimPrefix(path.Dir(name), repositoriesDir+"/")] = true
		}
		return fs.SkipDir
	})
	for name := range left {
		err = errors.Join(err, (&repository{r: r, name: name}).removeFiles())
	}
	return err
}

func (rp *repository) repair() error {
	root := rp.r.root
	if err := root.RemoveAll(rp.path(uploadsDir)); err != nil {
		return err
	}
	for d, info := range rp.blobs() {
		if info.Mode().Perm() == sealed {
			continue
		}
		if err := root.Remove(rp.blob(d)); err != nil {
			return err
		}
	}
	if _, err := rp.readIndex(indexFile); err != nil {
		if _, safe := rp.readIndex(indexSafe); safe != nil {
			return errors.Join(err, safe)
		}
		if err := root.Rename(rp.path(indexSafe), rp.path(indexFile)); err != nil {
			return err
		}
		if err := rp.saveIndex(); err != nil {
			return err
		}
	}
	entries, err := fs.ReadDir(root.FS(), rp.path())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), indexFile+".") && e.Name() != indexSafe {
			if err := root.Remove(rp.path(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// blobs are the files that are blobs, by digest. What goes away meanwhile is left out, and what cannot be read.
func (rp *repository) blobs() func(yield func(digest.Digest, fs.FileInfo) bool) {
	return func(yield func(digest.Digest, fs.FileInfo) bool) {
		for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			entries, err := fs.ReadDir(rp.r.root.FS(), path.Join(rp.path(blobsDir), string(algorithm)))
			if err != nil {
				continue
			}
			for _, e := range entries {
				d := digest.NewDigestFromEncoded(algorithm, e.Name())
				info, err := e.Info()
				if err != nil || d.Validate() != nil || !info.Mode().IsRegular() {
					continue
				}
				if !yield(d, info) {
					return
				}
			}
		}
	}
}

package daemon

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/internal/secret"
	"github.com/slipway-build/slipway/internal/store"
)

// kept are the parts of a data directory that a backup has besides the record, each with the parts of it that go first:
// what names others is copied before what it names, so that a copy of a running service lacks nothing.
func kept() []struct{ dir, first string } {
	return []struct{ dir, first string }{{"registry", "blobs"}, {"git", "objects"}, {"sources", ""}, {"logs", ""}}
}

// Backup writes a data directory to w as a tar, whether a service is using it or not: the record as it stands at one
// moment, and then at least what that names. The key is part of it: whoever has a backup has all secrets.
func Backup(ctx context.Context, data string, w io.Writer) (err error) {
	s, err := openCopy(ctx, data)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	tmp, err := os.MkdirTemp(data, "backup-")
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	snapshot := filepath.Join(tmp, "slipway.db")
	if err := s.Backup(ctx, snapshot); err != nil {
		return err
	}
	b := &backup{ctx: ctx, data: data, out: tar.NewWriter(w), links: map[[2]uint64]string{}}
	for at, name := range map[string]string{snapshot: "slipway.db", filepath.Join(data, "key"): "key"} {
		if _, err := b.add(at, name); err != nil {
			return fmt.Errorf("backup: %w", err)
		}
	}
	for _, k := range kept() {
		for _, last := range []bool{false, true} {
			if err := b.tree(k.dir, k.first, last); err != nil {
				return fmt.Errorf("backup: %w", err)
			}
		}
	}
	return b.out.Close()
}

// openCopy opens the record of a data directory that is there, beside whoever uses it.
func openCopy(ctx context.Context, data string) (*store.Store, error) {
	for _, name := range []string{"slipway.db", "key"} {
		if _, err := os.Stat(filepath.Join(data, name)); err != nil {
			return nil, fmt.Errorf("%s is not the data of a service: it has no %s", data, name)
		}
	}
	box, err := secret.Open(filepath.Join(data, "key"))
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, filepath.Join(data, "slipway.db"), box)
}

// A backup is a tar under way.
type backup struct {
	ctx   context.Context
	data  string
	out   *tar.Writer
	links map[[2]uint64]string // device and inode of files with several names -> the first
}

// tree adds what is below a directory: first all but what is below directories called late, then that. Where files were
// replaced meanwhile it looks again: the later entry of a name counts.
func (b *backup) tree(dir, late string, last bool) error {
	for range 5 {
		whole := true
		err := filepath.WalkDir(filepath.Join(b.data, dir), func(at string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			name, err := filepath.Rel(b.data, at)
			if err != nil {
				return err
			}
			if !e.IsDir() && last != (late != "" && slices.Contains(strings.Split(name, "/"), late)) || e.IsDir() && last {
				return b.ctx.Err()
			}
			there, err := b.add(at, name)
			whole = whole && there
			return err
		})
		if err != nil || whole {
			return err
		}
	}
	return fmt.Errorf("%s changes all the time: try again when less is going on", dir)
}

// add writes a file or directory; false tells that it has gone.
func (b *backup) add(at, name string) (there bool, err error) {
	st, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !st.IsDir() && !st.Mode().IsRegular() { // sockets of hooks
		return true, err
	}
	h, err := tar.FileInfoHeader(st, "")
	if err != nil {
		return false, err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if st.IsDir() {
		h.Name += "/"
		return true, b.out.WriteHeader(h)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if key := [2]uint64{sys.Dev, sys.Ino}; ok && sys.Nlink > 1 {
		if first, ok := b.links[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return true, b.out.WriteHeader(h)
		}
		b.links[key] = name
	}
	f, err := os.Open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := b.out.WriteHeader(h); err != nil {
		return false, err
	}
	n, err := io.CopyN(b.out, f, h.Size) // a log may grow: what it had is whole
	if errors.Is(err, io.EOF) {
		_, err = io.CopyN(b.out, zeros{}, h.Size-n)
		return false, err // it was cut meanwhile: it comes again
	}
	return true, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Restore unpacks a backup into a data directory, which must be empty or not be there, and opens its record.
func Restore(ctx context.Context, r io.Reader, data string) (err error) {
	if list, err := os.ReadDir(data); err == nil && len(list) > 0 {
		return fmt.Errorf("restore: %s is not empty: name a new directory", data)
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	root, err := os.OpenRoot(data)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer root.Close()
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = unpack(root, h, in)
		}
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	s, err := openCopy(ctx, data)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	apps, err := s.AllApps(ctx)
	for _, a := range apps {
		_, serr := s.Secrets(ctx, a.ID, store.SecretVar)
		err = errors.Join(err, serr)
	}
	return errors.Join(err, s.Close())
}

// unpack makes one entry with the mode that it had, which the registry goes by.
func unpack(root *os.Root, h *tar.Header, r io.Reader) error {
	name := filepath.Clean(strings.TrimSuffix(h.Name, "/"))
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o700); err != nil {
			return err
		}
		return root.Chmod(name, h.FileInfo().Mode().Perm()|0o700)
	case tar.TypeLink:
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return root.Link(h.Linkname, name)
	case tar.TypeReg:
	default:
		return fmt.Errorf("entry %q is no part of a backup", h.Name)
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // the later of two counts
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Chmod(h.FileInfo().Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return err
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}

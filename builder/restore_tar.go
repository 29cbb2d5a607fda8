package builder

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"syscall"
)

// errNoSpace is the one failure of an extraction that is not the cache's fault.
const errNoSpace = syscall.ENOSPC

// extractLayer puts the contents of a cached layer in place and returns their size. What is left behind by an
// error is the caller's to remove.
func (r *restorer) extractLayer(ctx context.Context, j *restoreJob) (int64, error) {
	dir := path.Join(j.buildpack.ID.Dir(), j.layer)
	if bytes, ok := r.inPlace(j, dir); ok {
		return bytes, nil
	}
	if !validDiffID(j.sha) {
		return 0, errNoDiffID
	}
	rc, err := r.Cache.Open(ctx, j.sha)
	if err != nil {
		return 0, err
	}
	defer rc.Close()
	if err := r.root.RemoveAll(dir); err != nil {
		return 0, err
	}
	return unpackLayer(ctx, r.Dirs, r.root, dir, j.sha, rc, r.Limits)
}

var errNoDiffID = errors.New("the cache's metadata has no valid diffID for it")

// unpackLayer extracts the tar rc, which diffID names, into dir, which it makes, below root, which is <layers>.
func unpackLayer(ctx context.Context, d Dirs, root *os.Root, dir, diffID string, rc io.Reader, limits Limits) (int64, error) {
	if err := root.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	layer, err := root.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer layer.Close()
	x := &extraction{
		dirs:   d,
		root:   layer,
		prefix: path.Join(d.Layers, dir),
		limits: limits.orDefault(),
		made:   map[string]bool{"": true},
		modes:  []dirMode{{"", 0o755}},
		buf:    make([]byte, 256<<10),
	}
	defer x.closeParent()
	if err := verified(ctx, rc, diffID, func(r io.Reader) error { return x.all(ctx, r) }); err != nil {
		return 0, err
	}
	return x.bytes, x.finish()
}

// verified lets use read r and then makes sure that all of r is what diffID names.
func verified(ctx context.Context, r io.Reader, diffID string, use func(io.Reader) error) error {
	h := sha256.New()
	if err := use(io.TeeReader(r, h)); err != nil {
		return err
	}
	rest := io.TeeReader(r, h)
	buf := make([]byte, 64<<10)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		_, err := rest.Read(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != diffID {
		return fmt.Errorf("the cache is damaged: contents are %s, not %s", got, diffID)
	}
	return nil
}

// extraction writes the entries of one layer's tar below root. Directories are only ever entered if this
// extraction made them, and every other entry is made anew: so no link of the tar is followed, wherever it points.
type extraction struct {
	dirs   Dirs
	root   *os.Root // the layer's directory
	prefix string   // its path in the tar
	limits Limits
	made   map[string]bool // directories by path below root
	modes  []dirMode
	parent *os.Root // the directory of the entry before, open: entries come by directory
	in     string   // its path below root
	buf    []byte
	plain  bool // files and directories are all that it may hold

	entries, bytes int64
}

type dirMode struct {
	name string
	mode os.FileMode
}

func (x *extraction) closeParent() {
	if x.parent != nil {
		x.parent.Close()
		x.parent = nil
	}
}

func (x *extraction) all(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read its tar: %w", err)
		}
		if x.entries++; x.entries > x.limits.Entries {
			return fmt.Errorf("it has more than %d entries", x.limits.Entries)
		}
		if err := x.entry(h, tr); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

// below is an entry's path below the layer's directory. inside is false for the directories above it.
func (x *extraction) below(name string) (rel string, inside bool, err error) {
	for seg := range strings.SplitSeq(name, "/") {
		if seg == ".." {
			return "", false, errors.New("has '..' in its path")
		}
	}
	name = path.Clean("/" + name)
	switch {
	case name == x.prefix:
		return "", true, nil
	case strings.HasPrefix(name, x.prefix+"/"):
		return name[len(x.prefix)+1:], true, nil
	case name == "/" || strings.HasPrefix(x.prefix, name+"/"):
		return "", false, nil
	}
	return "", false, fmt.Errorf("lies outside of %s", x.prefix)
}

func (x *extraction) entry(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	rel, inside, err := x.below(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		if !inside {
			return nil
		}
		return x.directory(rel, os.FileMode(h.Mode).Perm())
	}
	if !inside || rel == "" {
		return errors.New("is not a directory")
	}
	if err := x.enter(path.Dir("/" + rel)[1:]); err != nil {
		return err
	}
	base := path.Base(rel)
	switch {
	case h.Typeflag == tar.TypeReg:
		return x.file(base, h, r)
	case x.plain:
		return errors.New("is neither a file nor a directory")
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		if err := x.parent.Symlink(h.Linkname, base); err != nil {
			return err
		}
		return x.dirs.chown(x.parent, base)
	case tar.TypeLink:
		to, inside, err := x.below(h.Linkname)
		if err != nil || !inside || !x.made[path.Dir("/" + to)[1:]] {
			return fmt.Errorf("is a hard link to %.200q, which is not in the layer", h.Linkname)
		}
		return x.root.Link(to, rel)
	case tar.TypeFifo:
		return makeFIFO(x.parent, base, uint32(h.Mode&0o777), x.dirs)
	}
	return fmt.Errorf("is of type %q, which no layer holds", h.Typeflag)
}

func (x *extraction) directory(rel string, mode os.FileMode) error {
	if rel != "" && !x.made[rel] {
		if err := x.enter(path.Dir("/" + rel)[1:]); err != nil {
			return err
		}
		if err := x.parent.Mkdir(path.Base(rel), 0o700); err != nil {
			return err
		}
		x.made[rel] = true
	}
	x.modes = append(x.modes, dirMode{rel, mode})
	return nil
}

// enter makes x.parent the directory rel, which a tar of ours has named before; one that has not is made.
func (x *extraction) enter(rel string) error {
	if x.parent != nil && x.in == rel {
		return nil
	}
	if !x.made[rel] {
		if err := x.directory(rel, 0o755); err != nil {
			return err
		}
	}
	dir, err := x.root.OpenRoot("./" + rel)
	if err != nil {
		return err
	}
	x.closeParent()
	x.parent, x.in = dir, rel
	return nil
}

func (x *extraction) file(base string, h *tar.Header, r io.Reader) error {
	if h.Size > x.limits.Bytes-x.bytes {
		return fmt.Errorf("with it the layer is larger than the limit of %d bytes", x.limits.Bytes)
	}
	x.bytes += h.Size
	f, err := x.parent.OpenFile(base, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, r, x.buf)
	if err == nil && x.dirs.foreign() {
		err = f.Chown(x.dirs.Owner())
	}
	if err == nil {
		err = f.Chmod(os.FileMode(h.Mode).Perm())
	}
	return errors.Join(err, f.Close())
}

// finish gives directories their owners and modes, the deepest first, when nothing is written to them any more.
func (x *extraction) finish() error {
	for i := len(x.modes) - 1; i >= 0; i-- {
		m := x.modes[i]
		name := "./" + m.name
		if err := x.dirs.chown(x.root, name); err != nil {
			return err
		}
		if err := x.root.Chmod(name, m.mode); err != nil {
			return err
		}
	}
	return nil
}

// foreign tells whether files have to be given to the buildpacks' user.
func (d Dirs) foreign() bool {
	uid, gid := d.Owner()
	return uid != os.Geteuid() || gid != os.Getegid()
}

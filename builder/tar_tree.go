package builder

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// treePart is a directory with everything in it, all owned by uid and gid. Directories are opened one below
// the other by descriptor and never through a link, so what is read lies below anchor whatever a buildpack left.
type treePart struct {
	anchor string   // a directory of this machine that the platform chose
	below  []string // names that lead from anchor to the tree's root; a link among them is an error
	name   string   // the root's path in the image
	uid    int
	gid    int
	// byPath orders entries as the sorted list of all their paths, as the reference does for the app, instead
	// of directory by directory, as it does for all else. The two differ where names hold bytes before '/'.
	byPath bool
	// keep tells which entries are part of the layer, by path below the root ("" is the root); nil keeps all.
	keep func(rel string) bool
}

func (p treePart) write(ctx context.Context, t *layerWriter) error {
	dir, err := p.open()
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := statAt(dir, ".")
	if err != nil {
		return fmt.Errorf("stat %q: %w", p.name, err)
	}
	w := treeWalk{treePart: p, layerWriter: t}
	if w.wanted("") {
		if err := w.directory(p.name, st); err != nil {
			return err
		}
	}
	return w.children(ctx, dir, "", 0)
}

// open opens the root of the tree.
func (p treePart) open() (*os.File, error) {
	dir, err := openTrusted(p.anchor)
	if err != nil {
		return nil, err
	}
	for i, name := range p.below {
		next, err := openDirAt(dir, name)
		dir.Close()
		if err != nil {
			return nil, fmt.Errorf("open directory %s of %s: %w", path.Join(p.below[:i+1]...), p.anchor, err)
		}
		dir = next
	}
	return dir, nil
}

type treeWalk struct {
	treePart
	*layerWriter
}

func (w treeWalk) wanted(rel string) bool { return w.keep == nil || w.keep(rel) }

func (w treeWalk) directory(name string, st fileStat) error {
	return w.header(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: w.mode(name, st), Uid: w.uid, Gid: w.gid})
}

// children writes the entries of dir, which is rel below the root.
func (w treeWalk) children(ctx context.Context, dir *os.File, rel string, depth int) error {
	if depth >= maxDepth {
		return fmt.Errorf("%.80q...: more than %d directories deep", path.Join(w.name, rel), maxDepth)
	}
	steps, err := w.steps(dir, rel)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		name, descend := strings.CutSuffix(s.key, "/")
		at := name
		if rel != "" {
			at = rel + "/" + name
		}
		if descend {
			err = w.descend(ctx, dir, name, at, depth)
		} else {
			err = w.entry(ctx, dir, s, at, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A step is one entry of a directory, or with a '/' at its end the contents of one.
type step struct {
	key string
	st  *fileStat // nil where it is not known yet
}

// steps is the sorted names in dir. With byPath every directory is there twice, as "name" for its own entry
// and as "name/" for its contents: sorted, that is the order of all full paths, with no list of them.
func (w treeWalk) steps(dir *os.File, rel string) ([]step, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read directory %q: %w", path.Join(w.name, rel), err)
	}
	steps := make([]step, 0, len(names))
	for _, name := range names {
		if !w.byPath {
			steps = append(steps, step{key: name})
			continue
		}
		st, err := statAt(dir, name)
		if err != nil {
			return nil, fmt.Errorf("stat %q: %w", path.Join(w.name, rel, name), err)
		}
		steps = append(steps, step{name, &st})
		if st.kind() == kindDirectory {
			steps = append(steps, step{key: name + "/"})
		}
	}
	slices.SortFunc(steps, func(a, b step) int { return strings.Compare(a.key, b.key) })
	return steps, nil
}

func (w treeWalk) descend(ctx context.Context, dir *os.File, name, rel string, depth int) error {
	if !w.wanted(rel) {
		return nil
	}
	sub, err := openDirAt(dir, name)
	if err != nil {
		return fmt.Errorf("open directory %q: %w", path.Join(w.name, rel), err)
	}
	defer sub.Close()
	return w.children(ctx, sub, rel, depth+1)
}

// entry writes what s names in dir; without byPath a directory's contents too.
func (w treeWalk) entry(ctx context.Context, dir *os.File, s step, rel string, depth int) error {
	if !w.wanted(rel) {
		return nil
	}
	name := s.key
	full := w.name + "/" + rel
	if strings.HasPrefix(name, ".wh.") {
		return fmt.Errorf("%q: names that begin with .wh. delete files of other layers and are refused", full)
	}
	if s.st == nil {
		st, err := statAt(dir, name)
		if err != nil {
			return fmt.Errorf("stat %q: %w", full, err)
		}
		s.st = &st
	}
	switch st := *s.st; st.kind() {
	case kindDirectory:
		if err := w.directory(full, st); err != nil || w.byPath {
			return err
		}
		return w.descend(ctx, dir, name, rel, depth)
	case kindRegular:
		return w.file(ctx, dir, name, full, st)
	case kindLink:
		target, err := readLinkAt(dir, name)
		if err != nil {
			return fmt.Errorf("read link %q: %w", full, err)
		}
		return w.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: full, Linkname: target, Mode: w.mode(full, st), Uid: w.uid, Gid: w.gid})
	case kindFIFO:
		return w.header(&tar.Header{Typeflag: tar.TypeFifo, Name: full, Mode: w.mode(full, st), Uid: w.uid, Gid: w.gid})
	case kindSocket:
		return nil
	case kindBlock, kindChar:
		return fmt.Errorf("%q is a device node, which cannot be part of an image", full)
	}
	return fmt.Errorf("%q is of an unknown type, which cannot be part of an image", full)
}

// file writes a regular file. A file of several names is written as often: the reference does so, layers of equal
// contents are to have equal digests, and its restorer fails on a hard link.
func (w treeWalk) file(ctx context.Context, dir *os.File, name, full string, st fileStat) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: full, Size: st.size, Mode: w.mode(full, st), Uid: w.uid, Gid: w.gid}
	if st.size == 0 {
		return w.header(h)
	}
	fd, err := openAt(dir, name, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", full, err)
	}
	defer unix.Close(fd)
	var now unix.Stat_t
	if err := retry(func() error { return unix.Fstat(fd, &now) }); err != nil {
		return fmt.Errorf("stat %q: %w", full, err)
	}
	if s := newFileStat(&now); s.kind() != kindRegular || s.size != st.size {
		return fmt.Errorf("%q changed while it was read", full)
	}
	if err := w.header(h); err != nil {
		return err
	}
	return w.copy(ctx, fdReader(fd), full, st.size)
}

package platform

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/agent"
)

// sameFiles says whether all pairs of files have the same bytes. It is the collector's to open what a buildpack wrote.
type sameFiles func(ctx context.Context, pairs []agent.FilePair) (bool, error)

// unchanged is the layers that are what they were when they were restored, by builder.Layer.ID, with their diffIDs.
// Overlayfs makes an entry in upper of whatever is written, down from the layers directory: a layer that has none was
// not touched. Of one that has a few they are compared, since many buildpacks write the same few files each time. No
// process of a buildpack may run any more.
func (s *stack) unchanged(ctx context.Context, same sameFiles) map[string]string {
	out := map[string]string{}
	top, err := openPlain(unix.AT_FDCWD, s.upper)
	if err != nil {
		return nil
	}
	defer top.Close()
	if !s.plain(top) {
		return nil
	}
	for _, l := range s.placed {
		if l.Exact && s.isUnchanged(ctx, top, l, same) {
			out[l.ID()] = l.DiffID
		}
	}
	return out
}

// isUnchanged looks at one layer. The buildpack's directory is in upper in any case, since Restore has written to it.
func (s *stack) isUnchanged(ctx context.Context, top *os.File, l placedTree, same sameFiles) bool {
	dir, err := openPlain(int(top.Fd()), l.Buildpack.Dir())
	if err != nil {
		return false
	}
	defer dir.Close()
	if !s.plain(dir) {
		return false
	}
	upper, err := openPlain(int(dir.Fd()), l.Name)
	if errors.Is(err, unix.ENOENT) {
		return true
	}
	if err != nil {
		return false
	}
	defer upper.Close()
	below := filepath.Join(l.dir, l.Path())
	lower, err := openPlain(unix.AT_FDCWD, below)
	if err != nil {
		return false
	}
	defer lower.Close()
	c := comparison{left: maxCompared}
	if !c.dir(upper, lower, filepath.Join(s.upper, l.Path()), below, false) {
		return false
	}
	if len(c.files) == 0 {
		return true
	}
	ok, err := same(ctx, c.files)
	return err == nil && ok
}

// What is compared of a layer at most; more of it is read as a whole.
const (
	maxCompared      = 1000
	maxComparedBytes = 8 << 20
)

// plain says of a directory in upper that it is merged with those of its own path below, and that it has the owner and
// mode that builder.UnpackedLayer.Exact speaks of.
func (s *stack) plain(dir *os.File) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil || st.Mode != unix.S_IFDIR|0o755 || int(st.Uid) != s.uid || int(st.Gid) != s.gid {
		return false
	}
	merged, opaque := overlayMarks(dir)
	return merged && !opaque
}

// overlayMarks reads what overlayfs has noted of a directory in upper: whether it stands for those of its own path
// below and not of another, and whether it hides them.
func overlayMarks(dir *os.File) (own, opaque bool) {
	buf := make([]byte, 16<<10)
	n, err := unix.Flistxattr(int(dir.Fd()), buf)
	if err != nil {
		return false, false
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		switch attr, ok := strings.CutPrefix(name, "trusted.overlay."); {
		case !ok, attr == "origin", attr == "impure", attr == "uuid":
		case attr == "opaque":
			n, err := unix.Fgetxattr(int(dir.Fd()), name, buf)
			if err != nil || string(buf[:n]) != "y" {
				return false, false
			}
			opaque = true
		default: // a redirect, or what later kernels may think of
			return false, false
		}
	}
	return true, opaque
}

// openPlain opens a directory, which may not be a link.
func openPlain(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// A comparison finds out whether the entries in upper say what is below anyway. Owners and times do not count: a
// layer's tar has neither. Files with names on both sides are listed for their bytes.
type comparison struct {
	left  int // entries that it still looks at
	bytes int64
	files []agent.FilePair
}

// dir compares a directory in upper, at the path up, with the one at low that it stands over. alone tells that nothing
// of low shows through.
func (c *comparison) dir(upper, lower *os.File, up, low string, alone bool) bool {
	var u, l unix.Stat_t
	if errors.Join(unix.Fstat(int(upper.Fd()), &u), unix.Fstat(int(lower.Fd()), &l)) != nil || u.Mode != l.Mode {
		return false
	}
	own, opaque := overlayMarks(upper)
	if !own {
		return false
	}
	alone = alone || opaque
	names, err := upper.Readdirnames(c.left + 1)
	if err != nil && err != io.EOF {
		return false
	}
	if c.left -= len(names); c.left < 0 {
		return false
	}
	for _, n := range names {
		if !c.entry(upper, lower, n, filepath.Join(up, n), filepath.Join(low, n), alone) {
			return false
		}
	}
	if !alone {
		return true
	}
	below, err := lower.Readdirnames(len(names) + 1) // they are as many where every one of names is among them
	return (err == nil || err == io.EOF) && len(below) == len(names)
}

func (c *comparison) entry(upper, lower *os.File, name, up, low string, alone bool) bool {
	var u, l unix.Stat_t
	err := errors.Join(
		unix.Fstatat(int(upper.Fd()), name, &u, unix.AT_SYMLINK_NOFOLLOW),
		unix.Fstatat(int(lower.Fd()), name, &l, unix.AT_SYMLINK_NOFOLLOW),
	)
	if err != nil || u.Mode != l.Mode {
		return false
	}
	switch u.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c.bytes += u.Size
		c.files = append(c.files, agent.FilePair{A: up, B: low})
		return u.Size == l.Size && c.bytes <= maxComparedBytes
	case unix.S_IFLNK:
		a, errA := os.Readlink(up)
		b, errB := os.Readlink(low)
		return errA == nil && errB == nil && a == b
	case unix.S_IFDIR:
		a, err := openPlain(int(upper.Fd()), name)
		if err != nil {
			return false
		}
		defer a.Close()
		b, err := openPlain(int(lower.Fd()), name)
		if err != nil {
			return false
		}
		defer b.Close()
		return c.dir(a, b, up, low, alone)
	}
	return false // a whiteout among them
}

// unchangedLayers is what of the restored layers is as it was.
func (j *job) unchangedLayers(ctx context.Context) map[string]string {
	if j.stack == nil {
		return nil
	}
	return j.stack.unchanged(ctx, j.collector.SameFiles)
}

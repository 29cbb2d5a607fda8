package base

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removeTimeout bounds the removal of a scratch, which goes on after a cancel. On a busy machine mmdebstrap takes seconds
// to come to the command that it is to help.
const removeTimeout = 30 * time.Second

// A scratch is a directory below TMPDIR for one tool to work in. A tool that ends by itself empties it; one that is
// stopped at a bad moment leaves files, which may belong to users that are not ours to be, and mounts.
type scratch struct {
	dir string // absolute, without symbolic links
	// helper is what a command line is put behind to run as those users: mmdebstrap's way into their user namespace.
	helper []string
}

func (o Options) newScratch(helper ...string) (scratch, error) {
	dir, err := os.MkdirTemp(o.env("TMPDIR"), "slipway-base-")
	if err != nil {
		return scratch{}, err
	}
	real, err := filepath.Abs(dir)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err == nil {
		err = os.Chmod(real, 0o755) // the tree's own users pass through
	}
	if err != nil {
		return scratch{}, errors.Join(err, os.Remove(dir))
	}
	return scratch{real, helper}, nil
}

// remove takes the directory away, whatever is in it. It tries again for as long as something dies that still writes.
func (s scratch) remove(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	o.Progress = nil
	for {
		err := os.Remove(s.dir) // empty, as a rule
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		err = s.clear(ctx, o)
		if _, gone := os.Lstat(s.dir); errors.Is(gone, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("remove the bootstrap's temporary files in %s: %w", s.dir, err)
		}
	}
}

// clear removes what can be removed now. It is rm's work because rm can be told to stay on one file system.
func (s scratch) clear(ctx context.Context, o Options) error {
	if err := unmountBelow(s.dir); err != nil {
		return err
	}
	rm := []string{"rm", "-rf", "--one-file-system", "--", s.dir}
	if len(s.helper) > 0 {
		// The tree goes, its top cannot: the directory above it is ours. So this never succeeds.
		_ = o.run(ctx, nil, s.helper[0], append(s.helper[1:len(s.helper):len(s.helper)], rm...)...)
	}
	return o.run(ctx, nil, rm[0], rm[1:]...)
}

// unmountBelow takes away what root's tools left mounted, so that nothing is removed through a mount. What is mounted
// on a mount goes with it; made private first, it leaves the tree that it is a copy of as it is.
func unmountBelow(dir string) error {
	for {
		point, err := mountBelow(dir)
		if err != nil || point == "" {
			return err
		}
		err = unix.Mount("", point, "", unix.MS_PRIVATE|unix.MS_REC, "")
		if err == nil {
			err = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
}

// mountBelow is the first mount below dir, "" when there is none.
func mountBelow(dir string) (string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 4 {
			if point := plain.Replace(f[4]); strings.HasPrefix(point, dir+"/") {
				return point, nil
			}
		}
	}
	return "", nil
}

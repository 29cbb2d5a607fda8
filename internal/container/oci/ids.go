package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/rootfs"
)

// A container with a user namespace of its own has 65,536 ids of this machine, from firstID to before the ids that
// systemd keeps for foreign images: a part that systemd, which lists who uses what (UIDS-GIDS), leaves to nobody.
// Where both /etc/subuid and /etc/subgid give the name "slipway" a range, that is taken instead.
const (
	idsEach = 1 << 16
	firstID = 0x7000_0000
	lastID  = 0x7ffd_ffff
)

// claims is where every Slipway of this machine says which ranges it has, by a directory named after the first id.
const claims = "/run/slipway"

// claimOf is a link in a claim, to the directory of who has it. When that is gone so is the claim.
const claimOf = "of"

// idsRecord is the file in the directory of who has a claim that names it.
const idsRecord = "ids"

// ids is a range of this machine's ids that one container has alone.
type ids struct {
	first int
	dir   string // the claim
}

// claimIDs takes a range that nobody has, for the owner with that directory.
func claimIDs(owner string) (*ids, error) {
	first, count, err := idRange()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.MkdirAll(claims, 0o711), os.Chmod(claims, 0o711)); err != nil {
		return nil, err
	}
	unlock, err := lockClaims()
	if err != nil {
		return nil, err
	}
	defer unlock()
	start := rand.IntN(count)
	for i := range min(count, 64) {
		c := &ids{first: first + (start+i)%count*idsEach}
		c.dir = filepath.Join(claims, strconv.Itoa(c.first))
		if c.taken() {
			continue
		}
		// What is there was left by one that was killed.
		err := errors.Join(c.clear(), os.WriteFile(filepath.Join(owner, idsRecord), []byte(c.dir), 0o600),
			os.Mkdir(c.dir, 0o711), os.Chmod(c.dir, 0o711), os.Symlink(owner, filepath.Join(c.dir, claimOf)))
		if err != nil {
			return nil, errors.Join(err, c.clear())
		}
		return c, nil
	}
	return nil, errors.New("no range of ids is free")
}

func lockClaims() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(claims, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}

// taken says whether somebody has the range.
func (c *ids) taken() bool {
	_, err := os.Stat(filepath.Join(c.dir, claimOf))
	return err == nil
}

// clear takes away the claim's directory and all that is mounted in it.
func (c *ids) clear() error {
	names, err := os.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, n := range names {
		if n.IsDir() {
			err = errors.Join(err, rootfs.Unmount(filepath.Join(c.dir, n.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(c.dir)
}

// releaseIDs gives back what the owner with that directory has claimed.
func releaseIDs(owner string) error {
	b, err := os.ReadFile(filepath.Join(owner, idsRecord))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	c := &ids{dir: string(b)}
	if err != nil || filepath.Dir(c.dir) != claims {
		return errors.Join(err, fmt.Errorf("%s: %q is no claim of ids", owner, c.dir))
	}
	unlock, err := lockClaims()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the machine was started again since
	}
	if err != nil {
		return err
	}
	defer unlock()
	if of, err := os.Readlink(filepath.Join(c.dir, claimOf)); err != nil || of != owner {
		return nil // it had not come so far, or another has taken it over
	}
	return c.clear()
}

// placeRecord is the file in a container's directory that names its place.
const placeRecord = "place"

// A place is a directory in a claim for the mounts that a container is made of. Its root, who is nobody here, has to
// reach them, which the directories of Slipway do not allow.
type place string

// makePlace makes the container's place, on which a mount of its own lies, so that all in it can go at once and shows
// nowhere else. container is its directory.
func (c *ids) makePlace(container string) (place, error) {
	p := place(filepath.Join(c.dir, filepath.Base(container)))
	err := errors.Join(os.WriteFile(filepath.Join(container, placeRecord), []byte(p), 0o600), os.Mkdir(string(p), 0o711), os.Chmod(string(p), 0o711))
	if err == nil {
		err = unix.Mount(string(p), string(p), "", unix.MS_BIND, "")
	}
	if err == nil {
		err = unix.Mount("", string(p), "", unix.MS_PRIVATE, "")
	}
	if err != nil {
		return "", fmt.Errorf("make a place for mounts: %w", errors.Join(err, clearPlace(container)))
	}
	return p, nil
}

func (p place) path(name string) string { return filepath.Join(string(p), name) }

// clearPlace takes away the place of the container in that directory.
func clearPlace(container string) error {
	b, err := os.ReadFile(filepath.Join(container, placeRecord))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p := string(b)
	if err != nil || filepath.Dir(filepath.Dir(p)) != claims || filepath.Base(p) != filepath.Base(container) {
		return errors.Join(err, fmt.Errorf("%s: %q is no place for mounts", container, p))
	}
	if err := rootfs.Unmount(p); err != nil {
		return err
	}
	return os.RemoveAll(p)
}

// idRange is where the ranges of all containers are, and how many.
func idRange() (first, count int, err error) {
	first, size := firstID, lastID-firstID+1
	users, userIDs := subordinate("/etc/subuid")
	groups, groupIDs := subordinate("/etc/subgid")
	switch {
	case userIDs == 0 && groupIDs == 0:
	case users != groups || userIDs != groupIDs:
		return 0, 0, errors.New("/etc/subuid and /etc/subgid give slipway different ids")
	default:
		first, size = users, userIDs
	}
	if count = size / idsEach; count == 0 {
		return 0, 0, fmt.Errorf("/etc/subuid gives slipway %d ids, and a container wants %d", size, idsEach)
	}
	return first, count, nil
}

// subordinate is the range that a file of subuid(5) gives to the name "slipway".
func subordinate(file string) (first, size int) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != "slipway" {
			continue
		}
		a, err1 := strconv.ParseUint(f[1], 10, 31)
		n, err2 := strconv.ParseUint(f[2], 10, 31)
		if err1 == nil && err2 == nil && a > 0 {
			return int(a), int(n)
		}
	}
	return 0, 0
}

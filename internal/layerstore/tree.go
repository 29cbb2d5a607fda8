package layerstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A TreeKey names an unpacked layer. Trees are made and used by root only: their files belong to a build's user.
type TreeKey struct {
	DiffID   string
	Path     string // where its contents lie below the tree's root: a layer's tar alone does not say it
	UID, GID int    // who owns them
}

// TreeFacts is what is known of a tree beside its files; package builder gives it its meaning.
type TreeFacts struct {
	Bytes int64 `json:"bytes"`
	Exact bool  `json:"exact"`
}

// A Tree is an unpacked layer in use. It is read and never written; nobody removes it before Close.
type Tree struct {
	TreeFacts
	Root string // the directory that its paths begin at
	lock *os.File
}

// Close ends the use of the tree.
func (t *Tree) Close() error { return t.lock.Close() }

// maxTreeAge is how long a tree is used. Files of a layer have the time of their unpacking, and tools look at it: the
// build cache of Go throws away what is older than a few days. Who asks again after a day has files of that day.
const maxTreeAge = 20 * time.Hour

const (
	treeRoot     = "root"
	treeManifest = "manifest"
	newTree      = "new-" // names of trees that are being made
	oldTree      = "old-" // and of those that are being removed
)

// manifest is what a tree has to be. A tree of another boot is not believed: its files were never synced.
type manifest struct {
	TreeFacts
	Sum  string    `json:"sum"` // of all entries: treeSum
	Made time.Time `json:"made"`
	Boot string    `json:"boot"`
}

func (s *Store) treeDir() string { return filepath.Join(s.dir, "trees") }

// prefix begins the names of the key's trees; the time at which each was made follows.
func (k TreeKey) prefix() (string, error) {
	d, err := parseDigest(k.DiffID)
	if err != nil {
		return "", err
	}
	at := sha256.Sum256([]byte(k.Path))
	return fmt.Sprintf("%s-%d-%d-%s.", d.Hex, k.UID, k.GID, hex.EncodeToString(at[:8])), nil
}

// Tree finds an unpacked layer and looks at every entry of it: a tree that was changed through the file system since
// it was made, in whatever way, is no tree, and is removed. The error is then fs.ErrNotExist.
func (s *Store) Tree(ctx context.Context, k TreeKey) (*Tree, error) {
	prefix, err := k.prefix()
	if err != nil {
		return nil, err
	}
	names, err := s.trees()
	if err != nil {
		return nil, err
	}
	slices.Reverse(names) // the newest first
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		t, err := s.useTree(ctx, name)
		if err == nil {
			return t, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !errors.Is(err, errTooOld) { // that has time
			_, _ = s.removeTree(name) // what is in use goes later
		}
	}
	return nil, fmt.Errorf("unpacked layer %s: %w", k.DiffID, fs.ErrNotExist)
}

// trees lists the names of all trees, sorted.
func (s *Store) trees() ([]string, error) {
	entries, err := os.ReadDir(s.treeDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list unpacked layers: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (s *Store) useTree(ctx context.Context, name string) (*Tree, error) {
	dir := filepath.Join(s.treeDir(), name)
	lock, err := lockTree(dir, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	m, err := readManifest(filepath.Join(dir, treeManifest))
	if err == nil {
		err = m.check(ctx, filepath.Join(dir, treeRoot))
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if info, err := lock.Stat(); err == nil {
		touch(dir, info)
	}
	return &Tree{TreeFacts: m.TreeFacts, Root: filepath.Join(dir, treeRoot), lock: lock}, nil
}

// lockTree locks the directory of a tree, without waiting, and makes sure that it is still there.
func lockTree(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err == nil {
		var mine, now unix.Stat_t
		err = errors.Join(unix.Fstat(int(f.Fd()), &mine), unix.Lstat(dir, &now))
		if err == nil && (mine.Dev != now.Dev || mine.Ino != now.Ino) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock unpacked layer %s: %w", dir, err), f.Close())
	}
	return f, nil
}

var errTooOld = errors.New("unpacked layer: too old")

func (m manifest) check(ctx context.Context, root string) error {
	if age := time.Since(m.Made); age > maxTreeAge || age < -time.Minute {
		return errTooOld
	}
	if boot, err := bootID(); err != nil || boot != m.Boot {
		return errors.Join(errors.New("unpacked layer: of another boot"), err)
	}
	sum, err := treeSum(ctx, root)
	if err == nil && sum != m.Sum {
		err = errors.New("unpacked layer: changed since it was made")
	}
	return err
}

// MakeTree unpacks a layer with fill, which makes files below root. The tree is as good as one that Tree found.
func (s *Store) MakeTree(ctx context.Context, k TreeKey, fill func(root string) (TreeFacts, error)) (t *Tree, err error) {
	prefix, err := k.prefix()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.treeDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make unpacked layer: %w", err)
	}
	spread(s.treeDir())
	dir, err := os.MkdirTemp(s.treeDir(), newTree)
	if err != nil {
		return nil, fmt.Errorf("make unpacked layer: %w", err)
	}
	lock, err := lockTree(dir, unix.LOCK_EX)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir), lock.Close())
		}
	}()
	if err := os.Mkdir(filepath.Join(dir, treeRoot), 0o755); err != nil {
		return nil, fmt.Errorf("make unpacked layer: %w", err)
	}
	m := manifest{Made: time.Now()}
	if m.TreeFacts, err = fill(filepath.Join(dir, treeRoot)); err != nil {
		return nil, err
	}
	if m.Boot, err = bootID(); err != nil {
		return nil, err
	}
	if m.Sum, err = treeSum(ctx, filepath.Join(dir, treeRoot)); err != nil {
		return nil, err
	}
	if err := m.write(filepath.Join(dir, treeManifest)); err != nil {
		return nil, fmt.Errorf("make unpacked layer: %w", err)
	}
	to := filepath.Join(s.treeDir(), prefix+strconv.FormatInt(m.Made.UnixNano(), 10))
	if err := os.Rename(dir, to); err != nil {
		return nil, fmt.Errorf("make unpacked layer: %w", err)
	}
	dir = to
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH); err != nil {
		return nil, fmt.Errorf("make unpacked layer: %w", err)
	}
	// Between the two locks somebody may have removed it.
	if _, err := os.Lstat(filepath.Join(to, treeManifest)); err != nil {
		return nil, fmt.Errorf("make unpacked layer: %w", err)
	}
	return &Tree{TreeFacts: m.TreeFacts, Root: filepath.Join(to, treeRoot), lock: lock}, nil
}

// removeTree removes a tree that nobody uses; false means that somebody does.
func (s *Store) removeTree(name string) (bool, error) {
	dir := filepath.Join(s.treeDir(), name)
	lock, err := lockTree(dir, unix.LOCK_EX)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP): // nothing that we made
		return true, os.Remove(dir)
	case err != nil:
		return false, err
	}
	defer lock.Close()
	// In two steps, so that half a tree never has a tree's name.
	old, err := os.MkdirTemp(s.treeDir(), oldTree)
	if err == nil {
		err = os.Rename(dir, filepath.Join(old, "tree"))
	}
	if err == nil {
		err = os.RemoveAll(old)
	}
	if err != nil {
		return false, fmt.Errorf("remove unpacked layer: %w", err)
	}
	return true, nil
}

// TidyTrees removes the trees that will not be used again, where nobody uses them: those that are too old, those of
// layers that no cache names any more and that were not used for an hour, and the leavings of processes that died.
func (s *Store) TidyTrees(ctx context.Context) error {
	names, err := s.trees()
	if err != nil || len(names) == 0 {
		return err
	}
	caches, err := s.caches()
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, c := range caches {
		for _, e := range c.Layers {
			wanted[strings.TrimPrefix(e.DiffID, "sha256:")] = true
		}
	}
	now := time.Now()
	return s.removeTrees(ctx, names, func(name string, used time.Time) bool {
		diffID, _, _ := strings.Cut(name, "-")
		return now.Sub(madeAt(name)) > maxTreeAge || !wanted[diffID] && now.Sub(used) > time.Hour
	}, &Pruned{})
}

// pruneTrees removes the trees that were not used since before.
func (s *Store) pruneTrees(before time.Time, p *Pruned) error {
	names, err := s.trees()
	if err != nil {
		return err
	}
	return s.removeTrees(context.Background(), names, func(name string, used time.Time) bool {
		return used.Before(before) || time.Since(madeAt(name)) > maxTreeAge
	}, p)
}

func (s *Store) removeTrees(ctx context.Context, names []string, which func(name string, used time.Time) bool, p *Pruned) error {
	var errs []error
	for _, name := range names {
		dir := filepath.Join(s.treeDir(), name)
		info, err := os.Lstat(dir)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			continue
		}
		if strings.HasPrefix(name, newTree) || strings.HasPrefix(name, oldTree) {
			if time.Since(info.ModTime()) < time.Minute { // it may be on its way to being locked
				continue
			}
		} else if !which(name, info.ModTime()) {
			continue
		}
		m, _ := readManifest(filepath.Join(dir, treeManifest))
		gone, err := s.removeTree(name)
		if gone && err == nil {
			p.Trees++
			p.Bytes += m.Bytes
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// madeAt is when the tree of that name was made.
func madeAt(name string) time.Time {
	_, at, _ := strings.Cut(name, ".")
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// write makes the manifest's file: its own digest, then JSON.
func (m manifest) write(path string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	return os.WriteFile(path, append([]byte(hex.EncodeToString(sum[:])+"\n"), b...), 0o600)
}

func readManifest(path string) (m manifest, err error) {
	b, err := readSmall(path, 4<<10)
	if err != nil {
		return m, err
	}
	head, body, _ := strings.Cut(string(b), "\n")
	if sum := sha256.Sum256([]byte(body)); hex.EncodeToString(sum[:]) != head {
		return m, fmt.Errorf("%s: garbled", path)
	}
	return m, json.Unmarshal([]byte(body), &m)
}

// bootID is another one after every start of the machine.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// spread has ext4 put every tree into a block group of its own, with its files near each other (chattr +T).
func spread(dir string) {
	const topDir = 0x20000 // FS_TOPDIR_FL
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDir == 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|topDir)
	}
}

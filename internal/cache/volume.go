package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/cnb"
)

// Names in a volume, as the reference has them. committed is the cache: <diffID>.tar for each layer, not compressed,
// and a metadata file named like the label of a cache image. staging is its successor in the making, and
// committed-backup is where it goes for the moment between two renames.
const (
	committedDir = "committed"
	stagingDir   = "staging"
	backupDir    = "committed-backup"
	metadataFile = cnb.LabelCacheMetadata
)

// maxMetadata bounds the metadata file.
const maxMetadata = 16 << 20

// Patience for another process that writes the same volume. It must end: whoever ran in a build container could hold
// the lock for ever.
const (
	lockTime  = 30 * time.Second
	lockPoll  = 50 * time.Millisecond
	rescueFor = 2 * time.Second
)

// A Volume is a cache in a directory. It is safe for concurrent use; between processes one Replace goes after the
// other, and readers of the replaced cache miss what they have not opened yet.
type Volume struct {
	warnings
	dir      string
	lockTime time.Duration

	mu       sync.Mutex
	metadata cnb.CacheMetadata
	wrong    map[string]bool // layers that were dropped: their files may still be there, where they are not ours
}

var _ Cache = (*Volume)(nil)

// OpenVolume reads the metadata of a cache directory, which is made if it is not there. A cache that cannot be read
// is an empty one; what is wrong with it is in Warnings. What a process that died left behind is put right here
// (a cache that was moved aside) or by the next Replace.
func OpenVolume(dir string) (*Volume, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("open cache %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", dir, err)
	}
	defer root.Close()
	v := &Volume{dir: dir, lockTime: lockTime}
	v.rescue(root)
	b, err := cnb.ReadFileIn(root, path.Join(committedDir, metadataFile), maxMetadata)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	var md cnb.CacheMetadata
	if err == nil {
		md, err = cnb.DecodeCacheMetadata(b)
	}
	if err != nil {
		v.warn("cache %s is not used, its metadata cannot be read: %v", dir, err)
		return v, nil
	}
	md, gone := present(md, func(id string) bool { return hasTar(root, id) })
	for _, g := range gone {
		v.warn("cache %s lacks the contents of %s", dir, g)
	}
	v.metadata = md
	return v, nil
}

// Name is the directory as it was given.
func (v *Volume) Name() string { return v.dir }

// Exists is true: with the reference a volume that can be opened exists, whatever is in it.
func (v *Volume) Exists() bool { return true }

// Metadata describes the layers whose contents are there. Callers must not change it.
func (v *Volume) Metadata() cnb.CacheMetadata {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.metadata
}

// Open reads a layer. It never waits for a FIFO and follows no link out of the volume.
func (v *Volume) Open(ctx context.Context, diffID string) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	f, err := v.open(diffID)
	if err != nil {
		return nil, fmt.Errorf("open layer %.80q in cache %s: %w", diffID, v.dir, err)
	}
	return f, nil
}

func (v *Volume) open(diffID string) (*os.File, error) {
	root, err := os.OpenRoot(v.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if !hasTar(root, diffID) {
		return nil, errNoLayer
	}
	f, err := root.OpenFile(tarName(committedDir, diffID), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() { // it was exchanged since
		f.Close()
		return nil, errNoLayer
	}
	return f, nil
}

// Drop takes a layer whose contents turned out to be wrong out of the cache, so that the next Replace writes it anew
// rather than to keep it.
func (v *Volume) Drop(diffID string) error {
	if _, err := parseDiffID(diffID); err != nil {
		return err
	}
	root, err := os.OpenRoot(v.dir)
	if err != nil {
		return fmt.Errorf("drop layer %s from the cache: %w", diffID, err)
	}
	defer root.Close()
	err = root.RemoveAll(tarName(committedDir, diffID))
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.wrong == nil {
		v.wrong = map[string]bool{}
	}
	v.wrong[diffID] = err != nil
	v.metadata, _ = present(v.metadata, func(id string) bool { return id != diffID })
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("drop layer %s from the cache: %w", diffID, err)
	}
	return nil
}

// dropped says whether a layer's file is there and not to be trusted.
func (v *Volume) dropped(diffID string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.wrong[diffID]
}

// Verify reads a layer and compares it with its name. A layer that is not what its name says is dropped, and the
// error says what it is, in words that platforms know.
func (v *Volume) Verify(ctx context.Context, diffID string) error {
	f, err := v.Open(ctx, diffID)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, &contextReader{ctx: ctx, r: f}); err != nil {
		return fmt.Errorf("read layer %s of the cache: %w", diffID, err)
	}
	got := "sha256:" + hex.EncodeToString(h.Sum(nil))
	if got == diffID {
		return nil
	}
	return errors.Join(fmt.Errorf("expected layer contents to have SHA '%s'; found '%s'", diffID, got), v.Drop(diffID))
}

// HasLayer says whether the volume has a layer's file. It reads no content.
func (v *Volume) HasLayer(diffID string) bool {
	root, err := os.OpenRoot(v.dir)
	if err != nil {
		return false
	}
	defer root.Close()
	return hasTar(root, diffID)
}

func tarName(dir, diffID string) string { return path.Join(dir, diffID+".tar") }

// hasTar looks for a layer in the cache. A link, a FIFO, a directory and a file that a crash left empty are none.
func hasTar(root *os.Root, diffID string) bool {
	if _, err := parseDiffID(diffID); err != nil {
		return false
	}
	return isTar(root, tarName(committedDir, diffID))
}

func isTar(root *os.Root, name string) bool {
	fi, err := root.Lstat(name)
	return err == nil && fi.Mode().IsRegular() && fi.Size() > 0
}

// rescue brings back a cache whose writer died after it had moved it aside. What was staged is not taken instead: the
// reference does not write it through to the disk before it renames.
func (v *Volume) rescue(root *os.Root) {
	if !movedAside(root) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rescueFor)
	defer cancel()
	unlock, err := lock(ctx, root)
	if err != nil {
		return // it is being replaced
	}
	defer unlock()
	if movedAside(root) {
		_ = root.Rename(backupDir, committedDir) // else there is no cache
	}
}

func movedAside(root *os.Root) bool {
	_, err := root.Lstat(committedDir)
	_, backup := root.Lstat(backupDir)
	return errors.Is(err, fs.ErrNotExist) && backup == nil
}

// lock makes processes that write a volume take turns, until ctx ends. A file system without locks has none.
func lock(ctx context.Context, root *os.Root) (unlock func(), err error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return func() { d.Close() }, nil // closing the only descriptor releases the lock
		}
		select {
		case <-ctx.Done():
			d.Close()
			return nil, fmt.Errorf("another build writes it: %w", context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
}

// Replace makes the volume hold exactly md's layers.
func (v *Volume) Replace(ctx context.Context, md cnb.CacheMetadata, layer func(diffID string) (v1.Layer, error)) error {
	ids, err := layersOf(md)
	if err != nil {
		return fmt.Errorf("write cache %s: %w", v.dir, err)
	}
	text, err := encodeMetadata(md)
	if err != nil {
		return fmt.Errorf("write cache %s: %w", v.dir, err)
	}
	if err := v.replace(ctx, ids, text, layer); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.metadata = md
	return nil
}

// ReplaceLayers is Replace for a launch cache, which holds the layers that an app image has above its run image and
// no metadata.
func (v *Volume) ReplaceLayers(ctx context.Context, diffIDs []string, layer func(diffID string) (v1.Layer, error)) error {
	ids, err := distinct(diffIDs)
	if err != nil {
		return fmt.Errorf("write cache %s: %w", v.dir, err)
	}
	return v.replace(ctx, ids, nil, layer)
}

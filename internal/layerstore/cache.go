package layerstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/cnb"
)

// maxCacheFile bounds a cache's index when it is read back.
const maxCacheFile = 16 << 20

// A Cache is the build cache of one app: the metadata the buildpacks left and the layers it names, all of
// them blobs of the store. It is the reading side that restore wants (Metadata, Open) and is replaced as
// a whole. It is safe for concurrent use; between processes the last Replace wins, and Lock makes builds
// of one app take turns.
type Cache struct {
	s   *Store
	key string
}

// CacheKey makes a directory name of an image's name: what can be read of it, and a hash that keeps two
// names apart whatever they contain.
func CacheKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, name)
	readable = strings.TrimLeft(readable, ".-_")
	if len(readable) > 80 {
		readable = readable[len(readable)-80:]
	}
	return readable + "-" + hex.EncodeToString(sum[:10])
}

// Cache is the build cache for a name, which may be any text: usually the normalised name of the image
// that is built. It need not exist.
func (s *Store) Cache(name string) *Cache { return &Cache{s: s, key: CacheKey(name)} }

// cacheFile is caches/<key>.json.
type cacheFile struct {
	Metadata cnb.CacheMetadata `json:"metadata"`
	Layers   []Entry           `json:"layers"`
}

func (c *Cache) path() string { return filepath.Join(c.s.cacheDir(), c.key+".json") }

// Lock waits until no other build holds this cache. Waiting ends with ctx.
func (c *Cache) Lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(c.s.cacheDir(), c.key+".lock")
	if unlock, err := flock(path, unix.LOCK_EX|unix.LOCK_NB); err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
		return unlock, err
	}
	type result struct {
		unlock func()
		err    error
	}
	done := make(chan result, 1) // room for one, so that the waiter ends even when nobody listens
	go func() {
		u, err := flock(path, unix.LOCK_EX)
		done <- result{u, err}
	}()
	select {
	case r := <-done:
		return r.unlock, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				r.unlock()
			}
		}()
		return nil, fmt.Errorf("wait for another build of this image: %w", context.Cause(ctx))
	}
}

func (c *Cache) load() (cacheFile, bool) {
	b, err := readSmall(c.path(), maxCacheFile)
	if err != nil {
		return cacheFile{}, false
	}
	var f cacheFile
	if decodeRecord(b, &f) != nil {
		_ = os.Remove(c.path())
		return cacheFile{}, false
	}
	if info, err := os.Lstat(c.path()); err == nil {
		touch(c.path(), info)
	}
	return f, true
}

// Metadata is what the last Replace left, without the layers whose blob is gone since: half a cache is
// less cache, never an error. It is empty when there is none.
func (c *Cache) Metadata() cnb.CacheMetadata {
	f, _ := c.load()
	have := map[string]bool{}
	for _, e := range f.Layers {
		if h, err := parseDigest(e.Digest); err == nil && c.s.Has(h, e.Size) {
			have[e.DiffID] = true
		}
	}
	if !have[f.Metadata.BOM.SHA] {
		f.Metadata.BOM.SHA = ""
	}
	for _, bp := range f.Metadata.Buildpacks {
		for name, l := range bp.Layers {
			if !have[l.SHA] {
				delete(bp.Layers, name)
			}
		}
	}
	return f.Metadata
}

// Entry finds a layer of the cache by its diffID.
func (c *Cache) Entry(diffID string) (Entry, bool) {
	f, _ := c.load()
	i := slices.IndexFunc(f.Layers, func(e Entry) bool { return e.DiffID == diffID })
	if i < 0 {
		return Entry{}, false
	}
	h, err := parseDigest(f.Layers[i].Digest)
	if err != nil || !c.s.Has(h, f.Layers[i].Size) {
		return Entry{}, false
	}
	return f.Layers[i], true
}

// Open reads a layer of the cache as a tar. The reader returns a *CorruptError instead of io.EOF when the
// bytes are not the promised ones, so what was read counts only after a clean end.
func (c *Cache) Open(ctx context.Context, diffID string) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	e, ok := c.Entry(diffID)
	if !ok {
		return nil, fmt.Errorf("cached layer %s: %w", diffID, os.ErrNotExist)
	}
	digest, err := parseDigest(e.Digest)
	if err != nil {
		return nil, err
	}
	d, err := parseDigest(diffID)
	if err != nil {
		return nil, err
	}
	return c.s.uncompressed(digest, d)
}

// Replace makes the cache exactly this: metadata and the layers it names. Every layer must be in the store.
func (c *Cache) Replace(m cnb.CacheMetadata, diffIDs []string) error {
	f := cacheFile{Metadata: m}
	ids := slices.Clone(diffIDs)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		e, ok := c.s.Known(id)
		if !ok {
			return fmt.Errorf("write build cache: layer %s is not in the store", id)
		}
		f.Layers = append(f.Layers, e)
	}
	b, err := encodeRecord(f)
	if err != nil {
		return fmt.Errorf("write build cache: %w", err)
	}
	if err := c.s.replace(c.path(), b); err != nil {
		return fmt.Errorf("write build cache: %w", err)
	}
	return nil
}

// Clear forgets the cache. Its layers go with the next Prune.
func (c *Cache) Clear() error {
	if err := os.Remove(c.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear build cache: %w", err)
	}
	return nil
}

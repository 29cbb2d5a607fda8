package layerstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// CacheInfo describes the build cache of one app.
type CacheInfo struct {
	Key    string    `json:"key"` // CacheKey of its name
	Layers int       `json:"layers"`
	Bytes  int64     `json:"bytes"` // of its compressed layers, which it may share with other caches and images
	Used   time.Time `json:"used"`
}

// Caches lists the build caches, the one that was used last first. What cannot be read is no cache.
func (s *Store) Caches() ([]CacheInfo, error) {
	files, err := os.ReadDir(s.cacheDir())
	if err != nil {
		return nil, fmt.Errorf("list build caches: %w", err)
	}
	out := []CacheInfo{}
	for _, f := range files {
		if key, ok := strings.CutSuffix(f.Name(), ".json"); ok {
			if i, ok := s.CacheInfo(key); ok {
				out = append(out, i)
			}
		}
	}
	slices.SortFunc(out, func(a, b CacheInfo) int {
		return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

// CacheInfo describes a build cache; false where there is none that can be read.
func (s *Store) CacheInfo(key string) (CacheInfo, bool) {
	file := filepath.Join(s.cacheDir(), key+".json")
	b, err := readSmall(file, maxCacheFile)
	if err != nil {
		return CacheInfo{}, false
	}
	info, err := os.Stat(file)
	var c cacheFile
	if err != nil || decodeRecord(b, &c) != nil {
		return CacheInfo{}, false
	}
	i := CacheInfo{Key: key, Layers: len(c.Layers), Used: info.ModTime()}
	for _, l := range c.Layers {
		i.Bytes += l.Size
	}
	return i, true
}

// DropCaches forgets caches that were not used for so long (0: however long), and then, the longest unused first, as
// many as it takes for the rest to hold at most that many bytes (negative: any number). A layer that several caches
// have counts once. The layers go with the next Prune.
func (s *Store) DropCaches(unused time.Duration, most int64) (dropped []string, err error) {
	infos, err := s.Caches()
	if err != nil {
		return nil, err
	}
	var held int64
	counted := map[string]bool{}
	for _, i := range infos { // the most recent first: those are kept as long as there is room
		c := &Cache{s: s, key: i.Key}
		f, ok := c.peek()
		if !ok {
			continue
		}
		var more int64
		for _, l := range f.Layers {
			if !counted[l.Digest] {
				more += l.Size
			}
		}
		if unused > 0 && time.Since(i.Used) > unused || most >= 0 && held+more > most {
			if err := c.Clear(); err != nil {
				return dropped, err
			}
			dropped = append(dropped, i.Key)
			continue
		}
		held += more
		for _, l := range f.Layers {
			counted[l.Digest] = true
		}
	}
	return dropped, nil
}

// RemoveCache forgets a cache by its key. One that is not there is no error.
func (s *Store) RemoveCache(key string) error {
	if filepath.Base(key) != key {
		return fmt.Errorf("%q is not the key of a build cache", key)
	}
	return (&Cache{s: s, key: key}).Clear()
}

// peek is load without counting as a use.
func (c *Cache) peek() (f cacheFile, ok bool) {
	b, err := readSmall(c.path(), maxCacheFile)
	return f, err == nil && decodeRecord(b, &f) == nil
}

// Checked is what Check has read, and what of it was bad and is gone.
type Checked struct {
	Blobs int      `json:"blobs"`
	Trees int      `json:"trees"` // unpacked layers
	Bytes int64    `json:"bytes"`
	Bad   []string `json:"bad"` // one line each
}

// Check reads everything in the store again. A blob that is not what its digest says, a memo, a cache's index or an
// unpacked layer that was changed is removed, so that the next build misses it; what names it and lacks it now is
// less, never wrong. It may run beside builds.
func (s *Store) Check(ctx context.Context) (Checked, error) {
	c := Checked{Bad: []string{}}
	var mu sync.Mutex
	bad := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		c.Bad = append(c.Bad, fmt.Sprintf(format, args...))
	}
	blobs, err := os.ReadDir(s.blobDir())
	if err != nil {
		return c, fmt.Errorf("check layer store: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, b := range blobs {
		g.Go(func() error {
			n, err := s.checkBlob(gctx, b.Name())
			if context.Cause(gctx) != nil {
				return context.Cause(gctx)
			}
			mu.Lock()
			c.Blobs++
			c.Bytes += n
			mu.Unlock()
			if err != nil {
				bad("blob %s: %v", b.Name(), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return c, fmt.Errorf("check layer store: %w", err)
	}
	if err := s.checkRecords(bad); err != nil {
		return c, fmt.Errorf("check layer store: %w", err)
	}
	trees, err := s.trees()
	if err != nil {
		return c, err
	}
	for _, name := range trees {
		if strings.HasPrefix(name, newTree) || strings.HasPrefix(name, oldTree) {
			continue // on its way
		}
		t, err := s.useTree(ctx, name)
		switch {
		case ctx.Err() != nil:
			return c, fmt.Errorf("check layer store: %w", context.Cause(ctx))
		case err == nil:
			c.Trees++
			_ = t.Close()
		case errors.Is(err, errTooOld), errors.Is(err, os.ErrNotExist): // not bad; nobody will use it
		default:
			bad("unpacked layer %s: %v", name, err)
			if _, err := s.removeTree(name); err != nil {
				return c, err
			}
		}
	}
	slices.Sort(c.Bad)
	return c, nil
}

// checkBlob reads a blob, which removes a corrupt one.
func (s *Store) checkBlob(ctx context.Context, name string) (int64, error) {
	r, err := s.Blob("sha256:" + name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // pruned meanwhile
	}
	if err != nil {
		return 0, errors.Join(err, os.RemoveAll(filepath.Join(s.blobDir(), filepath.Base(name))))
	}
	defer r.Close()
	var n int64
	buf := make([]byte, 1<<20)
	for {
		k, err := r.Read(buf)
		n += int64(k)
		switch {
		case err == io.EOF:
			return n, nil
		case err != nil:
			return n, err
		case ctx.Err() != nil:
			return n, context.Cause(ctx)
		}
	}
}

// checkRecords removes memos and caches' indexes that cannot be read.
func (s *Store) checkRecords(bad func(string, ...any)) error {
	for _, kind := range []struct {
		dir, what string
		into      func() any
		max       int64
	}{
		{s.memoDir(), "memo", func() any { return &memo{} }, 4 << 10},
		{s.cacheDir(), "index of build cache", func() any { return &cacheFile{} }, maxCacheFile},
	} {
		files, err := os.ReadDir(kind.dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".lock") {
				continue
			}
			path := filepath.Join(kind.dir, f.Name())
			b, err := readSmall(path, kind.max)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				err = decodeRecord(b, kind.into())
			}
			if err != nil {
				bad("%s %s: %v", kind.what, f.Name(), err)
				if err := os.RemoveAll(path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

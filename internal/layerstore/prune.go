package layerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Pruned says what Prune removed.
type Pruned struct {
	Blobs int
	Trees int
	Bytes int64
}

// Prune removes what nothing refers to: blobs that are in no cache and not in keep and were not used for
// the time given, memos of such blobs, unpacked layers that were not used for that time, and leavings of processes
// that died. A use is a write, or a look by Has, Known, Layer, Path or Tree; builds that run meanwhile are safe as long as unused is longer than a build.
func (s *Store) Prune(keep map[string]bool, unused time.Duration) (Pruned, error) {
	unlock, err := s.Lock("blobs", true)
	if err != nil {
		return Pruned{}, err
	}
	defer unlock()
	inCache, err := s.cached()
	if err != nil {
		return Pruned{}, err
	}
	before := time.Now().Add(-unused)
	var p Pruned
	blobs, err := os.ReadDir(s.blobDir())
	if err != nil {
		return p, fmt.Errorf("prune layer store: %w", err)
	}
	for _, b := range blobs {
		digest := "sha256:" + b.Name()
		info, err := b.Info()
		if err != nil || keep[digest] || inCache[digest] || info.ModTime().After(before) {
			continue
		}
		if err := os.Remove(filepath.Join(s.blobDir(), b.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return p, fmt.Errorf("prune layer store: %w", err)
		}
		p.Blobs++
		p.Bytes += info.Size()
	}
	s.pruneMemos()
	return p, errors.Join(s.pruneTrees(before, &p), s.pruneStaging())
}

// cached is the set of blobs that some cache names.
func (s *Store) cached() (map[string]bool, error) {
	caches, err := s.caches()
	if err != nil {
		return nil, fmt.Errorf("prune layer store: %w", err)
	}
	set := map[string]bool{}
	for _, c := range caches {
		for _, e := range c.Layers {
			set[e.Digest] = true
		}
	}
	return set, nil
}

// caches reads the index of every cache that can be read.
func (s *Store) caches() ([]cacheFile, error) {
	files, err := os.ReadDir(s.cacheDir())
	if err != nil {
		return nil, err
	}
	var caches []cacheFile
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		b, err := readSmall(filepath.Join(s.cacheDir(), f.Name()), maxCacheFile)
		if err != nil {
			continue
		}
		var c cacheFile
		if decodeRecord(b, &c) == nil {
			caches = append(caches, c)
		}
	}
	return caches, nil
}

// pruneMemos removes memos whose blob is gone.
func (s *Store) pruneMemos() {
	files, err := os.ReadDir(s.memoDir())
	if err != nil {
		return
	}
	for _, f := range files {
		path := filepath.Join(s.memoDir(), f.Name())
		b, err := readSmall(path, 4<<10)
		if err != nil {
			continue
		}
		var m memo
		h, perr := parseDigest("")
		if decodeRecord(b, &m) == nil {
			h, perr = parseDigest(m.Digest)
		}
		if perr == nil {
			if _, err := os.Lstat(s.path(h)); err == nil {
				continue
			}
		}
		_ = os.Remove(path)
	}
}

// pruneStaging removes what a process that was killed left behind. A day is longer than any transfer.
func (s *Store) pruneStaging() error {
	files, err := os.ReadDir(s.stagingDir())
	if err != nil {
		return fmt.Errorf("prune layer store: %w", err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(filepath.Join(s.stagingDir(), f.Name()))
		}
	}
	return nil
}

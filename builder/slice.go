package builder

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// sliceApp cuts the app directory into n+1 layers for n slices (buildpack, "launch.toml", slices). Each result
// tells which paths below the app directory belong to its layer; nil stands for all of them.
//
// A file, a link or an empty directory belongs to the first slice one of whose globs matches it or a directory
// above it: what an earlier slice took no longer exists for a later one. Any other directory is part of every
// layer that holds something below it. What no slice matches is the last layer.
func sliceApp(ctx context.Context, d Dirs, list []cnb.Slice) ([]func(rel string) bool, error) {
	if len(list) == 0 {
		return []func(string) bool{nil}, nil
	}
	s := slicer{rest: len(list), dirs: map[string]sliceSet{}, leaves: map[string]int{}}
	for i, sl := range list {
		globs, err := appGlobs(d.App, sl.Paths)
		if err != nil {
			return nil, fmt.Errorf("slice %d: %w", i+1, err)
		}
		s.globs = append(s.globs, globs)
	}
	dir, err := openTrusted(d.Host(d.App))
	if err != nil {
		return nil, fmt.Errorf("open the app directory: %w", err)
	}
	defer dir.Close()
	if _, err := s.scan(ctx, dir, "", s.rest, 0); err != nil {
		return nil, err
	}
	out := make([]func(string) bool, len(list)+1)
	for i := range out {
		out[i] = func(rel string) bool { return s.in(rel, i) }
	}
	return out, nil
}

// appGlobs makes globs relative to the app directory. One that lies outside of it matches nothing.
func appGlobs(app string, globs []string) ([]string, error) {
	var out []string
	for _, g := range globs {
		if _, err := path.Match(g, "x"); err != nil {
			return nil, fmt.Errorf("path %q is not a valid glob: %w", g, err)
		}
		clean := path.Clean(g)
		if path.IsAbs(clean) {
			rel, err := filepath.Rel(app, clean)
			if err != nil {
				continue
			}
			clean = rel
		}
		if clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || g == "" {
			continue
		}
		out = append(out, clean)
	}
	return out, nil
}

// A sliceSet is the slices that have something below a directory, as bits.
type sliceSet []uint64

func (s *sliceSet) add(i int) {
	for len(*s) <= i/64 {
		*s = append(*s, 0)
	}
	(*s)[i/64] |= 1 << (i % 64)
}

func (s sliceSet) has(i int) bool { return i/64 < len(s) && s[i/64]&(1<<(i%64)) != 0 }

type slicer struct {
	globs  [][]string
	rest   int                 // index of the layer for what no slice matches
	dirs   map[string]sliceSet // directories that are not empty
	leaves map[string]int      // everything else that is in a slice; absent: the slice of its directory or rest
}

// match is the first slice before limit with a glob that matches rel.
func (s *slicer) match(rel string, limit int) int {
	for i, globs := range s.globs[:min(limit, len(s.globs))] {
		if slices.ContainsFunc(globs, func(g string) bool { ok, _ := path.Match(g, rel); return ok }) {
			return i
		}
	}
	return limit
}

// scan fills in dirs and leaves for what is below dir, whose own slice is of.
func (s *slicer) scan(ctx context.Context, dir *os.File, rel string, of, depth int) (sliceSet, error) {
	if depth >= maxDepth {
		return nil, fmt.Errorf("%.80q...: more than %d directories deep", rel, maxDepth)
	}
	var set sliceSet
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read directory %q of the app: %w", rel, err)
	}
	for _, name := range names {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		at := path.Join(rel, name)
		st, err := statAt(dir, name)
		if err != nil {
			return nil, fmt.Errorf("stat %q of the app: %w", at, err)
		}
		mine := s.match(at, of)
		if st.kind() == kindDirectory {
			below, err := s.descend(ctx, dir, name, at, mine, depth)
			if err != nil {
				return nil, err
			}
			for i := range len(below) * 64 {
				if below.has(i) {
					set.add(i)
				}
			}
			if below != nil {
				continue
			}
		}
		if mine != s.rest {
			s.leaves[at] = mine
		}
		set.add(mine)
	}
	if set != nil || rel == "" {
		if set == nil {
			set.add(s.rest) // an empty app directory is in the last layer
		}
		s.dirs[rel] = set
	}
	return set, nil
}

func (s *slicer) descend(ctx context.Context, dir *os.File, name, rel string, of, depth int) (sliceSet, error) {
	sub, err := openDirAt(dir, name)
	if err != nil {
		return nil, fmt.Errorf("open directory %q of the app: %w", rel, err)
	}
	defer sub.Close()
	return s.scan(ctx, sub, rel, of, depth+1)
}

// in tells whether rel is part of layer i.
func (s *slicer) in(rel string, i int) bool {
	if set, ok := s.dirs[rel]; ok {
		return set.has(i)
	}
	if n, ok := s.leaves[rel]; ok {
		return n == i
	}
	return i == s.rest
}

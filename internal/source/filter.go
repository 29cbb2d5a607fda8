package source

import (
	"fmt"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// A filter decides which entries of a source are kept, by the descriptor's include or exclude list. Both are
// gitignore patterns; the last one that matches a path, or a directory above it, decides. Unlike git, a
// pattern with ! brings a file back also where one above it took away its directory.
type filter struct {
	include bool
	match   gitignore.Matcher // nil: everything is kept
	negated bool              // some pattern has a !
}

func newFilter(include, exclude []string) (*filter, error) {
	if len(include) > 0 && len(exclude) > 0 {
		return nil, fmt.Errorf("include and exclude cannot both be given: keep one")
	}
	f := &filter{include: len(include) > 0}
	var ps []gitignore.Pattern
	for _, p := range append(append([]string(nil), include...), exclude...) {
		if len(p) > 4096 || len(ps) == 10000 {
			return nil, fmt.Errorf("include or exclude: too many or too long patterns")
		}
		clean := strings.TrimPrefix(strings.TrimPrefix(p, "!"), "./")
		if strings.Trim(clean, "/ ") == "" || strings.HasPrefix(p, "#") {
			continue
		}
		if strings.HasPrefix(p, "!") {
			clean, f.negated = "!"+clean, true
		}
		if _, err := path.Match(clean, ""); err != nil {
			return nil, fmt.Errorf("include or exclude: pattern %q: %w", p, err)
		}
		ps = append(ps, gitignore.ParsePattern(clean, nil))
	}
	if len(ps) > 0 || f.include {
		f.match = gitignore.NewMatcher(ps)
	}
	return f, nil
}

// keeps tells whether the entry is part of the app.
func (f *filter) keeps(name string, isDir bool) bool {
	return f.match == nil || f.match.Match(strings.Split(name, "/"), isDir) == f.include
}

// prunes tells whether nothing below the directory can be part of the app.
func (f *filter) prunes(dir string) bool {
	return f.match != nil && !f.include && !f.negated && !f.keeps(dir, true)
}

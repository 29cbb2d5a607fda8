package platform

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// A pointError is an error about a buildpack with the place in its author's file that is to blame.
type pointError struct {
	file string
	line int
	key  string
	hint string
	err  error
}

func (e *pointError) Error() string {
	return fmt.Sprintf("%s:%d: %s: %v%s", e.file, e.line, e.key, e.err, e.hint)
}

func (e *pointError) Unwrap() error { return e.err }

// point adds to a missing buildpack whose order names it, in the directories that the user named: a builder's and a
// package's have no file that the author could open here.
func (j *job) point(err error) error {
	missing, ok := errors.AsType[*builder.NotFoundError](err)
	if !ok {
		return err
	}
	for _, a := range j.added {
		if !a.own {
			continue
		}
		at := pointAt(a.dir, "order.group.id", ": name its directory too, or where it is in a package.toml beside this file", err,
			`^\s*\[\[\s*order`, `\bid\s*=\s*["']`+regexp.QuoteMeta(string(missing.Buildpack.ID))+`["']`)
		if at != err {
			return at
		}
	}
	return err
}

// pointAt adds the first line of a directory's buildpack.toml that has the last of patterns, at or below lines that have
// those before it. Where there is none it is err itself.
func pointAt(dir, key, hint string, err error, patterns ...string) error {
	b, rerr := cnb.ReadFile(dir, "buildpack.toml", cnb.MaxDescriptor)
	if rerr != nil {
		return err
	}
	n, lines := 0, strings.Split(string(b), "\n")
	for _, p := range patterns {
		re := regexp.MustCompile(p)
		for n < len(lines) && !re.MatchString(lines[n]) {
			n++
		}
	}
	if n == len(lines) {
		return err
	}
	return &pointError{file: filepath.Join(dir, "buildpack.toml"), line: n + 1, key: key, hint: hint, err: err}
}

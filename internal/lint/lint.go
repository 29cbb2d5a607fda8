// Package lint looks at the directory of a buildpack, and at the recipes of packages and builders, for what fails at
// its users' or is not what the spec says. It runs nothing, follows no link out of the directory and reads no more of a
// file than it may have.
package lint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A Severity says what a finding does to the buildpack.
type Severity string

// Severities, the worse first.
const (
	Error   Severity = "error"   // it cannot be packaged, or fails when it runs
	Warning Severity = "warning" // it works, and is not what the spec or users want
)

// A Finding is one thing to mend.
type Finding struct {
	File     string   `json:"file"`           // below the directory, with slashes
	Line     int      `json:"line,omitempty"` // from 1; 0 where it is about the whole file
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Fix      string   `json:"fix"`
}

// The files that are looked at, by their names.
const (
	fileBuildpack = "buildpack.toml"
	fileExtension = "extension.toml"
	filePackage   = "package.toml"
	fileBuilder   = "builder.toml"
)

// Files are the names of files that File knows.
func Files() []string { return []string{fileBuildpack, fileExtension, filePackage, fileBuilder} }

// Dir looks at all that a directory has of Files, and at a buildpack's executables. Findings are sorted by file and line.
// The error is about the directory itself.
func Dir(root *os.Root) ([]Finding, error) {
	l := &linter{root: root}
	found := false
	for _, name := range Files() {
		_, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		l.file(name, name)
	}
	if !found {
		return nil, fmt.Errorf("there is none of %s in it", strings.Join(Files(), ", "))
	}
	return l.sorted(), nil
}

// File looks at one file of a directory, as what its name says that it is, or as the kind of file whose name its own
// ends in ("go-builder.toml"). The executables beside a buildpack.toml are looked at as well.
func File(root *os.Root, name string) ([]Finding, error) {
	for _, kind := range Files() {
		if strings.HasSuffix(name, kind) {
			l := &linter{root: root}
			l.file(name, kind)
			return l.sorted(), nil
		}
	}
	return nil, fmt.Errorf("%s: its name ends in none of %s", name, strings.Join(Files(), ", "))
}

type linter struct {
	root  *os.Root
	found []Finding
}

func (l *linter) add(file string, line int, rule string, s Severity, what, fix string) {
	l.found = append(l.found, Finding{file, line, rule, s, what, fix})
}

func (l *linter) sorted() []Finding {
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Rule, b.Rule))
	})
	return slices.Compact(l.found)
}

// file looks at a TOML file of a kind.
func (l *linter) file(name, kind string) {
	b, err := cnb.ReadFileIn(l.root, name, cnb.MaxDescriptor)
	if err != nil {
		l.add(name, 0, "unreadable", Error, reasonOf(err), "make it a regular file below the directory, of at most 1 MiB")
		return
	}
	t := text{l, name, b, nil}
	t.lineEndings()
	switch kind {
	case fileBuildpack:
		d, err := cnb.DecodeDescriptor(name, b)
		if t.decoded(err) {
			t.buildpack(d)
		}
	case fileExtension:
		d, err := cnb.DecodeExtension(name, b)
		if t.decoded(err) {
			t.extension(d)
		}
	case filePackage:
		c, err := cnb.DecodePackageConfig(name, b)
		if t.decoded(err) {
			t.recipe(c)
		}
	case fileBuilder:
		c, err := cnb.DecodeBuilderConfig(name, b)
		if t.decoded(err) {
			t.builder(c)
		}
	}
	t.unknownKeys(kind)
}

// reasonOf is an error without the name of the file, which the finding has.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

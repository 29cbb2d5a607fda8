// Package suite tests a buildpack as buildpack.test.toml says: what its author expects of apps that it builds. It builds
// with package platform, as users of the buildpack do, and compares. It knows no flags and no terminal.
package suite

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/slipway-build/slipway/builder/cnb"
)

// FileName is the suite of the buildpack in whose directory it lies.
const FileName = "buildpack.test.toml"

const (
	maxFile  = 256 << 10 // bytes of a suite
	maxCases = 1000      // of a suite, its matrix multiplied out
)

// A Suite is a buildpack.test.toml.
type Suite struct {
	// Builders and Versions are the matrix of cases that name none: builder images, and buildpacks to test (this one is
	// "."), as paths from the suite or as anything that --buildpack takes. "" is the builder that the caller says.
	Builders []string `toml:"builders"`
	Versions []string `toml:"versions"`
	Cases    []Case   `toml:"case"`
}

// A Case is an app, and what is expected of it.
type Case struct {
	Name     string            `toml:"name"`
	App      string            `toml:"app"` // directory, from the suite
	Builders []string          `toml:"builders"`
	Versions []string          `toml:"versions"`
	Before   []string          `toml:"before"` // buildpacks that run before it, and after it
	After    []string          `toml:"after"`
	Env      map[string]string `toml:"env"`
	ExecEnv  string            `toml:"exec-env"`
	Expect   Expect            `toml:"expect"`
	Rebuilds []Rebuild         `toml:"rebuild"`
}

// Results of a build, for Expect.Result.
const (
	Built       = "built"        // "" means this
	NotDetected = "not-detected" // no group detected
	DetectError = "detect-error" // a detect went wrong
	BuildFails  = "build-fails"  // a buildpack's build failed
)

// Expect is what is expected of a build. What is not said is not looked at.
type Expect struct {
	Result      string            `toml:"result"`
	Log         Text              `toml:"log"` // of detect and build
	Layers      []Layer           `toml:"layer"`
	Processes   []Process         `toml:"process"`
	Files       []File            `toml:"file"`
	SBOMs       []SBOM            `toml:"sbom"`
	Labels      map[string]string `toml:"labels"`
	Env         map[string]string `toml:"env"`      // of a process of the image
	MaxSize     int64             `toml:"max-size"` // bytes of the image's layers, compressed
	HTTP        []HTTP            `toml:"http"`     // answers of its default process
	NoLayers    []string          `toml:"no-layers"`
	NoProcesses []string          `toml:"no-processes"`
}

// A Text is expected of a text: parts of it, patterns that a line has, and what is in no line.
type Text struct {
	Contains []string `toml:"contains"`
	Matches  []string `toml:"matches"`
	Absent   []string `toml:"absent"`
}

// A Layer is one that the tested buildpack leaves.
type Layer struct {
	Name   string            `toml:"name"`
	Launch *bool             `toml:"launch"`
	Build  *bool             `toml:"build"`
	Cache  *bool             `toml:"cache"`
	Env    map[string]string `toml:"env"` // file of an environment directory ("env.launch/PORT.default") to its text
}

// A Process is a process type of the image.
type Process struct {
	Type    string   `toml:"type"`
	Command []string `toml:"command"` // with its arguments
	Default *bool    `toml:"default"`
}

// A File is one of the image, or with Absent none of it.
type File struct {
	Path    string `toml:"path"`
	Mode    string `toml:"mode"` // octal, "0755"
	Content Text   `toml:"content"`
	Absent  bool   `toml:"absent"`
}

// An SBOM is a bill of materials of the image.
type SBOM struct {
	Layer   string `toml:"layer"`  // "" for any, or none
	Format  string `toml:"format"` // "cdx.json", "spdx.json", "syft.json"; "" for any
	Content Text   `toml:"content"`
}

// HTTP is an answer of the app.
type HTTP struct {
	Path   string `toml:"path"`
	Status int    `toml:"status"`
	Body   Text   `toml:"body"`
}

// A Rebuild builds the app again, after what was built before, with changes that stay for the next one.
type Rebuild struct {
	Write  map[string]string `toml:"write"` // files of the app
	Remove []string          `toml:"remove"`
	Env    map[string]string `toml:"env"`
	Reused []string          `toml:"reused"` // layers to which nothing is written
	Made   []string          `toml:"made"`   // layers that must be made again
	Expect Expect            `toml:"expect"`
}

// Decode reads a suite. Errors are *cnb.FileError, with the line.
func Decode(name string, b []byte) (*Suite, error) {
	if len(b) > maxFile {
		return nil, &cnb.FileError{File: name, What: fmt.Sprintf("the file has %d bytes, the limit is %d", len(b), maxFile)}
	}
	s := &Suite{}
	if err := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields().Decode(s); err != nil {
		return nil, fileError(name, err)
	}
	for i := range s.Cases {
		if what := s.Cases[i].wrong(); what != "" {
			return nil, &cnb.FileError{File: name, Line: lineOf(b, "case", i), Key: "case", What: what}
		}
	}
	switch n := len(s.Runs()); {
	case n == 0:
		return nil, &cnb.FileError{File: name, Key: "case", What: "is missing: write [[case]] with name and app"}
	case n > maxCases:
		return nil, &cnb.FileError{File: name, Key: "case", What: fmt.Sprintf("%d cases with their builders and versions, the limit is %d", n, maxCases)}
	}
	seen := map[string]bool{}
	for i, c := range s.Cases {
		if seen[c.Name] {
			return nil, &cnb.FileError{File: name, Line: lineOf(b, "case", i), Key: "case.name", What: fmt.Sprintf("%q is the name of a case above", c.Name)}
		}
		seen[c.Name] = true
	}
	return s, nil
}

func fileError(name string, err error) error {
	e := &cnb.FileError{File: name, What: "not valid TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		e.Line, _ = strict.Errors[0].Position()
		e.Key, e.What = strings.Join(strict.Errors[0].Key(), "."), "is no key of a suite: take it out, or see slipway buildpack test --help"
	} else if d, ok := errors.AsType[*toml.DecodeError](err); ok {
		e.Line, _ = d.Position()
		e.Key = strings.Join(d.Key(), ".")
	}
	e.What = strings.ReplaceAll(e.What, "\n", " ")
	return e
}

// lineOf is the line of the n-th table of an array, from 0.
func lineOf(b []byte, table string, n int) int {
	var p unstable.Parser
	p.Reset(b)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.ArrayTable {
			continue
		}
		it := e.Key()
		it.Next()
		if node := it.Node(); it.IsLast() && string(node.Data) == table {
			if n--; n < 0 {
				return p.Shape(node.Raw).Start.Line
			}
		}
	}
	return 0
}

// wrong says what of a case cannot be, "" for nothing.
func (c *Case) wrong() string {
	switch {
	case c.Name == "":
		return "has no name: write name"
	case c.App == "":
		return fmt.Sprintf("%q has no app: name its directory", c.Name)
	case !filepath.IsLocal(c.App):
		return fmt.Sprintf("%q: app %q is not below the suite's directory", c.Name, c.App)
	}
	if what := c.Expect.wrong(); what != "" {
		return fmt.Sprintf("%q: %s", c.Name, what)
	}
	if len(c.Rebuilds) > 0 && cmp.Or(c.Expect.Result, Built) != Built {
		return fmt.Sprintf("%q: rebuild stands beside result = %q: what is not built cannot be built again", c.Name, c.Expect.Result)
	}
	for _, r := range c.Rebuilds {
		for p := range r.Write {
			if !filepath.IsLocal(p) {
				return fmt.Sprintf("%q: rebuild writes %q, which is not below the app", c.Name, p)
			}
		}
		for _, p := range r.Remove {
			if !filepath.IsLocal(p) {
				return fmt.Sprintf("%q: rebuild removes %q, which is not below the app", c.Name, p)
			}
		}
		if what := r.Expect.wrong(); what != "" {
			return fmt.Sprintf("%q: rebuild: %s", c.Name, what)
		}
	}
	return ""
}

func (e *Expect) wrong() string {
	switch e.Result {
	case "", Built, NotDetected, DetectError, BuildFails:
	default:
		return fmt.Sprintf("result %q is none of %s, %s, %s, %s", e.Result, Built, NotDetected, DetectError, BuildFails)
	}
	texts := []Text{e.Log}
	for _, f := range e.Files {
		if f.Path == "" {
			return "a file has no path"
		}
		texts = append(texts, f.Content)
	}
	for _, s := range e.SBOMs {
		texts = append(texts, s.Content)
	}
	for _, h := range e.HTTP {
		if !strings.HasPrefix(h.Path, "/") {
			return fmt.Sprintf("http.path %q does not begin with /", h.Path)
		}
		texts = append(texts, h.Body)
	}
	for _, t := range texts {
		for _, p := range t.Matches {
			if _, err := regexp.Compile(p); err != nil {
				return fmt.Sprintf("matches %q: %s", p, err)
			}
		}
	}
	return ""
}

// ofImage says whether an image is needed to know.
func (e *Expect) ofImage() bool {
	return len(e.Files)+len(e.SBOMs)+len(e.Labels)+len(e.Env)+len(e.HTTP) > 0 || e.MaxSize > 0
}

// A Run is a case with one of its builders and one version of the buildpack.
type Run struct {
	Case    *Case
	Builder string
	Version string
}

// Runs are all of a suite, in its order.
func (s *Suite) Runs() (out []Run) {
	for i := range s.Cases {
		c := &s.Cases[i]
		for _, b := range either(c.Builders, s.Builders, "") {
			for _, v := range either(c.Versions, s.Versions, ".") {
				out = append(out, Run{c, b, v})
			}
		}
	}
	return out
}

func either(own, all []string, otherwise string) []string {
	switch {
	case len(own) > 0:
		return own
	case len(all) > 0:
		return all
	}
	return []string{otherwise}
}

// Name is the case's, and after it what makes this run of it another one.
func (r Run) Name() string {
	name := r.Case.Name
	if r.Builder != "" {
		name += " on " + r.Builder
	}
	if r.Version != "." {
		name += " with " + r.Version
	}
	return name
}

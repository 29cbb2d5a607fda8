package cnb

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Size limits of the files this package reads, in bytes. A file above its limit is an error before it is parsed.
const (
	MaxDescriptor = 1 << 20  // buildpack.toml, order.toml, run.toml, metadata.toml and other files of the platform
	MaxBuildFile  = 64 << 10 // what a buildpack writes during a build: plan, launch.toml, <layer>.toml, ...
	MaxSBOM       = 16 << 20 // an SBOM file
)

// Limits on the shape of any TOML that is decoded.
const (
	maxDepth = 32
	maxKeys  = 16384
)

// A FileError says what is wrong in a file, in one line: "<file>:<line>: <key>: <what>".
// Line is 0 where it is not known.
type FileError struct {
	File string
	Line int
	Key  string
	What string
}

func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteString(":" + strconv.Itoa(e.Line))
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.What)
	return b.String()
}

// A doc is a parsed TOML file whose values are taken out one by one; the first thing wrong is kept in err.
type doc struct {
	name string
	src  []byte
	err  error
}

// parse reads b, which is called name in errors, after checking it against limit and against the shape
// limits, so that hostile text costs no more than a scan of its bytes.
func parse(name string, b []byte, limit int) (*doc, table, error) {
	d := &doc{name: name, src: b}
	if len(b) > limit {
		return d, table{}, &FileError{File: name, What: fmt.Sprintf("the file has %d bytes, the limit is %d", len(b), limit)}
	}
	if line, what := checkShape(b); what != "" {
		return d, table{}, &FileError{File: name, Line: line, What: what}
	}
	m := map[string]any{}
	if err := toml.Unmarshal(b, &m); err != nil {
		fe := &FileError{File: name, What: "not valid TOML: " + oneLine(strings.TrimPrefix(err.Error(), "toml: "))}
		if de, ok := errors.AsType[*toml.DecodeError](err); ok {
			fe.Line, _ = de.Position()
		}
		return d, table{}, fe
	}
	return d, table{d: d, m: m}, nil
}

// oneLine makes text from a file harmless in a message: one line, no control characters, at most 200 bytes.
func oneLine(s string) string {
	q := strconv.Quote(s)
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	if len(q) > 200 {
		q = q[:200] + "..."
	}
	return q
}

// quote shows a value of a file in a message.
func quote(s string) string {
	if len(s) > 100 {
		return strconv.Quote(s[:100]) + "..."
	}
	return strconv.Quote(s)
}

package appjson

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// A Severity says what a Finding means for a deploy.
type Severity string

// The values of Severity.
const (
	Error   Severity = "error"   // a deploy is impossible
	Warning Severity = "warning" // something is left out, or read in another way than it is written
)

// A Finding is something about an app.json that its author should know, in one line of text.
type Finding struct {
	Severity Severity `json:"severity"`
	Line     int      `json:"line"`   // from 1
	Column   int      `json:"column"` // in characters, from 1
	Path     string   `json:"path"`   // of the key, as env.SECRET.value or buildpacks[0].url; "" is the whole file
	Text     string   `json:"text"`
}

// String is the finding as compilers write them.
func (f Finding) String() string {
	where := fmt.Sprintf("app.json:%d:%d: ", f.Line, f.Column)
	if f.Path != "" {
		where += f.Path + ": "
	}
	return where + f.Text
}

// Blocking are the errors that keep an app from being deployed in an environment: not those of other environments.
func Blocking(all []Finding, e Environment) (errs []Finding) {
	for _, f := range all {
		rest, inner := strings.CutPrefix(f.Path, "environments.")
		name, _, _ := strings.Cut(rest, ".")
		if f.Severity == Error && (!inner || name == string(e)) {
			errs = append(errs, f)
		}
	}
	return errs
}

// maxFindings is how many findings of a severity are told apart.
const maxFindings = 20

// findings collects what is found in a text.
type findings struct {
	text []byte
	list []Finding
	more map[Severity]int // how many there were, also those that are not listed
}

func (f *findings) add(s Severity, offset int, path, format string, args ...any) {
	if f.more[s]++; f.more[s] > maxFindings {
		return
	}
	line, column := position(f.text, offset)
	f.list = append(f.list, Finding{s, line, column, path, fmt.Sprintf(format, args...)})
}

// all are the findings in the order of the text, and for each severity one that tells of those that are left out.
func (f *findings) all() []Finding {
	slices.SortStableFunc(f.list, func(a, b Finding) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	for _, s := range []Severity{Error, Warning} {
		if n := f.more[s] - maxFindings; n > 0 {
			f.list = append(f.list, Finding{s, 1, 1, "", fmt.Sprintf("%d more %ss are not shown", n, s)})
		}
	}
	return f.list
}

// position counts lines, and characters of the last of them.
func position(text []byte, offset int) (line, column int) {
	before := text[:min(offset, len(text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(bytes.TrimPrefix(before[start:], bom)) + 1
}

var plainKey = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$-]{0,79}$`) })

// below is the path of a key.
func below(path, key string) string {
	switch {
	case !plainKey().MatchString(key):
		return path + "[" + quoted(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// element is the path of an array's element.
func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// quoted is a text of others in quotes: on one line, printable, not long.
func quoted(s string) string {
	if r := []rune(s[:min(len(s), 400)]); len(r) > 60 {
		return strconv.Quote(string(r[:60])) + "..."
	}
	return strconv.Quote(s[:min(len(s), 400)])
}

// clean makes text that people are shown fit for one line: no control characters, none that turns the direction of
// others around, one space where there were many.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// cut shortens a text to at most n bytes of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

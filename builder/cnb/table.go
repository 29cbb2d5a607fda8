package cnb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A table is one table of a doc and where it stands in it. Its methods take out values of one type; what is
// of another type is recorded in the doc, once, with file, line and key.
type table struct {
	d    *doc
	path []step
	m    map[string]any
}

// A step leads from a table to a value: a key, or an index of an array.
type step struct {
	key string
	i   int // used where key is ""
}

// at is the path of key in t.
func (t table) at(key string) []step { return append(slices.Clip(t.path), step{key: key}) }

// fail records that the value of key (or the table itself, for "") is wrong. The first failure is kept.
func (t table) fail(key, format string, args ...any) {
	p := t.path
	if key != "" {
		p = t.at(key)
	}
	t.d.fail(p, fmt.Sprintf(format, args...))
}

func (d *doc) fail(p []step, what string) {
	if d.err == nil {
		d.err = &FileError{File: d.name, Line: locate(d.src, p), Key: show(p), What: what}
	}
}

// show is the key of a message, without indices: "processes.args".
func show(p []step) string {
	var keys []string
	for _, s := range p {
		if s.key != "" {
			keys = append(keys, oneLine(s.key))
		}
	}
	return strings.Join(keys, ".")
}

// kind names the type of a TOML value for a message.
func kind(v any) string {
	switch v := v.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case map[string]any:
		return "a table"
	case []any:
		if len(v) > 0 {
			if _, ok := v[0].(map[string]any); ok {
				return "an array of tables"
			}
		}
		return "an array"
	case time.Time, toml.LocalDate, toml.LocalDateTime, toml.LocalTime:
		return "a date or time"
	}
	return "something else"
}

func (t table) has(key string) bool { _, ok := t.m[key]; return ok }

// str is the string at key, "" when absent.
func (t table) str(key string) string {
	v, ok := t.m[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		t.fail(key, "want a string, found %s", kind(v))
	}
	return s
}

// need is a string that must be there and not be empty.
func (t table) need(key string) string {
	s := t.str(key)
	if s == "" {
		t.fail(key, "is missing: give it a value")
	}
	return s
}

func (t table) bool(key string) bool {
	v, ok := t.m[key]
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		t.fail(key, "want true or false, found %s", kind(v))
	}
	return b
}

// strs is the array of strings at key: nil when absent, not nil when empty, for the difference can be seen
// in what is written from it. hint is added to the message for a single string.
func (t table) strs(key, hint string) []string {
	v, ok := t.m[key]
	if !ok {
		return nil
	}
	a, ok := v.([]any)
	if !ok {
		if s, isString := v.(string); isString && hint == "" {
			hint = fmt.Sprintf(" (write %s = [%s])", key, quote(s))
		}
		t.fail(key, "want an array of strings, found %s%s", kind(v), hint)
		return nil
	}
	out := make([]string, 0, len(a))
	for i, e := range a {
		s, ok := e.(string)
		if !ok {
			t.d.fail(append(t.at(key), step{i: i}), "want an array of strings, found "+kind(e)+" in it")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// sub is the table at key, empty when absent.
func (t table) sub(key string) table {
	out := table{d: t.d, path: t.at(key)}
	if v, ok := t.m[key]; ok {
		if out.m, ok = v.(map[string]any); !ok {
			t.fail(key, "want a table, found %s (write it under [%s])", kind(v), show(out.path))
		}
	}
	return out
}

// subs is the array of tables at key. More than limit is an error; 0 means no limit of its own.
func (t table) subs(key string, limit int) []table {
	v, ok := t.m[key]
	if !ok {
		return nil
	}
	a, ok := v.([]any)
	if !ok {
		t.fail(key, "want an array of tables, found %s (write each under [[%s]])", kind(v), show(t.at(key)))
		return nil
	}
	if limit > 0 && len(a) > limit {
		t.fail(key, "%d entries, the limit is %d", len(a), limit)
		return nil
	}
	out := make([]table, 0, len(a))
	for i, e := range a {
		m, ok := e.(map[string]any)
		p := append(t.at(key), step{i: i})
		if !ok {
			t.d.fail(p, fmt.Sprintf("want an array of tables, found %s in it (write each under [[%s]])", kind(e), show(p)))
			return nil
		}
		out = append(out, table{d: t.d, path: p, m: m})
	}
	return out
}

// parsed runs a Parse function on the string at key and records its error.
func parsed[T ~string](t table, key string, f func(string) (T, error)) T {
	s := t.str(key)
	if t.d.err != nil {
		return ""
	}
	if s == "" {
		t.fail(key, "is missing: give it a value")
		return ""
	}
	v, err := f(s)
	if err != nil {
		t.fail(key, "%s", err)
	}
	return v
}

// locate finds the line of the value at p, or of the nearest thing around it, or 0. It parses src again:
// only a failure pays for positions.
func locate(src []byte, p []step) int {
	l := locator{want: p, seen: map[string]int{}}
	l.p.Reset(src)
	var header []step
	for l.p.NextExpression() {
		e := l.p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			header = l.resolve(e)
		case unstable.KeyValue:
			l.keyValue(header, e)
		}
	}
	return l.line
}

type locator struct {
	p    unstable.Parser
	want []step
	seen map[string]int // array tables met so far, by path
	best int
	line int
}

// resolve turns a header into a path, with the index of the current element after each array table.
func (l *locator) resolve(e *unstable.Node) []step {
	var out []step
	it := e.Key()
	for it.Next() {
		out = append(out, step{key: string(it.Node().Data)})
		id := id(out)
		if it.IsLast() && e.Kind == unstable.ArrayTable {
			l.seen[id]++
		}
		if n := l.seen[id]; n > 0 {
			out = append(out, step{i: n - 1})
		}
		l.note(out, it.Node())
	}
	return out
}

func (l *locator) keyValue(prefix []step, e *unstable.Node) {
	path := slices.Clip(prefix)
	var last *unstable.Node
	for it := e.Key(); it.Next(); {
		last = it.Node()
		path = append(path, step{key: string(last.Data)})
		l.note(path, last)
	}
	l.value(path, e.Value(), last)
}

func (l *locator) value(path []step, v, near *unstable.Node) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			l.keyValue(path, it.Node())
		}
	case unstable.Array:
		i := 0
		for it := v.Children(); it.Next(); i++ {
			n := it.Node()
			p := append(slices.Clip(path), step{i: i})
			if n.Raw.Length > 0 {
				near = n
			}
			l.note(p, near)
			l.value(p, n, near)
		}
	}
}

// note remembers n's line if path leads to the wanted value, and further than what was found before.
func (l *locator) note(path []step, n *unstable.Node) {
	if len(path) <= l.best || len(path) > len(l.want) || !slices.Equal(path, l.want[:len(path)]) {
		return
	}
	l.best, l.line = len(path), l.p.Shape(n.Raw).Start.Line
}

func id(p []step) string {
	var b strings.Builder
	for _, s := range p {
		b.WriteString(strconv.Quote(s.key) + strconv.Itoa(s.i))
	}
	return b.String()
}

package cnb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// The TOML writer. Its form is part of an image's identity (metadata.toml lies in a layer), so it is ours
// and held by goldens: values before tables, keys of maps sorted, two spaces of indentation per level.

// An object is a table with its keys in the order in which they are written. Nil values are left out.
type object []pair

type pair struct {
	key string
	val any
}

// raw is text that is written as a value as it is.
type raw string

type tomlWriter struct {
	b   bytes.Buffer
	err error
}

func encode(o object) ([]byte, error) {
	var w tomlWriter
	w.fields(nil, o)
	if w.err != nil {
		return nil, w.err
	}
	return w.b.Bytes(), nil
}

// fields writes the content of a table whose header, if any, is written.
func (w *tomlWriter) fields(key []string, o object) {
	for _, tables := range []bool{false, true} {
		for _, p := range o {
			if !isNil(p.val) && isTable(p.val) == tables {
				w.field(append(slices.Clip(key), p.key), p.val)
			}
		}
	}
}

func (w *tomlWriter) field(key []string, v any) {
	indent := strings.Repeat("  ", len(key)-1)
	if !isTable(v) {
		w.b.WriteString(indent + bare(key[len(key)-1]) + " = ")
		w.value(v)
		w.b.WriteByte('\n')
		return
	}
	if len(key) > maxDepth+2 {
		w.fail("tables nested deeper than %d levels", maxDepth)
		return
	}
	if o, ok := asObject(v); ok {
		if len(key) == 1 {
			w.blank()
		}
		w.b.WriteString(indent + "[" + header(key) + "]\n")
		w.fields(key, o)
		return
	}
	for _, o := range asObjects(v) {
		w.blank()
		w.b.WriteString(indent + "[[" + header(key) + "]]\n")
		w.fields(key, o)
	}
}

// blank separates a table from what is above it.
func (w *tomlWriter) blank() {
	if w.b.Len() > 0 {
		w.b.WriteByte('\n')
	}
}

func (w *tomlWriter) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("write TOML: "+format, args...)
	}
}

// value writes what stands right of '=', or in an array.
func (w *tomlWriter) value(v any) {
	switch v := v.(type) {
	case raw:
		w.b.WriteString(string(v))
	case string:
		w.b.WriteString(quoted(v))
	case bool:
		w.b.WriteString(strconv.FormatBool(v))
	case int:
		w.b.WriteString(strconv.Itoa(v))
	case int64:
		w.b.WriteString(strconv.FormatInt(v, 10))
	case uint64:
		w.b.WriteString(strconv.FormatUint(v, 10))
	case float64:
		w.b.WriteString(float(v))
	case json.Number:
		w.number(v)
	case time.Time:
		w.b.WriteString(v.Format(time.RFC3339Nano))
	case toml.LocalDate:
		w.b.WriteString(v.String())
	case toml.LocalTime:
		w.b.WriteString(v.String())
	case toml.LocalDateTime:
		w.b.WriteString(v.String())
	case []string:
		w.array(len(v), func(i int) any { return v[i] })
	case []any:
		w.array(len(v), func(i int) any { return v[i] })
	case []object:
		w.array(len(v), func(i int) any { return v[i] })
	case map[string]any, object:
		o, _ := asObject(v)
		w.inline(o)
	case nil:
		w.fail("an array has a null in it")
	default:
		w.fail("a value has the type %T", v)
	}
}

func (w *tomlWriter) array(n int, at func(int) any) {
	w.b.WriteByte('[')
	for i := range n {
		if i > 0 {
			w.b.WriteString(", ")
		}
		w.value(at(i))
	}
	w.b.WriteByte(']')
}

// inline writes a table that stands in an array with other kinds of values.
func (w *tomlWriter) inline(o object) {
	w.b.WriteByte('{')
	sep := ""
	for _, tables := range []bool{false, true} {
		for _, p := range o {
			if isNil(p.val) || isTable(p.val) != tables {
				continue
			}
			w.b.WriteString(sep + bare(p.key) + " = ")
			w.value(p.val)
			sep = ", "
		}
	}
	w.b.WriteByte('}')
}

// number keeps an integer of a JSON label an integer.
func (w *tomlWriter) number(n json.Number) {
	if i, err := n.Int64(); err == nil {
		w.value(i)
	} else if f, err := n.Float64(); err == nil {
		w.value(f)
	} else {
		w.fail("%s is not a number", quote(n.String()))
	}
}

func float(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

func asObject(v any) (object, bool) {
	switch v := v.(type) {
	case object:
		return v, true
	case map[string]any:
		o := make(object, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			o = append(o, pair{k, v[k]})
		}
		return o, true
	}
	return nil, false
}

func asObjects(v any) []object {
	switch v := v.(type) {
	case []object:
		return v
	case []any:
		var out []object
		for _, e := range v {
			o, _ := asObject(e)
			out = append(out, o)
		}
		return out
	}
	return nil
}

// isTable tells whether v is written under a header of its own.
func isTable(v any) bool {
	switch v := v.(type) {
	case object, map[string]any:
		return true
	case []object:
		return len(v) > 0
	case []any:
		for _, e := range v {
			if _, ok := asObject(e); !ok {
				return false
			}
		}
		return len(v) > 0
	}
	return false
}

func isNil(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []string:
		return v == nil
	case []any:
		return v == nil
	case []object:
		return v == nil
	case map[string]any:
		return v == nil
	case object:
		return v == nil
	}
	return false
}

func header(key []string) string {
	parts := make([]string, len(key))
	for i, k := range key {
		parts[i] = bare(k)
	}
	return strings.Join(parts, ".")
}

// bare is a key as it is written: quoted only where it must be.
func bare(k string) string {
	if k != "" && only(k, "_-") {
		return k
	}
	return quoted(k)
}

// quoted is a basic string; only what TOML demands is escaped.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
		switch {
		case r == '"':
			b.WriteString(`\"`)
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// unlessEmpty and unlessFalse leave a zero value out.
func unlessEmpty[T ~string](s T) any {
	if s == "" {
		return nil
	}
	return string(s)
}

func unlessFalse(b bool) any {
	if !b {
		return nil
	}
	return true
}

// unlessNone leaves an empty list out, where nil and empty mean the same.
func unlessNone(s []string) any {
	if len(s) == 0 {
		return nil
	}
	return s
}

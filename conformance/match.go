package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// A matcher compares what there is with what a case wants, and remembers values between files and steps of a case.
// What is wanted is a table, list or value of TOML or JSON. A string may be one of these:
//
//	!any              there is a value
//	!absent           there is none (or it is false, empty or zero)
//	!match REGEXP     text that it matches
//	!has TEXT         text with this in it
//	!save NAME        any value, remembered
//	!same NAME        the value remembered
//	!differs NAME     another value than that
//
// and a list may begin with !some: then the others must be in the list there is, in any order.
type matcher struct {
	saved map[string]any
	exact bool // tables may have no more keys than wanted
}

// diff returns a line for each difference, none if got is as wanted.
func (m *matcher) diff(at string, want, got any) []string {
	want, got = plain(want), plain(got)
	switch want := want.(type) {
	case string:
		return m.diffText(at, want, got)
	case map[string]any:
		return m.diffTable(at, want, got)
	case []any:
		return m.diffList(at, want, got)
	}
	if !reflect.DeepEqual(want, got) {
		return []string{differ(at, want, got)}
	}
	return nil
}

func (m *matcher) diffText(at, want string, got any) []string {
	word, rest, _ := strings.Cut(want, " ")
	text, isText := got.(string)
	ok := false
	switch word {
	case "!any":
		ok = got != nil
	case "!absent":
		ok = got == nil || reflect.ValueOf(got).IsZero() || reflect.ValueOf(got).Kind() != reflect.Float64 &&
			reflect.ValueOf(got).Kind() != reflect.Bool && reflect.ValueOf(got).Len() == 0
	case "!match":
		pattern, err := regexp.Compile(rest)
		if err != nil {
			return []string{fmt.Sprintf("%s: %v", at, err)}
		}
		ok = isText && pattern.MatchString(text)
	case "!has":
		ok = isText && strings.Contains(text, rest)
	case "!save":
		ok = got != nil
		m.saved[rest] = got
	case "!same":
		ok = got != nil && reflect.DeepEqual(got, m.saved[rest])
		want += fmt.Sprintf(" (%s)", show(m.saved[rest]))
	case "!differs":
		ok = got != nil && m.saved[rest] != nil && !reflect.DeepEqual(got, m.saved[rest])
		want += fmt.Sprintf(" (%s)", show(m.saved[rest]))
	default:
		ok = isText && text == want
	}
	if !ok {
		return []string{differ(at, want, got)}
	}
	return nil
}

func (m *matcher) diffTable(at string, want map[string]any, got any) []string {
	table, ok := got.(map[string]any)
	if !ok {
		if got != nil || len(want) > 0 && !allAbsent(want) {
			return []string{differ(at, want, got)}
		}
		return nil
	}
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		lines = append(lines, m.diff(join(at, key), want[key], table[key])...)
	}
	if !m.exact {
		return lines
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if _, wanted := want[key]; !wanted && table[key] != nil {
			lines = append(lines, differ(join(at, key), nil, table[key]))
		}
	}
	return lines
}

func allAbsent(want map[string]any) bool {
	for _, v := range want {
		if v != "!absent" {
			return false
		}
	}
	return true
}

func (m *matcher) diffList(at string, want []any, got any) []string {
	items, ok := got.([]any)
	if !ok && got != nil {
		return []string{differ(at, want, got)}
	}
	if len(want) > 0 && want[0] == "!some" {
		var lines []string
		for _, w := range want[1:] {
			if !slices.ContainsFunc(items, func(g any) bool { return len(m.diff(at, w, g)) == 0 }) {
				lines = append(lines, fmt.Sprintf("%s: want in the list %s\n\tgot %s", at, show(w), show(items)))
			}
		}
		return lines
	}
	if len(want) != len(items) {
		return []string{differ(at, want, got)}
	}
	var lines []string
	for i := range want {
		lines = append(lines, m.diff(fmt.Sprintf("%s[%d]", at, i), want[i], items[i])...)
	}
	return lines
}

func join(at, key string) string {
	if strings.ContainsAny(key, "./ ") {
		key = fmt.Sprintf("%q", key)
	}
	if at == "" {
		return key
	}
	return at + "." + key
}

func differ(at string, want, got any) string {
	if want == nil {
		return fmt.Sprintf("%s: want nothing\n\tgot  %s", at, show(got))
	}
	if got == nil {
		return fmt.Sprintf("%s: want %s\n\tgot  nothing", at, show(want))
	}
	return fmt.Sprintf("%s: want %s\n\tgot  %s", at, show(want), show(got))
}

func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(text) > 600 {
		return string(text[:600]) + "..."
	}
	return string(text)
}

// plain makes values of TOML, JSON and Go the same: tables, lists, strings, booleans and float64.
func plain(v any) any {
	value := reflect.ValueOf(v)
	switch {
	case !value.IsValid():
		return nil
	case value.CanInt():
		return float64(value.Int())
	case value.CanFloat():
		return value.Float()
	}
	switch v := v.(type) {
	case string, bool, map[string]any, []any:
		return v
	case []string:
		return list(v)
	default:
		return fmt.Sprint(v) // dates
	}
}

// parse reads TOML or JSON by the file's name, or nothing where it is another text.
func parse(name string, data []byte) (any, bool, error) {
	var v map[string]any
	switch {
	case strings.HasSuffix(name, ".toml"):
		err := toml.Unmarshal(data, &v)
		return v, true, err
	case strings.HasSuffix(name, ".json"):
		var v any
		err := json.Unmarshal(data, &v)
		return v, true, err
	}
	return nil, false, nil
}

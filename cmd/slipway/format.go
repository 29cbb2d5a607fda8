package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
)

// moreFormats marks a command that writes YAML and TOML too.
const moreFormats = "slipway/formats"

// formats are the values of --output-format that a command takes.
func formats(cmd *cobra.Command) []string {
	f := []string{"human", "json"}
	if cmd.Annotations[moreFormats] != "" {
		f = append(f, "yaml", "toml")
	}
	return f
}

func (a *app) checkFormat(cmd *cobra.Command) error {
	f := formats(cmd)
	if !slices.Contains(f, a.format) {
		return usagef("--output-format %s: want %s or %s", a.format, strings.Join(f[:len(f)-1], ", "), f[len(f)-1])
	}
	return nil
}

// data says whether the output is for programs.
func (a *app) data() bool { return a.format != "human" && a.format != "" }

// print writes v as --output-format asks, else calls human. YAML and TOML are made of the JSON, whose names they have.
func (a *app) print(v any, human func(w io.Writer)) error {
	if !a.data() {
		human(a.stdout)
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	text := b.Bytes()
	var err error
	switch a.format {
	case "yaml":
		text, err = yamlOf(text)
	case "toml":
		text, err = tomlOf(text)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", a.format, err)
	}
	_, err = a.stdout.Write(text)
	return err
}

// tomlOf makes TOML of a JSON object. TOML has no null: what is null is left out.
func tomlOf(b []byte) ([]byte, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	m, ok := tomlValue(v).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("TOML is a table, and this is not")
	}
	return toml.Marshal(m)
}

func tomlValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e != nil {
				out[k] = tomlValue(e)
			}
		}
		return out
	case []any:
		tables := make([]map[string]any, 0, len(v))
		out := make([]any, 0, len(v))
		for _, e := range v {
			e = tomlValue(e)
			if m, ok := e.(map[string]any); ok {
				tables = append(tables, m)
			}
			out = append(out, e)
		}
		if len(v) > 0 && len(tables) == len(v) {
			return tables // [[name]] for each
		}
		return out
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}

// yamlOf makes YAML of JSON, its keys in their order. Strings keep JSON's quotes: so none of them is a number, a date
// or "no" to YAML.
func yamlOf(b []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var y yamlWriter
	if err := y.value(dec, 0, false); err != nil {
		return nil, err
	}
	return y.Bytes(), nil
}

type yamlWriter struct{ bytes.Buffer }

// plainKey is a key that needs no quotes.
var plainKey = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*([._/-][A-Za-z0-9]+)*$`)

// value writes the next value of dec: a scalar behind what is written already, a collection below it. In a list the
// first entry of a mapping stands on the line of the dash.
func (y *yamlWriter) value(dec *json.Decoder, depth int, inList bool) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	d, isDelim := t.(json.Delim)
	switch {
	case !isDelim:
		return y.scalar(t, depth > 0)
	case !dec.More():
		y.WriteString(map[bool]string{true: " ", false: ""}[depth > 0] + d.String() + map[json.Delim]string{'{': "}\n", '[': "]\n"}[d])
	default:
		if depth > 0 && !inList {
			y.WriteByte('\n')
		}
		for first := true; dec.More(); first = false {
			if err := y.entry(dec, d == '{', depth, first && inList); err != nil {
				return err
			}
		}
	}
	_, err = dec.Token() // the end
	return err
}

func (y *yamlWriter) entry(dec *json.Decoder, mapping bool, depth int, onLine bool) error {
	if onLine {
		y.WriteByte(' ')
	} else {
		y.WriteString(strings.Repeat("  ", depth))
	}
	if !mapping {
		y.WriteByte('-')
		return y.value(dec, depth+1, true)
	}
	t, err := dec.Token()
	if err != nil {
		return err
	}
	key, _ := t.(string)
	if !plainKey.MatchString(key) || slices.Contains([]string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}, strings.ToLower(key)) {
		key = jsonString(key)
	}
	y.WriteString(key + ":")
	return y.value(dec, depth+1, false)
}

func (y *yamlWriter) scalar(t json.Token, space bool) error {
	if space {
		y.WriteByte(' ')
	}
	switch t := t.(type) {
	case string:
		y.WriteString(jsonString(t))
	case nil:
		y.WriteString("null")
	default:
		fmt.Fprint(y, t)
	}
	y.WriteByte('\n')
	return nil
}

func jsonString(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be written
	return strings.TrimSuffix(b.String(), "\n")
}

package logs

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Maskable tells whether a value can be masked: it has at least 8 bytes, and is neither a number nor one of the
// words that stand in logs anyway, which would become unreadable without hiding anything.
func Maskable(value string) bool {
	return len(value) >= minPattern && !number(value) && !monotonous(value) && !common(value)
}

func number(s string) bool {
	return strings.Trim(s, "0123456789.,:+-_ \r\n\t") == ""
}

// monotonous is what lines are drawn with.
func monotonous(s string) bool {
	seen := ""
	for i := range len(s) {
		if strings.IndexByte(seen, s[i]) < 0 {
			if seen += s[i : i+1]; len(seen) > 2 {
				return false
			}
		}
	}
	return true
}

// common is a value that a config var has often, and that is no secret.
func common(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "production", "development", "localhost", "disabled", "required", "optional", "password", "username",
		"postgres", "postgresql", "rabbitmq", "memcached", "database", "application", "standard", "advanced",
		"internal", "external", "warnings", "critical", "fallback", "automatic", "javascript", "typescript",
		"dockerfile", "buildpack", "buildpacks", "container", "registry", "frontend", "undefined", "continue",
		"node_modules", "package.json", "requirements.txt", "/workspace", "us-east-1", "us-west-2", "eu-west-1",
		"eu-central-1", "0.0.0.0:8080", "http://localhost", "https://", "text/plain", "application/json":
		return true
	}
	return false
}

// formsBudget bounds the bytes of all patterns but the values themselves.
const formsBudget = 2 << 20

// patterns is what to look for: the values first, then their other forms, of the shortest value first, while the
// budget lasts.
func patterns(values []string) []string {
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return !Maskable(v) })
	for _, v := range slices.Clip(values) {
		values = append(values, insides(v)...)
	}
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	values = slices.Compact(values)
	var all []string
	for _, v := range values {
		all = append(all, pieces(v)...)
	}
	budget := formsBudget
	for _, v := range values {
		if 16*len(v) > budget { // more than all forms of it
			break
		}
		for _, f := range forms(v) {
			budget -= len(f)
			all = append(all, pieces(f)...)
		}
	}
	return all
}

// insides are parts of a value that are secrets alone: its lines, which a log may print with something before
// each, and the password of a URL.
func insides(v string) []string {
	var in []string
	if lines := strings.FieldsFunc(v, func(r rune) bool { return r == '\n' || r == '\r' }); len(lines) > 1 || len(lines) == 1 && lines[0] != v {
		for _, l := range lines {
			in = append(in, l, strings.TrimSpace(l))
		}
	}
	if trimmed := strings.TrimSpace(v); trimmed != v {
		in = append(in, trimmed)
	}
	if scheme, rest, ok := strings.Cut(v, "://"); ok && !strings.ContainsAny(scheme, "/ \n") {
		authority, _, _ := strings.Cut(rest, "/")
		if at := strings.LastIndexByte(authority, '@'); at >= 0 {
			user, password, ok := strings.Cut(authority[:at], ":")
			if !ok {
				password = user // as tokens are written
			}
			in = append(in, password)
			if plain, err := url.PathUnescape(password); err == nil {
				in = append(in, plain)
			}
		}
	}
	return slices.DeleteFunc(in, func(s string) bool { return !Maskable(s) })
}

// forms are the ways in which programs write a value, other than as it is.
func forms(v string) []string {
	query := url.QueryEscape(v)
	escaped := []string{query, url.PathEscape(v), strings.ReplaceAll(query, "+", "%20"), userinfo(v)}
	for _, e := range slices.Clip(escaped) {
		escaped = append(escaped, lowerHex(e))
	}
	if j, err := json.Marshal(v); err == nil {
		escaped = append(escaped, string(j[1:len(j)-1]))
	}
	plain := strings.NewReplacer("\\", `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(v) // as JSON without escapes for HTML, and %q
	escaped = append(escaped, plain)
	for k := range 3 {
		escaped = append(escaped, base64At(base64.RawStdEncoding, v, k), base64At(base64.RawURLEncoding, v, k))
	}
	slices.Sort(escaped)
	return slices.DeleteFunc(slices.Compact(escaped), func(s string) bool { return s == v })
}

// userinfo is a value as the password in a URL.
func userinfo(v string) string {
	_, password, _ := strings.Cut(url.UserPassword("", v).String(), ":")
	return password
}

// lowerHex writes the escapes of a URL with small letters.
func lowerHex(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i:i+3], strings.ToLower(string(b[i:i+3])))
			i += 2
		}
	}
	return string(b)
}

// base64At is what is always the same when a value is encoded behind k bytes of something else, before anything.
func base64At(e *base64.Encoding, v string, k int) string {
	text := e.EncodeToString(append(make([]byte, k, k+len(v)), v...))
	return text[(8*k+5)/6 : 8*(k+len(v))/6]
}

// pieces cuts what is too long for one pattern. The pieces overlap or touch, so that all of it is masked.
func pieces(p string) []string {
	if len(p) <= maxPattern {
		return []string{p}
	}
	const size = 128
	var cut []string
	for i := 0; i+size < len(p); i += size {
		cut = append(cut, p[i:i+size])
	}
	cut = append(cut, p[len(p)-size:])
	return slices.DeleteFunc(cut, monotonous) // indentation is no secret
}

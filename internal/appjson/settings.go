package appjson

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/internal/build"
)

// env reads config vars.
func (r *reader) env(n *node, path string) []Var {
	vars := []Var{}
	if n.kind != isObject {
		r.bad(n, path, "it is %s: it has to be an object of config vars", n.kind)
		return vars
	}
	total := 0
	for _, m := range n.members {
		inner := below(path, m.key)
		if strings.HasPrefix(strings.ToLower(m.key), "_comment") || strings.HasPrefix(m.key, "//") {
			continue
		}
		name, err := build.ParseEnvName(m.key)
		if err != nil {
			r.add(Error, m.at, inner, "this is no name of a config var: letters, digits and _, no digit first, not beginning with __")
			continue
		}
		if total++; total > build.MaxVars {
			continue
		}
		vars = append(vars, r.oneVar(name, m.node, inner))
		r.special(name, m, inner)
	}
	if total > build.MaxVars {
		r.bad(n, path, "there are %d config vars, %d is the most", total, build.MaxVars)
	}
	return vars
}

// special warns of names that mean something to the classic platform only.
func (r *reader) special(name build.EnvName, m member, path string) {
	switch {
	case name == "BUILDPACK_URL":
		r.add(Warning, m.at, path, "it names a classic buildpack and is a config var like any other here: use the key buildpacks")
	case strings.HasPrefix(string(name), "HEROKU_"):
		r.add(Warning, m.at, path, "names that begin with HEROKU_ are set by Heroku: here it is a config var like any other")
	}
}

func (r *reader) oneVar(name build.EnvName, n *node, path string) Var {
	line, _ := position(r.text, n.at)
	v := Var{Name: name, Required: true, Line: line}
	switch {
	case n.scalar():
		r.value(&v, n, path)
	case n.kind == isNull:
		r.warn(n, path, "null is no value: somebody has to give one")
	case n.kind != isObject:
		r.bad(n, path, "it is %s: it has to be a string, or an object with description, value, required, generator", n.kind)
	}
	for _, m := range n.members {
		r.varKey(&v, m, below(path, m.key))
	}
	if v.Secret && v.HasValue {
		r.warn(n, path, "it has a value and a generator: a secret is generated, and the value, which everybody can read, is not used")
		v.Value, v.HasValue = "", false
	}
	return v
}

func (r *reader) varKey(v *Var, m member, path string) {
	switch m.key {
	case "description":
		if m.kind != isNull {
			v.Description = r.short(m.node, path, maxText)
		}
	case "value":
		r.value(v, m.node, path)
	case "default": // as in the first drafts of the format
		r.add(Warning, m.at, path, "the key is an old one: write value")
		if !v.HasValue {
			r.value(v, m.node, path)
		}
	case "required":
		v.Required = r.required(m.node, path)
	case "generator":
		switch {
		case m.kind == isString && m.text == "secret":
			v.Secret = true
		case m.kind != isNull:
			r.warn(m.node, path, "the generator is not known: there is \"secret\" only, and somebody has to give the value")
		}
	default:
		r.unknown(m, path, "description", "value", "required", "generator")
	}
}

// value reads a default. A number or a truth is what stands in the file.
func (r *reader) value(v *Var, n *node, path string) {
	switch {
	case n.kind == isNull:
		r.warn(n, path, "null is no value")
		return
	case !n.scalar():
		r.bad(n, path, "the value is %s: it has to be a string", n.kind)
		return
	case strings.ContainsRune(n.text, 0):
		r.bad(n, path, "the value has a zero byte, which no environment variable can have")
		return
	case len(n.text) > build.MaxVarBytes:
		r.bad(n, path, "the value has %d bytes, %d is the most", len(n.text), build.MaxVarBytes)
		return
	}
	v.Value, _ = r.word(n, path)
	v.HasValue = true
}

func (r *reader) required(n *node, path string) bool {
	text := strings.ToLower(n.text)
	switch {
	case n.kind == isBool:
	case n.kind == isString && (text == "true" || text == "false"):
		r.warn(n, path, "it is the string %s and is read as %s", quoted(n.text), text)
	default:
		r.warn(n, path, "it is neither true nor false: it is read as true")
		return true
	}
	return text == "true"
}

var processType = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`) })

func sizes() []string {
	return []string{
		"free", "eco", "hobby", "basic", "standard-1x", "standard-2x", "performance-m", "performance-l", "performance-l-ram", "performance-xl", "performance-2xl",
		"private-s", "private-m", "private-l", "shield-s", "shield-m", "shield-l", "1x", "2x", "px", "dev",
	}
}

const maxQuantity = 100

// formation reads how many of which process run, in today's form or in the array that came before.
func (r *reader) formation(n *node, path string) []Process {
	all := []Process{}
	add := func(kind string, n *node, path string) {
		switch {
		case !processType().MatchString(kind):
			r.warn(n, path, "%s is no process type: letters, digits, - and _", quoted(kind))
		case len(all) == maxList:
			r.warn(n, path, "there are more than %d process types: this one is left out", maxList)
		default:
			all = append(all, r.process(kind, n, path))
		}
	}
	switch n.kind {
	case isObject:
		for _, m := range n.members {
			if !comment(m.key) {
				add(m.key, m.node, below(path, m.key))
			}
		}
	case isArray:
		r.warn(n, path, "an array is the old form: write an object with a key for each process type")
		for i, e := range n.elems {
			kind := ""
			for _, m := range e.members {
				if m.key == "process" {
					kind = m.text
				}
			}
			add(kind, e, element(path, i))
		}
	default:
		r.warn(n, path, "it is %s, not an object: it is left out", n.kind)
		return nil
	}
	return all
}

func (r *reader) process(kind string, n *node, path string) Process {
	p := Process{Type: kind, Quantity: -1}
	switch {
	case n.scalar():
		r.warn(n, path, "it is %s, not an object: it is read as the quantity", n.kind)
		p.Quantity = r.quantity(n, path)
	case n.kind != isObject:
		r.warn(n, path, "it is %s, not an object with a quantity", n.kind)
	}
	for _, m := range n.members {
		inner := below(path, m.key)
		switch m.key {
		case "quantity":
			p.Quantity = r.quantity(m.node, inner)
		case "size":
			p.Size = r.short(m.node, inner, maxName)
			if p.Size != "" && !slices.Contains(sizes(), strings.ToLower(p.Size)) {
				r.warn(m.node, inner, "the size %s is not known: sizes are hints", quoted(p.Size))
			}
		case "process":
		default:
			r.unknown(m, inner, "quantity", "size")
		}
	}
	if p.Quantity < 0 {
		if n.kind == isObject {
			r.warn(n, path, "it has no quantity: 1 is taken")
		}
		p.Quantity = 1
	}
	return p
}

func (r *reader) quantity(n *node, path string) int {
	q, err := strconv.Atoi(n.text)
	switch {
	case n.kind == isString && err == nil && q >= 0 && q <= maxQuantity:
		r.warn(n, path, "it is a string and is read as the number %d", q)
	case !n.scalar() || err != nil || q < 0:
		r.warn(n, path, "it is no whole number from 0: 1 is taken")
		return 1
	case q > maxQuantity:
		r.warn(n, path, "it is more than %d, which is taken", maxQuantity)
		return maxQuantity
	}
	return q
}

func (r *reader) scripts(n *node, path string) *Scripts {
	s := &Scripts{}
	if n.kind != isObject {
		r.warn(n, path, "it is %s, not an object: it is left out", n.kind)
		return nil
	}
	for _, m := range n.members {
		inner := below(path, m.key)
		to := map[string]*string{"postdeploy": &s.Postdeploy, "pr-predestroy": &s.PRPredestroy, "test": &s.Test, "test-setup": &s.TestSetup}[m.key]
		switch {
		case to != nil && m.kind == isNull:
		case to != nil:
			*to = r.script(m.node, inner)
		case m.key == "dokku":
			r.add(Warning, m.at, inner, "scripts of Dokku are not run")
		default:
			r.unknown(m, inner, "postdeploy", "pr-predestroy", "test", "test-setup")
		}
	}
	return s
}

// script is one command; of an array of them we do not know what is meant.
func (r *reader) script(n *node, path string) string {
	switch {
	case n.kind == isObject && len(n.members) == 1 && n.members[0].key == "command" && n.members[0].kind == isString:
		r.warn(n, path, "it is an object: its command is read")
		n = n.members[0].node
	case n.kind != isString:
		r.bad(n, path, "it is %s: it has to be a string, the command", n.kind)
		return ""
	}
	if strings.ContainsRune(n.text, 0) || len(n.text) > build.MaxVarBytes {
		r.bad(n, path, "the command has a zero byte or more than %d bytes", build.MaxVarBytes)
		return ""
	}
	return n.text
}

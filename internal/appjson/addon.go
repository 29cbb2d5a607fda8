package appjson

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
)

var (
	addonName = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,99}(:[A-Za-z0-9][A-Za-z0-9_.-]{0,99})?$`)
	})
	attachment = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,99}$`) })
)

func (r *reader) addons(n *node, path string) []Addon {
	all := []Addon{}
	if n.kind != isArray {
		r.bad(n, path, "it is %s: it has to be an array of add-ons", n.kind)
		return all
	}
	for i, e := range n.elems {
		if i == maxList {
			r.bad(n, path, "there are %d add-ons, %d is the most", len(n.elems), maxList)
			break
		}
		if a, ok := r.addon(e, element(path, i)); ok {
			all = append(all, a)
		}
	}
	return all
}

func (r *reader) addon(n *node, path string) (a Addon, ok bool) {
	a.Line, _ = position(r.text, n.at)
	if n.kind == isString {
		return a, r.plan(&a, n, path)
	}
	if n.kind != isObject {
		r.bad(n, path, "it is %s: it has to be the name of an add-on, or an object with its plan", n.kind)
		return a, false
	}
	planned := false
	for _, m := range n.members {
		inner := below(path, m.key)
		switch m.key {
		case "plan":
			planned = true
			if m.kind != isString {
				r.bad(m.node, inner, "it is %s: it has to be a string such as service:plan", m.kind)
				continue
			}
			ok = r.plan(&a, m.node, inner)
		case "as":
			if m.kind != isString || !attachment().MatchString(m.text) {
				r.warn(m.node, inner, "it is no name for an attachment, of letters, digits and _: it is left out")
				continue
			}
			a.As = strings.ToUpper(strings.ReplaceAll(m.text, "-", "_"))
		case "options":
			a.Options = r.options(m.node, inner)
		default:
			r.unknown(m, inner, "plan", "as", "options")
		}
	}
	if !planned {
		r.bad(n, path, "it has no plan: name the add-on, as in \"plan\": \"service:plan\"")
	}
	return a, ok
}

func (r *reader) plan(a *Addon, n *node, path string) bool {
	if !addonName().MatchString(n.text) {
		r.bad(n, path, "%s is no add-on: write service or service:plan", quoted(n.text))
		return false
	}
	a.Service, a.Plan, _ = strings.Cut(n.text, ":")
	return true
}

func (r *reader) options(n *node, path string) map[string]string {
	if n.kind != isObject {
		r.warn(n, path, "it is %s, not an object: it is left out", n.kind)
		return nil
	}
	all := map[string]string{}
	for i, m := range n.members {
		inner := below(path, m.key)
		if i == maxList {
			r.warn(m.node, inner, "there are more than %d options: this one and those behind it are left out", maxList)
			break
		}
		if text, ok := r.word(m.node, inner); ok && len(text) <= maxText {
			all[m.key] = text
		}
	}
	return all
}

//go:embed addons.toml
var addonsTOML []byte

// addonVars are the config vars that well-known add-ons set, by service.
var addonVars = sync.OnceValue(func() map[string][]string {
	var t map[string][]string
	if err := toml.Unmarshal(addonsTOML, &t); err != nil {
		panic(err) // our own file; a test reads it
	}
	return t
})

// Vars are the config vars that the add-on would set, as far as we know; the name of its attachment goes into the one
// that has its URL. Where no add-on is provided, people give their values.
func (a Addon) Vars() []string {
	known, ok := addonVars()[a.Service]
	if !ok { // what its provider has by rule
		known = []string{strings.ToUpper(strings.ReplaceAll(a.Service, "-", "_")) + "_URL"}
	}
	if a.As != "" && len(known) == 1 && (strings.HasSuffix(known[0], "_URL") || strings.HasSuffix(known[0], "_URI")) {
		return []string{a.As + "_URL"}
	}
	return slices.Clone(known)
}

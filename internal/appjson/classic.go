package appjson

import (
	_ "embed"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
)

// A Buildpack is one that an app.json asks for, and what builds in its place.
type Buildpack struct {
	Given string // as it is in the file
	Name  string // what we call it: ns/name, host/owner/repository, or a URL
	Line  int
	Successor
}

// A Successor is what does the work of a classic buildpack with Cloud Native Buildpacks. Of Own and CNB one is enough;
// with none of them nothing builds in its place, and Note says why.
type Successor struct {
	Own  []string `toml:"own"`  // buildpacks of Slipway's own builder
	CNB  []string `toml:"cnb"`  // buildpacks of the public registry, as ns/name or, where the app says so, ns/name@version
	Note string   `toml:"note"` // what people should know, "" is nothing
}

// Choose is what builds: Slipway's own buildpacks where the builder has all of them, else those of the registry.
func (s Successor) Choose(has func(id string) bool) []string {
	for _, id := range s.Own {
		if !has(id) {
			return s.CNB
		}
	}
	if len(s.Own) == 0 {
		return s.CNB
	}
	return s.Own
}

// Order is what builds an app in place of its buildpacks, each once, for a builder that has some; nothing where the
// builder finds out by itself. The classic platform reads a Procfile itself: where the app has one, a buildpack that
// does so is last.
func (s Settings) Order(has func(id string) bool, procfile bool) (ids []string) {
	for _, b := range s.Buildpacks {
		ids = append(ids, b.Choose(has)...)
	}
	if last := classics()["heroku/procfile"].Choose(has); procfile && len(ids) > 0 {
		ids = append(ids, last...)
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(ids, func(id string) bool {
		twice := seen[id]
		seen[id] = true
		return twice
	})
}

//go:embed classic.toml
var classicTOML []byte

// A classic is a classic buildpack that we know.
type classic struct {
	Names        []string `toml:"names"`        // in the classic registry
	Repositories []string `toml:"repositories"` // host/owner/repository
	Skip         bool     `toml:"skip"`         // apps are built without it
	Successor
}

// classics are all that we know, by name and by repository.
var classics = sync.OnceValue(func() map[string]classic {
	var t struct {
		Classic []classic `toml:"classic"`
	}
	if err := toml.Unmarshal(classicTOML, &t); err != nil {
		panic(err) // our own file; a test reads it
	}
	all := map[string]classic{}
	for _, c := range t.Classic {
		for _, key := range append(c.Names, c.Repositories...) {
			all[key] = c
		}
	}
	return all
})

func (r *reader) buildpacks(n *node, path string) []Buildpack {
	all := []Buildpack{}
	if n.kind != isArray {
		r.bad(n, path, "it is %s: it has to be an array of objects with a url", n.kind)
		return all
	}
	for i, e := range n.elems {
		if i == maxList {
			r.bad(n, path, "there are %d buildpacks, %d is the most", len(n.elems), maxList)
			break
		}
		inner := element(path, i)
		at := e
		if e.kind == isString {
			r.warn(e, inner, "it is a string: write an object with a url")
		} else if at = r.urlOf(e, inner); at == nil {
			continue
		} else {
			inner = below(inner, "url")
		}
		if b, ok := r.buildpack(at, inner); ok {
			all = append(all, b)
		}
	}
	return all
}

// urlOf is the url of a buildpack's object.
func (r *reader) urlOf(n *node, path string) (at *node) {
	if n.kind != isObject {
		r.bad(n, path, "it is %s: it has to be an object with a url", n.kind)
		return nil
	}
	for _, m := range n.members {
		switch {
		case m.key != "url":
			r.unknown(m, below(path, m.key), "url")
		case m.kind != isString:
			r.bad(m.node, below(path, m.key), "it is %s: it has to be a string", m.kind)
			return nil
		default:
			at = m.node
		}
	}
	if at == nil {
		r.bad(n, path, "it has no url: name the buildpack, as in \"url\": \"heroku/nodejs\"")
	}
	return at
}

// buildpack finds what builds in place of one. The finding of one that we do not know says what to do.
func (r *reader) buildpack(n *node, path string) (b Buildpack, ok bool) {
	b.Line, _ = position(r.text, n.at)
	b.Given = n.text
	if len(n.text) > 2048 || clean(n.text) != n.text || n.text == "" {
		r.bad(n, path, "it is empty, longer than 2048 bytes, or has control characters")
		return b, false
	}
	if rest, ok := strings.CutPrefix(n.text, "urn:cnb:registry:"); ok && registryRef().MatchString(rest) {
		b.Name, b.CNB = rest, []string{rest}
		return b, true
	}
	name, ref := classicName(n.text)
	b.Name = name
	c, known := classics()[name]
	switch {
	case known && c.Skip:
		b.Note = c.Note
		r.warn(n, path, "classic buildpack %s is left out: %s", quoted(name), c.Note)
	case known && len(c.CNB)+len(c.Own) == 0:
		r.bad(n, path, "classic buildpack %s has no successor among Cloud Native Buildpacks that we know: %s", quoted(name), c.Note)
		return b, false
	case known:
		b.Successor = Successor{slices.Clone(c.Own), slices.Clone(c.CNB), c.Note}
		if ref != "" {
			r.warn(n, path, "%s of the classic buildpack %s does not count: what builds in its place has versions of its own", quoted(ref), quoted(name))
		}
		if c.Note != "" {
			r.warn(n, path, "%s builds in place of the classic buildpack %s: %s", c.CNB[0], quoted(name), c.Note)
		}
	case registryName().MatchString(name):
		b.CNB = []string{name}
		r.warn(n, path, "%s is no classic buildpack that we know: it is looked for in the registry of Cloud Native Buildpacks", quoted(name))
	default:
		r.bad(n, path, "classic buildpack %s has no successor among Cloud Native Buildpacks that we know: %s", quoted(name), advice(name))
		return b, false
	}
	return b, true
}

// advice is what to do about a buildpack that we do not know: one that has the name of one that we know is its fork.
func advice(name string) string {
	for _, owner := range []string{"heroku", "hashnuke", "emk", "gjaldon", "mars"} {
		key := "github.com/" + owner + "/" + path.Base(name)
		if c := classics()[key]; len(c.CNB) > 0 {
			return fmt.Sprintf("its name is that of %s, in whose place %s builds: name that one", key, c.CNB[0])
		}
	}
	return "name a buildpack of the registry, or leave it out and let the builder find out what the app needs"
}

var (
	registryName = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,99}/[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	})
	registryRef = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,99}/[A-Za-z0-9][A-Za-z0-9.-]{0,99}(@[0-9A-Za-z.^~*<>=-]{1,60})?$`)
	})
	storedName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^/buildpacks/([^/]+)/([^/]+)\.tgz$`) })
)

// classicName is what a buildpack is known by, whatever form it is written in, and the version that is asked for.
func classicName(s string) (name, ref string) {
	s, ref, _ = strings.Cut(s, "#")
	s = strings.TrimPrefix(s, "urn:buildpack:")
	if rest, at, ok := strings.Cut(s, "@"); ok && registryName().MatchString(rest) {
		return strings.ToLower(rest), at
	}
	if registryName().MatchString(s) {
		return strings.ToLower(s), ref
	}
	if rest, ok := strings.CutPrefix(s, "git@"); ok && !strings.Contains(s, "://") { // git@host:owner/repository
		s = "ssh://" + strings.Replace(rest, ":", "/", 1)
	}
	if !strings.Contains(s, "://") && strings.Count(s, "/") > 1 {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return s, ref
	}
	u.User = nil
	if stored := storedName().FindStringSubmatch(u.Path); stored != nil && strings.HasSuffix(u.Host, ".amazonaws.com") {
		return strings.ToLower(stored[1] + "/" + stored[2]), ref
	}
	return repositoryName(u, ref)
}

// repositoryName is host/owner/repository of a URL of a git repository or of an archive of one.
func repositoryName(u *url.URL, ref string) (string, string) {
	host := strings.TrimPrefix(strings.ToLower(u.Hostname()), "www.")
	if host == "codeload.github.com" {
		host = "github.com"
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) < 2 {
		return u.String(), ref
	}
	if len(parts) > 2 {
		switch parts[2] {
		case "archive", "tarball", "zipball", "tar.gz", "tree", "releases":
			if rest := strings.Join(parts[3:], "/"); ref == "" && rest != "" {
				ref = strings.TrimSuffix(strings.TrimSuffix(rest, ".tar.gz"), ".tgz")
			}
		default:
			return u.String(), ref
		}
	}
	return strings.ToLower(host + "/" + parts[0] + "/" + strings.TrimSuffix(parts[1], ".git")), ref
}

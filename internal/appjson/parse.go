package appjson

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxName     = 300
	maxText     = 4 << 10
	maxKeywords = 50
	maxList     = 64 // add-ons, buildpacks, process types
)

// Parse reads an app.json. It returns nil where the text is none, and says why; and an App with errors where the App
// cannot be deployed, see Blocking. Of a key that is there twice the last one counts, as it does for the platform that
// the file is written for, and the first is a warning.
func Parse(b []byte) (*App, []Finding) {
	f := &findings{text: b, more: map[Severity]int{}}
	n := f.read(b)
	if n == nil {
		return nil, f.all()
	}
	r := &reader{findings: f}
	a := &App{environments: map[Environment]Settings{}}
	if r.foreign(n) {
		return nil, f.all()
	}
	for _, m := range n.members {
		r.top(a, m)
	}
	if len(n.members) == 0 {
		r.warn(n, "", "the file asks for nothing")
	}
	return a, f.all()
}

// read makes one object of the text, or says why it is none.
func (f *findings) read(b []byte) *node {
	bad := func(at int, format string, args ...any) *node {
		f.add(Error, at, "", format, args...)
		return nil
	}
	switch {
	case len(b) > MaxBytes:
		f.text = nil // whose lines need not be counted
		return bad(0, "the file has %d bytes, %d is the most", len(b), MaxBytes)
	case bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")):
		return bad(0, "the file is in UTF-16: save it in UTF-8")
	case len(bytes.TrimSpace(bytes.TrimPrefix(b, bom))) == 0:
		return bad(0, "the file is empty: it has to be an object in JSON")
	}
	if i := invalidUTF8(b); i >= 0 {
		return bad(i, "the byte 0x%02x is no UTF-8: save the file in UTF-8", b[i])
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return bad(i, "the file has a zero byte: it is no text")
	}
	s := &scanner{b: b, twice: func(m member, path string) {
		if !comment(m.key) {
			f.add(Warning, m.at, path, "the key is there more than once: this one counts")
		}
	}}
	if bytes.HasPrefix(b, bom) {
		f.add(Warning, 0, "", "the file begins with a byte order mark: save it without")
		s.i = len(bom)
	}
	n, err := s.document()
	if syntax, ok := errors.AsType[*syntaxError](err); ok {
		f.add(Error, syntax.at, syntax.path, "%s", syntax.text)
		return nil
	}
	if n.kind != isObject {
		return bad(n.at, "the file has %s: it has to be an object", n.kind)
	}
	return n
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// comment tells whether a key is there for people only.
func comment(key string) bool {
	return strings.HasPrefix(key, "_") && !strings.HasPrefix(key, "__") || strings.HasPrefix(key, "//") || key == "$schema"
}

// reader makes an App of nodes.
type reader struct{ *findings }

func (r *reader) warn(n *node, path, format string, args ...any) {
	r.add(Warning, n.at, path, format, args...)
}

func (r *reader) bad(n *node, path, format string, args ...any) {
	r.add(Error, n.at, path, format, args...)
}

// foreign tells of files of the same name that mean something else.
func (r *reader) foreign(n *node) bool {
	var keys []string
	for _, m := range n.members {
		keys = append(keys, m.key)
	}
	ours := slices.ContainsFunc(keys, func(k string) bool {
		return slices.Contains([]string{"env", "addons", "buildpacks", "formation", "scripts", "stack", "environments", "success_url", "image"}, k)
	})
	for _, m := range n.members {
		what := map[string]string{"expo": "Expo", "displayName": "React Native", "pages": "a mini program", "usingComponents": "a mini program"}[m.key]
		if what != "" && !ours {
			r.bad(m.node, m.key, "this is the app.json of %s, and no template", what)
			return true
		}
	}
	return false
}

// top reads one key of the file.
func (r *reader) top(a *App, m member) {
	path := below("", m.key)
	if m.kind == isNull && !comment(m.key) {
		r.warn(m.node, path, "null is as if the key were not there")
		return
	}
	switch m.key {
	case "name":
		a.Name = r.short(m.node, path, maxName)
	case "description":
		a.Description = r.short(m.node, path, maxText)
	case "keywords":
		a.Keywords = r.keywords(m.node, path)
	case "website":
		a.Website = r.url(m.node, path)
	case "repository":
		a.Repository = r.repository(m.node, path)
	case "logo":
		a.Logo = r.url(m.node, path)
	case "success_url":
		a.SuccessURL = r.success(m.node, path)
	case "stack":
		a.Stack = r.stack(m.node, path)
	case "image":
		a.Image = r.short(m.node, path, maxName)
		r.warn(m.node, path, "it is not used: the image is built from the source with buildpacks")
	case "environments":
		r.environments(a, m.node, path)
	default:
		if !r.setting(&a.Settings, m, path) {
			r.unknown(m, path, "name", "description", "keywords", "website", "repository", "logo", "success_url", "stack", "image", "environments",
				"env", "formation", "addons", "buildpacks", "scripts")
		}
	}
}

// setting reads a key that an environment may have too.
func (r *reader) setting(s *Settings, m member, path string) (known bool) {
	switch m.key {
	case "env":
		s.Env = r.env(m.node, path)
	case "formation":
		s.Formation = r.formation(m.node, path)
	case "addons":
		s.Addons = r.addons(m.node, path)
	case "buildpacks":
		s.Buildpacks = r.buildpacks(m.node, path)
	case "scripts":
		s.Scripts = r.scripts(m.node, path)
	default:
		return false
	}
	return true
}

// unknown warns of a key that means nothing to us, and names the one that it may have been meant to be.
func (r *reader) unknown(m member, path string, known ...string) {
	if comment(m.key) {
		return
	}
	for _, k := range known {
		if strings.EqualFold(k, m.key) || strings.EqualFold(k, m.key+"s") || strings.EqualFold(k+"s", m.key) {
			r.add(Warning, m.at, path, "the key is not known, it does nothing: is %q meant?", k)
			return
		}
	}
	r.add(Warning, m.at, path, "the key is not known, it does nothing")
}

// word is a text, or what can be read as one.
func (r *reader) word(n *node, path string) (string, bool) {
	switch {
	case n.kind == isString:
		return n.text, true
	case n.scalar():
		r.warn(n, path, "it is %s and is read as the string %s", n.kind, quoted(n.text))
		return n.text, true
	}
	r.warn(n, path, "it is %s, not a string: it is left out", n.kind)
	return "", false
}

// short is a text for people, of at most n bytes.
func (r *reader) short(n *node, path string, most int) string {
	text, _ := r.word(n, path)
	if text = clean(text); len(text) > most {
		r.warn(n, path, "it has %d bytes, and is cut at %d", len(text), most)
	}
	return cut(text, most)
}

func (r *reader) keywords(n *node, path string) (words []string) {
	if n.scalar() {
		r.warn(n, path, "it is %s, not an array of strings: it is read as one keyword", n.kind)
		return []string{cut(clean(n.text), maxName)}
	}
	if n.kind != isArray {
		r.warn(n, path, "it is %s, not an array of strings: it is left out", n.kind)
		return nil
	}
	for i, e := range n.elems {
		if i == maxKeywords {
			r.warn(e, path, "there are %d keywords: the first %d are read", len(n.elems), maxKeywords)
			break
		}
		if w := r.short(e, element(path, i), maxName); w != "" {
			words = append(words, w)
		}
	}
	return words
}

// url is a URL that people may be sent to, or is left out.
func (r *reader) url(n *node, path string) string {
	text, ok := r.word(n, path)
	if !ok || text == "" {
		return ""
	}
	if !isURL(text) {
		r.warn(n, path, "%s is no https or http URL: it is left out", quoted(text))
		return ""
	}
	return text
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && len(s) <= 2048 && clean(s) == s
}

// repository is a URL, or npm's object with one.
func (r *reader) repository(n *node, path string) string {
	for _, m := range n.members {
		if n.kind == isObject && m.key == "url" {
			r.warn(n, path, "it is %s, not a string: its url is read", n.kind)
			return r.url(m.node, below(path, m.key))
		}
	}
	return r.url(n, path)
}

// success is a URL or a path; what a browser takes for another host than it looks like is neither.
func (r *reader) success(n *node, path string) string {
	text, ok := r.word(n, path)
	if !ok || text == "" || isURL(text) {
		return text
	}
	u, err := url.Parse(text)
	if err == nil && strings.HasPrefix(text, "/") && u.Host == "" && !strings.HasPrefix(text, "//") && !strings.Contains(text, `\`) && clean(text) == text && len(text) <= 2048 {
		return text
	}
	r.warn(n, path, "%s is neither an https or http URL nor a path that begins with one slash: it is left out", quoted(text))
	return ""
}

func (r *reader) stack(n *node, path string) string {
	text := r.short(n, path, maxName)
	switch {
	case text == "container":
		r.warn(n, path, "the stack %q is a Dockerfile's: the app is built with buildpacks all the same", text)
	case text != "" && !strings.HasPrefix(text, "heroku-") && !strings.HasPrefix(text, "cedar"):
		r.warn(n, path, "the stack %s is not known: what the builder has is used", quoted(text))
	}
	return text
}

func (r *reader) environments(a *App, n *node, path string) {
	if n.kind != isObject {
		r.warn(n, path, "it is %s, not an object: it is left out", n.kind)
		return
	}
	for _, m := range n.members {
		inner := below(path, m.key)
		e := Environment(m.key)
		switch {
		case comment(m.key):
		case e != Test && e != Review && e != Production:
			r.add(Warning, m.at, inner, "the environment is not known, it does nothing: there are test, review and production")
		case m.kind != isObject:
			r.warn(m.node, inner, "it is %s, not an object: it is left out", m.kind)
		default:
			a.environments[e] = r.environment(m.node, inner)
		}
	}
}

func (r *reader) environment(n *node, path string) (s Settings) {
	for _, m := range n.members {
		inner := below(path, m.key)
		if m.kind == isNull && !comment(m.key) {
			r.warn(m.node, inner, "null is as if the key were not there")
			continue
		}
		if !r.setting(&s, m, inner) {
			r.unknown(m, inner, "env", "formation", "addons", "buildpacks", "scripts")
		}
	}
	return s
}

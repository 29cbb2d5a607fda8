package button

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
)

const (
	maxLink = 64 << 10 // a deploy link with the values of config vars
	maxPath = 1024     // a ref and a path behind it
)

// FromRequest finds the template of a request for a deploy page: its query names it (template), or the page with the
// button does, which the browser may tell (Referer). The query may have values of config vars too: env[NAME]=value.
func FromRequest(rawQuery, referer string, allowed Allowed) (Template, error) {
	if len(rawQuery) > maxLink {
		return Template{}, fmt.Errorf("the deploy link has %d bytes, %d is the most", len(rawQuery), maxLink)
	}
	q := readQuery(rawQuery)
	if text := q.first("template"); text != "" { // also a deploy link that somebody has put into the form
		t, err := parse(text, allowed, false)
		if err != nil {
			return Template{}, err
		}
		return t.with(q), nil
	}
	t, err := fromPage(referer, allowed)
	if err != nil {
		return Template{}, err
	}
	t.Referer = true
	return t.with(q), nil
}

// Parse finds the template that somebody named: the URL of a repository as people copy it, of a page of it, a deploy
// link of this service or of Heroku, or the Markdown of a button.
func Parse(text string, allowed Allowed) (Template, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Template{}, fmt.Errorf("%w: give the URL of a git repository", ErrUnknown)
	}
	return parse(text, allowed, false)
}

// parse reads a text. Deploy links lead to a template, and not to each other.
func parse(text string, allowed Allowed, linked bool) (Template, error) {
	text = strings.TrimSpace(text)
	switch {
	case len(text) > maxLink:
		return Template{}, fmt.Errorf("the template has %d bytes, %d is the most", len(text), maxLink)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		return Template{}, fmt.Errorf("the template has control characters or is not UTF-8")
	}
	if i := strings.LastIndex(text, "]("); i >= 0 && strings.HasSuffix(text, ")") { // the Markdown of a button
		text = strings.TrimSuffix(text[i+2:], ")")
	}
	if q, page, ok := deployLink(text); ok {
		return fromLink(q, page, allowed, linked)
	}
	t, err := repository(text, allowed)
	if err != nil {
		return Template{}, fmt.Errorf("the template: %w", err)
	}
	return t, nil
}

// fromLink reads a deploy link that stands for a template.
func fromLink(q query, page string, allowed Allowed, linked bool) (Template, error) {
	if linked {
		return Template{}, fmt.Errorf("the template is a deploy link itself: name the repository")
	}
	if named := q.first("template"); named != "" {
		t, err := parse(named, allowed, true)
		if err != nil {
			return Template{}, err
		}
		return t.with(q), nil
	}
	if page != "" {
		t, err := fromPage(page, allowed)
		return t.with(q), err
	}
	return Template{}, fmt.Errorf("%w: this deploy link takes the page that it is on for the template: give the URL of the repository", ErrUnknown)
}

// deployLink tells whether a text is a link to a page that deploys, with its query, and the page that the button is on
// as far as the link tells.
func deployLink(text string) (q query, page string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, "", false
	}
	host, path := strings.ToLower(u.Hostname()), strings.TrimRight(u.Path, "/")
	q = readQuery(u.RawQuery)
	switch {
	case host == "dashboard.heroku.com" && (path == "/new" || path == "/new-app"):
		return q, q.first("button-url"), true
	case (host == "heroku.com" || host == "www.heroku.com") && path == "/deploy":
		return q, "", true
	case strings.HasSuffix(path, "/deploy") && q.first("template") != "": // of a service like this one
		return q, "", true
	}
	return nil, "", false
}

// fromPage finds the repository that a page is of. Browsers mostly tell the host alone.
func fromPage(page string, allowed Allowed) (Template, error) {
	u, err := url.Parse(page)
	switch {
	case page == "":
		return Template{}, fmt.Errorf("%w: the link has none, and the browser did not tell which page it is on", ErrUnknown)
	case err != nil || len(page) > maxLink || u.Scheme != "https" && u.Scheme != "http":
		return Template{}, fmt.Errorf("%w: the page that the link is on is no URL", ErrUnknown)
	case strings.Trim(u.Path, "/") == "":
		return Template{}, fmt.Errorf("%w: the link has none, and the browser told only that it is on %.100q", ErrUnknown, u.Host)
	}
	t, err := repository(page, allowed)
	if err != nil {
		return Template{}, fmt.Errorf("%w: the link has none, and the page that it is on is none of a repository: %w", ErrUnknown, err)
	}
	return t, nil
}

// repository reads the URL of a repository or of a page of one.
func repository(text string, allowed Allowed) (Template, error) {
	base, query, _ := strings.Cut(text, "?")
	base, _, _ = strings.Cut(base, "#")
	base, err := byHTTPS(base)
	if err != nil {
		return Template{}, err
	}
	if _, err := fetch.ParseGitURL(base); err != nil {
		return Template{}, err
	}
	u, err := url.Parse(base)
	if err != nil {
		return Template{}, fmt.Errorf("this is no URL of the form https://host/path")
	}
	if u.User != nil {
		return Template{}, fmt.Errorf("a user or password in the URL is not used, and everybody could read it: leave it out")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	if err := checkHost(host, strings.ToLower(u.Hostname())); err != nil {
		return Template{}, err
	}
	p, err := split(host, u.EscapedPath(), readQuery(query))
	if err != nil {
		return Template{}, err
	}
	if allowed == nil {
		allowed = PublicHost
	}
	if !allowed(p.host) {
		return Template{}, refused(p.host)
	}
	g, err := fetch.ParseGitURL("https://" + p.host + (&url.URL{Path: "/" + strings.Join(p.repository, "/")}).EscapedPath())
	return Template{Repository: g, Path: p.rest, File: p.file}, err
}

// byHTTPS writes what is meant with https: what people copy for ssh, http, or without a scheme.
func byHTTPS(s string) (string, error) {
	transport, _, helper := strings.Cut(s, "::")
	user, rest, at := strings.Cut(s, "@")
	scheme, _, hasScheme := strings.Cut(s, "://")
	switch {
	case strings.HasPrefix(s, "-"):
		return "", fmt.Errorf("the URL begins with a dash")
	case helper && !strings.ContainsAny(transport, "/["):
		return "", fmt.Errorf("%s names a transport of git: no other than https is used", quoted(transport+"::"))
	case !hasScheme && at && !strings.Contains(user, "/"): // git@host:path
		if _, err := fetch.ParseGitURL(s); err != nil {
			return "", err
		}
		return "https://" + strings.Replace(rest, ":", "/", 1), nil
	case !hasScheme && strings.Contains(strings.Split(s, "/")[0], "."):
		return "https://" + s, nil
	case !hasScheme:
		return "", fmt.Errorf("%s is no URL of a git repository: write it whole, as https://github.com/owner/name", quoted(s))
	case strings.EqualFold(scheme, "http"):
		return "https" + s[len(scheme):], nil
	case strings.EqualFold(scheme, "ssh"):
		g, err := fetch.ParseGitURL("ssh" + s[len(scheme):])
		if err != nil {
			return "", err
		}
		_, path, _ := strings.Cut(s[len(scheme)+len("://"):], "/")
		return "https://" + g.Host() + "/" + path, nil
	case !strings.EqualFold(scheme, "https"):
		return "", fmt.Errorf("the URL of a template begins with https://, not with %s", quoted(scheme+"://"))
	}
	return "https" + s[len(scheme):], nil
}

// checkHost refuses what looks like a name and is read as an address by some programs: 127.1, 0x7f000001, 2130706433.
func checkHost(host, name string) error {
	last := name[strings.LastIndexByte(name, '.')+1:]
	numeric := last == "" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
	if _, err := netip.ParseAddr(name); err != nil && numeric {
		return fmt.Errorf("the host %s is neither a name nor an address", quoted(host))
	}
	return nil
}

func refused(host string) error {
	name := host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name = host[:i]
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return fmt.Errorf("templates do not come from %s: it is an address, not the name of a git host that the operator allows", quoted(host))
	}
	return fmt.Errorf("templates do not come from %s: it is not one of the git hosts that the operator allows", quoted(host))
}

// with adds what a link's query gives, over what the template has.
func (t Template) with(q query) Template {
	for _, p := range q {
		inner, ok := strings.CutPrefix(p.key, "env[")
		text, closed := strings.CutSuffix(inner, "]")
		if !ok || !closed {
			continue
		}
		name, err := build.ParseEnvName(text)
		i := slices.IndexFunc(t.Env, func(s Setting) bool { return s.Name == name })
		switch {
		case err != nil:
			t.ignore("the link gives %s, which is no name of a config var", quoted(text))
		case strings.ContainsRune(p.value, 0) || !utf8.ValidString(p.value) || len(p.value) > build.MaxVarBytes:
			t.ignore("the link gives %s a value that no config var can have", name)
		case i >= 0:
			t.Env = slices.Clone(t.Env)
			t.Env[i].Value = p.value
		case len(t.Env) == build.MaxVars:
			t.ignore("the link gives more than %d config vars", build.MaxVars)
		default:
			t.Env = append(slices.Clip(t.Env), Setting{name, p.value})
		}
	}
	return t
}

const maxIgnored = 10

func (t *Template) ignore(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(t.Ignored) < maxIgnored && !slices.Contains(t.Ignored, text) {
		t.Ignored = append(slices.Clip(t.Ignored), text)
	}
}

// query is a query in its order. What cannot be read is not in it.
type query []struct{ key, value string }

func readQuery(raw string) (q query) {
	for part := range strings.SplitSeq(raw, "&") {
		k, v, _ := strings.Cut(part, "=")
		key, err := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if key != "" && err == nil && err2 == nil {
			q = append(q, struct{ key, value string }{key, value})
		}
	}
	return q
}

func (q query) first(key string) string {
	for _, p := range q {
		if p.key == key && p.value != "" {
			return p.value
		}
	}
	return ""
}

// quoted is a text of others in quotes: on one line, printable, not long.
func quoted(s string) string {
	if r := []rune(s[:min(len(s), 600)]); len(r) > 100 {
		return fmt.Sprintf("%q...", string(r[:100]))
	}
	return fmt.Sprintf("%q", s)
}

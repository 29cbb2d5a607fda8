package fetch

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A TarballURL is the https (or http, see Fetcher.HTTP) URL of an archive. Made by ParseTarballURL. Credentials in it
// are kept apart, and neither they nor its query, which is where signed URLs have theirs, are part of its text.
type TarballURL struct {
	u    url.URL // without user
	user *url.Userinfo
}

// ParseTarballURL is the only maker of TarballURLs.
func ParseTarballURL(s string) (TarballURL, error) {
	u, err := parse(s)
	if err != nil {
		return TarballURL{}, err
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return TarballURL{}, fmt.Errorf("the URL of a tarball begins with https://, not with %.40q", u.Scheme+"://")
	}
	t := TarballURL{u: *u, user: u.User}
	t.u.User, t.u.Fragment, t.u.RawFragment = nil, "", ""
	return t, nil
}

// String is for people: no credentials and no query.
func (t TarballURL) String() string { return safe(&t.u) }

// GoString keeps %#v from showing more than String.
func (t TarballURL) GoString() string { return t.String() }

// secrets are the texts that no error may have.
func (t TarballURL) secrets() []string {
	s := secretsOf(t.user)
	if t.u.RawQuery != "" {
		s = append(s, t.u.RawQuery)
		for _, values := range t.u.Query() {
			for _, v := range values {
				if len(v) >= 8 {
					s = append(s, v)
				}
			}
		}
	}
	return s
}

// A GitURL names a git repository: https://host/path, ssh://user@host/path or user@host:path. Made by ParseGitURL.
// Credentials in it are kept apart and are not part of its text.
type GitURL struct {
	text string // what git is given
	host string
	port string // "" is the scheme's own
	ssh  bool
	user *url.Userinfo // of https
}

// ParseGitURL is the only maker of GitURLs.
func ParseGitURL(s string) (GitURL, error) {
	if user, rest, ok := strings.Cut(s, "@"); ok && !strings.Contains(s, "://") {
		return parseSCP(user, rest)
	}
	u, err := parse(s)
	if err != nil {
		return GitURL{}, err
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "ssh":
		return GitURL{}, fmt.Errorf("the URL of a git repository begins with https:// or ssh://, not with %.40q", u.Scheme+"://")
	case strings.Trim(u.Path, "/") == "":
		return GitURL{}, fmt.Errorf("the URL of a git repository has a path; %q has none", safe(u))
	case u.RawQuery != "" || u.Fragment != "":
		return GitURL{}, fmt.Errorf("the URL of a git repository has no %q and no %q: give the commit or branch beside it", "?", "#")
	}
	g := GitURL{host: u.Hostname(), port: u.Port(), ssh: u.Scheme == "ssh"}
	if !g.ssh {
		g.user, u.User = u.User, nil
		g.text = u.String()
		return g, nil
	}
	if _, has := u.User.Password(); has {
		return GitURL{}, fmt.Errorf("a password in an ssh:// URL is not used: give a key")
	}
	if u.User != nil && !isUser(u.User.Username()) {
		return GitURL{}, fmt.Errorf("the user in the URL of a git repository has letters, digits, dots and dashes only")
	}
	g.text = u.String()
	return g, nil
}

// parseSCP reads what ssh users write: git@host:path. The path is one below the user's home there.
func parseSCP(user, rest string) (GitURL, error) {
	host, path, ok := strings.Cut(rest, ":")
	switch {
	case len(user)+len(rest) > maxURL || !printable(user+rest):
		return GitURL{}, fmt.Errorf("the URL of a git repository is too long or has characters that must be written as %%XX")
	case !ok || !isUser(user) || !isHost(host):
		return GitURL{}, fmt.Errorf("the URL of a git repository is https://host/path, ssh://user@host/path or user@host:path")
	case strings.Trim(path, "/") == "" || strings.HasPrefix(path, "-"):
		return GitURL{}, fmt.Errorf("the path of the git repository on %s is empty or begins with a dash", host)
	}
	return GitURL{text: user + "@" + host + ":" + path, host: host, ssh: true}, nil
}

// String is for people and for git: no credentials.
func (g GitURL) String() string { return g.text }

// GoString keeps %#v from showing more than String.
func (g GitURL) GoString() string { return g.text }

// Host is the host that the credentials of the repository are for, with the port where it is not the scheme's own.
func (g GitURL) Host() string {
	if g.port == "" {
		return g.host
	}
	return net.JoinHostPort(g.host, g.port)
}

const maxURL = 2048

// parse reads a URL of a host: absolute, printable, of a length, and not what a program would take for an option. Its
// errors do not have the text: it may hold a password.
func parse(s string) (*url.URL, error) {
	switch {
	case s == "":
		return nil, fmt.Errorf("the URL is empty")
	case len(s) > maxURL:
		return nil, fmt.Errorf("the URL has %d bytes, %d is the most", len(s), maxURL)
	case s[0] == '-':
		return nil, fmt.Errorf("the URL begins with a dash")
	case !printable(s):
		return nil, fmt.Errorf("the URL has characters that must be written as %%XX")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Opaque != "" || u.Host == "" {
		return nil, fmt.Errorf("this is no URL of the form https://host/path")
	}
	if !isHost(u.Hostname()) || strings.HasSuffix(u.Host, ":") {
		return nil, fmt.Errorf("the host %.100q in the URL is neither a name nor an address", u.Hostname())
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("the port %.10q in the URL is no port", p)
		}
	}
	if strings.ContainsFunc(u.Path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, fmt.Errorf("the path in the URL has control characters")
	}
	return u, nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"'`<>\\^{|}", r) })
}

// isHost tells whether s is a name of the DNS or an IP address without a zone.
func isHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == ""
	}
	if s == "" || len(s) > 253 || s[0] == '-' || s[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !isWord(r) }) && !strings.Contains(s, "..")
}

func isUser(s string) bool {
	return s != "" && len(s) <= 64 && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool { return !isWord(r) })
}

func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_'
}

// safe is a URL without what may be secret in it.
func safe(u *url.URL) string {
	v := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	if u.RawQuery != "" {
		return v.String() + "?..."
	}
	return v.String()
}

func secretsOf(user *url.Userinfo) []string {
	if user == nil {
		return nil
	}
	pw, has := user.Password()
	if !has {
		return []string{user.Username()} // a token is often given as the user
	}
	return []string{pw}
}

// mask takes secrets out of a text that somebody else wrote: a server may send back what it was sent.
func mask(text string, secrets []string) string {
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			text = strings.ReplaceAll(text, form, "***")
		}
	}
	return text
}

package button

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// page is a page of a repository, taken apart.
type page struct {
	host       string
	repository []string
	rest       string // a ref, and what is behind it
	file       bool
}

// split finds the repository in the path of a URL, and the ref that the page shows.
func split(host, escaped string, q query) (p page, err error) {
	var parts []string
	for part := range strings.SplitSeq(escaped, "/") {
		if part == "" {
			continue
		}
		text, err := url.PathUnescape(part)
		if err != nil || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(text, `\`) {
			return p, fmt.Errorf("the path of the URL has characters that no repository has")
		}
		parts = append(parts, text)
	}
	p.host, parts = forge(host, parts)
	n, kind := boundary(p.host, parts)
	p.repository = parts[:n]
	if err := p.check(); err != nil {
		return p, err
	}
	rest := parts[min(n+len(kind), len(parts)):]
	if len(kind) > 0 {
		if kind[0] == "-" && kind[len(kind)-1] == "archive" && len(rest) > 1 { // the archive's name is last
			rest = rest[:len(rest)-1]
		}
		p.rest, p.file = ref(kind[len(kind)-1], rest)
		p.file = p.file || kind[0] == "raw"
	}
	if at := q.first("at"); at != "" && p.rest == "" { // Bitbucket
		p.rest = at
	}
	switch {
	case len(p.rest) > maxPath:
		return p, fmt.Errorf("the branch and path in the URL have %d bytes, %d is the most", len(p.rest), maxPath)
	case slices.ContainsFunc(strings.Split(p.rest, "/"), func(s string) bool { return s == "." || s == ".." || strings.HasPrefix(s, "-") }):
		return p, fmt.Errorf("the branch and path %s in the URL have a part that is a dot, two, or begins with a dash", quoted(p.rest))
	}
	return p, nil
}

// check refuses what is no path of a repository.
func (p page) check() error {
	least := map[string]int{"github.com": 2, "gitlab.com": 2, "bitbucket.org": 2, "codeberg.org": 2}[p.host]
	switch {
	case len(p.repository) < max(least, 1):
		return fmt.Errorf("%s is no repository: its URL is https://%s/owner/name", quoted("https://"+p.host+"/"+strings.Join(p.repository, "/")), p.host)
	case least > 0 && slices.Contains(notOwners(), strings.ToLower(p.repository[0])):
		return fmt.Errorf("%s is a page of %s, and no repository", quoted("/"+strings.Join(p.repository, "/")), p.host)
	}
	for _, part := range p.repository {
		if part == "." || part == ".." || part == ".git" || part[0] == '-' || strings.Contains(part, "/") {
			return fmt.Errorf("the path of the repository has the part %s", quoted(part))
		}
	}
	return nil
}

// notOwners are names in the first place of the forges' own pages.
func notOwners() []string {
	return []string{
		"about", "apps", "collections", "dashboard", "enterprise", "explore", "features", "help", "issues", "login", "marketplace", "new", "notifications", "orgs",
		"pricing", "pulls", "search", "settings", "sponsors", "stars", "topics", "trending", "users",
	}
}

// forge is the host that has the repository, where another one shows its files; and the path that a page there has.
func forge(host string, parts []string) (string, []string) {
	host = strings.TrimPrefix(host, "www.")
	switch {
	case host == "raw.githubusercontent.com" && len(parts) > 2:
		return "github.com", slices.Insert(slices.Clone(parts), 2, "raw")
	case host == "codeload.github.com" && len(parts) > 2:
		return "github.com", slices.Insert(slices.Clone(parts), 2, "archive")
	}
	return host, parts
}

// boundary is how many parts are the repository's, and the parts after them that say what kind of page it is.
func boundary(host string, parts []string) (n int, kind []string) {
	for i, part := range parts {
		if i > 0 && part == "-" { // GitLab: whatever is before it
			return i, parts[i:min(i+2, len(parts))]
		}
		if (i > 0 || len(parts) > 2 && isMark(parts[1])) && strings.HasSuffix(part, ".git") && part != ".git" {
			rest := parts[i+1:]
			if len(rest) > 0 && rest[0] == "-" {
				return i + 1, rest[:min(2, len(rest))]
			}
			return i + 1, marks(rest)
		}
	}
	if slices.Contains([]string{"github.com", "bitbucket.org", "codeberg.org", "git.sr.ht", "gist.github.com"}, host) {
		n = min(2, len(parts))
		return n, marks(parts[n:])
	}
	for i := 2; i+1 < len(parts); i++ { // something has to follow: a repository may be named so
		if isMark(parts[i]) {
			return i, marks(parts[i:])
		}
	}
	return len(parts), nil
}

func isMark(s string) bool {
	return slices.Contains([]string{"tree", "blob", "raw", "src", "blame", "commits", "commit", "archive", "tarball", "zipball", "releases"}, s)
}

// marks are the parts that say what kind of page it is: one, or two where the second tells what the ref is.
func marks(parts []string) []string {
	n := min(1, len(parts))
	if len(parts) > 1 {
		switch parts[0] {
		case "src", "raw":
			if slices.Contains([]string{"branch", "tag", "commit"}, parts[1]) {
				n = 2
			}
		case "releases":
			if parts[1] == "tag" {
				n = 2
			}
		case "archive":
			if slices.Contains([]string{"tar.gz", "zip", "legacy.tar.gz"}, parts[1]) {
				n = 2
			}
		}
	}
	return parts[:n]
}

// ref is the ref that a page shows, with what is behind it.
func ref(kind string, rest []string) (text string, file bool) {
	text = strings.Join(rest, "/")
	switch kind {
	case "tree", "src", "branch", "tag", "commit", "commits":
		// A page of a README is of its directory; a path that is a file is found out when it is read.
		if last := strings.ToLower(text[strings.LastIndexByte(text, '/')+1:]); strings.HasPrefix(last, "readme.") && len(rest) > 1 {
			file = true
		}
		return text, file
	case "blob", "raw", "blame":
		return text, true
	case "archive", "tarball", "zipball", "tar.gz", "zip", "legacy.tar.gz":
		for _, end := range []string{".tar.gz", ".zip", ".tgz"} {
			text = strings.TrimSuffix(text, end)
		}
		return text, false
	}
	return "", false // a page about the repository
}

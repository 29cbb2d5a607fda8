package button

import (
	"errors"
	"net/url"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
)

// A Template is what a link wants to have deployed: a repository, and where in it. Made by Parse and FromRequest.
type Template struct {
	Repository fetch.GitURL // by https, without credentials
	// Path is what follows the repository in its URL: a branch, a tag or a commit, and maybe a path behind it. Where the
	// one ends and the other begins the repository's refs tell: see Read. "" is the default branch.
	Path string
	// File tells that what is behind the ref is a file that people looked at, such as a README, and no directory.
	File    bool
	Env     []Setting // values of config vars that the link gives, to be shown as the link's
	Ignored []string  // what else is in the link and does not count, each in a line
	Referer bool      // nobody named the template: it is where the browser came from
}

// A Setting is the value of a config var.
type Setting struct {
	Name  build.EnvName
	Value string
}

// ErrUnknown tells that nothing says which template is meant: people have to be asked. It is wrapped in why.
var ErrUnknown = errors.New("no template is named")

// Allowed says whether templates come from a host, given as host or host:port. It is asked about addresses too. nil
// allows PublicHost.
type Allowed func(host string) bool

// PublicHost tells whether a host is one of the public forges.
func PublicHost(host string) bool {
	switch host {
	case "github.com", "gist.github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht":
		return true
	}
	return false
}

// URL is a URL of the template that Parse understands, and browsers do where we know the forge.
func (t Template) URL() string {
	if t.Path == "" {
		return t.Repository.String()
	}
	between := "/-/tree/"
	switch t.Repository.Host() {
	case "github.com":
		between = "/tree/"
	case "bitbucket.org":
		between = "/src/"
	}
	return strings.TrimSuffix(t.Repository.String(), ".git") + between + (&url.URL{Path: t.Path}).EscapedPath()
}

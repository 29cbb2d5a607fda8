package webhook

import (
	"fmt"
	"regexp"
	"strings"
)

// A Rule is which changes of a repository are built. Patterns are globs over the whole name or path: * is anything but a
// slash, ** anything, ? one character.
type Rule struct {
	Repository string   // URL of the one that is cloned
	Branches   []string // patterns
	Tags       []string
	// Paths, where there are any, are patterns of which a changed path must match one. Of those that match a path the last
	// one counts: with ! before it, it takes the path out. Where the forge does not tell all paths, the change is built.
	Paths []string
}

// The codes of changes and events that are not built.
const (
	CodePing            = "ping"
	CodeOtherEvent      = "other-event"
	CodeOtherRepository = "other-repository"
	CodeDeleted         = "deleted"
	CodeBranch          = "branch"
	CodeTag             = "tag"
	CodeRef             = "ref"
	CodeSkip            = "skip"
	CodePaths           = "paths"
)

// A Decision is whether something is built, and why not: Code for programs, Reason one line for people.
type Decision struct {
	Build        bool
	Code, Reason string
}

func not(code, format string, args ...any) Decision {
	return Decision{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// Event decides about an event that is no push, or one of another repository; Build is true for all others, of which
// each Change is then asked for.
func (r Rule) Event(e Event) Decision {
	switch {
	case e.Kind == Ping:
		return not(CodePing, "the forge tries whether it reaches us: it does, and the secret is right")
	case e.Kind != Push:
		return not(CodeOtherEvent, "it is no push: only pushes are built")
	case !sameRepository(r.Repository, e.Repository):
		return not(CodeOtherRepository, "it is a push to %.200s, and the hook builds %.200s", e.Repository, r.Repository)
	}
	return Decision{Build: true}
}

// Change decides about one change of a push.
func (r Rule) Change(c Change) Decision {
	branch, isBranch := strings.CutPrefix(c.Ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(c.Ref, "refs/tags/")
	switch {
	case isBranch && !matches(r.Branches, branch):
		return not(CodeBranch, "the branch %s is not one of those that are built: %s", branch, strings.Join(r.Branches, ", "))
	case isTag && len(r.Tags) == 0:
		return not(CodeTag, "tags are not built")
	case isTag && !matches(r.Tags, tag):
		return not(CodeTag, "the tag %s is not one of those that are built: %s", tag, strings.Join(r.Tags, ", "))
	case !isBranch && !isTag:
		return not(CodeRef, "%s is neither a branch nor a tag", c.Ref)
	case c.Deleted():
		return not(CodeDeleted, "%s was removed", c.Ref)
	case skips(c.Message):
		return not(CodeSkip, "the message of the commit says [skip ci]")
	case len(r.Paths) > 0 && !c.Unknown && !touches(r.Paths, c.Paths):
		return not(CodePaths, "none of the paths that it changes is one of %s", strings.Join(r.Paths, ", "))
	}
	return Decision{Build: true}
}

// skips tells whether the author of a commit wants no build of it.
func skips(message string) bool {
	message = strings.ToLower(message)
	return strings.Contains(message, "[skip ci]") || strings.Contains(message, "[ci skip]")
}

// CheckPattern refuses what cannot be a pattern.
func CheckPattern(s string) error {
	if s == "" || !word(s, 200) {
		return fmt.Errorf("the pattern %.80q is empty, too long, or has what cannot be printed", s)
	}
	return nil
}

func glob(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for rest := pattern; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**/"):
			b.WriteString(`(?:.*/)?`)
			rest = rest[3:]
		case strings.HasPrefix(rest, "**"):
			b.WriteString(`.*`)
			rest = rest[2:]
		case rest[0] == '*':
			b.WriteString(`[^/]*`)
			rest = rest[1:]
		case rest[0] == '?':
			b.WriteString(`[^/]`)
			rest = rest[1:]
		default:
			n := strings.IndexAny(rest, "*?")
			if n < 0 {
				n = len(rest)
			}
			b.WriteString(regexp.QuoteMeta(rest[:n]))
			rest = rest[n:]
		}
	}
	return regexp.MustCompile(b.String() + `\z`)
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if glob(p).MatchString(name) {
			return true
		}
	}
	return false
}

// touches tells whether one of the paths is wanted.
func touches(patterns, paths []string) bool {
	type pattern struct {
		glob *regexp.Regexp
		out  bool
	}
	all := make([]pattern, len(patterns))
	for i, p := range patterns {
		text, out := strings.CutPrefix(p, "!")
		all[i] = pattern{glob(text), out}
	}
	for _, path := range paths {
		wanted := all[0].out // who begins with what is left out wants the rest
		for _, p := range all {
			if p.glob.MatchString(path) {
				wanted = !p.out
			}
		}
		if wanted {
			return true
		}
	}
	return false
}

// sameRepository tells whether a git URL is of the repository that a forge names, which may live below a path there.
func sameRepository(gitURL, name string) bool {
	path := gitURL
	if _, rest, ok := strings.Cut(path, "://"); ok {
		_, path, _ = strings.Cut(rest, "/")
	} else if _, rest, ok := strings.Cut(path, ":"); ok {
		path = rest
	}
	path = strings.ToLower(strings.TrimSuffix(strings.Trim(path, "/"), ".git"))
	name = strings.ToLower(strings.Trim(name, "/"))
	return name != "" && (path == name || strings.HasSuffix(path, "/"+name))
}

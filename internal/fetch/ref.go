package fetch

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Commit is the full name of a commit: 40 hexadecimal digits in lower case, or 64 in a repository of SHA-256. Made by
// ParseCommit.
type Commit string

// ParseCommit is the only maker of Commits from text.
func ParseCommit(s string) (Commit, error) {
	if len(s) != 40 && len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return "", fmt.Errorf("commit %.80q: it is the full name, of 40 hexadecimal digits in lower case", s)
	}
	return Commit(s), nil
}

// A Ref is a branch or tag of a git repository, by its full name or a short one; "" is what the repository's HEAD is.
// Made by ParseRef.
type Ref string

// ParseRef is the only maker of Refs from text. It refuses what git does not take for a ref, options and globs.
func ParseRef(s string) (Ref, error) {
	if s == "" || s == "HEAD" {
		return "", nil
	}
	bad := func(why string) (Ref, error) { return "", fmt.Errorf("ref %.80q %s", s, why) }
	if len(s) > 200 || !utf8.ValidString(s) {
		return bad("is too long or not UTF-8")
	}
	for _, c := range s {
		if !unicode.IsPrint(c) || strings.ContainsRune(" ~^:?*[\\", c) {
			return bad(fmt.Sprintf("has %q in it", c))
		}
	}
	if s[0] == '+' || s == "@" || strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.HasSuffix(s, ".") {
		return bad(`has a "+" first, ".." or "@{" in it, or ends in "."`)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") {
			return bad(`has a part that is empty, begins with "." or "-", or ends in ".lock"`)
		}
	}
	return Ref(s), nil
}

// A Dir is a directory of a git repository, by its path below the root: examples/app; "" is the root. Made by ParseDir.
type Dir string

// maxDir is the longest path of a Dir, in bytes.
const maxDir = 1024

// ParseDir is the only maker of Dirs from text. Slashes at the end do not count.
func ParseDir(s string) (Dir, error) {
	s = strings.TrimRight(s, "/")
	if s == "" {
		return "", nil
	}
	if len(s) > maxDir || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || strings.Contains(s, `\`) || checkPath(s) != nil {
		return "", fmt.Errorf(`directory %.200q: it is a path below the root of the repository, such as examples/app, without ".", ".." and ".git" in it`, s)
	}
	return Dir(s), nil
}

// of is where a path below the directory is in the repository.
func (d Dir) of(path string) string {
	if d == "" {
		return path
	}
	return string(d) + "/" + path
}

// tree is what git calls the directory at a commit.
func (d Dir) tree(c Commit) string {
	if d == "" {
		return string(c)
	}
	return string(c) + ":" + string(d)
}

// name is what git calls the ref.
func (r Ref) name() string {
	if r == "" {
		return "HEAD"
	}
	return string(r)
}

// candidates are the full names that a ref may have, in git's order.
func (r Ref) candidates() []string {
	if r == "" || strings.HasPrefix(string(r), "refs/") {
		return []string{r.name()}
	}
	return []string{"refs/tags/" + string(r), "refs/heads/" + string(r)}
}

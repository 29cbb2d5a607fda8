package gitserver

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hash names an object of a repository: forty hexadecimal digits in lower case. Made by ParseHash.
type Hash string

// Zero stands for no object: the old side of a ref that is made, the new side of one that is deleted.
const Zero Hash = "0000000000000000000000000000000000000000"

// ParseHash is the only maker of Hashes.
func ParseHash(s string) (Hash, error) {
	if len(s) != len(Zero) || strings.Trim(s, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%s is no SHA-1 of a git object", quote(s))
	}
	return Hash(s), nil
}

// Short is how people see a hash.
func (h Hash) Short() string { return string(h[:min(len(h), 7)]) }

// A RefName is the full name of a ref, refs/heads/main. Made by ParseRef, so that it is safe as a file name, as an
// argument and on a terminal.
type RefName string

// maxRefName is shorter than what a file system takes, as ".lock" and directories come on top.
const maxRefName = 200

const (
	heads  = "refs/heads/"
	tags   = "refs/tags/"
	hidden = "refs/slipway/" // what Keep makes; never shown and never pushed to
)

// ParseRef is the only maker of RefNames. It refuses what `git check-ref-format` refuses, and beyond that names that
// are not UTF-8, that hold characters which cannot be seen, that look like an option, or that are very long.
func ParseRef(s string) (RefName, error) {
	bad := func(why string) (RefName, error) {
		return "", fmt.Errorf("the name of ref %s %s", quote(s), why)
	}
	if len(s) > maxRefName {
		return bad(fmt.Sprintf("has more than %d bytes", maxRefName))
	}
	rest, ok := strings.CutPrefix(s, "refs/")
	if !ok || !strings.Contains(rest, "/") {
		return bad("is not below refs/heads/ or refs/tags/")
	}
	if !utf8.ValidString(s) {
		return bad("is not UTF-8")
	}
	for _, c := range s {
		if !unicode.IsPrint(c) || strings.ContainsRune(" ~^:?*[\\", c) {
			return bad("has " + strconv.QuoteRune(c) + " in it")
		}
	}
	if strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.HasSuffix(s, ".") {
		return bad(`has ".." or "@{" in it or ends in "."`)
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") {
			return bad(`has a part that is empty, begins with "." or "-", or ends in ".lock"`)
		}
	}
	return RefName(s), nil
}

// Short is the name of a branch or tag as people say it; of another ref it is the full name.
func (r RefName) Short() string {
	if s, ok := strings.CutPrefix(string(r), heads); ok {
		return s
	}
	return strings.TrimPrefix(string(r), tags)
}

// IsBranch and IsTag tell what a ref is; one that is neither is not taken.
func (r RefName) IsBranch() bool { return strings.HasPrefix(string(r), heads) }

// IsTag tells whether the ref is a tag.
func (r RefName) IsTag() bool { return strings.HasPrefix(string(r), tags) }

// An Update is what a push wants of one ref.
type Update struct {
	Ref      RefName
	Old, New Hash // Zero: the ref is made, or deleted
}

// Deletes tells whether the ref is to go.
func (u Update) Deletes() bool { return u.New == Zero }

// quote makes text of a client fit to be shown: on one line, and without anything that a terminal would obey.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

package source

import (
	"fmt"
	"slices"
	"strings"
)

// unwrapped finds the directory in which an archive has everything: so GitHub, GitLab and most who pack a project by
// its directory make theirs. That directory is the app then, and not a part of it, unless the archive shows otherwise:
//
//   - it has an entry for its root, "./": who packed it began there, as `tar -C app .` and our own client do;
//   - the directory's name is one of an app's own parts, such as "public", or begins with a dot.
type unwrapped struct {
	first string // the first directory
	other bool   // there is something beside it
}

// parts are directories that are the whole of some apps: sites of files, and sources without anything around them.
var parts = []string{"public", "src", "www", "htdocs", "static", "dist"}

func (u *unwrapped) add(entry string, isDir bool) error {
	name, err := clean(entry)
	if err != nil {
		return err
	}
	first, _, deeper := strings.Cut(name, "/")
	switch {
	case name == "" || !deeper && !isDir:
		u.other = true
	case u.first == "":
		u.first = first
	case u.first != first:
		u.other = true
	}
	return nil
}

// top is the directory that is the app, "" where that is the root.
func (u *unwrapped) top() string {
	if u.other || strings.HasPrefix(u.first, ".") || slices.Contains(parts, strings.ToLower(u.first)) {
		return ""
	}
	return u.first
}

// below is clean, for what is in top.
func below(top, entry string) (string, error) {
	name, err := clean(entry)
	if err != nil || top == "" {
		return name, err
	}
	if name == top {
		return "", nil
	}
	rest, ok := strings.CutPrefix(name, top+"/")
	if !ok {
		return "", fmt.Errorf("entry %q: is not in %q, in which all others are", short(name), short(top))
	}
	return rest, nil
}

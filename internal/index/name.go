package index

import (
	"fmt"
	"strings"
)

// A Name is a buildpack in an index: "ns/name". It is made by ParseName.
type Name struct{ NS, Name string }

func (n Name) String() string { return n.NS + "/" + n.Name }

const maxName = 253 // of either part

// ParseName checks s against the pattern of the spec, letters, digits, '-' and '.', with one '/'. The public index has
// upper case too, so that is taken. Names that would leave a directory where they become paths are refused.
func ParseName(s string) (Name, error) {
	ns, name, ok := strings.Cut(s, "/")
	if !ok {
		return Name{}, fmt.Errorf("buildpack %.80q: want NAMESPACE/NAME", s)
	}
	n := Name{ns, name}
	for _, part := range []string{ns, name} {
		if err := checkPart(part); err != nil {
			return Name{}, fmt.Errorf("buildpack %.80q: %w", s, err)
		}
	}
	return n, nil
}

func checkPart(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("namespace and name may not be empty")
	case len(s) > maxName:
		return fmt.Errorf("a part of it is longer than %d characters", maxName)
	case s[0] == '.' || s[0] == '-' || strings.Contains(s, ".."):
		return fmt.Errorf("%.80q begins with '.' or '-', or has two dots in a row", s)
	}
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.') {
			return fmt.Errorf("only letters, digits, '-' and '.' are allowed in namespace and name")
		}
	}
	return nil
}

// Path is where an index keeps the buildpack's versions: by the first letters of its name (spec, "Index").
func (n Name) Path() string {
	file := n.NS + "_" + n.Name
	switch len(n.Name) {
	case 1:
		return "1/" + file
	case 2:
		return "2/" + file
	case 3:
		return "3/" + n.Name[:2] + "/" + file
	}
	return n.Name[:2] + "/" + n.Name[2:4] + "/" + file
}

package cnb

import (
	"fmt"
	"regexp"
	"strings"
)

// ID names a buildpack or image extension, for example "paketo-buildpacks/node-engine".
// It is made by ParseID, which alone knows the pattern (buildpack, "buildpack.toml").
type ID string

var idPattern = regexp.MustCompile(`^[A-Za-z0-9./_-]+$`)

// ParseID checks s against the spec's rule for buildpack IDs: numbers, letters and the
// characters '.', '/' and '-' ('_' is accepted too, as the reference does), not one of the
// reserved words, and no segment that could leave a directory.
func ParseID(s string) (ID, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("buildpack id is empty")
	case len(s) > 512:
		return "", fmt.Errorf("buildpack id is longer than 512 characters")
	case !idPattern.MatchString(s):
		return "", fmt.Errorf("buildpack id %q: only letters, digits, '.', '/', '-' are allowed", s)
	case s == "app" || s == "config" || s == "generated" || s == "sbom" || s == "launcher" || s == "slice":
		return "", fmt.Errorf("buildpack id %q is reserved", s)
	}
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "" || seg == "." || seg == ".." {
			return "", fmt.Errorf("buildpack id %q: empty, '.' or '..' segment", s)
		}
	}
	return ID(s), nil
}

// Dir is the ID as one directory name: every '/' becomes '_' (platform, "Buildpacks Directory Layout").
func (id ID) Dir() string { return strings.ReplaceAll(string(id), "/", "_") }

// A Ref is a buildpack at a version. Version may be empty where the spec lets it be.
type Ref struct {
	ID      ID     `toml:"id" json:"id"`
	Version string `toml:"version" json:"version"`
}

// String is "id@version", or "id" without a version.
func (r Ref) String() string {
	if r.Version == "" {
		return string(r.ID)
	}
	return string(r.ID) + "@" + r.Version
}

// ParseRef reads "id" or "id@version".
func ParseRef(s string) (Ref, error) {
	name, version, _ := strings.Cut(s, "@")
	id, err := ParseID(name)
	if err != nil {
		return Ref{}, err
	}
	if version != "" {
		if _, err := ParseVersion(version); err != nil {
			return Ref{}, fmt.Errorf("buildpack %q: %w", name, err)
		}
	}
	return Ref{ID: id, Version: version}, nil
}

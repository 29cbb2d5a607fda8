// Package image finds images and writes them: in the local image store, in registries, in a Docker engine
// and in OCI layout directories. An image is a v1.Image value wherever it came from, and every writer
// puts down the same bytes, so that one image has one digest in every place. It runs nothing.
package image

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxRef bounds an image argument. A repository has at most 255 characters, a tag 128.
const maxRef = 4096

// A Ref is an image argument, parsed: a name with a tag or a digest, an OCI layout directory, or the ID of
// an image in the engine or the store. It is made by ParseRef and is immutable.
type Ref struct {
	original string
	repo     name.Repository // zero for a layout and an ID
	tag      string          // "latest" when neither tag nor digest was given
	digest   string          // "sha256:..." or empty; wins over tag
	dir      string          // of "oci:DIR"
	id       string          // "sha256:..." of a bare image ID
}

var (
	tagPattern    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`) })
	digestPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^sha256:[0-9a-f]{64}$`) })
	hexPattern    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{64}$`) })
	hostPattern   = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	})
	pathPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*$`) })
)

// ParseRef reads an image argument: "name", "host:port/path:tag@sha256:...", "oci:DIR[:tag][@sha256:...]",
// or an image ID ("sha256:" and 64 hex digits, the prefix may be missing).
func ParseRef(s string) (Ref, error) {
	bad := func(format string, args ...any) (Ref, error) {
		return Ref{}, fmt.Errorf("image %q: %s", clip(s), fmt.Sprintf(format, args...))
	}
	switch {
	case s == "":
		return Ref{}, fmt.Errorf("image name is empty")
	case len(s) > maxRef:
		return bad("longer than %d characters", maxRef)
	case strings.HasPrefix(s, "-"):
		return bad("begins with '-': is it a flag in the wrong place?")
	case strings.HasPrefix(s, "https://"), strings.HasPrefix(s, "http://"), strings.HasPrefix(s, "docker://"):
		return bad("drop %q: an image name has no scheme", s[:strings.Index(s, "//")+2])
	case strings.HasPrefix(s, "oci:"):
		return parseLayoutRef(s, bad)
	case digestPattern().MatchString(s):
		return Ref{original: s, id: s}, nil
	case hexPattern().MatchString(s):
		return Ref{original: s, id: "sha256:" + s}, nil
	}
	return parseNameRef(s, bad)
}

func parseLayoutRef(s string, bad func(string, ...any) (Ref, error)) (Ref, error) {
	rest := strings.TrimPrefix(s, "oci:")
	if strings.ContainsRune(rest, 0) {
		return bad("has a NUL character")
	}
	r := Ref{original: s}
	if i := strings.LastIndex(rest, "@"); i >= 0 && digestPattern().MatchString(rest[i+1:]) {
		rest, r.digest = rest[:i], rest[i+1:]
	}
	if i := strings.LastIndex(rest, ":"); i > 0 && !strings.ContainsRune(rest[i:], '/') {
		if !tagPattern().MatchString(rest[i+1:]) {
			return bad("%q after the directory is not a tag", rest[i+1:])
		}
		rest, r.tag = rest[:i], rest[i+1:]
	}
	if rest == "" {
		return bad("names no directory: write oci:DIR")
	}
	r.dir = filepath.Clean(rest)
	return r, nil
}

func parseNameRef(s string, bad func(string, ...any) (Ref, error)) (Ref, error) {
	r := Ref{original: s}
	rest, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		if !digestPattern().MatchString(digest) {
			return bad("after '@' stands %q, want sha256: and 64 hex digits", clip(digest))
		}
		r.digest = digest
	}
	if i := strings.LastIndex(rest, ":"); i >= 0 && !strings.ContainsRune(rest[i:], '/') {
		rest, r.tag = rest[:i], rest[i+1:]
		if !tagPattern().MatchString(r.tag) {
			return bad("tag %q: want letters, digits, '_', '.', '-', at most 128", clip(r.tag))
		}
	}
	host, path := splitHost(rest)
	host, err := normaliseHost(host)
	if err != nil {
		return bad("%v", err)
	}
	for seg := range strings.SplitSeq(path, "/") {
		switch {
		case seg == "":
			return bad("has an empty path segment")
		case strings.ToLower(seg) != seg:
			return bad("%q must be lower case", clip(seg))
		case !pathPattern().MatchString(seg):
			return bad("%q: want lower-case letters and digits, separated by '.', '_', '__' or '-'", clip(seg))
		}
	}
	repo, err := name.NewRepository(host + "/" + path)
	if err != nil {
		return bad("%v", err)
	}
	if r.tag == "" && r.digest == "" {
		r.tag = name.DefaultTag
	}
	r.repo = repo
	return r, nil
}

// splitHost separates the registry: a first segment with a dot or a colon, or "localhost".
func splitHost(s string) (host, path string) {
	first, rest, ok := strings.Cut(s, "/")
	if ok && (first == "localhost" || strings.ContainsAny(first, ".:") || strings.ToLower(first) != first) {
		return first, rest
	}
	return "", s
}

// normaliseHost gives every spelling of a registry one form: lower case, no final dot, no default port,
// one name for Docker Hub.
func normaliseHost(host string) (string, error) {
	host = strings.ToLower(host)
	h, port, err := net.SplitHostPort(host)
	if err != nil {
		h, port = host, ""
	} else if strings.Contains(h, ":") {
		h = "[" + h + "]"
	}
	h = strings.TrimSuffix(h, ".")
	switch h {
	case "", "docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		if port == "" || port == "443" {
			return name.DefaultRegistry, nil
		}
	}
	if !hostPattern().MatchString(h) && net.ParseIP(strings.Trim(h, "[]")) == nil || strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		return "", fmt.Errorf("%q is not a registry's host, or host:port", clip(host))
	}
	if port == "443" && !isLoopback(h) {
		port = ""
	}
	if port != "" {
		return h + ":" + port, nil
	}
	return h, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:125] + "..."
	}
	return s
}

// String is the argument as it was given.
func (r Ref) String() string { return r.original }

// IsLayout says whether the argument is "oci:DIR"; Dir is that directory.
func (r Ref) IsLayout() bool { return r.dir != "" }

// Dir is the directory of a layout argument.
func (r Ref) Dir() string { return r.dir }

// IsID says whether the argument is an image ID rather than a name.
func (r Ref) IsID() bool { return r.id != "" }

// ID is the image ID, "sha256:...", of an argument that is one.
func (r Ref) ID() string { return r.id }

// IsName says whether the argument is a name that can stand in a registry, an engine or the store.
func (r Ref) IsName() bool { return r.dir == "" && r.id == "" && r.repo != (name.Repository{}) }

// Tag is the tag, "latest" when the argument has neither tag nor digest, and empty beside a digest.
func (r Ref) Tag() string { return r.tag }

// Digest is the manifest digest that the argument pins, or empty.
func (r Ref) Digest() string { return r.digest }

// Host is the registry's host and port, normalised.
func (r Ref) Host() string { return r.repo.RegistryStr() }

// Repository is host and path, fully normalised: "index.docker.io/library/debian".
func (r Ref) Repository() string { return r.repo.Name() }

// Name is the fully normalised name: repository with ":tag", or "@digest" where there is one. It is equal
// for two arguments exactly when they mean one image of one registry. A layout is its argument, an ID the ID.
func (r Ref) Name() string {
	switch {
	case r.dir != "":
		return r.original
	case r.id != "":
		return r.id
	case r.digest != "":
		return r.Repository() + "@" + r.digest
	}
	return r.Repository() + ":" + r.tag
}

// Familiar is the name as people and the Docker engine write it: no "index.docker.io/library/".
func (r Ref) Familiar() string {
	if !r.IsName() {
		return r.Name()
	}
	s := strings.TrimPrefix(r.Name(), name.DefaultRegistry+"/")
	return strings.TrimPrefix(s, "library/")
}

// WithDigest is the same repository pinned to a digest.
func (r Ref) WithDigest(h v1.Hash) Ref {
	r.tag, r.digest = "", h.String()
	r.original = r.Repository() + "@" + r.digest
	return r
}

// SameImage says whether two names mean the same image after full normalisation: one repository, and one
// tag or digest.
func (r Ref) SameImage(o Ref) bool {
	if r.IsLayout() != o.IsLayout() || r.IsID() != o.IsID() {
		return false
	}
	if r.IsLayout() {
		a, aerr := filepath.Abs(r.dir)
		b, berr := filepath.Abs(o.dir)
		return aerr == nil && berr == nil && a == b && r.tag == o.tag && r.digest == o.digest
	}
	return r.Name() == o.Name()
}

// SameRepository says whether two names lie in one repository: writing one could replace the other.
func (r Ref) SameRepository(o Ref) bool {
	return r.IsName() && o.IsName() && r.Repository() == o.Repository()
}

// reference is the name for the registry client; plain chooses http where https is not forced.
func (r Ref) reference(plain bool) (name.Reference, error) {
	if !r.IsName() {
		return nil, fmt.Errorf("image %q: not a name in a registry", clip(r.original))
	}
	var opts []name.Option
	if plain {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(r.repo.Name(), opts...)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", clip(r.original), err)
	}
	if r.digest != "" {
		return repo.Digest(r.digest), nil
	}
	return repo.Tag(r.tag), nil
}

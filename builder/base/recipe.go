package base

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

//go:embed build.packages
var buildPackages []byte

//go:embed run.packages
var runPackages []byte

// format counts changes of this package that change the images; it is part of the recipe's key.
const format = 1

// Packages returns the default package list of a base image, sorted.
func Packages(k Kind) []string {
	text := runPackages
	if k == Build {
		text = buildPackages
	}
	list, err := ParsePackages(string(k)+".packages", text)
	if err != nil {
		panic(err) // embedded; a test reads both
	}
	return list
}

// ParsePackages reads a package list: one Debian package name per line, "#" begins a remark. Names are sorted and
// may occur once.
func ParsePackages(name string, text []byte) ([]string, error) {
	var list []string
	sc := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if err := checkPackage(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if slices.Contains(list, line) {
			return nil, fmt.Errorf("%s:%d: package %q is listed twice", name, n, line)
		}
		list = append(list, line)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	slices.Sort(list)
	return list, nil
}

// checkPackage holds Debian policy 5.6.7: lower-case letters, digits, + - . and at least two of them. So it can
// be no option of a tool either.
func checkPackage(p string) error {
	ok := len(p) >= 2 && len(p) <= 128
	for i, c := range []byte(p) {
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		ok = ok && (alnum || i > 0 && (c == '+' || c == '-' || c == '.'))
	}
	if !ok {
		return fmt.Errorf("%q is not a Debian package name", p)
	}
	return nil
}

func plainWord(s string) bool {
	for i, c := range []byte(s) {
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || c != '-' && c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// checkMirror refuses what apt or its sources list would read differently from what it says. The one exception is
// "none", which leaves an archive out.
func checkMirror(m string) error {
	if m == "none" {
		return nil
	}
	u, err := url.Parse(m)
	if err != nil || strings.ContainsAny(m, " \t\r\n[]#\"") {
		return fmt.Errorf("mirror is not a URL that apt understands")
	}
	switch {
	case u.User != nil:
		return fmt.Errorf("mirror at %s holds a password: put it into /etc/apt/auth.conf.d instead", u.Host)
	case u.Scheme == "http" || u.Scheme == "https":
		if u.Host != "" {
			return nil
		}
	case u.Scheme == "file" || u.Scheme == "copy":
		return nil
	}
	return fmt.Errorf("mirror %q: want an http, https or file URL", m)
}

// securityOf finds the security archive beside a mirror of the main one, by the names that Debian uses.
func securityOf(mirror string) string {
	if mirror == DefaultMirror {
		return DefaultSecurityMirror
	}
	if rest, ok := strings.CutSuffix(strings.TrimRight(mirror, "/"), "/debian"); ok {
		return rest + "/debian-security"
	}
	return "none"
}

// debianArch translates Go's name of an architecture where Debian has its own.
func debianArch(arch string) string {
	switch arch {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return arch
}

// goArch is the way back: the OCI name.
func goArch(arch string) string {
	switch arch {
	case "i386":
		return "386"
	case "armhf":
		return "arm"
	case "ppc64el":
		return "ppc64le"
	}
	return arch
}

// sources are the lines of sources.list: main, and for a release its updates. Debian's unstable has neither.
func (o Options) sources() []string {
	lines := []string{"deb " + o.Mirror + " " + o.Suite + " main"}
	if o.Suite == "sid" || o.Suite == "unstable" {
		return lines
	}
	lines = append(lines, "deb "+o.Mirror+" "+o.Suite+"-updates main")
	if o.Security != "none" {
		lines = append(lines, "deb "+o.Security+" "+o.Suite+"-security main")
	}
	return lines
}

// key names everything that decides about the image, but the state of the mirror.
func (o Options) key() string {
	created := ""
	if !o.Created.IsZero() {
		created = o.Created.UTC().String()
	}
	b, err := json.Marshal([]any{format, o.Kind, o.id(), o.Arch, o.sources(), o.Packages, created})
	if err != nil {
		panic(err) // strings and numbers only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

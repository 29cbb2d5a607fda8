package web

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
)

// line refuses what does not fit on one line of a log or a page.
func line(field, s string, most int) error {
	if utf8.RuneCountInString(s) > most {
		return invalid(field, fmt.Sprintf("it has more than %d characters", most))
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return invalid(field, "it has a character that cannot be printed")
		}
	}
	return nil
}

// branch refuses what git would not take.
func branch(s string) error {
	if _, err := gitserver.ParseRef("refs/heads/" + s); err != nil {
		return invalid("branch", oneLine(err.Error()))
	}
	return nil
}

// builderName lets the name of an image in a registry through: never a directory of this machine.
func builderName(s string) error {
	if ref, err := image.ParseRef(s); s != "" && (err != nil || !ref.IsName()) {
		return invalid("builder", "it is the name of an image in a registry")
	}
	return nil
}

const maxBuildpacks = 100

// buildpackNames lets ids, of the builder and of indexes, and images through, and nothing that could be a file of this machine.
func buildpackNames(all []string) error {
	if len(all) > maxBuildpacks {
		return invalid("buildpacks", fmt.Sprintf("there are more than %d", maxBuildpacks))
	}
	for i, s := range all {
		field := fmt.Sprintf("buildpacks[%d]", i)
		if err := line(field, s, 500); err != nil {
			return err
		}
		for _, prefix := range []string{"/", ".", "~", "-", "file:", "named:", "oci:"} {
			if strings.HasPrefix(s, prefix) {
				return invalid(field, fmt.Sprintf("it is the id of a buildpack in the builder or an index, or an image; it does not begin with %q", prefix))
			}
		}
		_, notOfIndex := index.ParseRef(s) // whose range may have spaces in it: java@>=11 <21
		if s == "" || strings.ContainsAny(s, "\\") || strings.Contains(s, "..") || strings.Contains(s, " ") && notOfIndex != nil {
			return invalid(field, "it is the id of a buildpack in the builder or an index, or an image")
		}
	}
	return nil
}

// repository reads where an app's images go. The service's own registry is not for this: an app has its place there,
// and nobody else's.
func repository(s, ours string) (string, error) {
	if s == "" {
		return "", nil
	}
	ref, err := image.ParseRef(s)
	if err != nil || !ref.IsName() || strings.ContainsAny(s[strings.LastIndexByte(s, '/')+1:], ":@") {
		return "", invalid("image", "it is a repository in a registry, host/name, without tag and digest")
	}
	if own, err := image.ParseRef(ours + "/app"); err != nil || own.Host() == ref.Host() {
		return "", invalid("image", "every app has its own place in this service's registry: leave it empty")
	}
	return ref.Repository(), nil
}

var hostPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?$`)
})

// host reads the host that credentials are for.
func host(s string) (string, error) {
	s = strings.ToLower(s)
	if !hostPattern().MatchString(s) {
		return "", invalid("host", "it is the name of a host, with a port where it is not the usual one")
	}
	return s, nil
}

var userPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+@-]{0,253}$`) })

// An appRef names an app.
type appRef struct {
	ID   build.ID      `json:"id"`
	Name build.AppName `json:"name"`
}

// A userRef names a user; Email is the name.
type userRef struct {
	ID    build.ID `json:"id"`
	Email string   `json:"email"`
}

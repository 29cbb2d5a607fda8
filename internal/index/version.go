package index

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A Version is one line of an index.
type Version struct {
	Version string `json:"version"`
	Yanked  bool   `json:"yanked,omitempty"`
	Address string `json:"address"` // host/repository@sha256:<64 hex>

	parsed *semver.Version
}

// A Buildpack is all that an index says of a name.
type Buildpack struct {
	Name     Name
	Versions []Version // the lowest first
}

// line is a row as an index has it.
type line struct {
	NS      string `json:"ns"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Yanked  bool   `json:"yanked"`
	Addr    string `json:"addr"`
}

// parseLine reads a row of the file of want. repositories are those that were found good before.
func parseLine(b []byte, want Name, repositories map[string]bool) (Version, error) {
	v, ok := plainLine(b, want)
	if !ok {
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return Version{}, fmt.Errorf("it is not a JSON object of a version: %w", err)
		}
		if l.NS != want.NS || l.Name != want.Name {
			return Version{}, fmt.Errorf("it is of %.80q, which belongs into another file", l.NS+"/"+l.Name)
		}
		v = Version{Version: l.Version, Yanked: l.Yanked, Address: l.Addr}
	}
	if err := v.parse(); err != nil {
		return Version{}, err
	}
	return v, checkAddress(v.Address, repositories)
}

// plainLine reads a row of want in the one form in which tools write them, which is nearly all of an index. Any other
// row is JSON still. Of the row no more is kept in memory than what the Version says.
func plainLine(b []byte, want Name) (v Version, ok bool) {
	ok = bytes.IndexByte(b, '\\') < 0
	value := func(before string) (text []byte) {
		if ok = ok && len(b) > len(before) && string(b[:len(before)]) == before; ok {
			text, b, ok = bytes.Cut(b[len(before):], []byte{'"'})
		}
		return text
	}
	if string(value(`{"ns":"`)) != want.NS || string(value(`,"name":"`)) != want.Name {
		return v, false
	}
	version := value(`,"version":"`)
	if rest, yes := bytes.CutPrefix(b, []byte(`,"yanked":true`)); yes {
		v.Yanked, b = true, rest
	} else if b, yes = bytes.CutPrefix(b, []byte(`,"yanked":false`)); !yes {
		return v, false
	}
	address := value(`,"addr":"`)
	if !ok || string(b) != "}" {
		return v, false
	}
	var room [512]byte
	both := string(append(append(room[:0], version...), address...))
	v.Version, v.Address = both[:len(version)], both[len(version):]
	return v, true
}

func (v *Version) parse() (err error) {
	if v.parsed, err = semver.StrictNewVersion(v.Version); err != nil {
		return fmt.Errorf("version %.80q is no semantic version", v.Version)
	}
	return nil
}

// checkAddress takes what names one image for good: a registry, a repository and a digest, no tag.
func checkAddress(s string, good map[string]bool) error {
	repository, digest, _ := strings.Cut(s, "@")
	if h, err := v1.NewHash(digest); err == nil && h.Algorithm == "sha256" && len(s) <= 1024 {
		if good[repository] {
			return nil
		}
		if _, err := name.NewRepository(repository, name.StrictValidation); err == nil {
			good[repository] = true
			return nil
		}
	}
	return fmt.Errorf("address %.120q is no HOST/REPOSITORY@sha256:DIGEST", s)
}

// arrange sorts versions, and settles those that are there twice: of equal ones one stays, yanked where one is; of
// different ones the first counts, and the others are said.
func (b *Buildpack) arrange() (twice []error) {
	slices.SortStableFunc(b.Versions, func(a, c Version) int { return compare(a, c) })
	out := b.Versions[:0]
	for _, v := range b.Versions {
		n := len(out)
		if n == 0 || out[n-1].Version != v.Version {
			out = append(out, v)
			continue
		}
		if out[n-1].Address != v.Address {
			twice = append(twice, fmt.Errorf("version %s is there twice, with another address: the first counts", v.Version))
			continue
		}
		out[n-1].Yanked = out[n-1].Yanked || v.Yanked
	}
	b.Versions = out
	return twice
}

func compare(a, b Version) int {
	return cmp.Or(a.parsed.Compare(b.parsed), strings.Compare(a.Version, b.Version))
}

// ErrNoVersion is what a NoVersionError is.
var ErrNoVersion = errors.New("no such version")

// A NoVersionError says that a buildpack is there, and not in a version that was asked for.
type NoVersionError struct {
	Name Name
	Want string   // "" for the newest release
	Have []string // the newest few that are not yanked
}

func (e *NoVersionError) Error() string {
	have := "all of its versions are yanked"
	if len(e.Have) > 0 {
		have = "it has " + strings.Join(e.Have, ", ")
	}
	if e.Want == "" {
		return fmt.Sprintf("buildpack %s has no release: %s (name a version exactly to get a pre-release)", e.Name, have)
	}
	return fmt.Sprintf("buildpack %s has no version %s: %s", e.Name, e.Want, have)
}

func (e *NoVersionError) Unwrap() error { return ErrNoVersion }

// Choose finds the version that want means. An exact one is found yanked or not; "1" and "1.2" mean the highest release
// that begins so, and "^1.2", "~1.2.3", ">=1, <3" are ranges; "" is the highest release. Releases are not pre-releases,
// and what is yanked is never chosen by range or as the newest.
func (b Buildpack) Choose(want string) (Version, error) {
	if want != "" {
		for _, v := range b.Versions {
			if v.Version == want {
				return v, nil
			}
		}
	}
	if want != "" {
		if _, err := semver.StrictNewVersion(want); err == nil {
			return Version{}, b.lacks(want)
		}
	}
	fits, err := admitting(want)
	if err != nil {
		return Version{}, err
	}
	for _, v := range slices.Backward(b.within(majors(want))) {
		if !v.Yanked && fits(v.parsed) {
			return v, nil
		}
	}
	return Version{}, b.lacks(want)
}

// admitting tells which versions a text means, those that are yanked among them: see Choose.
func admitting(want string) (func(*semver.Version) bool, error) {
	if want == "" {
		return func(v *semver.Version) bool { return v.Prerelease() == "" }, nil
	}
	if _, err := semver.StrictNewVersion(want); err == nil {
		return func(v *semver.Version) bool { return v.Original() == want }, nil
	}
	c, err := semver.NewConstraint(want)
	if err != nil {
		return nil, fmt.Errorf("version %.80q: want one such as 1.2.3, its beginning such as 1.2, or a range such as ^1.2", want)
	}
	return func(v *semver.Version) bool { return v.Prerelease() == "" && c.Check(v) }, nil
}

// Newest are the versions, the newest first.
func (b Buildpack) Newest() []Version {
	out := slices.Clone(b.Versions)
	slices.Reverse(out)
	return out
}

func (b Buildpack) lacks(want string) error {
	e := &NoVersionError{Name: b.Name, Want: want}
	for _, v := range slices.Backward(b.Versions) {
		if !v.Yanked && len(e.Have) < 5 {
			e.Have = append(e.Have, v.Version)
		}
	}
	return e
}

package index

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// LockName is the file in the root of an app's source that says which buildpacks of indexes its builds take.
const LockName = "slipway.lock"

// What a lock file may be at most.
const (
	MaxLock   = 1 << 20
	maxLocked = 1000
)

// A Ref is what is asked of an index: a buildpack, and of its versions "" for the newest release, an exact one, the
// beginning of one, or a range.
type Ref struct {
	Name Name
	Want string
}

const maxWant = 200

// ParseRef reads "ns/name[@version]" with or without Prefix. What the version means is Choose's to say.
func ParseRef(s string) (Ref, error) {
	text, want, _ := strings.Cut(strings.TrimPrefix(s, Prefix), "@")
	n, err := ParseName(text)
	if err != nil {
		return Ref{}, err
	}
	if len(want) > maxWant || strings.ContainsFunc(want, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return Ref{}, fmt.Errorf("buildpack %s: version %.80q: want one such as 1.2.3, its beginning such as 1.2, or a range such as ^1.2", n, want)
	}
	return Ref{n, want}, nil
}

func (r Ref) String() string {
	if r.Want == "" {
		return r.Name.String()
	}
	return r.Name.String() + "@" + r.Want
}

// A Locked is one buildpack of a Lock: what was asked for, and what an index said to it once.
type Locked struct {
	Ref      Ref
	Version  string
	Address  string // HOST/REPOSITORY@sha256:DIGEST as the index has it: mirrors are the machine's that builds
	Index    string
	Revision string // of the index, "" where it has none
	Line     int    // in the file
}

// A Lock is the file slipway.lock: builds with it take the same buildpacks whatever indexes have learned since.
type Lock struct{ Buildpacks []Locked }

const lockHeader = "# Made by `slipway registry lock`: which buildpacks of indexes the builds of this app take. Commit it.\nversion = 1\n"

// Text is the file. The same Lock has the same text, in whatever order its buildpacks are.
func (l *Lock) Text() []byte {
	var b bytes.Buffer
	b.WriteString(lockHeader)
	all := slices.SortedFunc(slices.Values(l.Buildpacks), func(a, c Locked) int { return strings.Compare(a.Ref.String(), c.Ref.String()) })
	for _, e := range all {
		b.WriteString("\n[[buildpack]]\n")
		for _, kv := range [][2]string{
			{"id", e.Ref.Name.String()}, {"want", e.Ref.Want}, {"version", e.Version}, {"image", e.Address}, {"index", e.Index}, {"revision", e.Revision},
		} {
			if kv[1] != "" {
				fmt.Fprintf(&b, "%s = \"%s\"\n", kv[0], kv[1])
			}
		}
	}
	return b.Bytes()
}

// Exact is what the lock has for the very text of ref.
func (l *Lock) Exact(ref Ref) (Locked, bool) {
	for _, e := range l.Buildpacks {
		if e.Ref == ref {
			return e, true
		}
	}
	return Locked{}, false
}

// A StaleError is a lock that has the buildpack, in no version that is asked for.
type StaleError struct {
	Ref    Ref
	Locked Locked
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("%s:%d has %s in version %s, which is not %s: slipway registry lock brings it up to what is asked for",
		LockName, e.Locked.Line, e.Ref.Name, e.Locked.Version, e.Ref.Want)
}

// Find is what the lock has for ref: for its very text, else the highest version locked for another text that ref admits
// too. ok is false where it has nothing of the buildpack; where it has other versions only that is a *StaleError.
func (l *Lock) Find(ref Ref) (e Locked, ok bool, err error) {
	if e, ok := l.Exact(ref); ok {
		return e, true, nil
	}
	admits, err := admitting(ref.Want)
	if err != nil {
		return Locked{}, false, err
	}
	var best, other Locked
	var highest *semver.Version
	for _, e := range l.Buildpacks {
		if e.Ref.Name != ref.Name {
			continue
		}
		other = e
		v, err := semver.StrictNewVersion(e.Version)
		if err == nil && admits(v) && (highest == nil || v.GreaterThan(highest)) {
			best, highest = e, v
		}
	}
	switch {
	case highest != nil:
		return best, true, nil
	case other.Version != "":
		return Locked{}, false, &StaleError{ref, other}
	}
	return Locked{}, false, nil
}

var lockLine = regexp.MustCompile(`^([a-z]+)[ \t]*=[ \t]*(?:"([^"\\]*)"|([0-9]+))$`)

// ParseLock reads a lock file, which is named file in errors. It takes the TOML that Text writes and no other: one key a
// line, comments on lines of their own. What is wrong is told in one line, with the file's.
func ParseLock(file string, b []byte) (*Lock, error) {
	if len(b) > MaxLock {
		return nil, fmt.Errorf("%s: the file has more than %d bytes, the limit", file, MaxLock)
	}
	p := lockParser{seen: map[Ref]int{}}
	for text := range bytes.Lines(b) {
		p.line++
		p.at = p.line
		if err := p.take(string(bytes.TrimSpace(text))); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, p.at, err)
		}
	}
	if err := p.end(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", file, p.at, err)
	}
	if p.version == "" {
		return nil, fmt.Errorf("%s: it does not say version = 1: take it away, and slipway registry lock makes it anew", file)
	}
	return &p.lock, nil
}

// lockParser is a lock file that is read line by line.
type lockParser struct {
	line    int
	at      int // the line that is wrong, where one is
	lock    Lock
	version string            // of the form of the file
	table   map[string]string // the one that is being read; nil before the first
	begun   int               // where that table began
	seen    map[Ref]int
}

func (p *lockParser) take(text string) error {
	switch {
	case text == "" || text[0] == '#':
		return nil
	case text == "[[buildpack]]":
		if err := p.end(); err != nil {
			return err
		}
		if len(p.lock.Buildpacks) == maxLocked {
			return fmt.Errorf("more than %d buildpacks", maxLocked)
		}
		p.table, p.begun = map[string]string{}, p.line
		return nil
	}
	m := lockLine.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%.80q is no line of a lock file: want [[buildpack]] or KEY = \"VALUE\"", text)
	}
	key, value := m[1], m[2]
	if p.table == nil {
		if key != "version" || m[3] != "1" || p.version != "" {
			return fmt.Errorf("%.80q: want version = 1, once: this file is of another version of slipway", text)
		}
		p.version = "1"
		return nil
	}
	if !slices.Contains([]string{"id", "want", "version", "image", "index", "revision"}, key) {
		return fmt.Errorf("unknown key %s", key)
	}
	if _, twice := p.table[key]; twice {
		return fmt.Errorf("%s is there twice", key)
	}
	if value == "" {
		return fmt.Errorf("%s: want a text that is not empty, in double quotes", key)
	}
	p.table[key] = value
	return nil
}

var revision = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

// end takes the table that was read.
func (p *lockParser) end() error {
	if p.table == nil {
		return nil
	}
	p.at = p.begun
	e, err := locked(p.table)
	if err != nil {
		return err
	}
	if first := p.seen[e.Ref]; first > 0 {
		return fmt.Errorf("%s is there already, at line %d", e.Ref, first)
	}
	e.Line, p.seen[e.Ref], p.table = p.begun, p.begun, nil
	p.lock.Buildpacks = append(p.lock.Buildpacks, e)
	return nil
}

func locked(t map[string]string) (Locked, error) {
	for _, key := range []string{"id", "version", "image", "index"} {
		if t[key] == "" {
			return Locked{}, fmt.Errorf("%s is missing", key)
		}
	}
	n, err := ParseName(t["id"])
	if err != nil {
		return Locked{}, err
	}
	ref, err := ParseRef(n.String() + "@" + t["want"])
	if err != nil {
		return Locked{}, err
	}
	e := Locked{Ref: ref, Version: t["version"], Address: t["image"], Index: t["index"], Revision: t["revision"]}
	v := Version{Version: e.Version}
	if err := v.parse(); err != nil {
		return Locked{}, err
	}
	if err := checkAddress(e.Address, map[string]bool{}); err != nil {
		return Locked{}, err
	}
	if !sourceName.MatchString(e.Index) {
		return Locked{}, fmt.Errorf("index %.80q is no name of an index", e.Index)
	}
	if e.Revision != "" && !revision.MatchString(e.Revision) {
		return Locked{}, fmt.Errorf("revision %.80q is no commit", e.Revision)
	}
	admits, err := admitting(ref.Want)
	if err != nil {
		return Locked{}, err
	}
	if !admits(v.parsed) {
		return Locked{}, fmt.Errorf("version %s is not %q, which is asked for", e.Version, ref.Want)
	}
	return e, nil
}

// Locked is the resolution of ref as a lock keeps it.
func (r Resolution) Locked(ref Ref) (Locked, error) {
	e := Locked{Ref: ref, Version: r.Version, Address: r.Address, Index: r.Index, Revision: r.Revision}
	if _, err := ParseLock(LockName, (&Lock{[]Locked{e}}).Text()); err != nil {
		return e, errors.Join(fmt.Errorf("buildpack %s cannot be kept in %s", ref, LockName), err)
	}
	return e, nil
}

// Resolution is a locked buildpack as if it had been resolved now, from the mirror that this Set names for it.
func (s *Set) Resolution(e Locked) Resolution {
	return Resolution{
		Buildpack: e.Ref.Name.String(), Version: e.Version, Image: s.Mirrored(e.Address), Address: e.Address, Index: e.Index, Revision: e.Revision,
	}
}

package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrTaken tells that a version is there already with another address: what was published once stays what it is.
var ErrTaken = errors.New("a published version never changes")

// A Kind is what an edit did to a version.
type Kind string

// The kinds of edits.
const (
	Added    Kind = "ADD"
	Yanked   Kind = "YANK"
	Restored Kind = "UNYANK" // it was yanked before
)

// A Change is an edit of one version.
type Change struct {
	Kind    Kind
	Name    Name
	Version Version
}

// ParsePublished is ParseName for a name that is to be published: as pack and the spec have it, in lower case, and on no
// system the name of a device.
func ParsePublished(s string) (Name, error) {
	n, err := ParseName(s)
	if err != nil {
		return n, err
	}
	if low := strings.ToLower(s); low != s {
		return n, fmt.Errorf("buildpack %.80q: only lower case is taken", s)
	}
	for _, part := range []string{n.NS, n.Name} {
		if device(part) || strings.HasSuffix(part, ".") {
			return n, fmt.Errorf("buildpack %.80q: %.80q cannot be the name of a file everywhere", s, part)
		}
	}
	return n, nil
}

// device tells what cannot be a file's name on Windows, where clients check indexes out too.
func device(part string) bool {
	base, _, _ := strings.Cut(part, ".")
	if len(base) == 4 && '1' <= base[3] && base[3] <= '9' {
		base = base[:3] + "1"
	}
	return slices.Contains([]string{"con", "prn", "aux", "nul", "com1", "lpt1"}, base)
}

// maxVersion is the bytes of a version that is to be published.
const maxVersion = 128

// ParseVersion checks a version that is to be published with its address.
func ParseVersion(version, address string) (Version, error) {
	v := Version{Version: version, Address: address}
	if len(version) > maxVersion {
		return v, fmt.Errorf("version %.80q has more than %d bytes", version, maxVersion)
	}
	if err := v.parse(); err != nil {
		return v, err
	}
	return v, checkAddress(address, map[string]bool{})
}

// text is the line of a version, in the form that every tool writes.
func (n Name) text(v Version) string {
	b, err := json.Marshal(line{n.NS, n.Name, v.Version, v.Yanked, v.Address})
	if err != nil {
		panic(err) // texts and a bool
	}
	return string(b)
}

// versionAt is the version of a line; false where it has none that counts.
func (n Name) versionAt(text string) (Version, bool) {
	v, err := parseLine([]byte(strings.TrimSpace(text)), n, map[string]bool{})
	return v, err == nil
}

// Add is the file of n with one more version. One that is there already with the same address leaves the file as it is;
// one with another address is ErrTaken.
func Add(file []byte, n Name, v Version) (out []byte, changed bool, err error) {
	for text := range strings.Lines(string(file)) {
		have, ok := n.versionAt(text)
		if !ok || have.Version != v.Version {
			continue
		}
		if have.Address != v.Address {
			return file, false, fmt.Errorf("%s@%s is there already as %s: %w (publish another version)", n, v.Version, have.Address, ErrTaken)
		}
		return file, false, nil
	}
	if len(file) > 0 && !bytes.HasSuffix(file, []byte("\n")) {
		file = append(slices.Clip(file), '\n')
	}
	v.Yanked = false
	return append(slices.Clip(file), n.text(v)+"\n"...), true, nil
}

// Yank is the file of n with a version yanked, or not any more. One that is so already leaves the file as it is; one that
// is not there is an error that wraps ErrNoVersion.
func Yank(file []byte, n Name, version string, yanked bool) (out []byte, changed bool, err error) {
	var b bytes.Buffer
	found := false
	for text := range strings.Lines(string(file)) {
		have, ok := n.versionAt(text)
		if !ok || have.Version != version {
			b.WriteString(text)
			continue
		}
		if found = true; have.Yanked == yanked {
			b.WriteString(text)
			continue
		}
		have.Yanked, changed = yanked, true
		b.WriteString(n.text(have) + "\n")
	}
	if !found {
		return file, false, missing(file, n, version)
	}
	return b.Bytes(), changed, nil
}

// missing says which versions a file has instead.
func missing(file []byte, n Name, version string) error {
	e := &NoVersionError{Name: n, Want: fmt.Sprintf("%.80s", version)}
	for _, text := range slices.Backward(linesOf(file)) {
		if v, ok := n.versionAt(text); ok && !v.Yanked && len(e.Have) < 5 {
			e.Have = append(e.Have, v.Version)
		}
	}
	return e
}

// Changes is what somebody else's edit of the file at a path did. The law: lines that were there stay, in their order, and
// only their yanked may change; new ones stand behind them, each in the form of Add, of the file's buildpack, and of a
// version that was not there. The error says which line breaks it.
func Changes(path string, before, after []byte) ([]Change, error) {
	n, err := nameOfPath(path)
	if err != nil {
		return nil, err
	}
	if len(after) > maxFile {
		return nil, fmt.Errorf("%s: the file is larger than %d bytes", path, maxFile)
	}
	if len(after) > 0 && after[len(after)-1] != '\n' {
		return nil, fmt.Errorf("%s: its last line does not end", path)
	}
	old, now := linesOf(before), linesOf(after)
	if len(now) < len(old) {
		return nil, fmt.Errorf("%s: %d lines are gone: lines stay, and a version that nobody should use is yanked", path, len(old)-len(now))
	}
	var all []Change
	there := map[string]bool{}
	for i, text := range now {
		var c *Change
		if i < len(old) {
			c, err = n.changed(old[i], text)
			if v, ok := n.versionAt(old[i]); ok {
				there[v.Version] = true
			}
		} else {
			c, err = n.added(text, there)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		if c != nil {
			all = append(all, *c)
		}
	}
	return all, nil
}

// nameOfPath is the buildpack whose file is at path, exactly.
func nameOfPath(path string) (Name, error) {
	ns, name, ok := strings.Cut(path[strings.LastIndexByte(path, '/')+1:], "_")
	n, err := ParsePublished(ns + "/" + name)
	if !ok || err != nil || n.Path() != path {
		return n, fmt.Errorf("%.200q is no file of an index: that of NS/NAME is NA/ME/NS_NAME", path)
	}
	return n, nil
}

func linesOf(file []byte) (all []string) {
	for text := range strings.Lines(string(file)) {
		all = append(all, strings.TrimSpace(text))
	}
	return all
}

// changed is what became of a line that was there; nil is nothing.
func (n Name) changed(old, now string) (*Change, error) {
	if old == now {
		return nil, nil
	}
	before, ok := n.versionAt(old)
	if !ok {
		return nil, errors.New("a line that was there was changed")
	}
	want := before
	want.Yanked = !before.Yanked
	if now != n.text(want) {
		return nil, fmt.Errorf("the line of version %s was changed in more than yanked: %w", before.Version, ErrTaken)
	}
	kind := Yanked
	if before.Yanked {
		kind = Restored
	}
	return &Change{kind, n, want}, nil
}

// added looks at a new line.
func (n Name) added(text string, there map[string]bool) (*Change, error) {
	if len(text) >= maxLine {
		return nil, fmt.Errorf("the line has %d bytes or more", maxLine)
	}
	v, err := parseLine([]byte(text), n, map[string]bool{})
	if err != nil {
		return nil, err
	}
	if _, err := ParseVersion(v.Version, v.Address); err != nil {
		return nil, err
	}
	switch {
	case n.text(v) != text:
		return nil, fmt.Errorf("the line is not in the one form that is taken: %s", n.text(v))
	case v.Yanked:
		return nil, fmt.Errorf("version %s is new, and yanked", v.Version)
	case there[v.Version]:
		return nil, fmt.Errorf("version %s is there already: %w", v.Version, ErrTaken)
	}
	there[v.Version] = true
	return &Change{Added, n, v}, nil
}

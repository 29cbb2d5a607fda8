package index

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A span is the major versions from one to another, both of them in it.
type span struct{ from, to uint64 }

var every = span{0, math.MaxUint64}

// within are the versions whose major version is in s: versions are sorted, so that those of others are not looked at.
func (b Buildpack) within(s span) []Version {
	at := func(major uint64) int {
		i, _ := slices.BinarySearchFunc(b.Versions, major, func(v Version, m uint64) int { return cmp.Compare(v.parsed.Major(), m) })
		return i
	}
	from, to := at(s.from), len(b.Versions)
	if s.to < math.MaxUint64 {
		to = at(s.to + 1)
	}
	return b.Versions[from:max(from, to)]
}

// majors is a span in which all versions are that a text means which Choose takes. It is wider than they are: whether one
// is meant is for the range itself to say.
func majors(want string) span {
	if want == "" {
		return every
	}
	all := span{math.MaxUint64, 0} // of alternatives
	for part := range strings.SplitSeq(want, "||") {
		one := every
		for _, term := range strings.FieldsFunc(part, func(r rune) bool { return r == ',' || r == ' ' }) {
			s, ok := majorsOf(term)
			if !ok {
				return every
			}
			one = span{max(one.from, s.from), min(one.to, s.to)}
		}
		all = span{min(all.from, one.from), max(all.to, one.to)}
	}
	return all
}

// majorsOf is the span of one comparison such as ^1.2 or <3; false where it is of another form.
func majorsOf(term string) (span, bool) {
	op := term[:len(term)-len(strings.TrimLeft(term, "=<>~^"))]
	first, _, _ := strings.Cut(strings.TrimPrefix(term[len(op):], "v"), ".")
	major, err := strconv.ParseUint(first, 10, 63)
	if err != nil || op == "~" && major == 0 { // semver takes ~0.0.0 for any version
		return every, false
	}
	switch op {
	case "", "=", "^", "~":
		return span{major, major}, true
	case ">", ">=":
		return span{major, math.MaxUint64}, true
	case "<", "<=":
		return span{0, major}, true
	}
	return every, false
}

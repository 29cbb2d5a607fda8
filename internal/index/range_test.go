package index_test

import (
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/slipway-build/slipway/internal/index"
)

// TestRanges chooses by ranges of every form what looking at all versions would: those of other major versions are not
// looked at.
func TestRanges(t *testing.T) {
	versions := []string{"0.0.0", "0.0.1", "0.1.0", "0.9.9", "1.0.0-rc.1", "1.0.0", "1.2.0", "1.2.3", "1.10.0", "2.0.0-beta", "2.5.0", "3.0.0", "10.0.0", "99.1.0"}
	var file strings.Builder
	for _, v := range versions {
		file.WriteString(row("acme/java", v, "a", false))
	}
	n, err := index.ParseName("acme/java")
	if err != nil {
		t.Fatal(err)
	}
	x, err := index.New(index.Head{Name: "ours"}, &index.Tree{}).With(n, []byte(file.String()), "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := x.Get(n)
	if err != nil || len(b.Versions) != len(versions) {
		t.Fatal(b, err)
	}
	numbers := []string{"0", "0.0", "0.0.0", "0.1", "1", "1.2", "1.2.3", "1.x", "2", "2.5.0", "v3", "10", "77", "*", "2.0.0-beta"}
	var wants []string
	for _, op := range []string{"", "=", "!=", "^", "~", "~>", ">", ">=", "=>", "<", "<=", "=<", ">= ", "< "} {
		for _, number := range numbers {
			wants = append(wants, op+number)
		}
	}
	for _, one := range wants[:len(numbers)] {
		for _, two := range numbers {
			wants = append(wants, ">="+one+", <"+two, ">="+one+" <"+two, "^"+one+" || ~"+two, one+" - "+two, one+"||>"+two, "!="+one+",^"+two)
		}
	}
	for _, want := range wants {
		c, err := semver.NewConstraint(want)
		if err != nil {
			if _, err := b.Choose(want); err == nil {
				t.Errorf("%q is taken", want)
			}
			continue
		}
		best := ""
		for _, v := range versions {
			if v == want {
				best = v // exactly
				break
			}
			if p := semver.MustParse(v); p.Prerelease() == "" && c.Check(p) {
				best = v
			}
		}
		if _, err := semver.StrictNewVersion(want); err == nil && best != want {
			best = ""
		}
		if v, err := b.Choose(want); v.Version != best || (err == nil) != (best != "") {
			t.Errorf("%q: %q %v, want %q", want, v.Version, err, best)
		}
	}
}

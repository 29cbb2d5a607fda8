package build

import (
	"strings"
	"testing"
)

func TestSubject(t *testing.T) {
	for _, c := range [][2]string{
		{"", ""}, {"Add a basket", "Add a basket"}, {"Add a basket\n\nIt is empty.", "Add a basket"}, {"\x1b[31mred\x07 \u202egpj.exe\xff", "[31mred gpj.exe"},
		{strings.Repeat("é", 201), strings.Repeat("é", 197) + "..."}, {"  a\tb\r", "a b"},
	} {
		if got := Subject(c[0]); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}

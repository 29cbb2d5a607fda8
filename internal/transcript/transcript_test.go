package transcript

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, plain, colours string }{
		{"plain text", "plain text", "plain text"},
		{"tab\there", "tab\there", "tab\there"},
		{"grün ✓", "grün ✓", "grün ✓"},
		{"\x1b[32mgreen\x1b[0m", "green", "\x1b[32mgreen\x1b[0m\x1b[0m"},
		{"\x1b[2J\x1b[1;1Hgone", "gone", "gone"},
		{"\x1b]0;title\x07text", "text", "text"},
		{"\x1b]52;c;ZXZpbA==\x1b\\text", "text", "text"},
		{"\x1bPq#0\x1b\\text", "text", "text"},
		{"\x1b", "", ""},
		{"\x1b[", "", ""},
		{"a\x00b\x07c\x08d", `a\x00bcd`, `a\x00bcd`},
		{"bad \xff byte", `bad \xff byte`, `bad \xff byte`},
		{"\u009b31mC1", `\u009b31mC1`, `\u009b31mC1`},
		{"a\u202eb", `a\u202eb`, `a\u202eb`},
		{strings.Repeat("\x1b", 1<<17), "", ""}, // in time: a look at the whole rest for each would not end
	} {
		if got := Clean(c.in, false); got != c.plain {
			t.Errorf("Clean(%q, false) = %q, want %q", c.in, got, c.plain)
		}
		if got := Clean(c.in, true); got != c.colours {
			t.Errorf("Clean(%q, true) = %q, want %q", c.in, got, c.colours)
		}
	}
}

// What a buildpack prints may not command the terminal.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[1;31mred\x1b[m", "\x1b]0;t\x07x", "\x1b\x1b[\x1b]", "\xff\x9b2J", "\x1bP\x1b\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ReplaceAll(s, "\n", "")
		plain, coloured := Clean(s, false), Clean(s, true)
		for _, out := range []string{plain, coloured} {
			if !utf8.ValidString(out) {
				t.Errorf("Clean(%q) = %q is no UTF-8", s, out)
			}
		}
		if i := strings.IndexFunc(plain, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 }); i >= 0 {
			t.Errorf("Clean(%q) = %q has a control character", s, plain)
		}
		for rest := coloured; ; {
			_, after, ok := strings.Cut(rest, "\x1b")
			if !ok {
				break
			}
			if !colour.MatchString("\x1b" + after) {
				t.Errorf("Clean(%q) = %q has a control sequence that is no colour", s, coloured)
				break
			}
			rest = after
		}
		if Clean(plain, false) != plain {
			t.Errorf("Clean(%q) = %q is not clean", s, plain)
		}
	})
}

func TestLineWriter(t *testing.T) {
	for _, c := range []struct {
		name   string
		writes []string
		want   []string
	}{
		{"lines over writes", []string{"a", "b\nc", "\n"}, []string{"ab", "c"}},
		{"no newline at the end", []string{"a\nb"}, []string{"a", "b"}},
		{"empty lines", []string{"\n\n"}, []string{"", ""}},
		{"DOS line ends", []string{"a\r\nb\r\n"}, []string{"a", "b"}},
		{"a progress bar", []string{"10%\r50%\r100%\n"}, []string{"100%"}},
		{"too long", []string{strings.Repeat("x", MaxLine+5) + "\n"}, []string{strings.Repeat("x", MaxLine), "xxxxx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			w := &LineWriter{Emit: func(l string) { got = append(got, l) }}
			for _, s := range c.writes {
				if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTexts(t *testing.T) {
	for _, c := range [][2]string{
		{Bytes(0), "0 B"}, {Bytes(999), "999 B"}, {Bytes(1000), "1.0 kB"}, {Bytes(48_700_000), "48.7 MB"},
		{Bytes(999_999), "1.0 MB"}, {Bytes(2_500_000_000_000), "2.5 TB"},
		{Duration(3 * time.Millisecond), "3 ms"}, {Duration(1500 * time.Millisecond), "1.5 s"}, {Duration(74 * time.Second), "1 min 14 s"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

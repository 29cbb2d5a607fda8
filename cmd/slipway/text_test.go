package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slipway-build/slipway/builder/cnb"
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
		{strings.Repeat("\x1b", 1<<20), "", ""}, // in time: a look at the whole rest for each would not end
	} {
		if got := clean(c.in, false); got != c.plain {
			t.Errorf("clean(%q, false) = %q, want %q", c.in, got, c.plain)
		}
		if got := clean(c.in, true); got != c.colours {
			t.Errorf("clean(%q, true) = %q, want %q", c.in, got, c.colours)
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
		plain, coloured := clean(s, false), clean(s, true)
		for _, out := range []string{plain, coloured} {
			if !utf8.ValidString(out) {
				t.Errorf("clean(%q) = %q is no UTF-8", s, out)
			}
		}
		if i := strings.IndexFunc(plain, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 }); i >= 0 {
			t.Errorf("clean(%q) = %q has a control character", s, plain)
		}
		for rest := coloured; ; {
			_, after, ok := strings.Cut(rest, "\x1b")
			if !ok {
				break
			}
			if !colour.MatchString("\x1b" + after) {
				t.Errorf("clean(%q) = %q has a control sequence that is no colour", s, coloured)
				break
			}
			rest = after
		}
		if clean(plain, false) != plain {
			t.Errorf("clean(%q) = %q is not clean", s, plain)
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
		{"too long", []string{strings.Repeat("x", maxLine+5) + "\n"}, []string{strings.Repeat("x", maxLine), "xxxxx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			w := &lineWriter{emit: func(l string) { got = append(got, l) }}
			for _, s := range c.writes {
				if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			check(t, w.Flush())
			if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTexts(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, c := range [][2]string{
		{bytesText(0), "0 B"}, {bytesText(999), "999 B"}, {bytesText(1000), "1.0 kB"}, {bytesText(48_700_000), "48.7 MB"},
		{bytesText(999_999), "1.0 MB"}, {bytesText(2_500_000_000_000), "2.5 TB"},
		{timeText(3 * time.Millisecond), "3 ms"}, {timeText(1500 * time.Millisecond), "1.5 s"}, {timeText(74 * time.Second), "1 min 14 s"},
		{ageText(time.Unix(315532801, 0).UTC(), now), "-"}, {ageText(now.Add(-30*time.Second), now), "now"},
		{ageText(now.Add(-90*time.Minute), now), "1 h ago"}, {ageText(now.AddDate(0, 0, -3), now), "3 days ago"},
		{nearest("buidl", []string{"build", "run"}), "build"}, {nearest("zzz", []string{"build"}), ""}, {nearest("pub", []string{"publish"}), "publish"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

// TestInspectedText shows images that say of themselves what would command a terminal or forge a line.
func TestInspectedText(t *testing.T) {
	const evil = "x\x1b]0;title\x07\u009b2J\nforged\t."
	ref := cnb.Ref{ID: evil, Version: evil}
	var out bytes.Buffer
	inspected{
		Image: evil, Platform: evil, User: evil, WorkingDir: evil, ExecEnv: evil, Built: true,
		Buildpacks: []buildpackRef{{ref.ID, evil, evil}}, Processes: []process{{Type: evil, Command: []string{evil}, WorkingDir: evil}},
		Layers: []inspectedLayer{{What: evil}}, Labels: map[string]string{evil: evil},
	}.human(&out, true)
	b := &inspectedBuilder{
		Name: evil, Description: evil, StackID: evil, CreatedBy: cnb.Creator{Name: evil}, RunImages: []cnb.BuilderRunImage{{Image: evil}},
		Buildpacks: []cnb.ModuleInfo{{ID: ref.ID, Version: evil, Name: evil, Homepage: evil}}, Order: cnb.Order{{Elements: []cnb.GroupElement{{Ref: ref}}}},
	}
	b.human(&out)
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "forged") || strings.ContainsFunc(line, func(r rune) bool { return r < 0x20 && r != '\t' || r >= 0x7f && r < 0xa0 }) {
			t.Errorf("written: %q", line)
		}
	}
}

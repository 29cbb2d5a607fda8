package logs

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func whole(t *testing.T, text string, plain bool) string {
	t.Helper()
	var b bytes.Buffer
	d := NewDisplay(&b)
	if plain {
		d = NewPlain(&b)
	}
	if _, err := d.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDisplay(t *testing.T) {
	for _, c := range []struct{ in, display, plain string }{
		{"text\ttab\nline\r\n", "text\ttab\nline\r\n", "text\ttab\nline\n"},
		{"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m\x1b[0m", "red"},
		{"\x1b[38:2::1:2:3mrgb", "\x1b[38:2::1:2:3mrgb\x1b[0m", "rgb"},
		{"10%\r\x1b[K20%\r\x1b[2K30%\n", "10%\r\x1b[K20%\r\x1b[2K30%\n", "10%\n20%\n30%\n"},
		{"a\r", "a\r", "a\n"},
		{"up\x1b[2A\x1b[1;1H\x1b[2J\x1b[?1049h\x1b[6n\x1b[>c\x1b[>4;2m\x1b[!p", "up", "up"},
		{"\x1b]0;title\x07a\x1b]52;c;aGk=\x1b\\b\x1bP1$r\x1b\\c\x1b_x\x1b\\d\x1b^x\x1b\\e\x1bXx\x1b\\f", "abcdef", "abcdef"},
		{"\x1b]8;;https://evil\x1b\\link\x1b]8;;\x1b\\", "link", "link"},
		{"\x1b]0;without an end\nnext line", "\nnext line", "\nnext line"},
		{"\x1b]0;x\x1b[31mred", "\x1b[31mred\x1b[0m", "red"},
		{"\u009b31mred\u009b2J\u009d0;title\u009cx\u0085y", "\x1b[31mredxy\x1b[0m", "redxy"},
		{"\x9b31m\xff", "\ufffd31m\ufffd", "\ufffd31m\ufffd"},
		{"\x1bc\x1b(0\x1b#8\x1bM\x1b7a\x0e\x0f\x05\x7f\x00\a\b\v\fb", "ab", "ab"},
		{"a\u202eb\u2066c\u200fd\u061ce", "abcde", "abcde"},
		{"ünïcödé → 🎉 \u200d", "ünïcödé → 🎉 \u200d", "ünïcödé → 🎉 \u200d"},
		{"\x1b[31\x18text", "text", "text"},
		{"\x1b[31ä", "ä", "ä"},
		{"\x1b[" + strings.Repeat("1;", 100) + "mtext", "text", "text"},
		{"cut \xe2\x86", "cut \ufffd", "cut \ufffd"},
		{"cut \x1b[3", "cut ", "cut "},
	} {
		if got := whole(t, c.in, false); got != c.display {
			t.Errorf("display of %q is %q, not %q", c.in, got, c.display)
		}
		if got := whole(t, c.in, true); got != c.plain {
			t.Errorf("plain text of %q is %q, not %q", c.in, got, c.plain)
		}
	}
}

var allowedSequence = regexp.MustCompile(`\x1b\[([0-9;:]*m|[012]?K)`)

// checkDisplay holds what a Display promises for any text, however it is cut.
func checkDisplay(t *testing.T, text string, seed uint64) {
	t.Helper()
	for _, plain := range []bool{false, true} {
		shown := whole(t, text, plain)
		var b bytes.Buffer
		d := NewDisplay(&b)
		d.plain = plain
		cutUp(t, text, seed, d)
		if b.String() != shown {
			t.Fatalf("plain %v, seed %d: %q in parts became %q, not %q", plain, seed, text, b.String(), shown)
		}
		if again := whole(t, shown, plain); again != shown && again != shown+"\x1b[0m" {
			t.Fatalf("plain %v: %q became %q, and that %q", plain, text, shown, again)
		}
		if !utf8.ValidString(shown) {
			t.Fatalf("%q became %q, which is no UTF-8", text, shown)
		}
		if !plain {
			shown = strings.ReplaceAll(allowedSequence.ReplaceAllString(shown, ""), "\r", "")
		}
		if i := strings.IndexFunc(shown, func(r rune) bool {
			return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
		}); i >= 0 {
			t.Fatalf("plain %v: %q lets %q through", plain, text, shown[i:])
		}
		if strings.Count(text, "\n") > strings.Count(shown, "\n") {
			t.Fatalf("plain %v: %q lost a line end", plain, text)
		}
	}
}

func TestDisplayCut(t *testing.T) {
	parts := []string{"\x1b", "[", "]", "0;t", "\a", "\x1b\\", "31m", "K", "2J", "\n", "\r", "\r\n", "\u009b", "\u009d", "\xc2", "\x9b", "\xe2\x80", "\xae", "é", "text ", "\x18", "(", "P", "\u202e", "\xff"}
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var text strings.Builder
		for range rng.IntN(40) {
			text.WriteString(parts[rng.IntN(len(parts))])
		}
		checkDisplay(t, text.String(), seed)
	}
}

func FuzzDisplay(f *testing.F) {
	f.Add("a\x1b[31mb\x1b]0;t\x07\r\n\u009b2J", uint64(1))
	f.Fuzz(func(t *testing.T, text string, seed uint64) { checkDisplay(t, text, seed) })
}

func BenchmarkDisplay(b *testing.B) {
	text := []byte(strings.Repeat("2026-11-29T23:50:00Z \x1b[32mINFO\x1b[0m  [npm] added 1423 packages, and audited 1424 packages in 23s ✓\n", 300))
	var sink bytes.Buffer
	d := NewDisplay(&sink)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		sink.Reset()
		d.Write(text)
	}
}

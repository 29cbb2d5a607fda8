package console

import (
	"bytes"
	"strings"
	"testing"
)

// painted are the lines of a log that comes cut in two, with what a page shows of it between.
func painted(text string, cut int) string {
	var b bytes.Buffer
	p := newPainter(cursor{})
	emit := func(l line) { l.html(&b, false) }
	p.write([]byte(text[:cut]), emit)
	p.rest()
	p.write([]byte(text[cut:]), emit)
	if l, ok := p.rest(); ok {
		l.html(&b, false)
	}
	return b.String()
}

// FuzzPaint holds that a line is the same wherever the pieces end in which it came.
func FuzzPaint(f *testing.F) {
	for _, text := range []string{
		"[slipway/nodejs] \x1b[1;31mé red\x1b[0m 日本\n", "1 %\r50 %\r\x1b[Kdone\n\x1b[38;2;200;10;10mx", "\x1b]0;title\x07y\x1bz\u009b31m", "\xff\xfe a\x1b[", "a\x1b[31m\nb\n",
	} {
		for cut := range len(text) {
			f.Add(text, cut)
		}
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		if cut < 0 || cut > len(text) || len(text) > 2*longest {
			return
		}
		if got, want := painted(text, cut), painted(text, 0); got != want {
			t.Errorf("cut at %d of %q:\n%q, want\n%q", cut, text, got, want)
		}
	})
}

// TestLongLine holds that a line that is too long is cut between characters and colours.
func TestLongLine(t *testing.T) {
	for _, one := range []string{"é", "日", "\x1b[31mx\x1b[0m", "\x1b[38;2;200;010;010mx"} {
		for shift := range len(one) {
			text := painted(strings.Repeat("a", shift)+strings.Repeat(one, 2*longest/len(one))+"\n", 0)
			if strings.ContainsAny(text, "\ufffd") || strings.Contains(text, "0m") || strings.Contains(text, "1m") || !strings.Contains(text, `id="L2"`) {
				t.Errorf("%q, %d: %.300q", one, shift, text)
			}
		}
	}
}

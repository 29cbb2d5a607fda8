package transcript

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// colour is what may stay of a terminal's control sequences: the one that sets colours.
var colour = regexp.MustCompile(`^\x1b\[[0-9;:]*m`)

// maxSequence is the longest control sequence that is taken for one; what is behind it is shown as text.
const maxSequence = 256

// control is a whole control sequence: CSI, OSC and its kin, or ESC and one more byte.
var control = regexp.MustCompile("^(?:\x1b\\[[0-?]*[ -/]*[@-~]?|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|\x1b[ -/]*[0-~]?)")

// Clean makes text of somebody else safe to write to a terminal: what moves the cursor, sets titles or
// clipboards or rings goes; colours stay if they may, and are ended with the line. Other control characters
// and bytes that are no UTF-8 are shown as escapes.
func Clean(s string, colours bool) string {
	if plainText(s) {
		return s
	}
	var b strings.Builder
	open := false
	for len(s) > 0 {
		if s[0] == 0x1b {
			// A short look is enough, and one that is as long as the line would be repeated for each of its bytes.
			near := s[:min(len(s), maxSequence)]
			c := colour.FindString(near)
			if c != "" && colours {
				b.WriteString(c)
				open = true
			}
			if c == "" {
				c = control.FindString(near)
			}
			s = s[max(len(c), 1):]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\t':
			b.WriteByte('\t')
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\a' || r == '\b' || r == '\r':
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			b.WriteString(strings.Trim(fmt.Sprintf("%+q", r), "'"))
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	if open {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// plainText says that nothing in s needs a look.
func plainText(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 && s[i] != '\t' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

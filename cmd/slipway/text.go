package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// paint is the few colours that we use. The zero colour of each is plain text.
type paint struct {
	head, name, good, warn, bad, faint lipgloss.Style
	on                                 bool
}

// paint gives colours to a writer that is a terminal, unless somebody said no (no-color.org).
func (a *app) paint(w io.Writer) paint {
	p := paint{on: a.forceColor || a.isTerminal(w) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"}
	if a.noColor {
		p.on = false
	}
	if !p.on {
		return p
	}
	p.head = lipgloss.NewStyle().Foreground(lipgloss.Cyan).Bold(true)
	p.name = lipgloss.NewStyle().Foreground(lipgloss.Magenta)
	p.good = lipgloss.NewStyle().Foreground(lipgloss.Green).Bold(true)
	p.warn = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	p.bad = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
	p.faint = lipgloss.NewStyle().Faint(true)
	return p
}

func (a *app) isTerminal(w any) bool {
	f, ok := file(w)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colour is what may stay of a terminal's control sequences: the one that sets colours.
var colour = regexp.MustCompile(`^\x1b\[[0-9;:]*m`)

// maxSequence is the longest control sequence that is taken for one; what is behind it is shown as text.
const maxSequence = 256

// control is a whole control sequence: CSI, OSC and its kin, or ESC and one more byte.
var control = regexp.MustCompile("^(?:\x1b\\[[0-?]*[ -/]*[@-~]?|\x1b[\\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|\x1b[ -/]*[0-~]?)")

// clean makes text of somebody else safe to write to a terminal: what moves the cursor, sets titles or
// clipboards or rings goes; colours stay if they may, and are ended with the line. Other control characters
// and bytes that are no UTF-8 are shown as escapes.
func clean(s string, colours bool) string {
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

// cells is a row of a table of somebody else's text.
func cells(texts ...string) string {
	for i, s := range texts {
		texts[i] = strings.ReplaceAll(clean(s, false), "\t", " ")
	}
	return strings.Join(texts, "\t")
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

// bytesText is a size for people.
func bytesText(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB"} {
		if v /= 1000; v < 999.95 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// timeText is a duration for people.
func timeText(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
}

// ageText says how long ago t was. Images of Slipway are made in 1980: that is no age.
func ageText(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.Year() <= 1980:
		return "-"
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/internal/transcript"
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

// cells is a row of a table of somebody else's text.
func cells(texts ...string) string {
	for i, s := range texts {
		texts[i] = strings.ReplaceAll(transcript.Clean(s, false), "\t", " ")
	}
	return strings.Join(texts, "\t")
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

// table writes rows of somebody else's text below a head, in columns.
func table(w io.Writer, head string, lines [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(head, " ", "\t"))
	for _, l := range lines {
		fmt.Fprintln(t, cells(l...))
	}
	_ = t.Flush()
}

// rows writes facts of one thing, each with its name before it. Those without text are left out.
func rows(w io.Writer) func(name, text string) {
	return func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "%-12s %s\n", name, transcript.Clean(text, false))
		}
	}
}

// timeText is a time for people; "" for none.
func timeText(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

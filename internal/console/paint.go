package console

import (
	"bytes"
	"fmt"
	"html"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/slipway-build/slipway/internal/logs"
)

// How a log becomes lines of a page. What a terminal would do within a line is done here: colours, and what a carriage
// return or an erasing sequence overwrites; logs.Display has left out all else before. Colours are the eight of the
// stylesheet, whatever a program asks for: those can be read on the page's ground, light or dark.

// A style is how a piece of a line looks, in bits: a colour and a ground (0: none, else 1 + the colour) and marks.
type style uint16

const (
	bold style = 1 << (8 + iota)
	faint
	italic
	underlined
	struck
	inverse
	allStyles = 1<<14 - 1
)

func (s style) fore() style            { return s & 0xf }
func (s style) back() style            { return s >> 4 & 0xf }
func (s style) withFore(c style) style { return s&^0xf | c }
func (s style) withBack(c style) style { return s&^0xf0 | c<<4 }

// classes are a style's in the stylesheet; "" for none.
func (s style) classes() string {
	if s == 0 {
		return ""
	}
	var all []string
	switch fore, back := s.fore(), s.back(); {
	case back > 0: // with the page's ground as ink: two colours need not go together
		all = append(all, fmt.Sprintf("g%d", back-1))
	case s&inverse != 0 && fore > 0:
		all = append(all, fmt.Sprintf("g%d", fore-1))
	case s&inverse != 0:
		all = append(all, "g7")
	case fore > 0:
		all = append(all, fmt.Sprintf("f%d", fore-1))
	}
	for _, m := range []struct {
		bit   style
		class string
	}{{bold, "b"}, {faint, "d"}, {italic, "i"}, {underlined, "u"}, {struck, "s"}} {
		if s&m.bit != 0 {
			all = append(all, m.class)
		}
	}
	return strings.Join(all, " ")
}

// A span is a piece of a line that looks the same.
type span struct{ class, text string }

// A line is one of a log.
type line struct {
	number int
	spans  []span
	wrong  bool // it tells of an error
}

func (l line) text() string {
	var b strings.Builder
	for _, s := range l.spans {
		b.WriteString(s.text)
	}
	return b.String()
}

// A cursor is a place in a log, at the beginning of a line, with what must be known there to go on.
type cursor struct {
	offset int64
	lines  int // before it
	style  style
}

func (c cursor) String() string { return fmt.Sprintf("%d.%d.%d", c.offset, c.lines, c.style) }

// parseCursor reads what String wrote; "" is the beginning.
func parseCursor(s string) (c cursor, ok bool) {
	if s == "" {
		return c, true
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return c, false
	}
	var err [3]error
	var lines, look uint64
	c.offset, err[0] = strconv.ParseInt(parts[0], 10, 63)
	lines, err[1] = strconv.ParseUint(parts[1], 10, 31)
	look, err[2] = strconv.ParseUint(parts[2], 10, 16)
	if err != [3]error{} || c.offset < 0 || look > allStyles {
		return cursor{}, false
	}
	c.lines, c.style = int(lines), style(look)
	return c, true
}

// longest is the bytes of a line; a longer one goes on in the next.
const longest = 16 << 10

// A painter makes lines of a log that comes in pieces. It is not safe for concurrent use.
type painter struct {
	cursor        // of the first line that is not whole
	held   []byte // of that
	shown  bytes.Buffer
	filter *logs.Display
	cells  []cell
}

type cell struct {
	r rune
	s style
}

func newPainter(at cursor) *painter {
	p := &painter{cursor: at}
	p.filter = logs.NewDisplay(&p.shown)
	return p
}

// write takes a piece of the log, and calls emit with every line that is whole now.
func (p *painter) write(text []byte, emit func(line)) {
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\n') + 1
		whole := n > 0
		if !whole {
			n = len(text)
		}
		if room := longest - len(p.held); n > room {
			n, whole = room, true
		}
		p.held = append(p.held, text[:n]...)
		text = text[n:]
		if !whole {
			return
		}
		end := len(p.held)
		if p.held[end-1] != '\n' {
			end -= unfinished(p.held)
		}
		l, after := p.paint(p.held[:end])
		p.cursor = cursor{p.offset + int64(end), p.lines + 1, after}
		p.held = append(p.held[:0], p.held[end:]...)
		emit(l)
	}
}

// unfinished is how many bytes at the end of a text are the beginning of a colour or of a character.
func unfinished(text []byte) int {
	const most = 64 // bytes of a colour
	tail := text[max(0, len(text)-most):]
	if i := bytes.LastIndexByte(tail, 0x1b); i >= 0 && !bytes.ContainsAny(tail[i:], "mK") {
		return len(tail) - i
	}
	for n := 1; n < utf8.UTFMax && n < len(tail); n++ {
		if last := tail[len(tail)-n:]; utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return n
		}
	}
	return 0
}

// rest is the line that is not whole; false where there is none.
func (p *painter) rest() (line, bool) {
	if len(p.held) == 0 {
		return line{}, false
	}
	l, _ := p.paint(p.held)
	return l, true
}

// paint makes a line of a text, and tells the style behind it. The text may end within a colour or a character, of which
// the rest comes with the next piece: nothing of it is remembered, as the line is painted again then.
func (p *painter) paint(raw []byte) (line, style) {
	p.shown.Reset()
	p.filter.Reset()
	_, _ = p.filter.Write(raw) // into memory
	text := bytes.TrimRight(p.shown.Bytes(), "\n")
	s, at := p.style, 0
	p.cells = p.cells[:0]
	for len(text) > 0 {
		switch {
		case text[0] == 0x1b: // the filter lets whole sequences through only
			end := bytes.IndexAny(text, "mK")
			if end < 2 {
				text = text[1:]
				continue
			}
			params := string(text[2:end])
			if text[end] == 'm' {
				s = s.apply(params)
			} else {
				p.erase(params, at)
			}
			text = text[end+1:]
		case text[0] == '\r':
			at, text = 0, text[1:]
		default:
			r, n := utf8.DecodeRune(text)
			if at < len(p.cells) {
				p.cells[at] = cell{r, s}
			} else {
				p.cells = append(p.cells, cell{r, s})
			}
			at, text = at+1, text[n:]
		}
	}
	l := line{number: p.lines + 1, spans: p.spans()}
	l.wrong = tellsError(l.text())
	return l, s
}

// erase is EL: to the end of the line, to its beginning, or all of it.
func (p *painter) erase(params string, at int) {
	switch params {
	case "", "0":
		p.cells = p.cells[:min(at, len(p.cells))]
	case "1":
		for i := range min(at+1, len(p.cells)) {
			p.cells[i] = cell{r: ' '}
		}
	case "2":
		for i := range p.cells {
			p.cells[i] = cell{r: ' '}
		}
	}
}

func (p *painter) spans() (all []span) {
	var b strings.Builder
	for i, c := range p.cells {
		b.WriteRune(c.r)
		if i+1 == len(p.cells) || p.cells[i+1].s != c.s {
			all = append(all, span{c.s.classes(), b.String()})
			b.Reset()
		}
	}
	return all
}

var errorPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\bERROR\b|(?i:\b(?:error|fatal|panic)(?:\[[^\]]{0,20}\])?:)|npm (?:ERR!|error)|^(?:\[[^\]]*\] )?Traceback `)
})

// tellsError finds the lines that somebody looks for whose build has failed.
func tellsError(s string) bool {
	for _, hint := range []string{"rror", "RR", "atal", "FATAL", "anic", "Traceback"} {
		if strings.Contains(s, hint) {
			return errorPattern().MatchString(s)
		}
	}
	return false
}

// html is a line as pages have it: whatever it says is text there.
func (l line) html(b *bytes.Buffer, hit bool) {
	b.WriteString(`<div id="L`)
	n := strconv.Itoa(l.number)
	b.WriteString(n)
	switch {
	case hit && l.wrong:
		b.WriteString(`" class="wrong hit`)
	case hit:
		b.WriteString(`" class="hit`)
	case l.wrong:
		b.WriteString(`" class="wrong`)
	}
	b.WriteString(`"><a href="#L` + n + `">` + n + `</a>`)
	for _, s := range l.spans {
		if s.class == "" {
			b.WriteString(html.EscapeString(s.text))
			continue
		}
		b.WriteString(`<span class="` + s.class + `">` + html.EscapeString(s.text) + `</span>`)
	}
	b.WriteString("</div>\n")
}

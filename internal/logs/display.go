package logs

import (
	"io"
	"unicode"
	"unicode/utf8"
)

// A Display writes a log, which is kept as it was printed, for a reader's eyes. It is a filter of a stream: how the
// stream is cut into writes makes no difference, and it remembers some bytes only. It is not safe for concurrent use.
//
// Kept are text, tabs, line ends and carriage returns and, unless plain, colours (SGR) and erasing within the line
// (EL). Left out are all other control sequences (cursor, screen, modes, titles, clipboard, queries: CSI, OSC, DCS,
// APC, PM, SOS, in 7 and in 8 bits), all other control characters, and those that turn the direction of text. Bytes
// that are no UTF-8 become U+FFFD. A control string that does not end, ends with its line, so that it hides no more.
type Display struct {
	w      io.Writer
	plain  bool
	state  displayState
	params []byte // of a CSI sequence
	r      []byte // the beginning of a UTF-8 sequence
	cr     bool   // plain: a carriage return came last
	colour bool   // a colour may be set
	out    []byte
}

type displayState byte

const (
	inText   displayState = iota
	inEscape              // behind ESC
	inCSI                 // behind ESC [
	inString              // behind ESC ] and its kin
	inStringEscape
)

const (
	escape    = 0x1b
	maxParams = 64 // bytes of a colour; a longer one is left out
)

// NewDisplay makes a log safe for a terminal, in its colours.
func NewDisplay(w io.Writer) *Display { return &Display{w: w} }

// NewPlain makes a log text and nothing else. A carriage return that does not end a line becomes a line end: what it
// would have overwritten stays.
func NewPlain(w io.Writer) *Display { return &Display{w: w, plain: true} }

// Write returns an error only where the writer behind it did.
func (d *Display) Write(p []byte) (int, error) {
	d.out = d.out[:0]
	for i := 0; i < len(p); {
		if d.state == inText && len(d.r) == 0 && !d.cr {
			n := i
			for n < len(p) && harmless[p[n]] {
				n++
			}
			d.out = append(d.out, p[i:n]...)
			if i = n; i == len(p) {
				break
			}
		}
		d.next(p[i])
		i++
	}
	return len(p), d.flush()
}

// Close ends the log: with what was begun left out, and the colours put back. The writer behind stays open.
func (d *Display) Close() error {
	d.out = d.out[:0]
	if len(d.r) > 0 {
		d.rune(utf8.RuneError)
	}
	d.r = d.r[:0]
	d.state = inText
	d.lineEnd()
	if d.colour {
		d.out = append(d.out, "\x1b[0m"...)
	}
	d.colour = false
	return d.flush()
}

// Reset forgets what was begun: the next byte is the first of a log.
func (d *Display) Reset() {
	d.state, d.cr, d.colour = inText, false, false
	d.params, d.r = d.params[:0], d.r[:0]
}

func (d *Display) flush() error {
	if len(d.out) == 0 {
		return nil
	}
	_, err := d.w.Write(d.out)
	return err
}

// harmless are the bytes of ASCII that are kept wherever they are found in text.
var harmless = func() (is [256]bool) {
	for b := range 0x7f {
		is[b] = b >= 0x20 || b == '\n' || b == '\t'
	}
	return is
}()

// next takes a byte. UTF-8 is decoded in every state, for the control characters of 8 bits.
func (d *Display) next(b byte) {
	if len(d.r) == 0 && b < utf8.RuneSelf {
		d.rune(rune(b))
		return
	}
	d.r = append(d.r, b)
	for len(d.r) > 0 && utf8.FullRune(d.r) {
		r, n := utf8.DecodeRune(d.r)
		d.r = append(d.r[:0], d.r[n:]...)
		d.rune(r)
	}
}

func (d *Display) rune(r rune) {
	if r >= 0x80 && r < 0xa0 { // C1: ESC and a letter in one
		d.rune(escape)
		r -= 0x40
	}
	switch r {
	case escape:
		if d.state == inString {
			d.state = inStringEscape
		} else {
			d.state = inEscape
		}
		return
	case '\n', '\r', 0x18, 0x1a: // CAN and SUB cancel
		d.state = inText
	}
	switch d.state {
	case inText:
		d.text(r)
	case inEscape:
		d.escape(r)
	case inCSI:
		d.csi(r)
	case inString:
		if r == '\a' {
			d.state = inText
		}
	case inStringEscape:
		d.state = inText
		if r != '\\' { // the string ended where another sequence began
			d.escape(r)
		}
	}
}

func (d *Display) text(r rune) {
	if d.plain && r == '\r' {
		d.lineEnd()
		d.cr = true
		return
	}
	if d.cr && r == '\n' {
		d.cr = false
	}
	switch {
	case r == '\n' || r == '\t' || r == '\r':
	case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
		return
	}
	d.lineEnd()
	d.out = utf8.AppendRune(d.out, r)
}

// lineEnd writes the line end that a carriage return stood for.
func (d *Display) lineEnd() {
	if d.cr {
		d.out = append(d.out, '\n')
		d.cr = false
	}
}

func (d *Display) escape(r rune) {
	switch {
	case r == '[':
		d.state, d.params = inCSI, d.params[:0]
	case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_':
		d.state = inString
	case r >= ' ' && r <= '/': // more of it follows
		d.state = inEscape
	default:
		d.state = inText
		if r >= utf8.RuneSelf { // no part of it
			d.text(r)
		}
	}
}

func (d *Display) csi(r rune) {
	switch {
	case r >= ' ' && r <= '?':
		if len(d.params) <= maxParams {
			d.params = append(d.params, byte(r))
		}
		return
	case r < ' ': // a terminal obeys it and goes on
		return
	}
	d.state = inText
	switch {
	case r >= utf8.RuneSelf:
		d.text(r)
	case d.plain || len(d.params) > maxParams:
	case r == 'm' && only(d.params, "0123456789;:"):
		d.sequence(r)
		d.colour = true
	case r == 'K' && len(d.params) < 2 && only(d.params, "012"):
		d.sequence(r)
	}
}

func (d *Display) sequence(final rune) {
	d.out = append(append(append(d.out, escape, '['), d.params...), byte(final))
}

func only(p []byte, of string) bool {
	for _, b := range p {
		found := false
		for i := range len(of) {
			found = found || of[i] == b
		}
		if !found {
			return false
		}
	}
	return true
}

package logs

import (
	"io"
	"strings"
)

// Mask stands in a log for a secret, or for several that touch or overlap: it tells neither their length nor number.
const Mask = "[masked]"

// A Masker keeps secrets out of text. It never changes, so any number of streams may share one. Every byte that is
// part of a secret, in any of the forms that a program is likely to print it in, is masked: where secrets overlap,
// all of both. It guards against accidents; a program that wants to print what it knows can always disguise it.
type Masker struct{ a *automaton }

// NewMasker masks the values that are Maskable, and ignores the others: each in itself and its lines, as URLs and
// JSON escape it, in base64 at any place of what was encoded, and, of a URL, the password. Of very many or very
// long values (2 MiB of encoded forms and more) the longest are masked as they are only.
func NewMasker(values ...string) *Masker {
	return &Masker{newAutomaton(patterns(values))}
}

// String masks a text that is whole.
func (m *Masker) String(s string) string {
	var b strings.Builder
	w := m.Writer(&b)
	w.Write([]byte(s)) // to a strings.Builder: no error
	w.Close()
	return b.String()
}

// Writer masks a stream on its way to w. See MaskWriter.
func (m *Masker) Writer(w io.Writer) *MaskWriter {
	if m == nil {
		return &MaskWriter{w: w}
	}
	return &MaskWriter{a: m.a, w: w}
}

// A MaskWriter masks one stream: how the stream is cut into writes makes no difference. What might be the beginning
// of a secret is held back until it is known not to be one, at most 254 bytes and never for a time only; all that is
// before it goes on at once. It is not safe for concurrent use, and two streams that write into one MaskWriter by
// turns can tear a secret: they should hand over whole lines.
type MaskWriter struct {
	a     *automaton // nil: there is nothing to mask
	w     io.Writer
	state uint32
	held  []byte // what state has seen: the beginning of a pattern
	spans []span // the secrets in it
	after bool   // the last thing written was a secret
	block []byte // held and a part of what is being written
	out   []byte
}

// span is a part of a text.
type span struct{ from, to int }

const maskBlock = 32 << 10 // how much is masked at a time: enough to make calls cheap, little to keep

// Write returns an error only where the writer behind it did.
func (m *MaskWriter) Write(p []byte) (int, error) {
	if m.a == nil || len(m.a.nodes) == 1 {
		return m.w.Write(p)
	}
	n := len(p)
	for len(p) > 0 {
		b := p[:min(len(p), maskBlock)]
		p = p[len(b):]
		if err := m.next(b); err != nil {
			return n - len(p), err
		}
	}
	return n, nil
}

func (m *MaskWriter) next(b []byte) error {
	start := len(m.held)
	if start > 0 {
		m.block = append(append(m.block[:0], m.held...), b...)
		b = m.block
	}
	m.state, m.spans = m.a.scan(b, start, m.state, m.spans)
	return m.emit(b, len(b)-int(m.a.nodes[m.state].depth))
}

// emit writes b up to end, masked, and keeps the rest.
func (m *MaskWriter) emit(b []byte, end int) error {
	text := b[:end]
	if len(m.spans) > 0 {
		text = m.masked(b, end)
	} else if end > 0 {
		m.after = false
	}
	m.held = append(m.held[:0], b[end:]...)
	if len(text) == 0 {
		return nil
	}
	_, err := m.w.Write(text)
	return err
}

// masked is b up to end with a Mask for its spans; those that reach beyond end are kept, counted from there.
func (m *MaskWriter) masked(b []byte, end int) []byte {
	m.out = m.out[:0]
	at, kept := 0, m.spans[:0]
	for _, s := range m.spans {
		if s.from < end {
			m.out = append(m.out, b[at:s.from]...)
			if s.from > at || !m.after {
				m.out = append(m.out, Mask...)
			}
			at, m.after = min(s.to, end), true
		}
		if s.to > end {
			kept = append(kept, span{max(s.from, end) - end, s.to - end})
		}
	}
	m.spans = kept
	if at < end {
		m.out = append(m.out, b[at:end]...)
		m.after = false
	}
	return m.out
}

// Close writes what was held back. Where that is so much of a secret's beginning that it could be told from it, it
// is masked. The writer behind stays open.
func (m *MaskWriter) Close() error {
	if len(m.held) == 0 {
		return nil
	}
	if len(m.held) >= minPattern {
		m.spans = append(m.spans[:0], span{0, len(m.held)})
	}
	m.state = 0
	m.block = append(m.block[:0], m.held...)
	return m.emit(m.block, len(m.block))
}

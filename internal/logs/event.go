package logs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/slipway-build/slipway/internal/build"
)

// Events writes a log as server-sent events (text/event-stream), for Dir.Follow to write to. Each piece of the log is
//
//	data: "text of any number of lines\n"
//	id: 4711
//
// where data is one JSON string: JSON.parse(event.data) is what was printed, and no line end of it is an event
// stream's. A byte that is no UTF-8 is the lone surrogate U+DC80 + (byte - 0x80), as in "\udcff": so the bytes can be
// had again, and ReadEvents does. id is the offset behind the piece: whoever comes back with it as Last-Event-ID, and
// is sent the log from there on, misses nothing and gets nothing twice. A piece never ends within a character, unless
// the log does. When the log has ended, the last event is
//
//	event: end
//	data: {"state":"succeeded","size":4711}
//	id: 4711
//
// and while there is nothing to say, a comment shows every 15 s that the connection lives.
type Events struct {
	w    io.Writer
	at   int64  // offset behind what was sent
	held []byte // the beginning of a character
	buf  []byte
}

// NewEvents writes events of the log from an offset on.
func NewEvents(w io.Writer, from int64) *Events { return &Events{w: w, at: from} }

// ParseOffset reads a Last-Event-ID or an offset in a query; an empty one is the beginning.
func ParseOffset(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("offset %.40q: a number of bytes, as an event's id is: %w", s, ErrOffset)
	}
	return n, nil
}

// Write sends the next piece of the log.
func (e *Events) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		text := append(e.held, p[:min(chunk, len(p))]...)
		p = p[min(chunk, len(p)):]
		whole := len(text) - partial(text)
		if err := e.send(text[:whole]); err != nil {
			return n - len(p), err
		}
		e.held = append(e.held[:0], text[whole:]...)
	}
	return n, nil
}

// partial is how many bytes at the end of text are the beginning of a character.
func partial(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if end := text[len(text)-n:]; utf8.RuneStart(end[0]) {
			if utf8.FullRune(end) {
				return 0
			}
			return n
		}
	}
	return 0
}

func (e *Events) send(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	e.at += int64(len(text))
	e.buf = appendText(append(e.buf[:0], "data: "...), text)
	e.buf = fmt.Appendf(e.buf, "\nid: %d\n\n", e.at)
	_, err := e.w.Write(e.buf)
	return err
}

// Idle sends a comment.
func (e *Events) Idle() error {
	_, err := io.WriteString(e.w, ": the build goes on\n\n")
	return err
}

type endData struct {
	State build.State `json:"state"`
	Size  int64       `json:"size"`
}

// End sends the last event, after Dir.Follow has returned the state.
func (e *Events) End(state build.State) error {
	if err := e.send(e.held); err != nil {
		return err
	}
	e.held = e.held[:0]
	data, err := json.Marshal(endData{state, e.at})
	if err != nil {
		return fmt.Errorf("writing an event: %w", err)
	}
	_, err = fmt.Fprintf(e.w, "event: end\ndata: %s\nid: %d\n\n", data, e.at)
	return err
}

const (
	hexDigits = "0123456789abcdef"
	surrogate = 0xdc00 // and a byte of 0x80 and above
)

// plain tells of each byte whether it stands for itself in a JSON string of ours.
var plain = func() (ok [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		ok[c] = c != '"' && c != '\\'
	}
	return ok
}()

// appendText appends a JSON string. What stands for itself is copied as it is, and most does.
func appendText(b, text []byte) []byte {
	b = append(b, '"')
	for len(text) > 0 {
		n := 0
		for n < len(text) && plain[text[n]] {
			n++
		}
		b, text = append(b, text[:n]...), text[n:]
		if len(text) > 0 {
			b, text = appendEscaped(b, text)
		}
	}
	return append(b, '"')
}

// appendEscaped appends the first character of text.
func appendEscaped(b, text []byte) (_, rest []byte) {
	c := text[0]
	if c >= utf8.RuneSelf {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError && n == 1 {
			b = append(b, `\udc`...)
			return append(b, hexDigits[c>>4], hexDigits[c&15]), text[1:]
		}
		return append(b, text[:n]...), text[n:]
	}
	switch c {
	case '"', '\\':
		b = append(b, '\\', c)
	case '\n':
		b = append(b, `\n`...)
	case '\r':
		b = append(b, `\r`...)
	case '\t':
		b = append(b, `\t`...)
	default:
		b = append(b, `\u00`...)
		b = append(b, hexDigits[c>>4], hexDigits[c&15])
	}
	return b, text[1:]
}

// An Event is what ReadEvents gets: a piece of the log or, when State is not empty, its end.
type Event struct {
	Text   []byte
	Offset int64 // behind it: the id
	State  build.State
}

const maxEventLine = 1 << 20 // far more than Events writes

// ReadEvents reads what Events wrote, until the event of the end or, when the connection broke, io.ErrUnexpectedEOF:
// then the caller may ask again from the last Offset on. Text is valid until the next event.
func ReadEvents(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxEventLine)
		var kind, data, id []byte
		for lines.Scan() {
			name, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch string(name) {
			case "event":
				kind = append(kind[:0], value...)
			case "data":
				data = append(data[:0], value...)
			case "id":
				id = append(id[:0], value...)
			}
			if len(lines.Bytes()) > 0 || len(data) == 0 {
				continue
			}
			e, err := parseEvent(kind, data, id)
			if !yield(e, err) || err != nil || e.State != "" {
				return
			}
			kind, data, id = kind[:0], data[:0], id[:0]
		}
		yield(Event{}, fmt.Errorf("reading events: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF)))
	}
}

func parseEvent(kind, data, id []byte) (e Event, err error) {
	if e.Offset, err = strconv.ParseInt(string(id), 10, 64); err != nil || e.Offset < 0 {
		return Event{}, fmt.Errorf("reading events: id %.40q is no offset", id)
	}
	switch string(kind) {
	case "end":
		var end endData
		if err := json.Unmarshal(data, &end); err != nil || !end.State.Terminal() || end.State == "" {
			return Event{}, fmt.Errorf("reading events: %.80q is no end", data)
		}
		e.State = end.State
	case "", "message":
		if e.Text, err = parseText(data); err != nil {
			return Event{}, err
		}
	default:
		return Event{}, fmt.Errorf("reading events: unknown event %.40q", kind)
	}
	return e, nil
}

// parseText reads a JSON string in place, and makes bytes of the lone surrogates.
func parseText(data []byte) ([]byte, error) {
	whole := bytes.TrimSpace(data)
	in, ok := bytes.CutPrefix(whole, []byte{'"'})
	for out := whole[:0]; ok; {
		n := 0
		for n < len(in) && (plain[in[n]] || in[n] >= utf8.RuneSelf) {
			n++
		}
		out, in = append(out, in[:n]...), in[n:]
		if len(in) == 0 || in[0] != '\\' {
			if string(in) == `"` {
				return out, nil
			}
			break
		}
		out, in, ok = unescape(out, in[1:])
	}
	return nil, fmt.Errorf("reading events: %.80q is no text", data)
}

// unescape reads what is behind a backslash.
func unescape(out, in []byte) (_, rest []byte, ok bool) {
	if len(in) == 0 {
		return out, in, false
	}
	if in[0] != 'u' {
		i := strings.IndexByte(escapes, in[0])
		if i < 0 {
			return out, in, false
		}
		return append(out, escaped[i]), in[1:], true
	}
	r, in, ok := hex4(in[1:])
	if !ok {
		return out, in, false
	}
	if r >= surrogate+0x80 && r <= surrogate+0xff {
		return append(out, byte(r)), in, true
	}
	if utf16.IsSurrogate(r) && len(in) >= 2 && in[0] == '\\' && in[1] == 'u' {
		if low, rest, ok := hex4(in[2:]); ok {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				r, in = both, rest
			}
		}
	}
	return utf8.AppendRune(out, r), in, true
}

const (
	escapes = `"\/nrtbf`
	escaped = "\"\\/\n\r\t\b\f"
)

// hex4 reads four digits of hexadecimal.
func hex4(in []byte) (r rune, rest []byte, ok bool) {
	if len(in) < 4 {
		return 0, in, false
	}
	n, err := strconv.ParseUint(string(in[:4]), 16, 16)
	return rune(n), in[4:], err == nil
}

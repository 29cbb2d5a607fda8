package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/slipway-build/slipway/internal/build"
)

// broken breaks a connection after some bytes.
type broken struct {
	bytes.Buffer
	left int
}

func (b *broken) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.Buffer.Write(p[:n])
	if b.left -= n; n < len(p) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

// TestEventsResume reads a log through connections that break anywhere.
func TestEventsResume(t *testing.T) {
	parts := []string{"text\n", "\r", "\r\n", "\n\n", "ünïcödé→🎉", "\xff", "\xe2\x86", "\xed\xb2\x80", "\x00\x1b[31m", `"quoted\"`, "data: x\nid: 3\n\n", "\u2028", "\x7f", "<&>"}
	d := open(t)
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 9))
		id := build.NewID()
		w := create(t, d, id, Options{})
		for range rng.IntN(300) {
			io.WriteString(w, parts[rng.IntN(len(parts))])
		}
		if rng.IntN(4) == 0 {
			io.WriteString(w, strings.Repeat("→", 3*chunk))
		}
		end(t, w, build.Cancelled)
		var got []byte
		last, state := "", build.State("")
		for state == "" {
			from, err := ParseOffset(last)
			if err != nil || from != int64(len(got)) {
				t.Fatalf("seed %d: Last-Event-ID %q after %d bytes: %v", seed, last, len(got), err)
			}
			c := &broken{left: 1 + rng.IntN(20*chunk)}
			e := NewEvents(c, from)
			ended, err := d.Follow(t.Context(), id, from, e)
			if err == nil {
				err = e.End(ended)
			}
			if err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Fatal(err)
			}
			for ev, err := range ReadEvents(&c.Buffer) {
				if err != nil {
					if !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatalf("seed %d: %v", seed, err)
					}
					break
				}
				got, state = append(got, ev.Text...), ev.State
				last = itoa(ev.Offset)
			}
		}
		if text := content(t, d, id); string(got) != text || state != build.Cancelled {
			t.Fatalf("seed %d: %d bytes and %q came, of %d", seed, len(got), state, len(text))
		}
	}
}

func itoa(n int64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// TestEventsOnTheWire holds the form that other clients rely on.
func TestEventsOnTheWire(t *testing.T) {
	var b bytes.Buffer
	e := NewEvents(&b, 100)
	for _, p := range []string{"a\r\n\"b\"\x1b[0m", "\xe2\x86", "\x92\xff", "\xe2\x86"} {
		if n, err := io.WriteString(e, p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := e.Idle(); err != nil {
		t.Fatal(err)
	}
	if err := e.End(build.Succeeded); err != nil {
		t.Fatal(err)
	}
	want := `data: "a\r\n\"b\"\u001b[0m"
id: 110

data: "→\udcff"
id: 114

: the build goes on

data: "\udce2\udc86"
id: 116

event: end
data: {"state":"succeeded","size":116}
id: 116

`
	if b.String() != want {
		t.Errorf("sent %s", b.String())
	}
}

// TestReadEventsOfOthers reads JSON that another server might write, and what is no event.
func TestReadEventsOfOthers(t *testing.T) {
	smile := utf16.Encode([]rune("😀"))
	if smile[0] != 0xd83d || smile[1] != 0xde00 {
		t.Fatal(smile)
	}
	in := ": hello\r\n\r\nevent: message\r\ndata: \"\\ud83d\\ude00\\/\\b\\f\\ud83d\\u00e4\"\r\nid: 5\r\n\r\nevent:end\ndata:{\"state\":\"failed\",\"size\":5}\nid:5\n\nrest"
	var got strings.Builder
	for e, err := range ReadEvents(strings.NewReader(in)) {
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(string(e.Text) + string(e.State))
	}
	if want := "😀/\b\f\ufffdäfailed"; got.String() != want {
		t.Errorf("got %q, not %q", got.String(), want)
	}
	for _, in := range []string{
		"", "data: \"x\"\n\n", "data: \"x\"\nid: -1\n\n", "data: x\nid: 1\n\n", "data: \"\\ud8\"\nid: 1\n\n", "data: {}\nid: 1\n\n",
		"event: end\ndata: {\"state\":\"running\"}\nid: 1\n\n", "event: end\ndata: {}\nid: 1\n\n", "event: other\ndata: 1\nid: 1\n\n",
		"data: \"" + strings.Repeat("x", maxEventLine), "data: \"half",
	} {
		var last error
		for _, err := range ReadEvents(strings.NewReader(in)) {
			last = err
		}
		if last == nil {
			t.Errorf("%.60q was read without an error", in)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("a\r\n\xff→"), uint8(3))
	f.Fuzz(func(t *testing.T, text []byte, cut uint8) {
		var b bytes.Buffer
		e := NewEvents(&b, 0)
		at := int(cut) % (len(text) + 1)
		e.Write(text[:at])
		e.Write(text[at:])
		e.End(build.Failed)
		var got []byte
		for ev, err := range ReadEvents(&b) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, ev.Text...); ev.Offset != int64(len(got)) {
				t.Fatalf("id %d after %d bytes", ev.Offset, len(got))
			}
		}
		if !bytes.Equal(got, text) {
			t.Fatalf("%q came as %q", text, got)
		}
	})
}

func TestParseOffset(t *testing.T) {
	for _, s := range []string{"-1", "x", "1.5", "0x10", "99999999999999999999", " 1"} {
		if _, err := ParseOffset(s); !errors.Is(err, ErrOffset) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if n, err := ParseOffset("4711"); n != 4711 || err != nil {
		t.Error(n, err)
	}
}

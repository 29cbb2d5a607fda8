package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bounded is full when it has so many bytes.
type bounded struct {
	bytes.Buffer
	limit, head  int
	left, lines  int64
	skips, fulls int
}

func (b *bounded) Full() bool { b.fulls++; return b.Len() >= b.limit }

func (b *bounded) Skip(bytes, lines int64) {
	b.skips, b.head = b.skips+1, b.Len()
	b.left, b.lines = b.left+bytes, b.lines+lines
}

// TestEnough: a writer that is full gets the end of the output, and hears of all else, to the byte.
func TestEnough(t *testing.T) {
	a := startAgent(t, true)
	const lines, limit = 300_000, 100_000
	cmd := shell(fmt.Sprintf("seq -f 'line %%08.0f of many' 1 %d; echo the end >&2", lines))
	out, errs := &bounded{limit: limit}, &bounded{}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := a.Run(t.Context(), cmd); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for i := range lines {
		fmt.Fprintf(&all, "line %08d of many\n", i+1)
	}
	head, end := out.String()[:out.head], out.String()[out.head:]
	if out.skips != 1 || !strings.HasPrefix(all.String(), head) || !strings.HasSuffix(head, "\n") || len(head) < limit || len(head) > all.Len()/2 {
		t.Errorf("%d times skipped; %d bytes before that", out.skips, len(head))
	}
	if !strings.HasSuffix(all.String(), end) || !strings.HasPrefix(end, "line ") || len(end) > restSize || len(end) < restSize-100 {
		t.Errorf("an end of %d bytes: %.50q", len(end), end)
	}
	if len(head)+int(out.left)+len(end) != all.Len() || out.lines != int64(strings.Count(all.String(), "\n")-strings.Count(head+end, "\n")) {
		t.Errorf("%d bytes, %d bytes and %d lines left out, %d bytes, of %d", len(head), out.left, out.lines, len(end), all.Len())
	}
	if errs.String() != "the end\n" || errs.skips != 0 {
		t.Errorf("the other output is %q, %d times skipped", errs.String(), errs.skips)
	}
}

// TestEnoughOfOneLine: an output without lines is divided too.
func TestEnoughOfOneLine(t *testing.T) {
	a := startAgent(t, true)
	cmd := shell("head -c 5000000 /dev/zero")
	out := &bounded{limit: 1}
	cmd.Stdout = out
	if err := a.Run(t.Context(), cmd); err != nil || out.skips != 1 || out.Len()+int(out.left) != 5_000_000 || out.lines != 0 || out.Len() > 2_000_000 {
		t.Errorf("%v: %d bytes, %d times %d bytes and %d lines left out", err, out.Len(), out.skips, out.left, out.lines)
	}
}

// TestEnoughAndStopped: the end of what was stopped is there too.
func TestEnoughAndStopped(t *testing.T) {
	a := startAgent(t, true)
	stopped := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	done := filepath.Join(t.TempDir(), "done")
	cmd := shell("yes 'a line' | head -n 2000000; echo last words; touch $1; exec sleep 600", done)
	out := &bounded{limit: 1}
	cmd.Stdout = out
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, cmd) }()
	for _, err := os.Stat(done); err != nil && t.Context().Err() == nil; _, err = os.Stat(done) {
		time.Sleep(10 * time.Millisecond)
	}
	stop(stopped)
	if err := <-ended; !errors.Is(err, stopped) {
		t.Error(err)
	}
	if out.skips != 1 || !strings.HasSuffix(out.String(), "a line\nlast words\n") {
		t.Errorf("%d times skipped, and then %q", out.skips, out.String()[max(0, out.Len()-50):])
	}
}

// TestFloods: an output that comes in floods, with pauses between them, arrives whole, and what follows a flood at once.
func TestFloods(t *testing.T) {
	a := startAgent(t, true)
	here := make(chan struct{})
	cmd := shell("for i in 1 2 3; do seq 1 400000; sleep 0.3; done; echo asked; while ! test -e $1; do sleep 0.01; done; seq 1 400000", filepath.Join(t.TempDir(), "go"))
	var got bytes.Buffer
	cmd.Stdout = writerFunc(func(p []byte) (int, error) {
		got.Write(p)
		if bytes.HasSuffix(got.Bytes(), []byte("asked\n")) {
			close(here)
		}
		return len(p), nil
	})
	ended := make(chan error, 1)
	go func() { ended <- a.Run(t.Context(), cmd) }()
	<-here
	if err := os.WriteFile(cmd.Args[len(cmd.Args)-1], nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var one strings.Builder
	for i := range 400_000 {
		fmt.Fprintln(&one, i+1)
	}
	if want := strings.Repeat(one.String(), 3) + "asked\n" + one.String(); got.String() != want {
		t.Errorf("%d bytes, want %d", got.Len(), len(want))
	}
}

// TestRestIsOnlyHearsay: a helper that tells nonsense tells it within bounds.
func TestRestIsOnlyHearsay(t *testing.T) {
	for _, r := range []rest{{Bytes: 1 << 62, Lines: 1<<63 - 1}, {Bytes: 10, Lines: -5}, {Bytes: -3, Lines: 4}, {End: make([]byte, 1<<20)}} {
		var b bounded
		if err := r.write(&b); err != nil || b.left < 0 || b.left > maxLeftOut || b.lines < 0 || b.lines > b.left || b.Len() > restSize {
			t.Errorf("%v: %d bytes and %d lines left out, then %d bytes", err, b.left, b.lines, b.Len())
		}
	}
}

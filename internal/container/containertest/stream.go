package containertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/container"
)

// streams: nothing is lost, mixed or held back.
func streams(b *bench) {
	stdout, stderr, err := b.run(b.spec("both", "500"))
	if err != nil || stdout != lines(500, "out") || stderr != lines(500, "err") {
		b.Errorf("both streams: %v, %d and %d bytes", err, len(stdout), len(stderr))
	}
	const much = 100 << 20
	s := b.spec("emit", fmt.Sprint(much))
	p := &pattern{}
	s.Stdout = p
	if _, _, err := b.run(s); err != nil || p.n != much || p.bad {
		b.Errorf("100 MiB of output: %v, %d bytes, wrong bytes: %v", err, p.n, p.bad)
	}
	// The last words of a process that ends at once.
	for range 3 {
		b.want("last words", b.spec("say", "bye"), "bye")
	}

	s = b.spec("cat")
	s.Stdin = strings.NewReader("some\x00input")
	b.want("stdin", s, "some\x00input")
	s.Stdin = nil
	b.want("no stdin", s, "")
	s.Stdin = io.LimitReader(zeros{}, 8<<20)
	var n counter
	s.Stdout = &n
	if _, _, err := b.run(s); err != nil || n != 8<<20 {
		b.Errorf("8 MiB through: %v, %d bytes", err, n)
	}
	b.dialogue()
	b.unread()

	s = b.spec("emit", fmt.Sprint(64<<20))
	broken := errors.New("disk full here")
	s.Stdout = failing{broken}
	if _, _, err := b.run(s); !errors.Is(err, broken) {
		b.Errorf("output that cannot be written: got %v", err)
	}
	b.blocked()
	if e, _ := b.ends(b.spec("mute", "300")); e.Code != 4 {
		b.Errorf("closed output before the end: %v", e)
	}
}

// blocked: a writer that hangs does not keep a cancelled container alive.
func (b *bench) blocked() {
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	s := b.spec("emit", fmt.Sprint(64<<20))
	s.Stdout = blocking(release)
	s.Started = func(container.Info) { time.AfterFunc(100*time.Millisecond, cancel) }
	began := time.Now()
	if err := b.rt.Run(ctx, s); !errors.Is(err, context.Canceled) {
		b.Errorf("blocked writer: got %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		b.Errorf("blocked writer: took %s", took)
	}
	close(release)
}

// dialogue: an answer comes before the question's stream has ended.
func (b *bench) dialogue() {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s := b.spec("cat")
	s.Stdin, s.Stdout = inR, outW
	done := make(chan error)
	go func() {
		_, _, err := b.run(s)
		outW.Close()
		done <- err
	}()
	for i := range 100 {
		fmt.Fprintf(inW, "question %02d\n", i)
		answer := make([]byte, len("question 00\n"))
		if _, err := io.ReadFull(outR, answer); err != nil || string(answer) != fmt.Sprintf("question %02d\n", i) {
			b.Errorf("dialogue: %q, %v", answer, err)
			break
		}
	}
	inW.Close()
	if err := <-done; err != nil {
		b.Errorf("dialogue: %v", err)
	}
}

// unread: a container that ends without reading its input neither hangs us nor
// who writes it.
func (b *bench) unread() {
	r, w := io.Pipe()
	wrote := make(chan error)
	go func() {
		_, err := io.Copy(w, zeros{})
		wrote <- err
	}()
	s := b.spec("exit", "0")
	s.Stdin = r
	b.want("unread input", s, "")
	select {
	case err := <-wrote:
		if err == nil {
			b.Error("the writer of unread input saw no error")
		}
	case <-time.After(10 * time.Second):
		b.Error("the writer of unread input hangs")
	}
}

// terminal: one stream, of the user's size.
func terminal(b *bench) {
	s := b.spec("tty", "123")
	s.Terminal = true
	sizes := make(chan container.Size, 1)
	sizes <- container.Size{Rows: 40, Columns: 123}
	s.Resize = sizes
	b.want("terminal", s, "columns 123")
}

// prepare: a container made ahead starts later, once, and is gone when closed,
// used or not.
func prepare(b *bench) {
	pr, ok := b.rt.(container.Preparer)
	if !ok {
		b.Log("this runtime does not prepare")
		return
	}
	ctx := b.Context()
	p, err := pr.Prepare(ctx, b.spec("cat"))
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	started := 0
	if err := p.Run(ctx, container.Streams{Stdin: strings.NewReader("late"), Stdout: &out, Started: func(i container.Info) {
		started++
		if i.ID != p.ID() {
			b.Errorf("started %s, prepared %s", i.ID, p.ID())
		}
		if st, err := p.State(ctx); err != nil || st.OutOfMemory {
			b.Errorf("state: %+v, %v", st, err)
		}
	}}); err != nil || out.String() != "late" || started != 1 {
		b.Errorf("run prepared: %v, %q, started %d times", err, out.String(), started)
	}
	if p.Run(ctx, container.Streams{}) == nil {
		b.Error("ran twice")
	}
	for range 2 {
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	}
	idle, err := pr.Prepare(ctx, b.spec("sleep"))
	if err != nil {
		b.Fatal(err)
	}
	if err := idle.Close(); err != nil {
		b.Error(err)
	}
	if left := b.Left(b.T, b.Name()); len(left) > 0 {
		b.Errorf("closed containers are left: %v", left)
	}
	b.closeRunning(pr)
}

// closeRunning: Close kills.
func (b *bench) closeRunning(pr container.Preparer) {
	p, err := pr.Prepare(b.Context(), b.spec("sleep"))
	if err != nil {
		b.Fatal(err)
	}
	up, ended := make(chan bool), make(chan error, 1)
	go func() {
		ended <- p.Run(context.WithoutCancel(b.Context()), container.Streams{Started: func(container.Info) { close(up) }})
	}()
	select {
	case <-up:
	case err := <-ended:
		b.Fatalf("it did not start: %v", err)
	}
	if err := p.Close(); err != nil {
		b.Error(err)
	}
	if err := <-ended; err == nil {
		b.Error("a container closed while it ran ended well")
	}
}

type pattern struct {
	n   int
	bad bool
}

func (p *pattern) Write(b []byte) (int, error) {
	for i, c := range b {
		if c != byte((p.n+i)%251) {
			p.bad = true
		}
	}
	p.n += len(b)
	return len(b), nil
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

type blocking chan struct{}

func (c blocking) Write(b []byte) (int, error) { <-c; return len(b), nil }

var _ testing.TB = (*bench)(nil)

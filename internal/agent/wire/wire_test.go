package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var testLimits = Limits{Hello: 1 << 20, Call: 1 << 20, Reply: 1 << 20, Calls: 64, Memory: 64 << 20}

// pair connects two ends by pipes of the operating system, which, unlike io.Pipe, hold some bytes.
func pair(t *testing.T, a, b map[string]Handler) (*Conn, *Conn) {
	t.Helper()
	ar, bw := osPipe(t)
	br, aw := osPipe(t)
	var second *Conn
	var err2 error
	done := make(chan struct{})
	go func() {
		defer close(done)
		second, _, err2 = Open(t.Context(), br, bw, []byte("b"), Options{Limits: testLimits, Handle: b})
	}()
	first, hello, err := Open(t.Context(), ar, aw, []byte("a"), Options{Limits: testLimits, Handle: a})
	<-done
	if err != nil || err2 != nil || string(hello) != "b" {
		t.Fatalf("open: %v, %v, greeting %q", err, err2, hello)
	}
	t.Cleanup(func() { first.Close(); second.Close() })
	return first, second
}

func osPipe(t *testing.T) (io.ReadCloser, io.WriteCloser) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func TestCallsBothWays(t *testing.T) {
	echo := func(_ context.Context, call *Call) ([]byte, error) { return call.Body, nil }
	fail := func(context.Context, *Call) ([]byte, error) { return nil, errors.New("no such luck") }
	a, b := pair(t, map[string]Handler{"echo": echo}, map[string]Handler{"echo": echo, "fail": fail})
	var wg sync.WaitGroup
	for _, c := range []*Conn{a, b} {
		for i := range 200 {
			wg.Go(func() {
				want := strings.Repeat("x", i*100)
				got, err := c.Call(t.Context(), "echo", []byte(want))
				if err != nil || string(got) != want {
					t.Errorf("echo %d: %d bytes, %v", i, len(got), err)
				}
			})
			if i%50 == 0 {
				wg.Wait()
			}
		}
	}
	wg.Wait()
	if _, err := a.Call(t.Context(), "fail", nil); err == nil || err.Error() != "no such luck" {
		t.Errorf("fail: %v", err)
	}
	if _, err := a.Call(t.Context(), "none", nil); err == nil || !strings.Contains(err.Error(), `no method "none"`) {
		t.Errorf("unknown method: %v", err)
	}
}

// A stream that nobody reads stops its own writer only.
func TestSlowReaderHoldsUpNobodyElse(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	flood := func(_ context.Context, call *Call) ([]byte, error) {
		_, err := call.Writer(0).Write(data)
		return nil, err
	}
	a, _ := pair(t, nil, map[string]Handler{"flood": flood})
	stuck, err := a.Start("flood", nil)
	if err != nil {
		t.Fatal(err)
	}
	free, err := a.Start("flood", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(free.Reader(0))
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("free stream: %d bytes, %v", len(got), err)
	}
	if _, err := free.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held := a.held.Load(); held > Window {
		t.Errorf("the stuck stream holds %d bytes", held)
	}
	got, err = io.ReadAll(stuck.Reader(0))
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("stuck stream, read at last: %d bytes, %v", len(got), err)
	}
	if _, err := stuck.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held := a.held.Load(); held != 0 {
		t.Errorf("%d bytes held after the end", held)
	}
}

func TestUploadAndEarlyAnswer(t *testing.T) {
	count := func(_ context.Context, call *Call) ([]byte, error) {
		n, err := io.Copy(io.Discard, call.Reader(1))
		return fmt.Append(nil, n), err
	}
	refuse := func(context.Context, *Call) ([]byte, error) { return nil, errors.New("disk full") }
	_, b := pair(t, map[string]Handler{"count": count, "refuse": refuse}, nil)
	call, err := b.Start("count", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := call.Writer(1)
	if _, err := w.Write(make([]byte, 5<<20+7)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if got, err := call.Wait(t.Context()); err != nil || string(got) != fmt.Sprint(5<<20+7) {
		t.Errorf("count: %s, %v", got, err)
	}
	call, err = b.Start("refuse", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call.Writer(0).Write(make([]byte, 5<<20)); err == nil || err.Error() != "disk full" {
		t.Errorf("write to a call that was refused: %v", err)
	}
}

func TestCancel(t *testing.T) {
	seen := make(chan error, 2)
	wait := func(ctx context.Context, call *Call) ([]byte, error) {
		_, err := io.Copy(io.Discard, call.Reader(0))
		seen <- err
		<-ctx.Done()
		seen <- context.Cause(ctx)
		return nil, context.Cause(ctx)
	}
	a, _ := pair(t, nil, map[string]Handler{"wait": wait})
	why := errors.New("user pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if _, err := a.Call(ctx, "wait", nil); err != why {
		t.Errorf("cancelled call: %v", err)
	}
	for range 2 {
		if err := <-seen; err != errCancelled {
			t.Errorf("the callee saw %v", err)
		}
	}
	if _, err := a.Call(t.Context(), "none", nil); err == nil || strings.Contains(err.Error(), "lost") {
		t.Errorf("the connection did not survive a cancelled call: %v", err)
	}
}

func TestPeerDies(t *testing.T) {
	hang := func(ctx context.Context, _ *Call) ([]byte, error) { <-ctx.Done(); return nil, nil }
	a, b := pair(t, nil, map[string]Handler{"hang": hang})
	time.AfterFunc(20*time.Millisecond, func() { b.Close() })
	if _, err := a.Call(t.Context(), "hang", nil); !errors.Is(err, io.EOF) && !errors.Is(err, ErrClosed) && err == nil {
		t.Errorf("call on a connection that died: %v", err)
	}
	<-a.Done()
	if _, err := a.Start("hang", nil); err == nil {
		t.Error("a call started on a dead connection")
	}
}

// raw makes a peer of bytes and returns what Open or the connection says to them.
func raw(t *testing.T, input []byte, h map[string]Handler) error {
	t.Helper()
	r, w := io.Pipe()
	go func() { _, _ = w.Write(input); w.Close() }()
	c, _, err := Open(t.Context(), r, nopWriteCloser{io.Discard}, nil, Options{Limits: Limits{Hello: 100, Call: 100, Reply: 100, Calls: 2, Memory: 1000}, Handle: h})
	if err != nil {
		return err
	}
	defer c.Close()
	<-c.Done()
	return c.Err()
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }

func frames(parts ...[]byte) []byte { return append([]byte(Magic), bytes.Join(parts, nil)...) }

func fr(f frame, body string) []byte {
	b := make([]byte, headerSize)
	f.length = len(body)
	f.put(b)
	return append(b, body...)
}

func TestHostilePeer(t *testing.T) {
	hello := fr(frame{kind: kindHello}, "x")
	call := func(id uint32) []byte { return fr(frame{kind: kindCall, caller: true, id: id}, "\x04hang") }
	huge := make([]byte, headerSize)
	frame{kind: kindReply, length: 1 << 30}.put(huge)
	credit := fr(frame{kind: kindCredit, id: 1, caller: true}, string(binary.BigEndian.AppendUint32(nil, 1<<31)))
	data := func(n int) []byte {
		return fr(frame{kind: kindData, id: 1, caller: true}, strings.Repeat("d", n))
	}
	hang := map[string]Handler{"hang": func(ctx context.Context, _ *Call) ([]byte, error) { <-ctx.Done(); return nil, nil }}
	for _, tc := range []struct {
		name, want string
		in         []byte
	}{
		{"nothing", "EOF", nil},
		{"text", `"exec format error\n"`, []byte("exec format error\n")},
		{"other version", "does not speak it", []byte("SLIPWAY9")},
		{"half a magic", "unexpected EOF", []byte("SLIP")},
		{"no greeting", "greeting out of place", frames(call(1))},
		{"two greetings", "greeting out of place", frames(hello, hello)},
		{"huge greeting", "at most 100", frames(fr(frame{kind: kindHello}, strings.Repeat("x", 101)))},
		{"huge reply", "at most 100", frames(hello, huge)},
		{"unknown frame", "unknown frame", frames(hello, fr(frame{kind: 99}, ""))},
		{"unknown stream", "stream 7", frames(hello, fr(frame{kind: kindData, stream: 7}, "x"))},
		{"reply to nobody", "EOF", frames(hello, fr(frame{kind: kindReply, id: 77}, "x"), fr(frame{kind: kindData, id: 78}, "x"))},
		{"call without method", "without a method", frames(hello, fr(frame{kind: kindCall, caller: true}, "\xffabc"))},
		{"same call twice", "under way already", frames(hello, call(1), call(1))},
		{"too many calls", "more than 2 calls", frames(hello, call(1), call(2), call(3))},
		{"credit never sent", "never sent", frames(hello, call(1), credit)},
		{"memory", "wait to be read", frames(hello, call(1), data(600), data(600))},
		{"data after end", "after the end", frames(hello, call(1), fr(frame{kind: kindEnd, caller: true, id: 1}, ""), data(1))},
		{"cut in a frame", "unexpected EOF", frames(hello, call(1)[:14])},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := raw(t, tc.in, hang); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestContextEndsConnection(t *testing.T) {
	r, _ := osPipe(t)
	_, w := osPipe(t)
	why := errors.New("out of time")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if _, _, err := Open(ctx, r, w, nil, Options{Limits: testLimits}); err != why {
		t.Errorf("a peer that never greets: %v", err)
	}
}

// FuzzFrame feeds a connection what a compromised helper may send: it must end with an error or with the stream, and
// keep no more than its limits.
func FuzzFrame(f *testing.F) {
	hello := fr(frame{kind: kindHello}, "hi")
	f.Add([]byte{})
	f.Add([]byte("exec format error"))
	f.Add(frames(hello, fr(frame{kind: kindCall, caller: true, id: 1}, "\x04readbody"), fr(frame{kind: kindData, caller: true, id: 1}, "data"), fr(frame{kind: kindCancel, caller: true, id: 1}, "")))
	f.Add(frames(hello, fr(frame{kind: kindReply, id: 1}, "{}"), fr(frame{kind: kindFail, id: 1}, "no")))
	f.Add(frames(hello, fr(frame{kind: kindData, id: 1}, "out"), fr(frame{kind: kindEnd, id: 1}, ""), fr(frame{kind: kindCredit, id: 1}, "\x00\x00\x00\x01")))
	f.Fuzz(func(t *testing.T, input []byte) {
		read := func(_ context.Context, call *Call) ([]byte, error) {
			_, err := io.Copy(io.Discard, call.Reader(0))
			return nil, err
		}
		lim := Limits{Hello: 1 << 10, Call: 1 << 10, Reply: 1 << 10, Calls: 4, Memory: 1 << 16}
		c, _, err := Open(t.Context(), bytes.NewReader(input), nopWriteCloser{io.Discard}, nil, Options{Limits: lim, Handle: map[string]Handler{"read": read}})
		if err != nil {
			return
		}
		if call, err := c.Start("x", nil); err == nil {
			_, _ = io.Copy(io.Discard, call.Reader(0))
			_, _ = call.Wait(t.Context())
		}
		<-c.Done()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

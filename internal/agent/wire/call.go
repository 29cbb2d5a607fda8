package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

var (
	errCallOver  = errors.New("the call is over")
	errCancelled = errors.New("cancelled by the caller")
)

// A Call is one call under way, on either side. Each side may write Streams streams of bytes to the other; a stream
// that nobody reads stops its writer after Window bytes and no one else.
type Call struct {
	Method string // what the caller asked for; empty on the caller's side
	Body   []byte // the request; empty on the caller's side

	c    *Conn
	id   uint32
	mine bool // we made it

	mu     sync.Mutex
	cond   *sync.Cond
	in     [Streams]inbox
	window [Streams]int // how much we may send
	over   bool
	reply  []byte
	err    error
	done   chan struct{}
	cancel context.CancelCauseFunc // of the handler
	gone   bool                    // cancelled before the handler had set cancel
}

// An inbox is what arrived on one stream and was not read yet.
type inbox struct {
	buf   bytes.Buffer
	room  int // how much more the peer may send
	read  int // read since the last credit
	ended bool
}

func newCall(c *Conn, id uint32, mine bool) *Call {
	call := &Call{c: c, id: id, mine: mine, done: make(chan struct{})}
	call.cond = sync.NewCond(&call.mu)
	for i := range call.in {
		call.in[i].room, call.window[i] = Window, Window
	}
	return call
}

// Start sends a call and returns at once; the caller must Wait for it.
func (c *Conn) Start(method string, body []byte) (*Call, error) {
	if len(method) > 255 {
		return nil, fmt.Errorf("method name of %d bytes", len(method))
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, fmt.Errorf("connection lost: %w", c.err)
	}
	c.nextID++
	call := newCall(c, c.nextID, true)
	c.out[call.id] = call
	c.mu.Unlock()
	b := make([]byte, 0, 1+len(method)+len(body))
	b = append(append(append(b, byte(len(method))), method...), body...)
	if err := c.send(frame{kind: kindCall, caller: true, id: call.id}, b); err != nil {
		return nil, c.broken(fmt.Errorf("send %s: %w", method, err))
	}
	return call, nil
}

// Call makes a call that uses no streams and waits for its answer.
func (c *Conn) Call(ctx context.Context, method string, body []byte) ([]byte, error) {
	call, err := c.Start(method, body)
	if err != nil {
		return nil, err
	}
	return call.Wait(ctx)
}

// Wait returns the answer. When ctx ends it cancels the call and gives the peer a moment to say that it has stopped;
// the error is then ctx's, beside the answer if there is one. After Wait the streams from the peer hold what has arrived and then end.
func (call *Call) Wait(ctx context.Context) ([]byte, error) {
	select {
	case <-call.done:
		return call.reply, call.err
	case <-ctx.Done():
	}
	// Not in this goroutine: a peer that reads nothing must not hold up our own end.
	go func() { _ = call.c.send(frame{kind: kindCancel, caller: true, id: call.id}, nil) }()
	wait, stop := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer stop()
	select {
	case <-call.done:
		return call.reply, context.Cause(ctx)
	case <-wait.Done():
		call.c.mu.Lock()
		delete(call.c.out, call.id)
		call.c.mu.Unlock()
		call.end(nil, context.Cause(ctx))
	}
	return nil, context.Cause(ctx)
}

// end finishes the call: streams from the peer end after what has arrived, writers stop.
func (call *Call) end(reply []byte, err error) {
	call.mu.Lock()
	defer call.mu.Unlock()
	if call.over {
		return
	}
	call.over, call.reply, call.err = true, reply, err
	if !call.mine {
		for i := range call.in {
			call.c.held.Add(-int64(call.in[i].buf.Len()))
			call.in[i].buf = bytes.Buffer{}
		}
	}
	close(call.done)
	call.cond.Broadcast()
}

func (call *Call) setCancel(cancel context.CancelCauseFunc) {
	call.mu.Lock()
	defer call.mu.Unlock()
	call.cancel = cancel
	if call.gone {
		cancel(errCancelled)
	}
}

func (call *Call) cancelled() {
	call.mu.Lock()
	defer call.mu.Unlock()
	call.gone = true
	if call.cancel != nil {
		call.cancel(errCancelled)
	}
	call.cond.Broadcast()
}

func (call *Call) feed(stream uint8, b []byte) error {
	call.mu.Lock()
	defer call.mu.Unlock()
	in := &call.in[stream]
	switch {
	case call.over:
		return nil
	case in.ended:
		return violation("data after the end of a stream")
	case len(b) > in.room:
		return violation("stream over its window of %d bytes", Window)
	}
	if err := call.c.hold(len(b)); err != nil {
		return err
	}
	in.room -= len(b)
	in.buf.Write(b)
	call.cond.Broadcast()
	return nil
}

func (call *Call) feedEnd(stream uint8) {
	call.mu.Lock()
	defer call.mu.Unlock()
	call.in[stream].ended = true
	call.cond.Broadcast()
}

func (call *Call) credit(stream uint8, b []byte) error {
	n := binary.BigEndian.Uint32(b)
	call.mu.Lock()
	defer call.mu.Unlock()
	if uint64(n) > Window || call.window[stream]+int(n) > Window {
		return violation("credit of %d bytes that were never sent", n)
	}
	call.window[stream] += int(n)
	call.cond.Broadcast()
	return nil
}

// Reader reads what the peer writes on stream. It ends with io.EOF when the peer ended the stream or replied, and
// with an error when the call was cancelled or the connection was lost before that. One goroutine reads a stream at a
// time, and who wants the rest of a call to go on reads a stream to its end.
func (call *Call) Reader(stream int) io.Reader { return reader{call, stream} }

type reader struct {
	call   *Call
	stream int
}

func (r reader) Read(p []byte) (int, error) {
	call, in := r.call, &r.call.in[r.stream]
	if len(p) == 0 {
		return 0, nil
	}
	call.mu.Lock()
	for in.buf.Len() == 0 && !in.ended && !call.over && !call.gone {
		call.cond.Wait()
	}
	n, _ := in.buf.Read(p)
	call.c.held.Add(-int64(n))
	in.read += n
	credit := 0
	if in.read >= Window/2 && !call.over {
		credit, in.read = in.read, 0
		in.room += credit
	}
	err := call.readError(in, n)
	call.mu.Unlock()
	if credit > 0 {
		call.sendCredit(r.stream, credit)
	}
	return n, err
}

func (call *Call) readError(in *inbox, n int) error {
	switch {
	case n > 0:
		return nil
	case in.ended:
		return io.EOF
	case call.gone:
		return errCancelled
	case call.err != nil && !call.mine:
		return call.err
	}
	return io.EOF // the answer ended the stream; what went wrong is Wait's to tell
}

func (call *Call) sendCredit(stream, n int) {
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	if err := call.c.send(frame{kind: kindCredit, caller: call.mine, id: call.id, stream: uint8(stream)}, b); err != nil {
		_ = call.c.broken(err)
	}
}

// Ended reports whether the peer has ended stream. What it wrote before may still be there to be read.
func (call *Call) Ended(stream int) bool {
	call.mu.Lock()
	defer call.mu.Unlock()
	return call.in[stream].ended
}

// Writer writes to the peer's reader of stream. Write waits while the peer is behind by Window bytes, and fails when
// the call is over or cancelled. Close ends the stream; a reply ends all streams of the callee.
func (call *Call) Writer(stream int) io.WriteCloser { return writer{call, stream} }

type writer struct {
	call   *Call
	stream int
}

func (w writer) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n, err := w.reserve(len(p))
		if err != nil {
			return written, err
		}
		if err := w.call.c.send(frame{kind: kindData, caller: w.call.mine, id: w.call.id, stream: uint8(w.stream)}, p[:n]); err != nil {
			return written, w.call.c.broken(err)
		}
		written, p = written+n, p[n:]
	}
	return written, nil
}

// reserve waits until some of n bytes may be sent.
func (w writer) reserve(n int) (int, error) {
	call := w.call
	call.mu.Lock()
	defer call.mu.Unlock()
	for call.window[w.stream] == 0 && !call.over && !call.gone {
		call.cond.Wait()
	}
	switch {
	case call.gone:
		return 0, errCancelled
	case call.over && call.err != nil:
		return 0, call.err
	case call.over:
		return 0, errCallOver
	}
	n = min(n, call.window[w.stream], Chunk)
	call.window[w.stream] -= n
	return n, nil
}

func (w writer) Close() error {
	return w.call.c.send(frame{kind: kindEnd, caller: w.call.mine, id: w.call.id, stream: uint8(w.stream)}, nil)
}

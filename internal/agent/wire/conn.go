package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A Handler answers one call of the peer. It may read and write the call's streams; it must have returned from both
// when it returns. An error goes to the peer through Options.Encode.
type Handler func(ctx context.Context, call *Call) (reply []byte, err error)

// Options make one end of a connection.
type Options struct {
	Limits Limits
	Handle map[string]Handler      // by name of the method
	Encode func(error) []byte      // an error for the peer; nil sends its text
	Decode func(body []byte) error // an error of the peer; nil takes it as text
}

// ErrClosed is the cause when this end closed the connection.
var ErrClosed = errors.New("connection closed")

// grace is how long a cancelled call waits for the peer to say that it has stopped.
const grace = time.Second

// A Conn is one end of a connection. All methods are safe for concurrent use.
type Conn struct {
	r    *bufio.Reader
	src  io.Reader
	w    io.WriteCloser
	opts Options

	wmu  sync.Mutex
	wbuf [headerSize + Chunk]byte

	mu     sync.Mutex
	err    error
	nextID uint32
	out    map[uint32]*Call
	in     map[uint32]*Call
	held   atomic.Int64 // bytes that the peer made us keep

	ctx    context.Context // ends with the connection; parent of every handler's
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // reader and handlers
}

// Open sends greeting, waits for the peer's and starts to serve. ctx bounds this exchange only: the connection lives
// until its Close, because to clean up after a cancelled build is among its uses. Open closes it where it fails.
func Open(ctx context.Context, r io.Reader, w io.WriteCloser, greeting []byte, opts Options) (*Conn, []byte, error) {
	c := &Conn{r: bufio.NewReaderSize(r, 64<<10), src: r, w: w, opts: opts, out: map[uint32]*Call{}, in: map[uint32]*Call{}}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	hello, greeted := make(chan []byte, 1), make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	c.wg.Go(func() { c.fail(c.read(hello)) })
	c.wg.Go(func() { // a peer that does not read must not keep us here
		if err := c.greet(greeting); err != nil {
			_ = c.broken(fmt.Errorf("send greeting: %w", err))
		}
		close(greeted)
	})
	var theirs []byte
	select {
	case theirs = <-hello:
	case <-c.ctx.Done():
		select {
		case theirs = <-hello: // greeted and gone: that is for later to find
		default:
		}
	}
	opened := theirs != nil && (first(greeted, c.ctx.Done()) || errors.Is(c.Err(), io.EOF))
	if !unwatch() { // ctx ended in this moment: nobody gets a connection that is about to fail
		c.fail(context.Cause(ctx))
		opened = false
	}
	if opened {
		return c, theirs, nil // a peer that said hello and goodbye at once is Err's to tell
	}
	_ = c.hangUp()
	return nil, nil, c.Err()
}

// first waits for a or b and reports whether a is there.
func first(a, b <-chan struct{}) bool {
	select {
	case <-a:
		return true
	case <-b:
	}
	select {
	case <-a:
		return true
	default:
		return false
	}
}

func (c *Conn) greet(greeting []byte) error {
	c.wmu.Lock()
	_, err := io.WriteString(c.w, Magic)
	c.wmu.Unlock()
	if err != nil {
		return err
	}
	return c.send(frame{kind: kindHello}, greeting)
}

// Done is closed when the connection has ended; Err then says why.
func (c *Conn) Done() <-chan struct{} { return c.ctx.Done() }

// Err is why the connection ended, nil while it stands. io.EOF: the peer closed its end.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection: calls of both sides fail with ErrClosed, handlers' contexts end. It waits for handlers
// and for the reader; for the latter only a moment where the stream cannot be closed (it then ends with the peer).
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	return c.hangUp()
}

func (c *Conn) hangUp() error {
	err := c.w.Close()
	if rc, ok := c.src.(io.Closer); ok {
		_ = rc.Close() // may be the same thing as w
	}
	ended := make(chan struct{})
	go func() { c.wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * grace):
	}
	return err
}

// fail ends the connection with err, once.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	calls := make([]*Call, 0, len(c.out)+len(c.in))
	for _, call := range c.out {
		calls = append(calls, call)
	}
	for _, call := range c.in {
		calls = append(calls, call)
	}
	c.out, c.in = nil, nil
	c.mu.Unlock()
	c.cancel(err)
	for _, call := range calls {
		call.end(nil, fmt.Errorf("connection lost: %w", err))
	}
}

// broken ends the connection because a write failed. What the peer said last, or that it is gone, tells more than the
// failed write does, so the reader has a moment to find it.
func (c *Conn) broken(err error) error {
	select {
	case <-c.ctx.Done():
	case <-time.After(grace):
		c.fail(err)
	}
	return fmt.Errorf("connection lost: %w", c.Err())
}

// send writes one frame. Bodies of any size that the peer accepts go out in one piece.
func (c *Conn) send(f frame, body []byte) error {
	f.length = len(body)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	f.put(c.wbuf[:])
	n := headerSize + copy(c.wbuf[headerSize:], body)
	if _, err := c.w.Write(c.wbuf[:n]); err != nil {
		return err
	}
	if rest := body[n-headerSize:]; len(rest) > 0 {
		_, err := c.w.Write(rest)
		return err
	}
	return nil
}

// read serves the peer's frames until the stream ends. It never writes and never waits for a consumer, so two ends
// that both have much to say cannot block each other.
func (c *Conn) read(hello chan<- []byte) error {
	if err := c.readMagic(); err != nil {
		return err
	}
	scratch := make([]byte, Chunk)
	greeted := false
	for {
		f, err := readHeader(c.r, c.opts.Limits)
		if err != nil {
			return err
		}
		if greeted == (f.kind == kindHello) {
			return violation("greeting out of place")
		}
		switch f.kind {
		case kindHello:
			b, err := c.body(f)
			if err != nil {
				return err
			}
			greeted = true
			hello <- b
		case kindCall:
			err = c.accept(f)
		case kindReply, kindFail:
			err = c.answer(f)
		default:
			b := scratch[:f.length]
			if _, err := io.ReadFull(c.r, b); err != nil {
				return midFrame(err)
			}
			err = c.deliver(f, b)
		}
		if err != nil {
			return err
		}
	}
}

func (c *Conn) readMagic() error {
	b, err := c.r.Peek(len(Magic))
	if string(b) == Magic {
		_, err = c.r.Discard(len(Magic))
		return err
	}
	if err != nil && len(b) == 0 {
		return err
	}
	for i := range b {
		if b[i] != Magic[i] {
			text, _ := c.r.Peek(c.r.Buffered()) // what came in one piece is enough to recognise a message by
			return violation("the other end does not speak it, it says %q", text[:min(len(text), 160)])
		}
	}
	return midFrame(err)
}

func midFrame(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *Conn) body(f frame) ([]byte, error) {
	b := make([]byte, f.length)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, midFrame(err)
	}
	return b, nil
}

// hold counts n more bytes that the peer makes us keep.
func (c *Conn) hold(n int) error {
	if c.held.Add(int64(n)) > int64(c.opts.Limits.Memory) && n > 0 {
		return violation("more than %d bytes wait to be read", c.opts.Limits.Memory)
	}
	return nil
}

// accept starts the handler of a call of the peer.
func (c *Conn) accept(f frame) error {
	if !f.caller {
		return violation("a call from the wrong side")
	}
	if err := c.hold(f.length); err != nil {
		return err
	}
	b, err := c.body(f)
	if err != nil {
		return err
	}
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return violation("a call without a method")
	}
	call := newCall(c, f.id, false)
	call.Method, call.Body = string(b[1:1+b[0]]), b[1+b[0]:]
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.in[f.id] != nil:
		return violation("call %d is under way already", f.id)
	case len(c.in) >= c.opts.Limits.Calls:
		return violation("more than %d calls at once", c.opts.Limits.Calls)
	}
	c.in[f.id] = call
	c.wg.Go(func() { c.handle(call, f.length) })
	return nil
}

func (c *Conn) handle(call *Call, size int) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	call.setCancel(cancel)
	var reply []byte
	var err error
	if h := c.opts.Handle[call.Method]; h != nil {
		reply, err = h(ctx, call)
	} else {
		err = fmt.Errorf("there is no method %q", call.Method)
	}
	c.mu.Lock()
	delete(c.in, call.id)
	c.mu.Unlock()
	call.end(nil, errCallOver)
	c.held.Add(-int64(size))
	if c.ctx.Err() != nil {
		return // nobody there to hear it
	}
	f, body := frame{kind: kindReply, id: call.id}, reply
	if err != nil {
		f.kind, body = kindFail, c.encode(err)
	}
	if err := c.send(f, body); err != nil {
		_ = c.broken(fmt.Errorf("send answer: %w", err))
	}
}

func (c *Conn) encode(err error) []byte {
	if c.opts.Encode != nil {
		return c.opts.Encode(err)
	}
	return []byte(err.Error())
}

// answer takes the peer's reply to a call of ours. Answers to calls that nobody waits for any more are dropped.
func (c *Conn) answer(f frame) error {
	if f.caller {
		return violation("an answer from the wrong side")
	}
	c.mu.Lock()
	call := c.out[f.id]
	delete(c.out, f.id)
	c.mu.Unlock()
	if call == nil {
		_, err := c.r.Discard(f.length)
		return midFrame(err)
	}
	b, err := c.body(f)
	if err != nil {
		call.end(nil, fmt.Errorf("connection lost: %w", err))
		return err
	}
	switch {
	case f.kind == kindReply:
		call.end(b, nil)
	case c.opts.Decode != nil:
		call.end(nil, c.opts.Decode(b))
	default:
		call.end(nil, errors.New(string(b)))
	}
	return nil
}

// deliver hands data, its end, credit or cancellation to the call it belongs to; unknown calls are over: ignored.
func (c *Conn) deliver(f frame, b []byte) error {
	c.mu.Lock()
	calls := c.in
	if !f.caller {
		calls = c.out
	}
	call := calls[f.id]
	c.mu.Unlock()
	if call == nil {
		return nil
	}
	switch f.kind {
	case kindData:
		return call.feed(f.stream, b)
	case kindEnd:
		call.feedEnd(f.stream)
	case kindCredit:
		return call.credit(f.stream, b)
	case kindCancel:
		if !f.caller {
			return violation("cancellation from the wrong side")
		}
		call.cancelled()
	}
	return nil
}

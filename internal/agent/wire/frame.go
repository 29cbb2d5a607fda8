// Package wire is the protocol between the slipway process and its two helpers: calls in both directions over one
// byte stream each way, any number side by side, each with its own flow-controlled data streams. It knows nothing of
// builds. What the other end sends is never trusted: every length, count and window is capped, and a peer that breaks
// a rule ends the connection with an error that says which rule.
package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Magic opens the stream in both directions. It tells a helper of another version, or a program that is no helper
// at all, from a broken connection. The digit is the protocol's version.
const Magic = "SLIPWAY1"

// Chunk is the largest data frame. It is small enough that no stream holds up the others for long.
const Chunk = 32 << 10

// Window is how much a sender may have under way on one stream before the receiver has read it.
const Window = 256 << 10

// Streams is how many data streams a call has in each direction.
const Streams = 2

type kind uint8

const (
	kindHello  kind = iota + 1 // body: the role's own greeting
	kindCall                   // body: length of the method's name, the name, the request
	kindReply                  // body: the answer
	kindFail                   // body: the error, in the form the roles agree on
	kindData                   // bytes of one stream
	kindEnd                    // no more bytes on this stream
	kindCredit                 // body: 4 bytes, how many bytes of a stream were read
	kindCancel                 // the caller lost interest; the callee still replies
	kindLast
)

// A frame is a header of 12 bytes and a body:
//
//	kind, stream, side (1: sent by the one who made the call), 0, call id (4 bytes), length of the body (4 bytes)
type frame struct {
	kind   kind
	stream uint8
	caller bool
	id     uint32
	length int
}

const headerSize = 12

func (f frame) put(b []byte) {
	b[0], b[1], b[2], b[3] = byte(f.kind), f.stream, 0, 0
	if f.caller {
		b[2] = 1
	}
	binary.BigEndian.PutUint32(b[4:], f.id)
	binary.BigEndian.PutUint32(b[8:], uint32(f.length))
}

// A Violation is a rule of the protocol that the other end broke: it is broken, hostile or of another version.
type Violation struct{ What string }

func (v *Violation) Error() string { return "protocol violation: " + v.What }

func violation(format string, args ...any) error {
	return &Violation{What: fmt.Sprintf(format, args...)}
}

// Limits caps what is accepted from the other end. The zero value accepts nothing.
type Limits struct {
	Hello  int // bytes of the greeting
	Call   int // bytes of one request
	Reply  int // bytes of one answer or error
	Calls  int // requests that may be under way at once
	Memory int // bytes of requests and of unread stream data, all together
}

// readHeader reads one header and checks it against the limits, before anything is allocated for the body.
func readHeader(r io.Reader, lim Limits) (frame, error) {
	var b [headerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: kind(b[0]), stream: b[1], caller: b[2] == 1, id: binary.BigEndian.Uint32(b[4:])}
	n := binary.BigEndian.Uint32(b[8:])
	if f.kind == 0 || f.kind >= kindLast || b[2] > 1 || b[3] != 0 {
		return frame{}, violation("unknown frame %x", b[:4])
	}
	most := 0
	switch f.kind {
	case kindHello:
		most = lim.Hello
	case kindCall:
		most = lim.Call
	case kindReply, kindFail:
		most = lim.Reply
	case kindData:
		most = Chunk
	case kindCredit:
		most = 4
	}
	switch {
	case uint64(n) > uint64(most):
		return frame{}, violation("frame of kind %d with %d bytes, at most %d are allowed", f.kind, n, most)
	case f.stream >= Streams:
		return frame{}, violation("stream %d of a call, there are %d", f.stream, Streams)
	case f.kind == kindCredit && n != 4, f.kind == kindData && n == 0:
		return frame{}, violation("frame of kind %d with %d bytes", f.kind, n)
	}
	f.length = int(n)
	return f, nil
}

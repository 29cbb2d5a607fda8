package web

import (
	"io"
	"net/http"
	"time"

	"github.com/slipway-build/slipway/internal/limit"
)

// piece is how much is written before the deadline moves on.
const piece = 32 << 10

// An answer is a response whose client must keep reading: what it does not take within stall fails. It is not safe for
// concurrent use.
type answer struct {
	http.ResponseWriter
	rc    *http.ResponseController
	stall time.Duration
	live  bool // every write is sent at once
	begun bool
}

func newAnswer(w http.ResponseWriter, stall time.Duration) *answer {
	return &answer{ResponseWriter: w, rc: http.NewResponseController(w), stall: stall}
}

// Unwrap is http.ResponseController's.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// extend moves the deadline on. Before the first byte of an answer, the server waits for what is left of the request.
func (a *answer) extend() {
	stall := a.stall
	if !a.live {
		stall *= 2
	}
	_ = a.rc.SetWriteDeadline(time.Now().Add(stall)) // not every server can
}

// WriteHeader is http.ResponseWriter's.
func (a *answer) WriteHeader(status int) {
	a.begun = true
	a.extend()
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (n int, err error) {
	a.begun = true
	for len(p) > 0 && err == nil {
		var m int
		a.extend()
		m, err = a.ResponseWriter.Write(p[:min(len(p), piece)])
		n, p = n+m, p[m:]
	}
	if err == nil && a.live {
		err = a.rc.Flush()
	}
	return n, err
}

// finish gives what the server still has to send its time. The server then ends the deadline: whoever has the connection
// next need not know of it.
func (a *answer) finish() { a.extend() }

// A body is what a client sends; it fails when it does not come at its pace. The deadline stands from the beginning and
// after a failure too: the server itself reads what a handler left.
type body struct {
	io.ReadCloser
	rc   *http.ResponseController
	pace limit.Pace
}

func newBody(r *http.Request, rc *http.ResponseController, stall time.Duration) io.ReadCloser {
	if r.ContentLength == 0 {
		return r.Body
	}
	b := &body{r.Body, rc, limit.Pace{Stall: stall}}
	b.extend()
	return b
}

func (b *body) extend() { _ = b.rc.SetReadDeadline(b.pace.Deadline()) } // not every server can

func (b *body) Read(p []byte) (int, error) {
	began := time.Now()
	b.extend()
	n, err := b.ReadCloser.Read(p)
	b.pace.Came(n, began)
	if err == io.EOF {
		_ = b.rc.SetReadDeadline(time.Time{}) // the server reads on, to learn that the client went away
	}
	return n, err
}

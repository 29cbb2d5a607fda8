package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/work"
)

// cutting relays connections to an address and cuts each after some bytes of its answer, the next one after more. It
// counts them.
func cutting(t *testing.T, to string) (url string, count *atomic.Int32) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	count = new(atomic.Int32)
	wg.Go(func() {
		for after := int64(800); ; after += 2000 {
			in, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			wg.Go(func() {
				defer in.Close()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				// The client keeps its last connection, in case it asks again.
				defer context.AfterFunc(t.Context(), func() { _, _ = in.Close(), out.Close() })()
				wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
				_, _ = io.CopyN(in, out, after)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return "http://" + l.Addr().String(), count
}

// TestFollow follows a log while it is written, over connections that break, and wants each byte once.
func TestFollow(t *testing.T) {
	h := newHouse(t)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	direct := h.client(server.URL)
	h.app(direct, "app")
	b := h.build(direct, "app")
	j := h.claim()
	var wg sync.WaitGroup
	var want bytes.Buffer
	wg.Go(func() {
		for i := range 40 {
			text := fmt.Sprintf("line %d \x1b[31mred\x1b[0m \xff\r\n%s", i, strings.Repeat("ü", i))
			want.WriteString(text)
			if _, err := h.service.Log(t.Context(), j.Claim, work.Piece{Text: []byte(text)}); err != nil {
				t.Error(err)
			}
		}
		h.fail(j)
	})
	var got bytes.Buffer
	url, connections := cutting(t, server.Listener.Addr().String())
	state, err := h.client(url).Follow(t.Context(), BuildLog("app", b.ID), 0, &got)
	wg.Wait()
	if state != build.Failed || err != nil || connections.Load() < 3 {
		t.Errorf("%q, %v, over %d connections", state, err, connections.Load())
	}
	// The service has said something before and behind it.
	if !bytes.Contains(got.Bytes(), want.Bytes()) {
		t.Errorf("followed %q, want %q in it", got.Bytes(), want.Bytes())
	}
	var replay bytes.Buffer
	next, err := direct.Log(t.Context(), BuildLog("app", "1"), 0, &replay)
	if err != nil || next != int64(replay.Len()) || !bytes.Equal(replay.Bytes(), got.Bytes()) {
		t.Errorf("replayed %d bytes, %v: %q, followed %q", next, err, replay.Bytes(), got.Bytes())
	}
	replay.Reset()
	if _, err := direct.Log(t.Context(), BuildLog("app", "1"), next-5, &replay); err != nil || !bytes.Equal(replay.Bytes(), got.Bytes()[next-5:]) {
		t.Errorf("the end: %q, %v", replay.Bytes(), err)
	}
	if _, err := direct.Follow(t.Context(), BuildLog("app", "7"), 0, io.Discard); !errors.Is(err, &Error{ID: "not_found"}) {
		t.Errorf("a build that is not there: %v", err)
	}
}

// TestFollowCancelled lets the reader go before the build has ended.
func TestFollowCancelled(t *testing.T) {
	h := newHouse(t)
	c := h.client("")
	h.app(c, "app")
	b := h.build(c, "app")
	j := h.claim()
	_, err := h.service.Log(t.Context(), j.Claim, work.Piece{Text: []byte("hello\n")})
	h.check(err)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = c.Follow(ctx, BuildLog("app", b.ID), 0, writer(func([]byte) error { cancel(enough); return nil }))
	if !errors.Is(err, enough) {
		t.Errorf("cancelled: %v", err)
	}
	full := errors.New("full")
	if _, err := c.Follow(t.Context(), BuildLog("app", b.ID), 0, writer(func([]byte) error { return full })); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
}

// TestFollowNonsense follows what is no log, and does not go on asking for it.
func TestFollowNonsense(t *testing.T) {
	h := newHouse(t)
	c := h.client("")
	for media, text := range map[string]string{"text/html": "<p>log in to this network</p>", "text/event-stream": "data: \"x\"\nid: soon\n\n"} {
		asked := 0
		h.between = func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			asked++
			w.Header().Set("Content-Type", media)
			io.WriteString(w, text)
		}
		if _, err := c.Follow(t.Context(), BuildLog("app", "1"), 0, io.Discard); err == nil || asked != 1 {
			t.Errorf("%s: asked %d times, %v", media, asked, err)
		}
	}
}

type writer func([]byte) error

func (w writer) Write(p []byte) (int, error) { return len(p), w(p) }

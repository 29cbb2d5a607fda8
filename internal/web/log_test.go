package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
)

// follower asks for a log, and returns when it has the header.
func (h *house) follower(url, accept string, headers ...string) *http.Response {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 5*time.Minute)
	h.t.Cleanup(cancel)
	req := must(http.NewRequestWithContext(ctx, "GET", url, nil))(h.t)
	req.Header.Set("Accept", accept)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	res := must(http.DefaultClient.Do(req))(h.t)
	h.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 {
		h.t.Fatalf("%s: %s", url, res.Status)
	}
	return res
}

// eventText is the text of events, and the state at their end.
func eventText(r io.Reader) (text string, state build.State, err error) {
	for e, err := range logs.ReadEvents(r) {
		if err != nil {
			return text, "", err
		}
		if e.State != "" {
			return text, e.State, nil
		}
		text += string(e.Text)
	}
	return text, "", io.ErrUnexpectedEOF
}

// TestLogFollow follows one log by text and by events from many offsets, some of them in the middle of a character,
// while it is written and afterwards: each gets exactly the bytes behind its offset.
func TestLogFollow(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	stream := h.newBuild("shop").str("output_stream_url")
	j := h.claim()
	lines := []string{"-----> \x1b[1mdetect\x1b[0m\n", "grüße \xff\x80 \U0001f680\n", "half a li", "ne\r\n\r\n", "data: x\n\nid: 5\n\n", "end"}
	log := strings.Join(lines, "")
	h.say(j, lines[0])
	offsets := []int{0, 1, 7, 15}
	var wg sync.WaitGroup
	follow := func(offset int) {
		text := h.follower(fmt.Sprintf("%s&offset=%d", stream, offset), "text/plain")
		events := h.follower(stream, "text/event-stream", fmt.Sprintf("Last-Event-ID: %d", offset))
		for name, want := range map[string]string{"X-Accel-Buffering": "no", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			if got := events.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if got := events.Header.Get("Content-Type") + text.Header.Get("Content-Type"); got != "text/event-streamtext/plain; charset=utf-8" {
			t.Errorf("types %s", got)
		}
		wg.Go(func() {
			if got, err := io.ReadAll(text.Body); err != nil || string(got) != log[offset:] {
				t.Errorf("text from %d: %q, %v", offset, got, err)
			}
		})
		wg.Go(func() {
			if got, state, err := eventText(events.Body); err != nil || got != log[offset:] || state != build.Succeeded {
				t.Errorf("events from %d: %q, %s, %v", offset, got, state, err)
			}
		})
	}
	for _, offset := range offsets {
		follow(offset)
	}
	first := h.follower(stream, "text/plain") // the first line comes while the build runs
	got := must(bufio.NewReader(first.Body).ReadString('\n'))(t)
	if got != lines[0] {
		t.Errorf("first line %q", got)
	}
	for _, l := range lines[1:] {
		h.say(j, l)
	}
	h.succeed(j, digest)
	wg.Wait()
	for offset := range len(log) + 1 {
		follow(offset)
		wg.Wait()
	}
	plain := must(io.ReadAll(h.follower(stream+"&plain=true", "text/plain").Body))(t)
	if want := "-----> detect\ngrüße �� \U0001f680\n"; !strings.HasPrefix(string(plain), want) {
		t.Errorf("plain: %q", plain)
	}
}

// TestLogPage reads a log in pages, and asks for what is not there.
func TestLogPage(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	h.newBuild("shop")
	const path = "/apps/shop/builds/1/log"
	r := h.do("GET", path, h.alice, "").want(200)
	if r.text != "" || r.header.Get("Log-State") != "queued" || r.header.Get("Log-Size") != "0" {
		t.Errorf("log of a build that waits: %q %v", r.text, r.header)
	}
	j := h.claim()
	log := strings.Repeat("\x1b[32mgreen\x1b[0m and long\n", 100_000)
	h.say(j, log)
	if r := h.do("GET", path+"?offset=10&limit=5", h.alice, "").want(200); r.text != log[10:15] || r.header.Get("Log-State") != "running" || r.header.Get("Log-Next") != "15" {
		t.Errorf("page: %q %v", r.text, r.header)
	}
	h.succeed(j, digest)
	var got bytes.Buffer
	for at := "0"; ; {
		r := h.do("GET", path+"?offset="+at, h.alice, "").want(200)
		got.WriteString(r.text)
		if at = r.header.Get("Log-Next"); at == r.header.Get("Log-Size") {
			if state := r.header.Get("Log-State"); state != "succeeded" {
				t.Errorf("state %s", state)
			}
			break
		}
		if r.text == "" {
			t.Fatal("an empty page before the end")
		}
	}
	if got.String() != log {
		t.Errorf("the pages are %d bytes, want %d, or others", got.Len(), len(log))
	}
	if r := h.do("GET", path+"?limit=25&plain=1", h.alice, "").want(200); r.text != "green and long\n" {
		t.Errorf("plain: %q", r.text)
	}
	if r := h.do("HEAD", path+"?follow=true", h.alice, "").want(200); r.header.Get("Log-Size") != strconv.Itoa(len(log)) {
		t.Errorf("HEAD: %v", r.header)
	}
	for query, part := range map[string]string{
		"offset=-1": "offset", "offset=x": "offset", "offset=99999999": "offset", "offset=99999999&follow=1": "offset", "limit=-1": "limit", "limit=x": "limit", "follow=maybe": "follow", "plain=2": "plain",
	} {
		h.do("GET", path+"?"+query, h.alice, "").refused(422, "invalid_params", part)
	}
	h.do("GET", path+"?plain=true", h.alice, "", "Accept: text/event-stream").refused(422, "invalid_params", "plain")
	for _, b := range []string{"2", "x", "1x", "-1", "1 OR 1", "99999999999999999999999", string(build.NewID())} {
		h.do("GET", "/apps/shop/builds/"+strings.ReplaceAll(b, " ", "%20")+"/log", h.alice, "").refused(404, "not_found", "")
	}
	id := h.do("GET", "/apps/shop/builds/1", h.alice, "").str("id")
	if err := h.Logs.Remove(build.ID(id)); err != nil {
		t.Fatal(err)
	}
	h.do("GET", path, h.alice, "").refused(404, "not_found", "there is no log of it")
	h.do("GET", path+"?follow=true", h.alice, "").refused(404, "not_found", "there is no log of it")
}

// TestLogStalled has followers that take nothing: they are dropped, and the log's other readers and its writer go on.
func TestLogStalled(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Stall = 300 * time.Millisecond })
	h.newApp("shop")
	stream := h.newBuild("shop").str("output_stream_url")
	j := h.claim()
	for range 10 {
		c := must(net.Dial("tcp", strings.TrimPrefix(h.url, "http://")))(t)
		defer c.Close()
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", strings.TrimPrefix(stream, h.url))
		if _, err := io.ReadFull(c, make([]byte, len("HTTP/1.1 200"))); err != nil { // it follows now, and reads no more
			t.Fatal(err)
		}
	}
	good := h.follower(stream, "text/event-stream")
	text := make(chan string)
	go func() {
		all, state, err := eventText(good.Body)
		if err != nil || state != build.Succeeded {
			t.Errorf("a reader beside those that stall: %s, %v", state, err)
		}
		text <- all
	}()
	log := strings.Repeat(strings.Repeat("x", 1023)+"\n", 2<<10) // more than all buffers between us
	h.say(j, log)
	for deadline := time.Now().Add(time.Minute); h.conns.Load() > 2; { // the service closes them, though their log goes on; a fast one stays, and the client's idle one
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are there: those that stall were kept", h.conns.Load())
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.succeed(j, digest)
	if got := <-text; got != log {
		t.Errorf("the good reader got %d bytes, want %d", len(got), len(log))
	}
}

// TestLogBroken ends the service while a log is followed: the client must not take what it has for the whole.
func TestLogBroken(t *testing.T) {
	h := newHouse(t)
	h.newApp("shop")
	b := h.newBuild("shop")
	h.say(h.claim(), "hello\n")
	res := h.follower(b.str("output_stream_url"), "text/plain")
	body := bufio.NewReader(res.Body)
	if line, err := body.ReadString('\n'); line != "hello\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if err := h.Logs.Remove(build.ID(b.str("id"))); err == nil {
		t.Error("a log that is written was removed")
	}
	h.stop()
	if rest, err := io.ReadAll(body); err == nil {
		t.Errorf("the log seems to have ended with %q", rest)
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/client"
)

// What row S1 is about: so many lines, one every 10 ms, for so many that read them and so many that do not.
const (
	talkLines     = 2000
	talkFollowers = 1000
	talkStalled   = 100
)

// talk says a line every 10 ms, each with the microsecond at which it does. What it sleeps in is bash itself.
var talk = fmt.Sprintf(`
sleep 5
pause=$(mktemp -u)
mkfifo "$pause"
exec {fd}<>"$pause"
rm "$pause"
at=${EPOCHREALTIME/./}
for ((i = 0; i < %d; i++)); do
	at=$((at + 10000))
	left=$((at - ${EPOCHREALTIME/./}))
	if ((left > 0)); then
		printf -v left '%%d.%%06d' $((left / 1000000)) $((left %% 1000000))
		read -rt "$left" -u "$fd" || true
	fi
	echo "line $i @${EPOCHREALTIME/./}@ of a build that says something a hundred times a second"
done
`, talkLines)

// followed has a service build what talks: for one follower, for many, and for many with some that never read.
func followed(ctx context.Context, y *yard) (figures []figure, err error) {
	s, err := y.serve(ctx, 2)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	figures = append(figures, s.resident("serve process, resident, idle")...)
	alone, err := s.timed(ctx, talk, io.Discard)
	if err != nil {
		return nil, err
	}
	figures = append(figures, figure{what: "the build with one follower", Value: alone.Seconds(), Unit: "s"})
	for _, stalled := range []int{0, talkStalled} {
		what := fmt.Sprintf("%d followers", talkFollowers)
		if stalled > 0 {
			what += fmt.Sprintf(" and %d that never read", stalled)
		}
		took, lags, err := s.talk(ctx, stalled)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{what: "the build with " + what, Value: took.Seconds(), Unit: "s"},
			figure{what: "to that with one follower", Value: took.Seconds() / alone.Seconds(), Unit: "x", AtMost: 1.05})
		figures = append(figures, spread("a line's way to "+what, lags, time.Second, 1)...)
	}
	return append(figures, s.resident("serve process, resident, in the end")...), nil
}

// talk runs the build for many, and tells how long it took and how old each line was that a follower got.
func (s *service) talk(ctx context.Context, stalled int) (took time.Duration, lags []time.Duration, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now()
	b, err := s.start(ctx, talk)
	if err != nil {
		return 0, nil, err
	}
	for range stalled {
		c, err := stall(ctx, b.Stream)
		if err != nil {
			return 0, nil, err
		}
		defer c.Close()
	}
	all, errs := make([][]time.Duration, talkFollowers), make([]error, talkFollowers)
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { all[i], errs[i] = follow(ctx, &http.Client{Transport: transport}, b, i%2 == 0) })
	}
	if err := s.wait(ctx, b, io.Discard); err != nil {
		return 0, nil, err
	}
	took = time.Since(began)
	group.Wait()
	for i, l := range all {
		if errs[i] != nil {
			return 0, nil, errs[i] // one tells enough
		}
		lags = append(lags, l...)
	}
	return took, lags, nil
}

// follow reads a build's log to its end, by events or as text, and tells how old its lines were. All of them have to
// come; those that were said before it was let in have no age.
func follow(ctx context.Context, c *http.Client, b client.Build, events bool) (lags []time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.Stream, nil)
	if err != nil {
		return nil, err
	}
	if events {
		req.Header.Set("Accept", "text/event-stream")
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("follow a build: %s", res.Status)
	}
	came, lines := time.Now(), 0
	lags = make([]time.Duration, 0, talkLines)
	r := bufio.NewScanner(res.Body)
	r.Buffer(nil, 1<<20) // an event may be many lines of the log
	for r.Scan() {
		parts := bytes.Split(r.Bytes(), []byte("@"))
		for i := 1; i < len(parts); i += 2 {
			us, err := strconv.ParseInt(string(parts[i]), 10, 64)
			if err != nil {
				break
			}
			lines++
			if said := time.UnixMicro(us); said.After(came) {
				lags = append(lags, time.Since(said))
			}
		}
	}
	least := talkLines
	if events {
		least -= talkLines / 100 // a line that two events share is not seen here
	}
	if err := r.Err(); err != nil || lines < least {
		return nil, fmt.Errorf("a follower (events %v) got %d of %d lines: %v", events, lines, talkLines, err)
	}
	return lags, nil
}

// stall asks for a log and never reads what comes.
func stall(ctx context.Context, stream string) (net.Conn, error) {
	u, err := url.Parse(stream)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", u.RequestURI(), u.Host); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

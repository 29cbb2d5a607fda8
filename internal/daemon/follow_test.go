package daemon_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/logs"
)

// reads is one connection that follows a log from an offset on, as text or as events, and lets it go after some bytes
// if left is not 0. ended tells that the log did.
func (a *app) reads(ctx context.Context, events bool, from, left int) (got []byte, ended build.State, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", a.url+"/apps/"+a.name+"/builds/1/log?follow=true&offset="+strconv.Itoa(from), nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	if events {
		req.Header.Set("Accept", "text/event-stream")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("status %d", res.StatusCode)
	}
	if !events {
		body := io.Reader(res.Body)
		if left > 0 {
			body = io.LimitReader(body, int64(left))
		}
		got, err = io.ReadAll(body)
		if left == 0 {
			ended = build.Succeeded // or the connection would have broken
		}
		return got, ended, err
	}
	for e, err := range logs.ReadEvents(res.Body) {
		if err != nil || e.State != "" {
			return got, e.State, err
		}
		got = append(got, e.Text...)
		if int(e.Offset) != from+len(got) {
			return got, "", fmt.Errorf("an event says it ends at %d, and that is %d", e.Offset, from+len(got))
		}
		if left > 0 && len(got) >= left {
			return got, "", nil
		}
	}
	return got, "", io.ErrUnexpectedEOF
}

// TestFollowers has many follow one build, half of them by events and half as text, from its beginning and later, some
// of them in two connections: each has in the end what there is to be read afterwards, byte for byte.
func TestFollowers(t *testing.T) {
	t.Parallel()
	const followers = 50
	a := common(t).newApp(t, nil)
	id, wait := gate()
	a.commit("build.sh", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo \"before $i →\"; done\n"+wait+
		"for n in 1 2 3 4; do i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo \"after $i \\\"of many\\\"\"; done; sleep 0.1; done\nprintf 'no end'\n")
	g := a.start("push", "slipway", "main")
	g.until("waiting at " + id)
	var all, early sync.WaitGroup
	seen, errs := make([][]byte, followers), make([]error, followers)
	for i := range followers {
		if i%5 > 0 {
			early.Add(1)
		}
		all.Go(func() {
			left := 0
			if i%10 > 7 {
				left = 1000 + 100*i
			}
			got, state, err := a.reads(t.Context(), i%2 == 0, 0, max(left, i%5*100)) // what is there already
			if i%5 > 0 {
				early.Done()
			}
			for err == nil && state == "" {
				var more []byte
				more, state, err = a.reads(t.Context(), i%2 == 0, len(got), 0)
				got = append(got, more...)
			}
			seen[i], errs[i] = got, err
		})
	}
	early.Wait()
	a.letGo(id)
	if out, err := g.end(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	all.Wait()
	whole := a.log(1)
	if !strings.Contains(whole, "[test/script] before 2000 →\n") || strings.Count(whole, "[test/script] after 1500 \"of many\"\n") != 4 || !strings.Contains(whole, "no end\n") {
		t.Fatalf("the log: %.2000s", whole)
	}
	for i := range followers {
		if errs[i] != nil || string(seen[i]) != whole {
			t.Errorf("follower %d: %v; it has %d bytes, the log %d", i, errs[i], len(seen[i]), len(whole))
		}
	}
}

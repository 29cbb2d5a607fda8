package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// meter remembers when it was written to, and takes its time if it is told to.
type meter struct {
	delay time.Duration
	at    []time.Time
	idle  int
	bytes.Buffer
}

func (m *meter) Write(p []byte) (int, error) {
	m.at = append(m.at, time.Now())
	time.Sleep(m.delay)
	return m.Buffer.Write(p)
}

func (m *meter) Idle() error { m.idle++; return nil }

func TestWaking(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d, id := openAt(t, dir), build.NewID()
		w := create(t, d, id, Options{})
		start := time.Now()
		quick, slow := &meter{}, &meter{delay: 700 * time.Millisecond}
		var all sync.WaitGroup
		for _, m := range []*meter{quick, slow} {
			all.Go(func() {
				if state, err := d.Follow(t.Context(), id, 0, m); state != build.Succeeded || err != nil {
					t.Errorf("state %q, %v", state, err)
				}
			})
		}
		time.Sleep(time.Minute)
		for range 400 { // four seconds
			fmt.Fprintln(w, "a line")
			time.Sleep(10 * time.Millisecond)
		}
		end(t, w, build.Succeeded)
		all.Wait()
		if n := len(quick.at); n < 75 || n > 82 {
			t.Errorf("a follower was woken %d times in four seconds", n)
		}
		if first := quick.at[0].Sub(start); first != time.Minute {
			t.Errorf("the first line came after %v", first)
		}
		if n := len(slow.at); n > 8 {
			t.Errorf("a slow follower was written to %d times", n)
		}
		if quick.idle != 3 && quick.idle != 4 {
			t.Errorf("a follower that heard nothing for a minute was told %d times", quick.idle)
		}
		if quick.String() != strings.Repeat("a line\n", 400) || quick.String() != slow.String() {
			t.Errorf("got %d and %d bytes", quick.Len(), slow.Len())
		}
	})
}

func TestFollowerGoesAway(t *testing.T) {
	d, id := open(t), build.NewID()
	w := create(t, d, id, Options{})
	fmt.Fprintln(w, "a line")
	gone := errors.New("the client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	var first firstWrite = make(chan struct{})
	result := make(chan error)
	go func() {
		_, err := d.Follow(ctx, id, 0, first)
		result <- err
	}()
	<-first
	cancel(gone)
	if err := <-result; !errors.Is(err, gone) {
		t.Error(err)
	}
	if _, err := d.Follow(t.Context(), id, 0, brokenPipe{}); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if d.logs[id].users != 1 {
		t.Errorf("%d users of the log", d.logs[id].users)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

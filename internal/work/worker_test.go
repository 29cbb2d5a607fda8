package work

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/platform"
)

// memory is a Service that keeps what it hears.
type memory struct {
	mu     sync.Mutex
	queue  []*Job
	log    map[build.ID]string
	ended  map[build.ID][]Outcome
	order  Order
	beat   error // of Heartbeat
	finish []error
	seen   []Progress
}

func newMemory(jobs ...*Job) *memory {
	return &memory{queue: jobs, log: map[build.ID]string{}, ended: map[build.ID][]Outcome{}}
}

func (m *memory) Claim(context.Context, string) (*Job, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil, nil
	}
	j := m.queue[0]
	m.queue = m.queue[1:]
	return j, nil
}

func (m *memory) Heartbeat(_ context.Context, _ Claim, at Progress) (Order, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, at)
	return m.order, m.beat
}

func (m *memory) Log(_ context.Context, c Claim, p Piece) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log[c.Build] += string(p.Text)
	return false, nil
}

func (m *memory) Finish(_ context.Context, c Claim, o Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.finish) > 0 {
		err := m.finish[0]
		m.finish = m.finish[1:]
		return err
	}
	m.ended[c.Build] = append(m.ended[c.Build], o)
	return nil
}

func (m *memory) outcome(t *testing.T, id build.ID) Outcome {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.ended[id]) != 1 {
		t.Fatalf("build %s ended %d times: %+v", id, len(m.ended[id]), m.ended[id])
	}
	return m.ended[id][0]
}

func job(id string) *Job {
	return &Job{Claim: Claim{Build: build.ID(id), Attempt: 1, Fence: 1}, Image: "localhost:1/app"}
}

// endless is a source that is fetched until somebody stops it.
func endless(ctx context.Context, _ *Job, say func(string)) (string, func(), error) {
	say("fetching")
	<-ctx.Done()
	return "", nil, ctx.Err()
}

func worker(m *memory, sources func(context.Context, *Job, func(string)) (string, func(), error)) *Worker {
	return &Worker{
		Name: "w", Service: m, Slots: 2, Lease: 30 * time.Second, Beat: 2 * time.Second, Poll: time.Minute, Drain: 10 * time.Second, Sources: sources,
	}
}

// start runs w; stop ends it and returns when it has returned.
func start(t *testing.T, w *Worker) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestCancelIsQuick: the next heartbeat brings it, the log says why, and the worker goes on.
func TestCancelIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(job("a"))
		w := worker(m, endless)
		stop := start(t, w)
		time.Sleep(time.Minute)
		m.mu.Lock()
		m.order = Order{Cancel: true, Reason: "alice asked"}
		m.mu.Unlock()
		asked := time.Now()
		for none := true; none && time.Since(asked) < time.Minute; {
			time.Sleep(10 * time.Millisecond)
			m.mu.Lock()
			none = len(m.ended) == 0
			m.mu.Unlock()
		}
		if took := time.Since(asked); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		o := m.outcome(t, "a")
		if o.State != build.Cancelled || o.Failure.Reason != "cancelled: alice asked" {
			t.Errorf("ended %+v, %+v", o, o.Failure)
		}
		if got := m.log["a"]; got != "fetching\nThe build was cancelled: alice asked.\n" {
			t.Errorf("log %q", got)
		}
		m.mu.Lock()
		m.order, m.queue = Order{}, []*Job{job("b")}
		m.mu.Unlock()
		w.Wake()
		time.Sleep(time.Second)
		synctest.Wait()
		if m.log["b"] != "fetching\n" {
			t.Errorf("the next build's log is %q", m.log["b"])
		}
		stop()
		if o := m.outcome(t, "b"); o.State != build.Failed || o.Failure.Blame != build.BlamePlatform || o.Failure.Code != "worker-lost" {
			t.Errorf("a build that was not done when the worker stopped: %+v", o.Failure)
		}
	})
}

// TestStaleIsSilent: one whose claim is over stops, and reports nothing more.
func TestStaleIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(job("a"))
		m.beat = fmt.Errorf("build a: %w", ErrStale)
		stopped := make(chan struct{})
		w := worker(m, func(ctx context.Context, j *Job, say func(string)) (string, func(), error) {
			defer close(stopped)
			return endless(ctx, j, say)
		})
		stop := start(t, w)
		<-stopped
		stop()
		if len(m.ended) != 0 {
			t.Errorf("it reported %v", m.ended)
		}
	})
}

// TestServiceAway: a build goes on while the service is away for less than the lease, and ends when it is away longer.
func TestServiceAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(job("a"))
		var ended time.Time
		w := worker(m, func(ctx context.Context, j *Job, say func(string)) (string, func(), error) {
			defer func() { m.mu.Lock(); defer m.mu.Unlock(); ended = time.Now() }()
			return endless(ctx, j, say)
		})
		faults := 0
		w.Fault = func(error) { m.mu.Lock(); defer m.mu.Unlock(); faults++ }
		set := func(err error) { m.mu.Lock(); defer m.mu.Unlock(); m.beat = err }
		stop := start(t, w)
		set(errors.New("connection refused"))
		time.Sleep(25 * time.Second)
		set(nil)
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if !ended.IsZero() || faults == 0 {
			t.Fatalf("ended at %v, %d faults told", ended, faults)
		}
		set(errors.New("connection refused"))
		away := time.Now()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if gone := ended.Sub(away); gone < 25*time.Second || gone > 40*time.Second {
			t.Errorf("ended after %v", gone)
		}
		if o := m.outcome(t, "a"); o.State != build.Failed || o.Failure.Blame != build.BlamePlatform {
			t.Errorf("ended %+v", o)
		}
		stop()
	})
}

// TestFinishIsRepeated until the service has heard.
func TestFinishIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(job("a"))
		m.finish = []error{errors.New("busy"), errors.New("busy")}
		w := worker(m, func(context.Context, *Job, func(string)) (string, func(), error) {
			return "", nil, &SourceError{Blame: build.BlameApp, Next: "push again", Err: errors.New("no such commit")}
		})
		stop := start(t, w)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		o := m.outcome(t, "a")
		if o.State != build.Failed || o.Failure.Blame != build.BlameApp || o.Failure.Code != "source" || o.Failure.Next != "push again" {
			t.Errorf("ended %+v", o.Failure)
		}
		if want := "ERROR: source: no such commit\nWhat to do: push again\n"; m.log["a"] != want {
			t.Errorf("log %q, want %q", m.log["a"], want)
		}
		stop()
	})
}

// TestSlots: no more builds at once than slots, and all of them in the end.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jobs []*Job
		for i := range 20 {
			jobs = append(jobs, job(fmt.Sprint(i)))
		}
		m := newMemory(jobs...)
		var mu sync.Mutex
		now, most := 0, 0
		w := worker(m, func(ctx context.Context, _ *Job, _ func(string)) (string, func(), error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(3 * time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return "", nil, errors.New("enough")
		})
		w.Slots = 3
		began := time.Now()
		stop := start(t, w)
		time.Sleep(time.Minute)
		stop()
		if len(m.ended) != 20 || most != 3 {
			t.Errorf("%d builds ended after %v, %d at once", len(m.ended), time.Since(began), most)
		}
	})
}

// TestLogPipe: all bytes in order, in few pieces, the first at once; a slow service holds the build up, a broken one
// does not.
func TestLogPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got strings.Builder
		pieces := 0
		l := newLogPipe(t.Context(), func(_ context.Context, p Piece) (bool, error) {
			pieces++
			got.Write(p.Text)
			return false, nil
		})
		l.add([]byte("first\n"))
		synctest.Wait()
		if got.String() != "first\n" {
			t.Errorf("at once there is %q", got.String())
		}
		var want strings.Builder
		want.WriteString("first\n")
		for i := range 10000 {
			s := fmt.Sprintln("line", i)
			want.WriteString(s)
			l.add([]byte(s))
		}
		l.close()
		if got.String() != want.String() || pieces > 10 {
			t.Errorf("%d bytes of %d in %d pieces", got.Len(), want.Len(), pieces)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLogPipe(t.Context(), func(context.Context, Piece) (bool, error) { return false, nil })
		began := time.Now()
		for range 1000 {
			l.add([]byte(strings.Repeat("x", logPiece)))
		}
		l.close()
		if took := time.Since(began); took > 10*logEvery {
			t.Errorf("a service that takes no time held 64 MB up for %v", took) // on the test's own clock
		}
	})
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l := newLogPipe(t.Context(), func(context.Context, Piece) (bool, error) { <-release; return false, nil })
		written := 0
		go func() {
			for range 40 {
				l.add([]byte(strings.Repeat("x", 64<<10)))
				written++
			}
		}()
		synctest.Wait()
		if written < 10 || written > 20 {
			t.Errorf("%d pieces of 64 KiB went ahead", written)
		}
		close(release)
		time.Sleep(time.Minute)
		synctest.Wait()
		if written != 40 {
			t.Errorf("%d written in the end", written)
		}
		l.close()
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLogPipe(t.Context(), func(context.Context, Piece) (bool, error) { return false, errors.New("broken") })
		for range 100 {
			l.add([]byte(strings.Repeat("x", 64<<10)))
		}
		l.close()
	})
}

// TestLogPipeGap: what is left out is told where it was left out, once, and the end of a build waits for it.
func TestLogPipeGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got strings.Builder
		l := newLogPipe(t.Context(), func(_ context.Context, p Piece) (bool, error) {
			got.Write(p.Text)
			if p.Left > 0 {
				fmt.Fprintf(&got, "<%d>", p.Left)
			}
			return got.Len() > logPiece, nil
		})
		long := strings.Repeat("x", 3*logPiece)
		l.add([]byte("a\n"))
		l.skip(7)
		l.skip(0)
		l.add([]byte("b\n"))
		l.add([]byte(long))
		l.skip(8)
		l.skip(9)
		l.add([]byte("c\n"))
		l.close()
		if want := "a\n<7>b\n" + long + "<8><9>c\n"; got.String() != want {
			t.Errorf("%.20q... %q", got.String(), got.String()[max(0, got.Len()-20):])
		}
		if !l.full.Load() {
			t.Error("the pipe does not know that the log is full")
		}
		l.skip(1) // closed: nobody waits
	})
}

// TestOutputSkips: lines that the agent left out count as they would have been written.
func TestOutputSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got strings.Builder
		s := &screen{log: newLogPipe(t.Context(), func(_ context.Context, p Piece) (bool, error) {
			got.Write(p.Text)
			if p.Left > 0 {
				fmt.Fprintf(&got, "<%d>", p.Left)
			}
			return true, nil
		})}
		out, _ := s.Output(platform.PhaseBuild, cnb.Ref{ID: "a/b", Version: "1"})
		w, ok := out.(agent.BoundedWriter)
		if !ok || w.Full() {
			t.Fatalf("%T before anything was written: %v", out, ok && w.Full())
		}
		fmt.Fprint(w, "one\nunfinished")
		synctest.Wait()
		if !w.Full() {
			t.Error("not full")
		}
		w.Skip(100, 10)
		fmt.Fprint(w, "last\n")
		s.log.close()
		if want := "[a/b] one\n[a/b] unfinished\n<160>[a/b] last\n"; got.String() != want {
			t.Errorf("%q, want %q", got.String(), want)
		}
	})
}

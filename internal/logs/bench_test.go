package logs

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

const benchLine = 100 // bytes

// A pace is when each line of a benchmark's log was written.
type pace struct {
	mu sync.Mutex
	at []time.Time
}

// lagging is a follower that notes how old lines are when it has got them, after they were made events.
type lagging struct {
	*Events
	p    *pace
	seen int
	lags []time.Duration
}

func (l *lagging) Write(b []byte) (int, error) {
	n, err := l.Events.Write(b)
	now, lines := time.Now(), int(l.at)/benchLine
	l.p.mu.Lock()
	for ; l.seen < lines; l.seen++ {
		l.lags = append(l.lags, now.Sub(l.p.at[l.seen]))
	}
	l.p.mu.Unlock()
	return n, err
}

// stalled is a follower whose connection takes nothing any more.
type stalled struct{ until chan struct{} }

func (s stalled) Write(p []byte) (int, error) {
	<-s.until
	return 0, io.ErrClosedPipe
}

// BenchmarkFollowers writes 100 lines a second for five seconds, followed by many, and tells how old a line is when a
// follower has it, how much processor time all took, and what a follower costs.
func BenchmarkFollowers(b *testing.B) {
	for _, c := range []struct{ followers, stalled int }{{1000, 0}, {1000, 100}, {10, 100}, {10, 0}} {
		b.Run(fmt.Sprintf("followers=%d/stalled=%d", c.followers, c.stalled), func(b *testing.B) {
			for b.Loop() {
				benchFollowers(b, c.followers, c.stalled, 5*time.Second)
			}
		})
	}
}

func benchFollowers(b *testing.B, followers, stall int, during time.Duration) {
	d, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	id := build.NewID()
	w, err := d.Create(id, Options{Masker: NewMasker("one-secret", "another-secret")})
	if err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	before := memory()
	p, held := &pace{}, stalled{make(chan struct{})}
	quick := make([]*lagging, followers)
	for i := range quick {
		quick[i] = &lagging{Events: NewEvents(io.Discard, 0), p: p, lags: make([]time.Duration, 0, 1000)}
		all.Go(func() { d.Follow(b.Context(), id, 0, quick[i]) })
	}
	for range stall {
		all.Go(func() { d.Follow(b.Context(), id, 0, held) })
	}
	line := []byte(strings.Repeat("x", benchLine-1) + "\n")
	var slowest time.Duration
	cpu, start := processor(), time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for time.Since(start) < during {
		now := <-tick.C
		p.mu.Lock()
		p.at = append(p.at, time.Now())
		p.mu.Unlock()
		w.Write(line)
		slowest = max(slowest, time.Since(now))
	}
	each := (memory() - before) / uint64(followers+stall)
	close(held.until)
	if err := w.Close(build.Succeeded); err != nil {
		b.Fatal(err)
	}
	all.Wait()
	report(b, quick, len(p.at))
	b.ReportMetric(float64(slowest)/1e6, "slowest-write-ms")
	b.ReportMetric(float64(processor()-cpu)/float64(time.Since(start))*100, "%cpu")
	b.ReportMetric(float64(each)/1024, "KiB/follower")
	b.ReportMetric(0, "ns/op")
}

// report tells how old lines were when followers had them.
func report(b *testing.B, quick []*lagging, lines int) {
	var lags []time.Duration
	for _, q := range quick {
		lags = append(lags, q.lags...)
	}
	if len(lags) != len(quick)*lines {
		b.Fatalf("%d lines came, of %d", len(lags), len(quick)*lines)
	}
	slices.Sort(lags)
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	b.ReportMetric(ms(lags[len(lags)/2]), "p50-ms")
	b.ReportMetric(ms(lags[len(lags)*99/100]), "p99-ms")
	b.ReportMetric(ms(lags[len(lags)-1]), "max-ms")
}

func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func processor() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFlood writes 1 GB, which is capped, with nobody or somebody watching.
func BenchmarkFlood(b *testing.B) {
	text := bytes.Repeat([]byte("2026-11-29T23:50:00Z INFO [npm] a line that a program prints in an endless loop, again and again\n"), 330)
	for _, followers := range []int{0, 100} {
		b.Run(fmt.Sprintf("followers=%d", followers), func(b *testing.B) {
			b.SetBytes(1e9)
			for b.Loop() {
				flood(b, text, followers)
			}
		})
	}
}

func flood(b *testing.B, text []byte, followers int) {
	d, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	id := build.NewID()
	secrets := make([]string, 20)
	for i := range secrets {
		secrets[i] = fmt.Sprintf("secret-%x", i*2654435761)
	}
	w, err := d.Create(id, Options{Masker: NewMasker(secrets...)})
	if err != nil {
		b.Fatal(err)
	}
	var all sync.WaitGroup
	for range followers {
		all.Go(func() { d.Follow(b.Context(), id, 0, io.Discard) })
	}
	for n := 0; n < 1e9; n += len(text) {
		w.Write(text)
	}
	if err := w.Close(build.Succeeded); err != nil {
		b.Fatal(err)
	}
	all.Wait()
}

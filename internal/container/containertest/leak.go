package containertest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/container"
)

// leakRuns is 200 where somebody wants to know for sure.
var leakRuns = flag.Int("leak.runs", 20, "containers that the runtimes' suite runs to see that nothing of them stays")

// leaks: many runs, three at once, that end in every way, leave nothing of the machine's: no mount, control group,
// network, directory or open file. What goroutines and containers remain is judged after every test.
func leaks(b *bench) {
	b.want("first", b.spec("exit", "0"), "")
	if err := b.rt.Close(); err != nil {
		b.Error(err)
	}
	before := fds(b.T)
	var mu sync.Mutex
	ids := map[string]bool{}
	next := make(chan int)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range next {
				l := &leak{bench: b, n: i}
				if err := l.run(); err != nil {
					b.Errorf("run %d: %v", i, err)
				}
				mu.Lock()
				ids[l.id] = true
				mu.Unlock()
			}
		})
	}
	for i := range *leakRuns {
		next <- i
	}
	close(next)
	wg.Wait()
	if err := b.rt.Close(); err != nil {
		b.Error(err)
	}
	if after := fds(b.T); after > before {
		b.Errorf("%d open files before, %d after", before, after)
	}
	delete(ids, "") // cancelled before it had one
	for id := range ids {
		if held := b.Held(b.T, id); len(held) > 0 {
			b.Errorf("left of container %s: %q", id, held)
		}
	}
	if len(ids) < *leakRuns*3/4 {
		b.Errorf("of %d runs %d were looked for", *leakRuns, len(ids))
	}
}

// A leak is one of many runs.
type leak struct {
	*bench
	n  int
	id string
}

// run ends in one of five ways.
func (l *leak) run() error {
	ctx, cancel := context.WithCancel(l.Context())
	defer cancel()
	s := l.spec("exit", "0")
	s.Stdin = strings.NewReader("x")
	up := func() {}
	var held []string
	s.Started = func(i container.Info) {
		l.id, held = i.ID, l.Held(l.T, i.ID)
		up()
	}
	switch l.n % 5 {
	case 0:
		return l.rt.Run(ctx, s)
	case 1:
		s.Argv, s.Network.Mode = []string{"/guest", "nurse", "1"}, "bridge"
		return wants[*container.ExitError](l.rt.Run(ctx, s))
	case 2: // at any moment before the start, or surely after it
		s.Argv[1], s.Network.Mode = "sleep", "bridge"
		if l.n%2 == 0 {
			time.AfterFunc(time.Duration(l.n*37%300)*time.Millisecond, cancel)
		} else {
			s.Name = fmt.Sprintf("slipway-leak-%d-%d", os.Getpid(), l.n)
			up = cancel
		}
		if err := l.rt.Run(ctx, s); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("cancelled: got %v", err)
		}
		return nil
	case 3: // what cannot start
		s.Argv[0] = "/absent"
		pr, ok := l.rt.(container.Preparer)
		if !ok {
			return wants[*container.StartError](l.rt.Run(ctx, s))
		}
		p, err := pr.Prepare(ctx, s)
		if err != nil {
			return err
		}
		l.id = p.ID()
		return errors.Join(wants[*container.StartError](p.Run(ctx, s.Streams())), p.Close())
	}
	s.Argv[1], s.Limits.Time = "sleep", 200*time.Millisecond
	err := wants[*container.LimitError](l.rt.Run(ctx, s))
	if len(held) == 0 {
		err = errors.Join(err, errors.New("nothing was seen of it while it ran"))
	}
	return err
}

// wants says what err is where it is not of the type E.
func wants[E error](err error) error {
	if _, ok := errors.AsType[E](err); ok {
		return nil
	}
	return fmt.Errorf("got %v", err)
}

// fds counts this process' open files.
func fds(t *testing.T) int {
	runtime.GC()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// There lists those of paths that are there, as names or as mounts, and the mounts whose line in mountinfo has one of
// parts. It is what Subject.Held is made of.
func There(t testing.TB, paths, parts []string) (out []string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); err == nil {
			out = append(out, p)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if slices.ContainsFunc(parts, func(p string) bool { return p != "" && strings.Contains(line, p) }) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

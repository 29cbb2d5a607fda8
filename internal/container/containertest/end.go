package containertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-build/slipway/internal/container"
)

// memory: the limit kills, and is named.
func memory(b *bench) {
	s := b.spec("eat", "256")
	s.Limits.Memory = 64 << 20
	e, _ := b.ends(s)
	if e.Signal != "SIGKILL" || !e.OutOfMemory || !strings.Contains(e.Error(), "out of memory (its limit is 64 MiB)") {
		b.Errorf("past the limit: %v", e)
	}
	s = b.spec("nurse", "256") // the one killed is not the first process
	s.Limits.Memory = 64 << 20
	if e, out := b.ends(s); e.Code != 7 || !e.OutOfMemory {
		b.Errorf("a child past the limit: %v\n%s", e, out)
	}
	s = b.spec("eat", "16")
	s.Limits.Memory = 64 << 20
	b.want("within the limit", s, "ate 16")
}

// cpu: nobody gets more of the processors than the limit. 200 ms at a tenth of one processor are two seconds; two free
// processors without a limit give them in a tenth of one. The bound lies far from both, because a kernel that is late
// with its accounts lets a burst of several periods through.
func cpu(b *bench) {
	s := b.spec("spin", "200")
	s.Limits.CPUs = 0.1
	out, stderr, err := b.run(s)
	var took int
	if _, scan := fmt.Sscanf(out, "took %d", &took); err != nil || scan != nil || took < 500 {
		b.Errorf("200 ms of processor time: %v, %q %s", err, out, stderr)
	}
}

// pids: a fork bomb ends at the limit.
func pids(b *bench) {
	s := b.spec("forks", "300")
	s.Limits.PIDs, s.Limits.CPUs = 50, 1
	e, out := b.ends(s)
	var made int
	if _, err := fmt.Sscanf(out, "refused after %d", &made); err != nil || e.Code != 3 || made >= 50 {
		b.Errorf("fork bomb: %v, %q", e, out)
	}
}

// wallTime: the limit counts from the start, and is told from a cancel.
func wallTime(b *bench) {
	s := b.spec("sleep")
	s.Limits.Time = 300 * time.Millisecond
	began := time.Now()
	_, _, err := b.run(s)
	e, ok := errors.AsType[*container.LimitError](err)
	if !ok || e.Resource != container.Time || !strings.Contains(err.Error(), "300ms") || errors.Is(err, context.DeadlineExceeded) {
		b.Errorf("got %v", err)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > 10*time.Second {
		b.Errorf("took %s", took)
	}
}

// disk: what is written to mounts and to the container's root counts.
func disk(b *bench) {
	dir := b.dir()
	var seen atomic.Int64
	filled := func(file string) container.Spec {
		s := b.spec("fill", file)
		s.Mounts = []container.Mount{{Source: dir, Target: "/out"}}
		s.Limits.Disk, s.DiskEvery = 5<<20, 20*time.Millisecond
		s.DiskUsage = func(context.Context) (int64, error) { return size(filepath.Join(dir, "x")), nil }
		s.OnDisk = func(n int64) { seen.Store(n) }
		return s
	}
	for _, file := range []string{"/tmp/x", "/out/x"} {
		_, _, err := b.run(filled(file))
		e, ok := errors.AsType[*container.LimitError](err)
		if !ok || e.Resource != container.Disk || e.Used <= 5<<20 || !strings.Contains(err.Error(), "disk limit of 5 MiB") {
			b.Errorf("%s: got %v", file, err)
		}
		if seen.Load() <= 5<<20 {
			b.Errorf("%s: last seen %d", file, seen.Load())
		}
	}
	s := filled("/tmp/x")
	lost := errors.New("cannot look")
	s.DiskUsage = func(context.Context) (int64, error) { return 0, lost }
	if _, _, err := b.run(s); !errors.Is(err, lost) {
		b.Errorf("blind watcher: got %v", err)
	}
}

// tree: when Run returns nothing of the container lives, however it hid.
func tree(b *bench) {
	dir := b.dir()
	daemons := func(file string) container.Spec {
		s := b.spec("daemons", "/out/"+file)
		s.Mounts = []container.Mount{{Source: dir, Target: "/out"}}
		return s
	}
	b.want("daemons", daemons("ended"), "")
	b.quiet(filepath.Join(dir, "ended"))

	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	s := daemons("cancelled")
	s.Argv = []string{"/guest", "beat", "/out/cancelled"}
	s.Started = func(container.Info) { time.AfterFunc(200*time.Millisecond, cancel) }
	if err := b.rt.Run(ctx, s); !errors.Is(err, context.Canceled) {
		b.Errorf("got %v", err)
	}
	b.quiet(filepath.Join(dir, "cancelled"))

	for _, argv := range [][]string{{"bomb", "/out/bomb"}, {"bomb", "/out/bombed", "2000"}} {
		file := filepath.Join(dir, filepath.Base(argv[1]))
		ctx, cancel := context.WithCancel(b.Context())
		s := daemons("")
		s.Argv, s.Limits.PIDs, s.Limits.CPUs = append([]string{"/guest"}, argv...), 60, 1
		if len(argv) == 2 {
			s.Started = func(container.Info) { time.AfterFunc(300*time.Millisecond, cancel) }
		}
		err := b.rt.Run(ctx, s)
		if e, ok := errors.AsType[*container.ExitError](err); (!ok || e.Code != 6 || len(argv) == 2) && !errors.Is(err, context.Canceled) {
			b.Errorf("%q: got %v", argv, err)
		}
		cancel()
		b.quiet(file)
	}
}

// cancel: killed and removed at once, with the cause as the error, whenever it
// comes. The log tells how soon; what fails is a hang, for a machine may be busy.
func cancel(b *bench) {
	cause := errors.New("the user pressed Ctrl-C")
	for _, after := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond, -1} {
		ctx, stop := context.WithCancelCause(b.Context())
		s := b.spec("beat", "/tmp/x")
		s.Stdout = io.Discard
		var at atomic.Int64
		now := func() { at.Store(time.Now().UnixNano()); stop(cause) }
		if after < 0 {
			s.Started = func(container.Info) { time.AfterFunc(300*time.Millisecond, now) }
		} else {
			time.AfterFunc(after, now)
		}
		err := b.rt.Run(ctx, s)
		took := time.Duration(time.Now().UnixNano() - at.Load())
		if !errors.Is(err, cause) {
			b.Errorf("cancel after %s: got %v", after, err)
		}
		if left := b.Left(b.T, b.Name()); len(left) > 0 && took < time.Second { // later it goes in the background
			b.Errorf("cancel after %s: left %v", after, left)
		}
		if took > 20*time.Second {
			b.Errorf("cancel after %s took %s", after, took)
		}
		b.Logf("cancel after %s: gone in %s", after, took.Round(time.Millisecond))
	}
}

// grace: an app may end by itself when cancelled; one that will not is killed.
func grace(b *bench) {
	for _, verb := range []string{"polite", "sleep"} {
		ctx, cancel := context.WithCancel(b.Context())
		s := b.spec(verb)
		s.Grace = 500 * time.Millisecond
		s.Started = func(container.Info) { time.AfterFunc(200*time.Millisecond, cancel) }
		began := time.Now()
		if err := b.rt.Run(ctx, s); !errors.Is(err, context.Canceled) {
			b.Errorf("%s: got %v", verb, err)
		}
		if took := time.Since(began); took > 10*time.Second {
			b.Errorf("%s: took %s", verb, took)
		}
		cancel()
	}
}

// network: ports arrive on the loopback address only, and none is none.
func network(b *bench) {
	if e, _ := b.ends(b.spec("dial", "1.1.1.1:53")); e.Code != 65 {
		b.Errorf("dial without network: %v", e)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 30*time.Second)
	defer cancel()
	s := b.spec("serve", "8080")
	s.Network.Mode = "bridge"
	s.Ports = []container.Port{{Container: 8080}}
	got := make(chan string, 1)
	s.Started = func(i container.Info) {
		go func() {
			defer cancel()
			if len(i.Ports) != 1 || i.Ports[0].Host == 0 || i.Ports[0].HostIP != "127.0.0.1" {
				got <- fmt.Sprintf("ports %+v", i.Ports)
				return
			}
			got <- fetch(ctx, fmt.Sprintf("http://127.0.0.1:%d/", i.Ports[0].Host))
		}()
	}
	if err := b.rt.Run(ctx, s); !errors.Is(err, context.Canceled) {
		b.Errorf("got %v", err)
		return
	}
	if body := <-got; body != "hello from the guest" {
		b.Errorf("got %q", body)
	}
	s = b.spec("read", "/etc/hosts")
	s.Network = container.Network{Mode: "host", ExtraHosts: []string{"mirror.example:192.0.2.7"}}
	if out, _, err := b.run(s); err != nil || !strings.Contains(out, "192.0.2.7") || !strings.Contains(out, "mirror.example") {
		b.Errorf("hosts: %v\n%s", err, out)
	}
}

// fetch asks until the server inside is up.
func fetch(ctx context.Context, url string) string {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err.Error()
		}
		if res, err := c.Do(req); err == nil {
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			return string(body)
		}
		select {
		case <-ctx.Done():
			return ctx.Err().Error()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/client"
)

const crowd = 40

// crowded has a service run many builds at once that sleep.
func crowded(ctx context.Context, y *yard) (figures []figure, err error) {
	s, err := y.serve(ctx, crowd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	idle := s.memory()
	alone, err := s.timed(ctx, "sleep 20\n", io.Discard)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var builds []client.Build
	for range crowd {
		b, err := s.start(ctx, "sleep 20\n")
		if err != nil {
			return nil, err
		}
		builds = append(builds, b)
	}
	most := s.watch(ctx)
	errs := make([]error, crowd)
	var group sync.WaitGroup
	for i, b := range builds {
		group.Go(func() { errs[i] = s.wait(ctx, b, io.Discard) })
	}
	group.Wait()
	took, m := time.Since(began), most()
	return []figure{
		{what: "one build that sleeps 20 s", Value: alone.Seconds(), Unit: "s"},
		{what: fmt.Sprintf("%d of them at once, all succeeded", crowd), Value: took.Seconds(), Unit: "s"},
		{what: "most of them at once", Value: float64(m.agents), Unit: "agents"},
		{what: "serve process, resident, idle", Value: mebi(idle.serve), Unit: "MiB"},
		{what: "serve process, resident, at most", Value: mebi(m.serve), Unit: "MiB", AtMost: 300},
		{what: "the largest child of ours, resident", Value: mebi(m.child), Unit: "MiB", AtMost: 20},
		{what: "  of that not shared with the others (no file)", Value: mebi(m.anon), Unit: "MiB"},
	}, errors.Join(errs...)
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }

// A memory is what the processes of a service have resident: serve itself, the largest of its children that are ours
// too, the most that one of those has besides files, and how many there are in containers.
type memory struct {
	serve, child, anon int64
	agents             int
}

// watch looks at the memory ten times a second until it is asked for the most that was seen.
func (s *service) watch(ctx context.Context) (most func() memory) {
	var m memory
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, 100*time.Millisecond) == nil {
			now := s.memory()
			m = memory{max(m.serve, now.serve), max(m.child, now.child), max(m.anon, now.anon), max(m.agents, now.agents)}
		}
	}()
	return func() memory { stop(); <-done; return m }
}

// memory looks at all processes that descend from the service's.
func (s *service) memory() (m memory) {
	parents := map[int]int{}
	all, _ := filepath.Glob("/proc/[0-9]*") // a good pattern has no error
	for _, at := range all {
		pid, err := strconv.Atoi(filepath.Base(at))
		if parent, ok := status(at, "PPid"); ok && err == nil {
			parents[pid] = int(parent)
		}
	}
	serve := s.cmd.Process.Pid
	m.serve, _ = status(fmt.Sprintf("/proc/%d", serve), "VmRSS")
	for pid := range parents {
		up := parents[pid]
		for up > 1 && up != serve {
			up = parents[up]
		}
		at := fmt.Sprintf("/proc/%d", pid)
		if up != serve || !isOurs(at) {
			continue
		}
		if rss, ok := status(at, "VmRSS"); ok {
			anon, _ := status(at, "RssAnon")
			m.child, m.anon, m.agents = max(m.child, rss), max(m.anon, anon), m.agents+1
		}
	}
	return m
}

// isOurs tells whether a process runs our agent, as collector or in a container, or slipway itself, and no buildpack,
// shell or git.
func isOurs(at string) bool {
	exe, err := os.Readlink(filepath.Join(at, "exe"))
	name := strings.TrimSuffix(filepath.Base(exe), " (deleted)")
	return err == nil && (name == "agent" || strings.HasPrefix(name, "agent-") || name == "slipway")
}

// status reads a number from a process's status, in bytes where it is in kB.
func status(at, key string) (int64, bool) {
	b, err := os.ReadFile(filepath.Join(at, "status"))
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(b) {
		name, value, _ := strings.Cut(string(line), ":")
		if name != key {
			continue
		}
		number, unit, _ := strings.Cut(strings.TrimSpace(value), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if unit == "kB" {
			n *= 1 << 10
		}
		return n, err == nil
	}
	return 0, false
}

func (s *service) resident(what string) []figure {
	return []figure{{what: what, Value: mebi(s.memory().serve), Unit: "MiB"}}
}

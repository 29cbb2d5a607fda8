package daemon_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/daemon"
	"github.com/slipway-build/slipway/internal/killpoint"
)

// serveVariable makes the test binary a service of its own process, which can be killed: JSON of an order.
const serveVariable = "SLIPWAY_TEST_SERVE"

// An order is what such a service is started with.
type order struct{ Yard, Tools, Data, Listen string }

// serveProcess is that process: it prints the token of the first start, or an empty line, once it serves. SIGUSR1 has it
// do its upkeep, SIGTERM ends it. What goes wrong is told on stderr.
func serveProcess(text string) int {
	var o order
	err := json.Unmarshal([]byte(text), &o)
	y := &yard{dir: o.Yard}
	y.tools = testTools(o.Tools)
	var s *server
	if err == nil {
		s, err = y.start(o.Data, func(c *daemon.Config) { c.Listen = o.Listen })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(s.token)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGTERM)
	for sig := range signals {
		if sig == syscall.SIGTERM {
			break
		}
		if err := s.daemon.Tidy(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if err := errors.Join(s.stop(), s.faulty()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A lane is a service in a process of its own that is killed and started again and again, on a data directory and a state
// directory that nobody else uses. The server in it is how clients see it.
type lane struct {
	*server
	process *exec.Cmd
	exited  chan struct{}
	stderr  strings.Builder
	ended   map[string]string // final states that builds have had, by id
	ready   []time.Duration   // of starts
	doom    time.Duration     // after which a process that is started is killed; 0: not
}

// newLane starts nothing. Its state directory is a copy of that of the yard before anybody built there. The process is
// without the race detector, with which it would start for longer than it serves: what the service does at once is raced
// in the tests that have it in their own process.
func newLane(t testing.TB) *lane {
	t.Helper()
	y := copiedYard(t)
	l := &lane{server: &server{yard: y, data: filepath.Join(y.dir, "data")}, ended: map[string]string{}}
	l.url = "http://" + freeAddress(t)
	t.Cleanup(l.kill)
	return l
}

// copiedYard is a yard of one test, with the builder and nothing else.
func copiedYard(t testing.TB) *yard {
	t.Helper()
	from := theYard(t)
	dir := must(os.MkdirTemp("", "slipway-lane-"))(t)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("something is mounted where the services were: %v", err)
		}
	})
	y := &yard{dir: dir, tools: from.tools, binary: from.binary}
	ca := must(os.ReadFile(from.ca()))(t)
	if err := errors.Join(copyDir(from.fresh(), y.state()), os.WriteFile(y.ca(), ca, 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return y
}

// freeAddress is one that the kernel gives to nobody by itself: it stays free while the service is down.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.N(10000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("there is no free port")
	return ""
}

// launch starts the process, to die at a point, if it is not "". It returns when the process serves, or has ended: false.
func (l *lane) launch(t testing.TB, point string) (serves bool) {
	t.Helper()
	began := time.Now()
	text := string(must(json.Marshal(order{l.dir, filepath.Dir(l.tools.Agent), l.data, l.address()}))(t))
	cmd := exec.Command(l.binary)
	cmd.Env = append(os.Environ(), serveVariable+"="+text, killpoint.Variable+"="+point)
	l.stderr.Reset()
	cmd.Stderr = &l.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.process, l.exited = cmd, make(chan struct{})
	if l.doom > 0 {
		time.AfterFunc(l.doom, func() { _ = cmd.Process.Kill() })
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	go func(exited chan struct{}) {
		defer close(exited)
		_ = cmd.Wait()
	}(l.exited)
	if err != nil {
		<-l.exited
		return false
	}
	if token := strings.TrimSpace(line); token != "" {
		l.token = token
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "the service is ready", func() bool {
		res, err := http.Get(l.url + "/readyz")
		if err != nil {
			return l.dead()
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK || l.dead()
	})
	l.ready = append(l.ready, time.Since(began))
	return true
}

// start is launch of a process that must live.
func (l *lane) start(t testing.TB) {
	t.Helper()
	if !l.launch(t, "") || l.dead() {
		t.Fatalf("the service does not start: %s", &l.stderr)
	}
}

func (l *lane) dead() bool {
	select {
	case <-l.exited:
		return true
	default:
		return false
	}
}

// wantKilled waits until the process has ended, and fails the test unless that was by SIGKILL.
func (l *lane) wantKilled(t testing.TB, point string) {
	t.Helper()
	select {
	case <-l.exited:
	case <-time.After(patience):
		l.kill()
		t.Fatalf("the service has not come to %s: %s", point, &l.stderr)
	}
	if status := l.process.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Fatalf("the service has not died at %s: %s: %s", point, l.process.ProcessState, &l.stderr)
	}
}

// kill kills the process, and nothing that it has started.
func (l *lane) kill() {
	if l.process != nil {
		_ = l.process.Process.Kill()
		<-l.exited
	}
}

// stop ends the process gently; it must have had no fault.
func (l *lane) stop(t testing.TB) {
	t.Helper()
	_ = l.process.Process.Signal(syscall.SIGTERM)
	<-l.exited
	if !l.process.ProcessState.Success() {
		t.Errorf("the service ended with %s: %s", l.process.ProcessState, &l.stderr)
	}
}

// A follower follows the log of a build until that ends, or the service does.
type follower struct {
	build string // its path, "" where there was none to follow
	seen  strings.Builder
	over  chan struct{}
}

// follow follows the log of the build of a path, which is there or comes to be while the process lives.
func (l *lane) follow(path string) *follower {
	f := &follower{over: make(chan struct{})}
	url, token, exited := l.url+path+"/log?follow=true", l.token, l.exited
	go func() {
		defer close(f.over)
		for {
			select {
			case <-exited:
				return
			case <-time.After(10 * time.Millisecond):
			}
			req, err := http.NewRequest("GET", url, nil)
			if err != nil {
				return
			}
			req.Header.Set("Authorization", "Bearer "+token)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			if res.StatusCode == http.StatusOK {
				f.build = path
				_, _ = io.Copy(&f.seen, res.Body)
				res.Body.Close()
				return
			}
			res.Body.Close()
		}
	}()
	return f
}

package deploy

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// TestLocal: what is released runs, as nobody with no rights, and a newer one takes its place without a request that
// fails. One that crashes, or does not answer, or answers badly, leaves the one before, and says why.
func TestLocal(t *testing.T) {
	h := newHouse(t)
	h.vars(map[string]string{"KEY": "first-value"})
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up", Time: time.Minute})
	h.release("1", "")
	d := h.deployment(1, build.DeployRunning)
	host, port, err := net.SplitHostPort(strings.TrimPrefix(d.URL, "http://"))
	if err != nil || host != "127.0.0.1" || len(port) != 5 || port[0] != '2' {
		t.Errorf("the URL is %q", d.URL)
	}
	if got := get(t, d.URL+"/"); got != "v1 first-value" {
		t.Errorf("it answers %q", got)
	}
	status := get(t, d.URL+"/status")
	for _, want := range []string{"Uid:\t1234\t1234", "NoNewPrivs:\t1\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("its status lacks %q:\n%s", want, status)
		}
	}
	if log := h.log(d); log != "Starting v1\ntestapp 1 begins\nIt answers: "+d.URL+"\n" {
		t.Errorf("the deployment's log:\n%s", log)
	}

	asking := h.askAllTheTime(d.URL + "/")
	h.vars(map[string]string{"KEY": "second-value"})
	second := h.deployment(2, build.DeployRunning)
	if got := get(t, d.URL+"/"); got != "v1 second-value" || second.URL != d.URL || second.Reason != build.BecauseConfig {
		t.Errorf("it answers %q: %+v", got, second)
	}
	h.release("2", "")
	h.deployment(3, build.DeployRunning)
	if got := get(t, d.URL+"/"); got != "v2 second-value" {
		t.Errorf("it answers %q", got)
	}
	h.deployment(1, build.DeployStopped)
	h.deployment(2, build.DeployStopped)

	h.release("3", "crash")
	bad := h.deployment(4, build.DeployFailed)
	if want := "the process ended with exit code 7 before it answered: no [31msuch table"; bad.Failure != want {
		t.Errorf("why it crashed is told as %q", bad.Failure)
	}
	if log := h.log(bad); !strings.HasSuffix(log, "ERROR: "+bad.Failure+"\n") {
		t.Errorf("the deployment's log:\n%q", log)
	}
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up", Time: 3 * time.Second})
	h.deployment(5, build.DeployFailed) // of the one that crashes
	h.release("4", "mute")
	if bad := h.deployment(6, build.DeployFailed); !strings.HasPrefix(bad.Failure, "it does not answer GET /up within 3s") {
		t.Errorf("why it does not answer is told as %q", bad.Failure)
	}
	h.release("5", "sick")
	if bad := h.deployment(7, build.DeployFailed); bad.Failure != "it answers GET /up with 503 Service Unavailable after 3s: testapp 5 begins" {
		t.Errorf("why it is not well is told as %q", bad.Failure)
	}
	if n, err := asking(); n == 0 || err != nil {
		t.Errorf("%d requests were answered, and then: %v", n, err)
	}
	if got := get(t, d.URL+"/"); got != "v2 second-value" {
		t.Errorf("after all that it answers %q", got)
	}
	h.deployment(3, build.DeployRunning)
}

// askAllTheTime asks until the function that it returns is called, which tells how often that went well, and the first
// error.
func (h *house) askAllTheTime(url string) func() (int, error) {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	n, first := 0, error(nil)
	wg.Go(func() {
		for ctx.Err() == nil && first == nil {
			if text, err := ask(url); err != nil {
				first = err
			} else if !strings.HasPrefix(text, "v") {
				first = errors.New("it answered " + text)
			} else {
				n++
			}
			time.Sleep(time.Millisecond)
		}
	})
	return func() (int, error) { stop(); wg.Wait(); return n, first }
}

// TestTCP: without a path it is enough that something listens, and what does not is found out though the port is open.
func TestTCP(t *testing.T) {
	h := newHouse(t)
	h.deployer(build.Deployer{Kind: build.DeployLocal, Time: time.Second})
	h.release("1", "mute")
	if d := h.deployment(1, build.DeployFailed); !strings.HasPrefix(d.Failure, "nothing listens on the port that PORT names after 1s") {
		t.Errorf("%+v", d)
	}
	h.deployer(build.Deployer{Kind: build.DeployLocal})
	h.deployment(2, build.DeployPending, build.DeployStarting)
	h.release("2", "")
	h.deployment(2, build.DeployStopped) // a newer one came first
	if d := h.deployment(3, build.DeployRunning); get(t, d.URL) != "v2 " {
		t.Errorf("%+v", d)
	}
}

// TestRestarts: a process that has answered and ends is started again, and the port stays.
func TestRestarts(t *testing.T) {
	h := newHouse(t)
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up"})
	h.release("1", "")
	d := h.deployment(1, build.DeployRunning)
	for n := 1; n <= 2; n++ {
		_, _ = ask(d.URL + "/exit")
		eventually(t, "it is started again", func() bool { return h.deployment(1, build.DeployRunning, build.DeployStarting).Restarts == n })
		now := h.deployment(1, build.DeployRunning)
		if got := get(t, now.URL+"/"); got != "v1 " || now.URL != d.URL || now.Failure != "" {
			t.Errorf("it answers %q: %+v", got, now)
		}
	}
	if log := h.printed(1000); strings.Count(log, "testapp 1 begins\n") != 3 || !strings.Contains(log, "slipway: the process ended with exit code 3: testapp 1 begins: it is started again in 10ms\n") {
		t.Errorf("the log:\n%s", log)
	}
}

// TestServiceRestarts: when the service stops nothing runs any more, and when it starts what ran runs again, where it was,
// and what waited comes after it.
func TestServiceRestarts(t *testing.T) {
	h := newHouse(t)
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up"})
	h.release("1", "")
	d := h.deployment(1, build.DeployRunning)
	slow := make(chan string)
	go func() { text, _ := ask(d.URL + "/slow"); slow <- text }()
	h.end()
	<-slow
	if c, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://")); err == nil {
		c.Close()
		t.Error("the port is open though the service does not run")
	}
	h.release("2", "crash")
	h.start()
	h.deployment(2, build.DeployFailed)
	now := h.deployment(1, build.DeployRunning)
	eventually(t, "v1 answers", func() bool { text, err := ask(d.URL + "/"); return err == nil && text == "v1 " })
	if now.URL != d.URL {
		t.Errorf("it was at %s and is at %s", d.URL, now.URL)
	}
	if log := h.printed(1000); !strings.Contains(log, "asked to end\n") {
		t.Errorf("it was not asked to end:\n%s", log)
	}
	h.end()
	taken := must(net.Listen("tcp", strings.TrimPrefix(d.URL, "http://")))(t)
	defer taken.Close()
	h.start()
	d = h.deployment(1, build.DeployStarting)
	eventually(t, "it is told that the port is taken", func() bool {
		return strings.Contains(h.deployment(1, build.DeployStarting).Failure, "taken by another program")
	})
	h.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.faults) == 0 || !strings.Contains(h.faults[0].Error(), "taken by another program") {
		t.Errorf("the operator was told %v", h.faults)
	}
	h.faults = nil
	h.end = func() {}
}

// TestEnd: an app that is deleted, or has another deployer, does not run any more.
func TestEnd(t *testing.T) {
	h := newHouse(t)
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up"})
	h.release("1", "")
	d := h.deployment(1, build.DeployRunning)
	h.deployer(build.Deployer{Kind: build.DeployNone})
	h.deployment(1, build.DeployStopped)
	if _, err := ask(d.URL); err == nil {
		t.Error("it answers though the app has no deployer")
	}
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up"})
	d = h.deployment(2, build.DeployRunning)
	must(h.store.DeleteApp(t.Context(), h.app.ID))(t)
	if err := h.host.End(h.app.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(d.URL); err == nil {
		t.Error("it answers though the app is gone")
	}
	if left := must(os.ReadDir(h.host.o.Dir))(t); len(left) > 0 {
		t.Errorf("%s is left", left[0].Name())
	}
}

// TestLog: what an app prints is bounded, has no secret in it, and can be followed while it is flooded.
func TestLog(t *testing.T) {
	h := newHouse(t)
	if err := h.host.CopyLog(t.Context(), h.app.ID, 1, false, &bytes.Buffer{}); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("the log of an app that never ran: %v", err)
	}
	h.vars(map[string]string{"KEY": "a-secret-of-the-app"})
	h.deployer(build.Deployer{Kind: build.DeployLocal, Path: "/up"})
	h.release("1", "")
	d := h.deployment(1, build.DeployRunning)
	get(t, d.URL+"/say?what=a-secret-of-the-app")
	eventually(t, "it is in the log", func() bool { return strings.HasSuffix(h.printed(1), "[masked]\n") })
	ctx, stop := context.WithCancel(t.Context())
	follow := &told{}
	over := make(chan error)
	go func() { over <- h.host.CopyLog(ctx, h.app.ID, 1, true, follow) }()
	eventually(t, "the last line is followed", func() bool { return follow.String() == "[masked]\n" })
	for range 2 {
		get(t, d.URL+"/flood")
	}
	get(t, d.URL+"/say?what=behind")
	eventually(t, "the flood is over", func() bool { return strings.HasSuffix(follow.String(), "the flood is over\nbehind\n") })
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if log := h.printed(1 << 20); len(log) > maxLog || len(log) < maxLog/2 || !strings.HasSuffix(log, "\nthe flood is over\nbehind\n") {
		t.Errorf("the log has %d bytes", len(log))
	}
	if log := h.printed(2); log != "the flood is over\nbehind\n" {
		t.Errorf("the last two lines: %q", log)
	}
}

type told struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (f *told) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.b.Write(p)
}

func (f *told) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.b.String()
}

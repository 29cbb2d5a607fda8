package daemon_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	stormLength = flag.Duration("storm.length", 2*time.Second, "how long the storm of webhooks is")
	stormRate   = flag.Int("storm.rate", 300, "webhooks a second")
)

// stormConns is how many connections the forges have to the service.
const stormConns = 64

// An acknowledged push.
type acknowledged struct {
	commit string
	took   time.Duration // from when it was due
	told   told
}

// A storm sends pushes at a rate, whatever becomes of the ones before, and keeps what was acknowledged.
type storm struct {
	forge  *forge
	client *http.Client

	mu     sync.Mutex
	all    []acknowledged
	failed []error
}

// one sends a push of a commit that nobody else has, to one of many branches.
func (s *storm) one(t testing.TB, i int, due time.Time) {
	commit := fmt.Sprintf("%040x", i+1)
	req := s.forge.push(t, fmt.Sprintf("storm-%d", i), fmt.Sprintf("refs/heads/branch-%d", i%50), noCommit, commit)
	res, err := s.client.Do(req)
	a := acknowledged{commit: commit}
	if err == nil {
		err = json.NewDecoder(res.Body).Decode(&a.told)
		res.Body.Close()
		if err == nil && (res.StatusCode != http.StatusAccepted || a.told.Build == nil) {
			err = fmt.Errorf("push %d is answered %d: %+v", i, res.StatusCode, a.told)
		}
	}
	a.took = time.Since(due)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = append(s.failed, err)
		return
	}
	s.all = append(s.all, a)
}

// blow sends from first on until it is over, or until the service is gone, and says where it came to.
func (s *storm) blow(t testing.TB, l *lane, first int, length time.Duration) (next int) {
	var flying sync.WaitGroup
	began := time.Now()
	for next = first; !l.dead(); next++ {
		i := next
		due := began.Add(time.Duration(next-first) * time.Second / time.Duration(*stormRate))
		if due.Sub(began) >= length {
			break
		}
		time.Sleep(time.Until(due))
		flying.Go(func() { s.one(t, i, due) })
	}
	flying.Wait()
	return next
}

// TestHookStorm: forges tell of many pushes while every slot builds with all it can, and the service is killed in the
// middle of more of them: none that was acknowledged is lost. -storm.length=60s -v shows how long they waited.
func TestHookStorm(t *testing.T) {
	l := newLane(t)
	l.start(t)
	var busy []*app
	t.Cleanup(func() { // a lane kills its service, which would leave what runs
		for _, b := range busy {
			_, _, _ = b.poke("POST", "/apps/"+b.name+"/builds/1/cancel", "")
		}
		_ = l.process.Process.Signal(syscall.SIGTERM)
		<-l.exited
	})
	for range 3 {
		b := l.newApp(t, nil)
		b.submitScript("echo busy\nwhile :; do :; done\n", false)
		busy = append(busy, b)
	}
	for _, b := range busy {
		eventually(t, "every slot builds", func() bool { return strings.Contains(b.logSoFar(1), "busy") })
	}
	a := l.newApp(t, nil)
	f := &forge{repository: "https://127.0.0.1:1/acme/shop.git", name: "acme/shop"}
	var hook struct{ ID, URL, Secret string }
	a.api("POST", "/hooks", map[string]any{"repository": f.repository, "branches": []string{"**"}}).want(201).into(&hook)
	f.url, f.secret = hook.URL, hook.Secret
	s := &storm{forge: f, client: &http.Client{Transport: &http.Transport{MaxConnsPerHost: stormConns, MaxIdleConnsPerHost: stormConns}, Timeout: time.Minute}}

	next := s.blow(t, l, 0, *stormLength)
	if err := errors.Join(s.failed...); err != nil {
		t.Fatalf("of %d pushes %d were not taken: %.2000s", next, len(s.failed), err)
	}
	took := make([]time.Duration, len(s.all))
	for i, one := range s.all {
		took[i] = one.took
	}
	slices.Sort(took)
	t.Logf("%d pushes in %s, each durable: half of them after %s, 99%% after %s, all after %s", len(took), *stormLength, took[len(took)/2], took[len(took)*99/100], took[len(took)-1])

	killed := make(chan struct{})
	time.AfterFunc(time.Second, func() { l.kill(); close(killed) })
	s.blow(t, l, next, time.Hour) // which the death ends
	<-killed
	t.Logf("%d acknowledged, %d not, when the service died", len(s.all), len(s.failed))
	l.start(t)
	there := a.allBuilds()
	for _, one := range s.all {
		if there[one.told.Build.ID] != one.commit {
			t.Errorf("build %d of commit %s was acknowledged, and is of %q", one.told.Build.Number, one.commit, there[one.told.Build.ID])
		}
	}
	for _, b := range busy {
		b.api("POST", "/builds/1/cancel", nil)
		b.ended(1)
	}
	busy = nil
	a.api("DELETE", "/hooks/"+hook.ID, nil).want(200)
	eventually(t, "nothing waits", func() bool {
		var st struct{ Queued, Running int }
		a.ask(t, "GET", "/status", nil).want(200).into(&st)
		return st.Queued+st.Running == 0
	})
	l.stop(t)
}

// allBuilds are the commits of all builds of an app, by id.
func (a *app) allBuilds() map[string]string {
	a.t.Helper()
	all := map[string]string{}
	for next := "number ..; max=1000"; next != ""; {
		r := a.ask(a.t, "GET", "/apps/"+a.name+"/builds", nil, "Range: "+next)
		if r.status != http.StatusPartialContent {
			r.want(200)
		}
		var page []buildView
		r.into(&page)
		for _, b := range page {
			all[b.ID] = b.Source.Commit
		}
		next = r.header.Get("Next-Range")
	}
	return all
}

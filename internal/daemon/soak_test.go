package daemon_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	soakKills = flag.Int("soak.kills", 3, "how often TestSoak kills the service")
	soakSeed  = flag.Uint64("soak.seed", 0, "what TestSoak's clients do, and when it kills; 0: something new")
)

// The load of a soak.
const (
	soakApps   = 3
	soakRounds = 8  // with one set of apps
	soakMore   = 10 // kills, where no build has succeeded
)

// succeeded tells whether a build did.
func (l *lane) succeeded() bool {
	for _, state := range l.ended {
		if state == "succeeded" {
			return true
		}
	}
	return false
}

// TestSoak kills the service at random times while several clients use it, and after each kill looks whether all that
// was acknowledged is so. One seed has the clients do the same, in the same order; not at the same time.
func TestSoak(t *testing.T) {
	t.Parallel()
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-soak.kills=%d -soak.seed=%d", *soakKills, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := newLane(t)
	l.start(t)
	var clients []*client
	// On a slow machine it may take more kills until a build has come to its end between two of them.
	for kills := 0; kills < *soakKills || kills < *soakKills+soakMore && !l.succeeded(); kills++ {
		if kills%soakRounds == 0 {
			clients = l.newClients(t, seed, kills)
		}
		l.storm(t, clients, time.Duration(50+random.IntN(3000))*time.Millisecond)
		was := l.litter(t)
		if random.IntN(4) == 0 { // and while it starts
			l.doom = time.Duration(1+random.IntN(400)) * time.Millisecond
			l.launch(t, "")
			l.wantKilled(t, "a random time")
			l.doom = 0
		}
		l.start(t)
		l.wantSwept(t, was)
		for _, c := range clients {
			c.wantKept(t, l)
		}
		if t.Failed() {
			t.Fatalf("after kill %d of -soak.kills=%d -soak.seed=%d", kills+1, *soakKills, seed)
		}
	}
	l.stop(t)
	slices.Sort(l.ready)
	ends := map[string]int{}
	for _, state := range l.ended {
		ends[state]++
	}
	t.Logf("%d starts, ready after %s in the middle, at most %s; builds ended: %v", len(l.ready), l.ready[len(l.ready)/2], l.ready[len(l.ready)-1], ends)
	if !l.succeeded() {
		t.Error("no build succeeded: nothing was tried")
	}
}

// A client uses an app by itself, and remembers what it was told.
type client struct {
	*app
	random *rand.Rand

	pushed    string      // the commit that the last push that succeeded had
	sent      []buildView // that were acknowledged
	followers []*follower
	problems  []string
}

// newClients deletes the apps that were, and makes others.
func (l *lane) newClients(t testing.TB, seed uint64, round int) (all []*client) {
	t.Helper()
	var old []struct{ Name string }
	l.ask(t, "GET", "/apps", nil).want(200).into(&old)
	for _, a := range old {
		l.ask(t, "DELETE", "/apps/"+a.Name, nil).want(200)
	}
	for i := range soakApps {
		c := &client{app: l.newApp(t, nil), random: rand.New(rand.NewPCG(seed, uint64(round*soakApps+i+1)))}
		c.commit("build.sh", "echo the first one\n")
		all = append(all, c)
	}
	return all
}

// storm has the clients at it for some time, and kills the service.
func (l *lane) storm(t testing.TB, clients []*client, length time.Duration) {
	t.Helper()
	var all sync.WaitGroup
	for _, c := range clients {
		all.Go(func() {
			for !l.dead() {
				c.step(l)
			}
		})
	}
	time.Sleep(length)
	l.kill()
	all.Wait()
	for _, c := range clients {
		for _, f := range c.followers {
			<-f.over
		}
		for _, p := range c.problems {
			t.Error(p)
		}
		c.problems = nil
	}
}

// step is one thing that a client does. The service may die in it.
func (c *client) step(l *lane) {
	script := fmt.Sprintf("echo %d\nsleep 0.%d\n", c.random.Uint32(), c.random.IntN(10))
	if c.random.IntN(8) == 0 {
		script += "exit 3\n"
	}
	switch n := c.random.IntN(10); {
	case n < 3:
		c.push(script)
	case n < 4:
		c.leave(script, time.Duration(c.random.IntN(1000))*time.Millisecond)
	case n < 8:
		c.submit(l, script)
	default:
		if len(c.sent) > 0 {
			_, _, _ = c.poke("POST", fmt.Sprintf("/apps/%s/builds/%d/cancel", c.name, c.sent[len(c.sent)-1].Number), "")
		}
	}
}

// change commits something new; on the test's goroutine or not, it does not end the test.
func (c *client) change(script string) bool {
	err := writeFiles(c.dir, map[string]string{"build.sh": script})
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "--allow-empty", "-m", "m"}} {
		out, gitErr := "", err
		if err == nil {
			out, gitErr = c.try(args...)
		}
		if err = gitErr; err != nil {
			c.problems = append(c.problems, fmt.Sprintf("git %v: %v %s", args, err, out))
			return false
		}
	}
	return true
}

// push pushes, and remembers what was taken.
func (c *client) push(script string) {
	if !c.change(script) {
		return
	}
	if _, err := c.try("push", "slipway", "main"); err != nil {
		return
	}
	if head, err := c.try("rev-parse", "HEAD"); err == nil {
		c.pushed = strings.TrimSpace(head)
	}
}

// leave pushes, and goes away.
func (c *client) leave(script string, after time.Duration) {
	if !c.change(script) {
		return
	}
	cmd := c.command("push", "slipway", "main")
	if err := cmd.Start(); err != nil {
		c.problems = append(c.problems, err.Error())
		return
	}
	defer time.AfterFunc(after, func() { _ = cmd.Process.Kill() }).Stop()
	_ = cmd.Wait()
}

// submit has the working tree built, and follows the log.
func (c *client) submit(l *lane, script string) {
	var p struct {
		Blob place `json:"source_blob"`
	}
	status, text, err := c.poke("POST", "/sources", "")
	if err != nil || status != 201 || json.Unmarshal([]byte(text), &p) != nil || !c.change(script) {
		return
	}
	source, err := c.command("archive", "--format=tar", "HEAD").Output()
	if err != nil {
		c.problems = append(c.problems, err.Error())
		return
	}
	if status, _, err = c.poke("PUT", p.Blob.Put, string(source)); err != nil || status != 200 {
		return
	}
	status, text, err = c.poke("POST", "/apps/"+c.name+"/builds", fmt.Sprintf(`{"source_blob":{"url":%q}}`, p.Blob.Get))
	var b buildView
	if err != nil || status != 201 || json.Unmarshal([]byte(text), &b) != nil {
		return
	}
	c.sent = append(c.sent, b)
	c.followers = append(c.followers, l.follow(fmt.Sprintf("/apps/%s/builds/%d", c.name, b.Number)))
}

// wantKept: what the client was told is so, and all of the app is whole.
func (c *client) wantKept(t testing.TB, l *lane) {
	t.Helper()
	a := c.in(t)
	l.wantWhole(t, a)
	for _, b := range c.sent {
		if l.ended[b.ID] == "" {
			t.Errorf("build %d of %s was acknowledged, and has not ended once", b.Number, a.name)
		}
	}
	if c.pushed != "" {
		main := a.remote("refs/heads/main")
		if out, err := a.try("merge-base", "--is-ancestor", c.pushed, main); err != nil {
			t.Errorf("the push of %s to %s was taken, and main is at %q: %s", c.pushed, a.name, main, out)
		}
	}
	for _, f := range c.followers {
		if f.build == "" {
			continue
		}
		if log := a.ask(t, "GET", f.build+"/log?follow=true", nil).want(200).text; !strings.HasPrefix(log, f.seen.String()) {
			t.Errorf("who followed %s saw\n%q\nand it is\n%q", f.build, f.seen.String(), log)
		}
	}
	c.sent, c.followers = nil, nil
}

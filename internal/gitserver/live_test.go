package gitserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// waitFor waits for a channel that is closed or sent to.
func waitFor[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(2 * time.Minute):
		t.Error("waited in vain: " + what)
		panic("waited in vain: " + what)
	}
}

// TestStreaming holds the build until the client printed each of its lines, and a keep-alive between them.
func TestStreaming(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	seen := make(chan struct{})
	w.builds(func(_ context.Context, p *Push, _ Update) error {
		for i := range 3 {
			fmt.Fprintf(p.Out, "-----> Step %d\n", i)
			waitFor(t, seen, "the client prints a line")
		}
		waitFor(t, seen, "a keep-alive reaches the client")
		return nil
	})
	g := d.start([]string{"GIT_TRACE_PACKET=1"}, "push", w.url(token), "main")
	for i := range 3 {
		g.until(fmt.Sprintf("remote: -----> Step %d", i))
		seen <- struct{}{}
	}
	g.until(`sideband< \1`)
	seen <- struct{}{}
	if out, err := g.end(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestClientGone kills a client in the middle of its build, under both policies.
func TestClientGone(t *testing.T) {
	for _, policy := range []build.Disconnect{build.Continue, build.Abandon} {
		t.Run(string(policy), func(t *testing.T) {
			w, d := newWorld(t, Limits{}), newTree(t)
			ended := make(chan error, 1)
			w.builds(func(ctx context.Context, p *Push, u Update) (err error) {
				defer func() { ended <- err }()
				fmt.Fprintln(p.Out, "-----> Building")
				waitFor(t, p.Gone, "the client is gone")
				if policy == build.Abandon {
					return &Refusal{Reason: "cancelled"}
				}
				for range 1000 { // nobody reads it, and nobody is held up
					fmt.Fprintln(p.Out, "       a line that nobody will ever read, of a build that goes on")
				}
				_, err = names(t, p, u.New)
				return errors.Join(err, ctx.Err())
			})
			g := d.start(nil, "push", w.url(token), "main")
			g.until("-----> Building")
			g.kill()
			err := waitFor(t, ended, "the build ends")
			if policy == build.Continue {
				must(t, err)
				must(t, w.waitMoved())
				if w.at(mainRef) != d.head() {
					t.Error("main did not move to what was built")
				}
				w.wantSound()
				return
			}
			must(t, w.handler.Stop(t.Context()))
			w.wantClean()
			if w.at(mainRef) != Zero {
				t.Error("a cancelled push moved main")
			}
		})
	}
}

// TestTwoAtOnce lets two clients push from one commit. The second asks where the ref stands while the first is about to
// move it, and must not be told the old place. The client takes our reason for its own and adds its hints.
func TestTwoAtOnce(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	d.wantPush(true, []string{w.url(token), "main"})
	must(t, w.waitMoved())
	other := &tree{t, t.TempDir() + "/other"}
	d.git("clone", "-q", w.url(token), other.dir)
	first, second := d.commit("a", "first\n"), other.commit("a", "second\n")

	waits, settled, firstSaid := make(chan struct{}), make(chan struct{}), make(chan struct{})
	w.builds(func(ctx context.Context, p *Push, u Update) error {
		if err := p.Stands(ctx, u); err != nil {
			return err
		}
		if u.New == first {
			close(firstSaid)
			waitFor(t, waits, "the second push waits")
			p.Settle()
			close(settled)
			if now, err := p.Current(ctx, u.Ref); err != nil || now != u.Old {
				t.Errorf("a push that settles sees %s, %v", now, err)
			}
			return nil
		}
		fmt.Fprintln(p.Out, "-----> Waiting: place 1")
		close(waits)
		waitFor(t, settled, "the first push settles")
		return p.Stands(ctx, u)
	})
	g := d.start(nil, "push", w.url(token), "main")
	waitFor(t, firstSaid, "the first push is there")
	other.wantPush(false, []string{w.url(token), "main"}, "-----> Waiting: place 1", "main has moved since",
		"is at "+first.Short()+" now", "main -> main (fetch first)", "Somebody else pushed. Fetch first (git pull --rebase), then push again.")
	if out, err := g.end(); err != nil {
		t.Errorf("the first push: %v\n%s", err, out)
	}
	if w.at(mainRef) != first || second == first {
		t.Errorf("main is at %s, want %s", w.at(mainRef), first)
	}
	other.git("pull", "-q", "--rebase", "-X", "theirs", w.url(token), "main")
	w.builds(nil)
	other.wantPush(true, []string{w.url(token), "main"}, "main -> main")
}

// TestKeep moves the ref of a push that has ended, also one from a shallow clone.
func TestKeep(t *testing.T) {
	for _, depth := range []string{"--depth=1", "--no-single-branch"} {
		t.Run(depth, func(t *testing.T) {
			w, d := newWorld(t, Limits{}), newTree(t)
			d.commit("a", "two\n")
			c := &tree{t, t.TempDir() + "/c"}
			d.git("clone", "-q", depth, "file://"+d.dir, c.dir)
			tip := c.commit("b", "b")
			id := build.NewID()
			w.builds(func(ctx context.Context, p *Push, u Update) error {
				for range 2 { // the second is no other than the first
					if err := p.Keep(ctx, id, u.New); err != nil {
						return err
					}
				}
				return &Refusal{Reason: "as if the service had died"}
			})
			c.wantPush(false, []string{w.url(token), "main"}, "as if the service had died")
			w.wantClean()
			if out := c.git("ls-remote", w.url(token)); out != "" {
				t.Errorf("what is kept is shown: %s", out)
			}
			u := Update{mainRef, Zero, tip}
			for range 2 { // a move may be made again
				must(t, w.repos.MoveRef(t.Context(), w.app.ID, u))
			}
			must(t, w.repos.Release(t.Context(), w.app.ID, id))
			must(t, w.repos.Release(t.Context(), w.app.ID, id))
			if w.at(mainRef) != tip {
				t.Errorf("main is at %s, want %s", w.at(mainRef), tip)
			}
			w.wantSound()
			u.New = d.head()
			if err := w.repos.MoveRef(t.Context(), w.app.ID, u); !errors.Is(err, build.ErrConflict) {
				t.Errorf("a move from where the ref is not any more: %v", err)
			}
			// One that is let through after all is moved by git, which finds what is kept in its way.
			w.builds(func(ctx context.Context, p *Push, u Update) error { return p.Keep(ctx, id, u.New) })
			tip = c.commit("b", "bb")
			c.wantPush(true, []string{w.url(token), "main"}, "main -> main")
			must(t, w.waitMoved())
			if w.at(mainRef) != tip {
				t.Errorf("main is at %s, want %s", w.at(mainRef), tip)
			}
			must(t, w.repos.Release(t.Context(), w.app.ID, id))
			w.wantSound()
			d.git("clone", "-q", w.url(token), t.TempDir()+"/again")
		})
	}
}

// TestKeepShallow lets the first push from a shallow clone through after it was kept: git moves the ref itself, and
// brings in the boundary of the history.
func TestKeepShallow(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	d.commit("a", "two\n")
	c := &tree{t, t.TempDir() + "/c"}
	d.git("clone", "-q", "--depth=1", "file://"+d.dir, c.dir)
	tip := c.commit("b", "b")
	id := build.NewID()
	w.builds(func(ctx context.Context, p *Push, u Update) error { return p.Keep(ctx, id, u.New) })
	c.wantPush(true, []string{w.url(token), "main"}, "main -> main")
	must(t, w.waitMoved())
	must(t, w.repos.Release(t.Context(), w.app.ID, id))
	if w.at(mainRef) != tip {
		t.Errorf("main is at %s, want %s", w.at(mainRef), tip)
	}
	w.wantSound()
	if left, err := filepath.Glob(filepath.Join(w.repos.path(w.app.ID), boundaries, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestStop ends a push whose build goes on and on.
func TestStop(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	w.builds(func(ctx context.Context, p *Push, _ Update) error {
		fmt.Fprintln(p.Out, "-----> Building")
		waitFor(t, ctx.Done(), "the service stops")
		return context.Cause(ctx)
	})
	g := d.start(nil, "push", w.url(token), "main")
	g.until("-----> Building")
	must(t, w.handler.Stop(t.Context()))
	out, err := g.end()
	if err == nil {
		t.Error("the push succeeded")
	}
	wantTexts(t, out, "The build service is being stopped", "(the service is stopping)")
	w.wantClean()
	d.wantPush(false, []string{w.url(token), "main"}, "The service is stopping. Try again in a minute.")
}

// TestStalledClient is one that stops reading. The build goes on, and so does the push.
func TestStalledClient(t *testing.T) {
	w, d := newWorld(t, Limits{Idle: 5 * time.Second}), newTree(t)
	seen := make(chan struct{})
	w.builds(func(_ context.Context, p *Push, _ Update) error {
		fmt.Fprintln(p.Out, "-----> Building")
		waitFor(t, seen, "the client stalls")
		line := []byte(strings.Repeat("x", 1000) + "\n")
		for range 64 << 10 { // more than all that is between us and the client can hold
			select {
			case <-p.Gone:
				return nil
			default:
			}
			if _, err := p.Out.Write(line); err != nil {
				return err
			}
		}
		t.Error("64 MB went to a client that does not read")
		return nil
	})
	g := d.start(nil, "push", w.url(token), "main")
	g.until("-----> Building")
	must(t, syscall.Kill(-g.cmd.Process.Pid, syscall.SIGSTOP))
	close(seen)
	must(t, w.waitMoved())
	if w.at(mainRef) != d.head() {
		t.Error("main did not move to what was built")
	}
}

// TestNoHook takes the hook away, without which git would take anything.
func TestNoHook(t *testing.T) {
	w, d := newWorld(t, Limits{}), newTree(t)
	var told error
	w.handler.Fault = func(err error) { told = err }
	must(t, os.Remove(w.repos.hook()))
	d.wantPush(false, []string{w.url(token), "main"}, "not in your app", "(internal error)")
	if told == nil || w.at(mainRef) != Zero {
		t.Errorf("main is at %s, Fault was told %v", w.at(mainRef), told)
	}
	// One that is there and cannot do its work declines, and its client is told more than that.
	must(t, os.WriteFile(w.repos.hook(), []byte("#!/bin/false\n"), 0o755))
	told = nil
	d.wantPush(false, []string{w.url(token), "main"}, "not in your app", "(internal error)")
	if told == nil || w.at(mainRef) != Zero {
		t.Errorf("main is at %s, Fault was told %v", w.at(mainRef), told)
	}
}

// TestCheckLimit ends a git that checks and checks.
func TestCheckLimit(t *testing.T) {
	w, d := newWorld(t, Limits{Check: time.Nanosecond}), newTree(t)
	d.wantPush(false, []string{w.url(token), "main"}, "took longer than", "(the push takes too long)")
	must(t, w.handler.Stop(t.Context()))
	w.wantClean()
}

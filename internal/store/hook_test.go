package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

func (y *yard) hook(t testing.TB, a build.App) (build.Hook, string) {
	t.Helper()
	h, token, err := y.CreateHook(context.Background(), build.Hook{App: a.ID, User: a.Owner, Repository: "https://git.test/a/b.git", Branches: []string{"main"}}, "the secret of it")
	if err != nil {
		t.Fatal(err)
	}
	return h, token
}

// arrives is a push to a hook that is built.
func arrives(h build.Hook, key, ref, commit string) Arrival {
	return Arrival{
		Delivery: build.Delivery{Forge: "github", Event: "push", Key: key, Ref: ref, Commit: commit, Result: build.DeliveryIgnored},
		Build: &build.Build{App: h.App, User: h.User, Trigger: build.Trigger{Kind: build.TriggerWebhook, Delivery: key, Ref: ref},
			Source: build.Source{URL: h.Repository, Git: true, Ref: ref, Commit: commit}},
	}
}

func (y *yard) receive1(t testing.TB, h build.Hook, a Arrival) Received {
	t.Helper()
	all, err := y.Receive(context.Background(), h.ID, []Arrival{a})
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// TestHookSecrets: who has the token finds the hook, its app and the secrets that are good now, and nobody else does.
func TestHookSecrets(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	a := y.app(t, y.user(t, "ann", false), "app-a")
	h, token := y.hook(t, a)
	opened := func(token string) string {
		t.Helper()
		got, app, secrets, err := y.OpenHook(ctx, token)
		if errors.Is(err, build.ErrNotFound) {
			return "none"
		}
		if err != nil || got.ID != h.ID || app.ID != a.ID || got.Repository != h.Repository || got.Branches[0] != "main" {
			t.Fatalf("%+v of %+v, %v", got, app, err)
		}
		return strings.Join(secrets, ",")
	}
	want := func(token, what string) {
		t.Helper()
		if got := opened(token); got != what {
			t.Errorf("it opens with %s, want %s", got, what)
		}
	}
	want(token, "the secret of it")
	want(token+"x", "none")
	want("", "none")
	if _, _, err := y.RotateHook(ctx, a.ID, h.ID, "second", time.Hour, false); err != nil {
		t.Fatal(err)
	}
	want(token, "second,the secret of it")
	y.clock = y.clock.Add(time.Hour)
	want(token, "second")
	_, renewed, err := y.RotateHook(ctx, a.ID, h.ID, "third", 0, true)
	if err != nil {
		t.Fatal(err)
	}
	want(token, "none")
	want(renewed, "third")
	if _, err := y.w.ExecContext(ctx, `UPDATE hooks SET secrets = (SELECT secrets FROM hooks WHERE id = ?1), hash = 'x' || hash WHERE id = ?1`, h.ID); err != nil {
		t.Fatal(err)
	}
	other, otherToken := y.hook(t, a)
	if _, err := y.w.ExecContext(ctx, `UPDATE hooks SET secrets = (SELECT secrets FROM hooks WHERE id = ?) WHERE id = ?`, h.ID, other.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := y.OpenHook(ctx, otherToken); err == nil || errors.Is(err, build.ErrNotFound) {
		t.Errorf("a secret that was copied from another hook: %v", err)
	}
	if _, err := y.DeleteApp(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	want(otherToken, "none")
}

// TestReceive follows deliveries of one ref: which make a build, and which get that of another one.
func TestReceive(t *testing.T) {
	y := newYard(t)
	h, _ := y.hook(t, y.app(t, y.user(t, "ann", false), "app-a"))
	replayed := func(a Arrival, replay string) Arrival { a.Delivery.Replay = replay; return a }
	var made []build.ID
	for _, c := range []struct {
		name  string
		a     Arrival
		build int // which one it is of; one more than there are: a new one
		times int
	}{
		{"the first", replayed(arrives(h, "1", "refs/heads/main", "A"), "r1"), 1, 1},
		{"the same again", replayed(arrives(h, "1", "refs/heads/main", "A"), "r1"), 1, 2},
		{"the same text under another id", replayed(arrives(h, "x", "refs/heads/main", "A"), "r1"), 1, 3},
		{"another event of the same commit", arrives(h, "2", "refs/heads/main", "A"), 1, 1},
		{"the same commit of another ref", arrives(h, "3", "refs/heads/dev", "A"), 2, 1},
		{"the next commit", arrives(h, "4", "refs/heads/main", "B"), 3, 1},
		{"the commit before comes back", arrives(h, "5", "refs/heads/main", "A"), 4, 1},
		{"an old text is replayed", replayed(arrives(h, "y", "refs/heads/main", "A"), "r1"), 1, 4},
		{"the first once more", arrives(h, "1", "refs/heads/main", "A"), 1, 5},
	} {
		r := y.receive1(t, h, c.a)
		if c.build > len(made) {
			if r.Result != build.DeliveryAccepted || r.Made == nil {
				t.Fatalf("%s: %+v", c.name, r)
			}
			made = append(made, r.Made.ID)
		} else if r.Result != build.DeliveryDuplicate || r.Made != nil {
			t.Errorf("%s: %+v", c.name, r)
		}
		if r.Build != made[c.build-1] || r.Times != c.times {
			t.Errorf("%s: build %s %d times, want %s %d times", c.name, r.Build, r.Times, made[c.build-1], c.times)
		}
	}
	if _, err := y.Receive(t.Context(), build.NewID(), []Arrival{arrives(h, "6", "refs/heads/main", "C")}); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("a hook that is not there: %v", err)
	}
	if all, err := y.Builds(t.Context(), h.App, Page{Max: 10}); err != nil || len(all) != len(made) {
		t.Errorf("%d builds, %v", len(all), err)
	}
}

// TestSupersedes: of the builds by webhook of a ref the newest waits; those of others and of other triggers are let be.
func TestSupersedes(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	h, _ := y.hook(t, a)
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI, Ref: "refs/heads/main"})
	first := y.receive1(t, h, arrives(h, "1", "refs/heads/main", "A"))
	y.receive1(t, h, arrives(h, "2", "refs/heads/dev", "A"))
	r := y.receive1(t, h, arrives(h, "3", "refs/heads/main", "B"))
	if len(r.Superseded) != 1 || r.Superseded[0].ID != first.Made.ID || r.Superseded[0].State != build.Cancelled {
		t.Errorf("superseded: %+v", r.Superseded)
	}
	if c, err := y.Counts(t.Context()); err != nil || c.Queued != 3 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestJournal: the journal has a bound, and what is refused one of its own.
func TestJournal(t *testing.T) {
	y := newYard(t)
	h, _ := y.hook(t, y.app(t, y.user(t, "ann", false), "app-a"))
	ignored := func(i int) Arrival {
		return Arrival{Delivery: build.Delivery{Key: fmt.Sprint(i), Result: build.DeliveryIgnored, Code: "ping", Reason: "why"}}
	}
	refused := Arrival{Delivery: build.Delivery{Key: "same", Result: build.DeliveryRefused}}
	y.receive1(t, h, arrives(h, "first", "refs/heads/main", "A"))
	for range 500 {
		y.receive1(t, h, refused)
	}
	if _, err := y.Delivery(t.Context(), h.ID, "1"); err != nil {
		t.Errorf("what is refused has pushed out what was not: %v", err)
	}
	for i := range build.MaxDeliveries + 100 {
		y.receive1(t, h, ignored(i))
	}
	all, err := y.Deliveries(t.Context(), h.ID, Page{Max: 5000, Desc: true})
	if err != nil {
		t.Fatal(err)
	}
	count := map[build.DeliveryResult]int{}
	for _, d := range all {
		count[d.Result]++
	}
	if n := count[build.DeliveryIgnored] + count[build.DeliveryAccepted]; n < build.MaxDeliveries || n > build.MaxDeliveries+trimEvery {
		t.Errorf("the journal has %d lines", n)
	}
	if n := count[build.DeliveryRefused]; n < build.MaxRefused || n > build.MaxRefused+trimEvery {
		t.Errorf("it has %d lines of what was refused", n)
	}
	if all[0].Number != 1+500+int64(build.MaxDeliveries)+100 || all[0].Reason != "why" {
		t.Errorf("the newest is %+v", all[0])
	}
}

// TestTogether: who shares a transaction does not share its failure, and whatever happens the next one can go on.
func TestTogether(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	h, _ := y.hook(t, a)
	bad := errors.New("bad")
	held, hold := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // the writer is busy meanwhile, so that all others wait together
		_ = y.change(t.Context(), func(*sql.Tx) error { close(held); <-hold; return nil })
	})
	<-held
	const n = 300
	for i := range n {
		wg.Go(func() {
			switch i % 3 {
			case 0:
				if r := y.receive1(t, h, arrives(h, fmt.Sprint(i), fmt.Sprintf("refs/heads/%d", i), "A")); r.Made == nil {
					t.Errorf("%+v", r)
				}
			case 1:
				err := y.together(t.Context(), func(ctx context.Context, tx changer) error {
					_, err := tx.ExecContext(ctx, `UPDATE apps SET name = ?`, "gone")
					return errors.Join(err, bad)
				})
				if !errors.Is(err, bad) {
					t.Errorf("%v", err)
				}
			default:
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // nobody waits for it: it is recorded all the same, or not at all
				_, _ = y.Receive(ctx, h.ID, []Arrival{arrives(h, fmt.Sprint(i), fmt.Sprintf("refs/heads/%d", i), "A")})
			}
		})
	}
	for waiting := 0; waiting < n; time.Sleep(time.Millisecond) {
		y.group.mu.Lock()
		waiting = len(y.group.waiting)
		y.group.mu.Unlock()
	}
	close(hold)
	wg.Wait()
	if got, err := y.AppByID(t.Context(), a.ID); err != nil || got.Name != "app-a" {
		t.Errorf("a change that failed was recorded: %+v, %v", got, err)
	}
	if c, err := y.Counts(t.Context()); err != nil || c.Queued != 200 {
		t.Errorf("%d builds wait, %v", c.Queued, err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = y.together(t.Context(), func(context.Context, changer) error { panic("no") })
		t.Error("it did not panic")
	}()
	y.receive1(t, h, arrives(h, "after", "refs/heads/after", "A"))
}

// TestReceiveIndexes: what is asked of every delivery is found without a walk over the journal or the builds.
func TestReceiveIndexes(t *testing.T) {
	y := newYard(t)
	for query, index := range map[string]string{sameDelivery: "deliveries_once", sameText: "deliveries_replay", newestHooked: "builds_hooked", waitingOf: "builds_superseded"} {
		plan := ""
		var id, parent, unused int
		if err := y.r.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...).Scan(&id, &parent, &unused, &plan); err != nil {
			t.Fatal(err)
		}
		if want := "INDEX " + index; !strings.Contains(plan+" ", want+" ") {
			t.Errorf("%s\nis done by %s, want %s", query, plan, want)
		}
	}
}

// BenchmarkReceive takes pushes of one app by many at once, each to be built; of 20 branches, so that most supersede.
func BenchmarkReceive(b *testing.B) {
	y := newYard(b)
	h, _ := y.hook(b, y.app(b, y.user(b, "ann", false), "app-a"))
	y.now = time.Now
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			key := string(build.NewID())
			if _, err := y.Receive(context.Background(), h.ID, []Arrival{arrives(h, key, "refs/heads/"+key[len(key)-1:], key)}); err != nil {
				b.Error(err)
			}
		}
	})
}

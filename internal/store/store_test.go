package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/secret"
)

// yard is a store with a clock that the test moves.
type yard struct {
	*Store
	clock time.Time
	dir   string
}

func newYard(t testing.TB) *yard {
	t.Helper()
	y := &yard{dir: t.TempDir(), clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	y.open(t)
	t.Cleanup(func() { y.Close() })
	return y
}

func (y *yard) open(t testing.TB) {
	t.Helper()
	box, err := secret.Open(filepath.Join(y.dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	if y.Store, err = Open(context.Background(), filepath.Join(y.dir, "a b?#%.db"), box); err != nil {
		t.Fatal(err)
	}
	y.now = func() time.Time { y.clock = y.clock.Add(time.Millisecond); return y.clock }
}

func (y *yard) user(t testing.TB, name string, admin bool) build.User {
	t.Helper()
	u, err := y.CreateUser(context.Background(), name, admin)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (y *yard) app(t testing.TB, owner build.User, name string) build.App {
	t.Helper()
	a, err := y.CreateApp(context.Background(), build.App{Name: build.AppName(name), Owner: owner.ID, Branch: "main", Disconnect: build.Continue})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (y *yard) queue(t testing.TB, a build.App, tr build.Trigger) build.Build {
	t.Helper()
	b, _, err := y.CreateBuild(context.Background(), build.Build{App: a.ID, User: a.Owner, Trigger: tr, Source: build.Source{Stored: "k"}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (y *yard) claim(t testing.TB) (build.Build, bool) {
	t.Helper()
	b, ok, err := y.Claim(context.Background(), "w1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return b, ok
}

func TestClaimTakesTurns(t *testing.T) {
	y := newYard(t)
	u := y.user(t, "ann", false)
	a, b := y.app(t, u, "app-a"), y.app(t, u, "app-b")
	for range 5 {
		y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	}
	y.queue(t, b, build.Trigger{Kind: build.TriggerAPI})
	var order []string
	for {
		c, ok := y.claim(t)
		if !ok {
			break
		}
		order = append(order, fmt.Sprint(c.App == a.ID, c.Number))
		if _, _, err := y.Finish(t.Context(), c.ID, c.Fence, Outcome{State: build.Succeeded, Result: &build.Result{Digest: "sha256:1"}}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"true 1", "false 1", "true 2", "true 3", "true 4", "true 5"}
	if !slices.Equal(order, want) {
		t.Errorf("builds ran in the order %v, want %v: an app with many must not keep another waiting", order, want)
	}
}

func TestOneBuildOfAnAppAtATime(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	second := y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	first, ok := y.claim(t)
	if !ok || first.Number != 1 {
		t.Fatalf("claimed %d, %v", first.Number, ok)
	}
	if b, ok := y.claim(t); ok {
		t.Fatalf("build %d was claimed beside build 1 of the same app", b.Number)
	}
	if same, _, err := y.Place(t.Context(), second); err != nil || same != 1 {
		t.Errorf("place of the second build = %d, %v; want 1", same, err)
	}
	if _, err := y.DeleteApp(t.Context(), a.ID); !errors.Is(err, ErrBusy) {
		t.Errorf("an app with a running build was deleted: %v", err)
	}
}

func TestFence(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	first, _ := y.claim(t)
	y.clock = y.clock.Add(2 * time.Minute)
	reaped, err := y.Reap(t.Context(), false)
	if err != nil || len(reaped) != 1 || reaped[0].State != build.Queued {
		t.Fatalf("Reap = %+v, %v; want the build to wait again", reaped, err)
	}
	second, ok := y.claim(t)
	if !ok || second.ID != first.ID || second.Attempt != 2 || second.Fence <= first.Fence {
		t.Fatalf("second claim: %+v", second)
	}
	if _, err := y.Heartbeat(t.Context(), first.ID, first.Fence, "build", "", time.Minute); !errors.Is(err, build.ErrStale) {
		t.Errorf("heartbeat with an old fence: %v", err)
	}
	rel := &build.Release{State: build.ReleaseSucceeded, Digest: "sha256:old"}
	if _, _, err := y.Finish(t.Context(), first.ID, first.Fence, Outcome{State: build.Succeeded, Release: rel}); !errors.Is(err, build.ErrStale) {
		t.Errorf("finish with an old fence: %v", err)
	}
	if _, err := y.Latest(t.Context(), a.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("the old claim made a release: %v", err)
	}
}

func TestAttempts(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	ours := Outcome{State: build.Failed, Requeue: true, Failure: &build.Failure{Blame: build.BlamePlatform, Code: "registry", Reason: "503"}}
	b := y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	for attempt := 1; attempt <= build.MaxAttempts; attempt++ {
		c, ok := y.claim(t)
		if !ok || c.Attempt != attempt {
			t.Fatalf("attempt %d: claimed %v %d", attempt, ok, c.Attempt)
		}
		if b, _, _ = y.Finish(t.Context(), c.ID, c.Fence, ours); (b.State == build.Failed) != (attempt == build.MaxAttempts) {
			t.Fatalf("after attempt %d it is %s", attempt, b.State)
		}
	}
	theirs := ours
	theirs.Failure = &build.Failure{Blame: build.BlameApp, Code: "buildpack-failed", Reason: "exit 1"}
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	c, _ := y.claim(t)
	if b, _, err := y.Finish(t.Context(), c.ID, c.Fence, theirs); err != nil || b.State != build.Failed {
		t.Errorf("a failure of the app was tried again: %s, %v", b.State, err)
	}
}

func TestSessionsAreLost(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	b := y.app(t, y.user(t, "bob", false), "app-b")
	y.queue(t, a, build.Trigger{Kind: build.TriggerPush, Session: true})
	y.claim(t)
	waits := y.queue(t, b, build.Trigger{Kind: build.TriggerPush, Session: true})
	stays := y.queue(t, b, build.Trigger{Kind: build.TriggerAPI})
	reaped, err := y.Reap(t.Context(), true)
	if err != nil || len(reaped) != 1 || reaped[0].State != build.Failed || reaped[0].Failure.Blame != build.BlamePlatform {
		t.Fatalf("Reap = %+v, %v", reaped, err)
	}
	ended, err := y.EndSessions(t.Context())
	if err != nil || len(ended) != 1 || ended[0].ID != waits.ID {
		t.Fatalf("EndSessions = %+v, %v", ended, err)
	}
	if c, ok := y.claim(t); !ok || c.ID != stays.ID {
		t.Errorf("claimed %+v, want the build that nobody waits for", c)
	}
}

func TestSupersede(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	hook := build.Trigger{Kind: build.TriggerWebhook, Ref: "refs/heads/main"}
	running := y.queue(t, a, hook)
	y.claim(t)
	waiting := y.queue(t, a, hook)
	other := y.queue(t, a, build.Trigger{Kind: build.TriggerWebhook, Ref: "refs/heads/next"})
	_, superseded, err := y.CreateBuild(t.Context(), build.Build{App: a.ID, Trigger: hook})
	if err != nil || len(superseded) != 1 || superseded[0].ID != waiting.ID || superseded[0].State != build.Cancelled {
		t.Fatalf("superseded %+v, %v", superseded, err)
	}
	for _, b := range []build.Build{running, other} {
		if now, _ := y.BuildByID(t.Context(), b.ID); now.State.Terminal() {
			t.Errorf("build %d is %s", b.Number, now.State)
		}
	}
}

func TestReleases(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	for i := range 3 {
		y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
		c, _ := y.claim(t)
		_, rel, err := y.Finish(t.Context(), c.ID, c.Fence, Outcome{State: build.Succeeded, Result: &build.Result{Digest: "sha256:x"},
			Release: &build.Release{State: build.ReleaseSucceeded, Digest: fmt.Sprint("sha256:", i), Ref: "refs/heads/main", New: "abc"}})
		if err != nil || rel == nil || rel.Version != int64(i+1) || rel.RefMoved || rel.Tagged {
			t.Fatalf("release %d: %+v, %v", i, rel, err)
		}
	}
	for _, name := range []string{"2", "v2"} {
		if r, err := y.Release(t.Context(), a.ID, name); err != nil || r.Digest != "sha256:1" {
			t.Errorf("Release(%s) = %+v, %v", name, r, err)
		}
	}
	open, err := y.Unfinished(t.Context())
	if err != nil || len(open) != 3 {
		t.Fatalf("Unfinished: %d, %v", len(open), err)
	}
	if err := errors.Join(y.RefMoved(t.Context(), open[0].ID), y.Tagged(t.Context(), open[0].ID)); err != nil {
		t.Fatal(err)
	}
	if open, _ = y.Unfinished(t.Context()); len(open) != 2 {
		t.Errorf("%d are unfinished, want 2", len(open))
	}
	list, err := y.Releases(t.Context(), a.ID, Page{Max: 2, Desc: true})
	if err != nil || len(list) != 2 || list[0].Version != 3 || list[1].Version != 2 {
		t.Errorf("newest two: %+v, %v", list, err)
	}
}

func TestTokens(t *testing.T) {
	y := newYard(t)
	text, err := y.First(t.Context(), "admin")
	if err != nil || !strings.HasPrefix(text, tokenPrefix) {
		t.Fatalf("First = %q, %v", text, err)
	}
	if again, err := y.First(t.Context(), "admin"); err != nil || again != "" {
		t.Errorf("a second first start made a token: %v", err)
	}
	who, err := y.Authenticate(t.Context(), text)
	if err != nil || !who.User.Admin || !who.Can(build.VerbManage) || who.Token.LastUsedAt.IsZero() {
		t.Fatalf("Authenticate = %+v, %v", who, err)
	}
	for i := range text {
		bad := []byte(text)
		bad[i] = map[bool]byte{true: 'b', false: 'a'}[bad[i] == 'a']
		if _, err := y.Authenticate(t.Context(), string(bad)); err == nil {
			t.Fatalf("byte %d changed and still accepted", i)
		}
	}
	ann := y.user(t, "ann", false)
	short, shortText, err := y.CreateToken(t.Context(), build.Token{User: ann.ID, Verbs: []build.Verb{build.VerbRead}, ExpiresAt: y.clock.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := y.RevokeToken(t.Context(), who.User.ID, short.ID); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("another's token was revoked: %v", err)
	}
	if _, err := y.Authenticate(t.Context(), shortText); err != nil {
		t.Error(err)
	}
	y.clock = y.clock.Add(2 * time.Hour)
	if _, err := y.Authenticate(t.Context(), shortText); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("an expired token: %v", err)
	}
	if err := y.RevokeToken(t.Context(), who.User.ID, who.Token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := y.Authenticate(t.Context(), text); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("a revoked token: %v", err)
	}
}

func TestOthersAppsAreNotThere(t *testing.T) {
	y := newYard(t)
	ann, bob, root := y.user(t, "ann", false), y.user(t, "bob", false), y.user(t, "root", true)
	a, b := y.app(t, ann, "app-a"), y.app(t, bob, "app-b")
	a2 := y.app(t, ann, "app-a2")
	actor := func(u build.User, only build.ID) build.Actor {
		return build.Actor{User: u, Token: build.Token{Verbs: build.Verbs(), App: only}}
	}
	for _, c := range []struct {
		who  build.Actor
		app  build.App
		sees bool
	}{{actor(ann, ""), a, true}, {actor(ann, ""), b, false}, {actor(bob, ""), a, false}, {actor(root, ""), a, true}, {actor(ann, a.ID), a2, false}, {actor(ann, a.ID), a, true}} {
		for _, ref := range []string{string(c.app.ID), string(c.app.Name)} {
			_, err := y.App(t.Context(), c.who, ref)
			if c.sees && err != nil || !c.sees && !errors.Is(err, build.ErrNotFound) {
				t.Errorf("%s on %s: %v", c.who.User.Name, ref, err)
			}
		}
		list, err := y.Apps(t.Context(), c.who)
		if err != nil || slices.ContainsFunc(list, func(a build.App) bool { return a.ID == c.app.ID }) != c.sees {
			t.Errorf("%s lists %v, %v", c.who.User.Name, list, err)
		}
	}
	if _, err := y.CreateApp(t.Context(), build.App{Name: "app-a", Owner: bob.ID}); !errors.Is(err, build.ErrConflict) {
		t.Errorf("a name was taken twice: %v", err)
	}
}

func TestSecrets(t *testing.T) {
	y := newYard(t)
	u := y.user(t, "ann", false)
	a, b := y.app(t, u, "app-a"), y.app(t, u, "app-b")
	value := "canary-0451"
	if _, err := y.ChangeSecrets(t.Context(), a.ID, SecretVar, map[string]*string{"TOKEN": &value, "B": &value}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := y.ChangeSecrets(t.Context(), a.ID, SecretVar, map[string]*string{"B": nil, "C": &value}, func(map[string]string) error { return build.ErrConflict }); !errors.Is(err, build.ErrConflict) {
		t.Fatal(err)
	}
	got, err := y.Secrets(t.Context(), a.ID, SecretVar)
	if err != nil || len(got) != 2 || got["TOKEN"] != value || got["B"] != value {
		t.Errorf("Secrets = %v, %v: a refused change must change nothing", got, err)
	}
	// A row that somebody copied to another app does not open there.
	if _, err := y.exec(t.Context(), `UPDATE secrets SET app_id = ? WHERE name = 'TOKEN'`, b.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := y.Secrets(t.Context(), b.ID, SecretVar); !errors.Is(err, secret.ErrSealed) {
		t.Errorf("another app's secret opened: %v, %v", got, err)
	}
}

// TestModel drives the queue at random and holds it against the law: counters are what they count, no app has two
// running builds, transitions are legal, a terminal state never changes, and a reopened database says the same.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		y := newYard(t)
		u := y.user(t, "ann", false)
		apps := []build.App{y.app(t, u, "app-a"), y.app(t, u, "app-b"), y.app(t, u, "app-c")}
		state := map[build.ID]build.State{}
		var claims []build.Build
		see := func(b build.Build) {
			if was, ok := state[b.ID]; ok && was != b.State && !was.To(b.State) {
				rt.Fatalf("build went from %s to %s", was, b.State)
			}
			state[b.ID] = b.State
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 6).Draw(rt, "step") {
			case 0, 1:
				kind := rapid.SampledFrom([]build.TriggerKind{build.TriggerAPI, build.TriggerWebhook, build.TriggerPush}).Draw(rt, "kind")
				b, gone, err := y.CreateBuild(t.Context(), build.Build{App: rapid.SampledFrom(apps).Draw(rt, "app").ID, Trigger: build.Trigger{Kind: kind, Session: kind == build.TriggerPush}})
				if err != nil {
					rt.Fatal(err)
				}
				see(b)
				for _, g := range gone {
					see(g)
				}
			case 2, 3:
				if b, ok := y.claim(t); ok {
					see(b)
					claims = append(claims, b)
				}
			case 4:
				if len(claims) == 0 {
					continue
				}
				c := rapid.SampledFrom(claims).Draw(rt, "claim")
				o := Outcome{State: build.Succeeded, Release: &build.Release{State: build.ReleaseSucceeded}}
				if rapid.Bool().Draw(rt, "fails") {
					o = Outcome{State: build.Failed, Requeue: true, Failure: &build.Failure{Blame: build.BlamePlatform}}
				}
				b, _, err := y.Finish(t.Context(), c.ID, c.Fence, o)
				if err == nil {
					see(b)
				} else if !errors.Is(err, build.ErrStale) {
					rt.Fatal(err)
				}
			case 5:
				for id := range state {
					if b, err := y.Cancel(t.Context(), id, "asked"); err == nil {
						see(b)
					} else if !errors.Is(err, build.ErrConflict) {
						rt.Fatal(err)
					}
					break
				}
			case 6:
				y.clock = y.clock.Add(time.Duration(rapid.IntRange(0, 2).Draw(rt, "minutes")) * time.Minute)
				reaped, err := y.Reap(t.Context(), rapid.Bool().Draw(rt, "all"))
				if err != nil {
					rt.Fatal(err)
				}
				for _, b := range reaped {
					see(b)
				}
			}
		}
		y.Close()
		y.open(t)
		for id, want := range state {
			if b, err := y.BuildByID(t.Context(), id); err != nil || b.State != want {
				rt.Fatalf("after reopening, build is %s (%v), want %s", b.State, err, want)
			}
		}
		for _, a := range apps {
			var queued, running, q, r, releases int
			err := y.r.QueryRow(`SELECT queued, running, release_seq, (SELECT count(*) FROM builds WHERE app_id = ?1 AND state = 'queued'),
				(SELECT count(*) FROM builds WHERE app_id = ?1 AND state = 'running') FROM apps WHERE id = ?1`, a.ID).Scan(&queued, &running, &releases, &q, &r)
			if err != nil || queued != q || running != r || r > 1 {
				rt.Fatalf("counters %d, %d; builds %d, %d; %v", queued, running, q, r, err)
			}
		}
		y.Close()
	})
}

// BenchmarkClaim claims and ends builds while 100,000 wait, of 100 apps.
func BenchmarkClaim(b *testing.B) {
	y := newYard(b)
	u := y.user(b, "ann", false)
	var apps []build.App
	for i := range 100 {
		apps = append(apps, y.app(b, u, fmt.Sprintf("app-%d", i)))
	}
	tx, err := y.w.Begin()
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100_000 {
		a := apps[i%len(apps)]
		_, err := tx.Exec(`INSERT INTO builds (id, app_id, number, user_id, trigger, trigger_kind, ref, session, source, state, created_at)
			VALUES (?, ?, ?, ?, '{}', 'api', '', 0, '{}', 'queued', 1)`, build.NewID(), a.ID, i/len(apps)+1, u.ID)
		if err != nil {
			b.Fatal(err)
		}
	}
	if _, err := tx.Exec(`UPDATE apps SET queued = 1000, build_seq = 1000`); err != nil {
		b.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		c, ok, err := y.Claim(b.Context(), "w", time.Minute)
		took = append(took, time.Since(start))
		if err != nil || !ok {
			b.Fatal(ok, err)
		}
		if _, _, err := y.Finish(b.Context(), c.ID, c.Fence, Outcome{State: build.Succeeded}); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms/claim")
}

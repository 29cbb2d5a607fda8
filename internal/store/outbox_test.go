package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

func (y *yard) webhook(t testing.TB, a build.App, url string) build.Webhook {
	t.Helper()
	w, err := y.CreateWebhook(context.Background(), build.Webhook{App: a.ID, User: a.Owner, URL: url, Include: build.Includes(), Level: build.LevelSync, Secret: "the secret of it"})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (y *yard) waiting(t testing.TB) []Lane {
	t.Helper()
	all, err := y.Lanes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestOutboxIsOfTheChange: what does not happen is not told, and whoever sends is woken when something is to be sent.
func TestOutboxIsOfTheChange(t *testing.T) {
	y := newYard(t)
	a := y.app(t, y.user(t, "ann", false), "app-a")
	y.webhook(t, a, "https://listener.test/")
	woken := func() bool {
		select {
		case <-y.Mail():
			return true
		default:
			return false
		}
	}
	if woken() {
		t.Error("there is nothing to send")
	}
	b := y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	if !woken() || len(y.waiting(t)) != 1 {
		t.Error("nobody was woken for a new build")
	}
	if _, ok := y.claim(t); !ok {
		t.Fatal("no claim")
	}
	woken()
	before := len(y.messages(t, a))
	if _, _, err := y.Finish(t.Context(), b.ID, b.Fence+100, Outcome{State: build.Failed}); !errors.Is(err, build.ErrStale) {
		t.Fatal(err)
	}
	failed := errors.New("no")
	err := y.together(t.Context(), func(ctx context.Context, tx changer) error {
		if _, _, err := y.createBuild(ctx, tx, build.Build{App: a.ID, User: a.Owner}); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if n := len(y.messages(t, a)); n != before {
		t.Errorf("%d messages, there were %d", n, before)
	}
}

func (y *yard) messages(t testing.TB, a build.App) []build.Message {
	t.Helper()
	all, err := y.Messages(t.Context(), a.ID, build.MessageWebhook, Page{Max: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestOutboxIsBounded: of an app only so many messages are kept, each with its event, and those of another app stay.
func TestOutboxIsBounded(t *testing.T) {
	y := newYard(t)
	u := y.user(t, "ann", false)
	a, other := y.app(t, u, "app-a"), y.app(t, u, "app-b")
	y.webhook(t, a, "https://a.test/")
	y.webhook(t, a, "https://b.test/")
	y.webhook(t, other, "https://c.test/")
	y.queue(t, other, build.Trigger{Kind: build.TriggerAPI})
	for range build.MaxMessages/2 + 100 {
		y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	}
	all := y.messages(t, a)
	if len(all) < build.MaxMessages || len(all) > build.MaxMessages+trimEvery {
		t.Errorf("%d messages are kept", len(all))
	}
	for _, m := range all {
		if _, err := y.Event(t.Context(), a.ID, string(m.Event)); err != nil {
			t.Fatalf("message %d: %v", m.Number, err)
		}
	}
	if n := len(y.messages(t, other)); n != 1 {
		t.Errorf("%d of the other app", n)
	}
	if _, err := y.DeleteApp(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	if all := y.waiting(t); len(all) != 1 || all[0].Host != "c.test" {
		t.Errorf("%+v", all)
	}
}

// TestMessageLife follows a message through attempts, a move of its webhook, the webhook's end by an answer, and a change
// that has it sent again.
func TestMessageLife(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	a := y.app(t, y.user(t, "ann", false), "app-a")
	w := y.webhook(t, a, "https://listener.test/")
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	lane := y.waiting(t)[0]
	m, err := y.Due(ctx, lane, y.clock)
	if err != nil || m.Lane != string(w.ID) || m.Host != "listener.test" || m.State != build.MessageWaiting {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := y.Due(ctx, lane, m.NextAt.Add(-time.Microsecond)); !errors.Is(err, build.ErrNotFound) {
		t.Errorf("before it is due: %v", err)
	}
	again := y.clock.Add(time.Hour).Truncate(time.Microsecond)
	try := func(tr Try) build.Message {
		t.Helper()
		tr.ID, tr.At = build.NewID(), y.clock
		if err := y.Tried(ctx, m.ID, tr); err != nil {
			t.Fatal(err)
		}
		got, err := y.Message(ctx, a.ID, build.MessageWebhook, string(m.ID))
		if err != nil || got.Attempt != tr.ID || got.Code != tr.Code || got.Error != tr.Error || got.Answer != tr.Answer {
			t.Fatalf("%+v of %+v, %v", got, tr, err)
		}
		return got
	}
	if got := try(Try{Code: 500, Error: "e", Answer: "a", Again: again}); got.State != build.MessageWaiting || !got.NextAt.Equal(again) || got.Attempts != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := y.UpdateWebhook(ctx, a.ID, w.ID, func(w *build.Webhook) error { w.URL = "https://moved.test/"; return nil }); err != nil {
		t.Fatal(err)
	}
	if got := y.waiting(t); got[0].Host != "moved.test" || !got[0].NextAt.Equal(again) {
		t.Errorf("%+v", got)
	}
	y.queue(t, a, build.Trigger{Kind: build.TriggerAPI})
	if got := try(Try{Code: 410, Disable: "gone"}); got.State != build.MessageFailed || got.Attempts != 2 {
		t.Errorf("%+v", got)
	}
	if all := y.messages(t, a); all[1].State != build.MessageFailed || all[1].Error != "the webhook was disabled: gone" || len(y.waiting(t)) != 0 {
		t.Errorf("%+v", all[1])
	}
	if y.queue(t, a, build.Trigger{Kind: build.TriggerAPI}); len(y.messages(t, a)) != 2 {
		t.Error("a disabled webhook is told of something")
	}
	if _, err := y.SendAgain(ctx, a.ID, build.MessageWebhook, "1"); !errors.Is(err, build.ErrConflict) {
		t.Errorf("of a disabled webhook: %v", err)
	}
	if _, err := y.UpdateWebhook(ctx, a.ID, w.ID, func(w *build.Webhook) error { w.Disabled = ""; return nil }); err != nil {
		t.Fatal(err)
	}
	if got, err := y.SendAgain(ctx, a.ID, build.MessageWebhook, "1"); err != nil || got.State != build.MessageWaiting || len(y.waiting(t)) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if got := try(Try{Code: 200, Sent: true}); got.State != build.MessageSent || got.Attempts != 3 || !got.NextAt.IsZero() {
		t.Errorf("%+v", got)
	}
	if err := y.Tried(ctx, build.NewID(), Try{Sent: true}); err != nil {
		t.Errorf("of a message that is gone: %v", err)
	}
}

// TestSealedListeners: what is secret of webhooks and forges opens for their own app only.
func TestSealedListeners(t *testing.T) {
	y := newYard(t)
	ctx := t.Context()
	u := y.user(t, "ann", false)
	a, other := y.app(t, u, "app-a"), y.app(t, u, "app-b")
	w, copied := y.webhook(t, a, "https://listener.test/"), y.webhook(t, other, "https://listener.test/")
	for _, app := range []build.App{a, other} {
		if _, err := y.PutForge(ctx, build.Forge{App: app.ID, Kind: build.ForgeGitea, Repository: "https://git.test/a/b", API: "https://git.test/api/v1", Context: "x", Token: "token of " + string(app.Name)}); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := y.Forge(ctx, a.ID); err != nil || f.Token != "token of app-a" {
		t.Errorf("%+v, %v", f, err)
	}
	for _, q := range []string{
		fmt.Sprintf(`UPDATE webhooks SET sealed = (SELECT sealed FROM webhooks WHERE id = '%s') WHERE id = '%s'`, w.ID, copied.ID),
		fmt.Sprintf(`UPDATE forges SET token = (SELECT token FROM forges WHERE app_id = '%s') WHERE app_id = '%s'`, a.ID, other.ID),
	} {
		if _, err := y.w.ExecContext(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := y.Webhook(ctx, other.ID, string(copied.ID)); err == nil || errors.Is(err, build.ErrNotFound) {
		t.Errorf("a webhook that was copied from another app: %v", err)
	}
	if _, err := y.Forge(ctx, other.ID); err == nil || errors.Is(err, build.ErrNotFound) {
		t.Errorf("a token that was copied from another app: %v", err)
	}
}

package outbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// TestEvent: what a webhook is sent is the Platform API's event, signed in the two ways, and has the same id when it is sent
// again, by itself and by hand.
func TestEvent(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		fail := true
		h.hosts["listener.test"] = func(w http.ResponseWriter, _ *http.Request) {
			if fail {
				fail = false
				w.WriteHeader(500)
			}
		}
		w := h.webhook("https://listener.test/hook?x=y", build.LevelSync)
		must(h.UpdateWebhook(t.Context(), h.app.ID, w.ID, func(w *build.Webhook) error { w.Authorization = "Bearer mine"; return nil }))(t)
		b := h.queue("https://gitea.test/acme/shop.git")
		h.settle()
		m := h.messages(build.MessageWebhook)[0]
		if m.State != build.MessageSent || m.Attempts != 2 || m.Code != 200 {
			t.Errorf("%+v", m)
		}
		must(h.SendAgain(t.Context(), h.app.ID, build.MessageWebhook, fmt.Sprint(m.Number)))(t)
		h.settle()
		all := h.of("listener.test")
		if len(all) != 3 {
			t.Fatalf("it was sent %d times", len(all))
		}
		attempts := map[string]bool{}
		for _, got := range all {
			if got.method != "POST" || got.url != w.URL || got.header.Get("Content-Type") != "application/json" || got.header.Get("Authorization") != "Bearer mine" {
				t.Errorf("%s %s %v", got.method, got.url, got.header)
			}
			sign := func(key, text string) string {
				mac := hmac.New(sha256.New, []byte(key))
				mac.Write([]byte(strings.ReplaceAll(text, "&", `\u0026`)))
				return base64.StdEncoding.EncodeToString(mac.Sum(nil))
			}
			id, at := got.header.Get("webhook-id"), got.header.Get("webhook-timestamp")
			if id != string(m.ID) || got.header.Get("webhook-signature") != "v1,"+sign("the key of it", id+"."+at+"."+got.body) || got.header.Get("Heroku-Webhook-Hmac-SHA256") != sign(w.Secret, got.body) {
				t.Errorf("signed %v", got.header)
			}
			if n, err := strconv.ParseInt(at, 10, 64); err != nil || n != got.at.Unix() {
				t.Errorf("at %s, it was %d", at, got.at.Unix())
			}
			attempts[wantPayload(t, h, got.body, b, m, w)] = true
		}
		if len(attempts) != 3 {
			t.Errorf("%d ids of 3 attempts", len(attempts))
		}
	})
}

// wantPayload looks at an event of a new build, and returns the id of the attempt.
func wantPayload(t *testing.T, h *house, body string, b build.Build, m build.Message, w build.Webhook) string {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatal(err)
	}
	at := func(path string) any {
		var v any = p
		for part := range strings.SplitSeq(path, ".") {
			m, _ := v.(map[string]any)
			v = m[part]
		}
		return v
	}
	for path, want := range map[string]any{
		"action": "create", "resource": "build", "version": "application/vnd.heroku+json; version=3", "sequence": 1, "id": m.Event, "actor.id": h.user.ID, "actor.email": "alice", "previous_data": "map[]",
		"data.id": b.ID, "data.number": 1, "data.status": "pending", "data.state": "queued", "data.app.name": "shop", "data.user.email": "alice", "data.source_blob.commit": commit, "data.slug": "<nil>",
		"data.log_url": "https://build.test/apps/shop/builds/1/log?follow=true&plain=true", "data.created_at": b.CreatedAt.Format(time.RFC3339), "created_at": b.CreatedAt.Format(time.RFC3339),
		"webhook_metadata.delivery.id": m.ID, "webhook_metadata.event.id": m.Event, "webhook_metadata.event.include": "api:build", "webhook_metadata.webhook.id": w.ID,
	} {
		if got := fmt.Sprint(at(path)); got != fmt.Sprint(want) {
			t.Errorf("%s is %s, want %v", path, got, want)
		}
	}
	for _, name := range []string{"published_at", "updated_at"} {
		if _, err := time.Parse(time.RFC3339, fmt.Sprint(p[name])); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	return fmt.Sprint(at("webhook_metadata.attempt.id"))
}

// TestUnsigned: a secret of a text of one's own is the key as it is, and where there is none nothing is signed.
func TestUnsigned(t *testing.T) {
	if got := string(standardKey("mine")); got != "mine" {
		t.Errorf("%q", got)
	}
	if got := string(standardKey("whsec_no base64")); got != "whsec_no base64" {
		t.Errorf("%q", got)
	}
	inHouse(t, func(t *testing.T, h *house) {
		must(h.CreateWebhook(t.Context(), build.Webhook{App: h.app.ID, URL: "https://listener.test/", Include: build.Includes(), Level: build.LevelSync}))(t)
		h.hosts["listener.test"] = answers(200)
		h.queue("https://gitea.test/acme/shop.git")
		h.finish(h.claim(), store.Outcome{State: build.Succeeded, Result: &build.Result{Repository: "r.test/shop", Digest: "sha256:1"}, Release: &build.Release{State: build.ReleasePending, Repository: "r.test/shop", Digest: "sha256:1"}})
		h.settle()
		all := h.of("listener.test")
		for _, got := range all {
			if got.header.Get("webhook-signature") != "" || got.header.Get("Heroku-Webhook-Hmac-SHA256") != "" || got.header.Get("webhook-id") == "" {
				t.Errorf("%v", got.header)
			}
		}
		if len(all) != 4 || !strings.Contains(all[2].body, `"resource":"release"`) || !strings.Contains(all[3].body, `"previous_data":{"state":"running","status":"pending"}`) {
			t.Errorf("%+v", all)
		}
	})
}

// TestRestart: what was not taken when the sender stopped is sent by the next one, at its time, with the attempts that
// there were.
func TestRestart(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.hosts["listener.test"] = answers(503)
		h.webhook("https://listener.test/", build.LevelSync)
		h.queue("https://gitea.test/acme/shop.git")
		synctest.Wait()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		h.stop()
		before := h.messages(build.MessageWebhook)[0]
		if before.Attempts != 2 || before.State != build.MessageWaiting || !before.NextAt.After(time.Now()) {
			t.Fatalf("%+v", before)
		}
		h.hosts["listener.test"] = answers(200)
		h.start()
		h.settle()
		m := h.messages(build.MessageWebhook)[0]
		if m.State != build.MessageSent || m.Attempts != 3 || m.AttemptedAt.Before(before.NextAt) || m.AttemptedAt.After(before.NextAt.Add(time.Second)) {
			t.Errorf("%+v, was to be sent at %s", m, before.NextAt)
		}
	})
}

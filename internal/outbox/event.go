package outbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// APIVersion is the version of the shapes in an event.
const APIVersion = "application/vnd.heroku+json; version=3"

// A Payload is what an event is, in the shape of the Platform API's app webhooks.
type Payload struct {
	ID        build.ID        `json:"id"`
	Action    string          `json:"action"`
	Actor     build.ToldUser  `json:"actor"`
	CreatedAt string          `json:"created_at"`
	Data      json.RawMessage `json:"data"`
	Previous  json.RawMessage `json:"previous_data"`
	Published string          `json:"published_at"`
	Resource  string          `json:"resource"`
	Sequence  int64           `json:"sequence"` // grows by one with each event of the app
	UpdatedAt string          `json:"updated_at"`
	Version   string          `json:"version"`
	Metadata  *metadata       `json:"webhook_metadata,omitempty"`
}

type metadata struct {
	Attempt  identity `json:"attempt"`
	Delivery identity `json:"delivery"`
	Event    struct {
		ID      build.ID `json:"id"`
		Include string   `json:"include"`
	} `json:"event"`
	Webhook identity `json:"webhook"`
}

type identity struct {
	ID build.ID `json:"id"`
}

// PayloadOf is an event as it is told; service is the URL of the service, at is now.
func PayloadOf(e build.Event, service string, at time.Time) (p Payload, err error) {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	p = Payload{
		ID: e.ID, Action: e.Action, Actor: build.ToldUser{ID: e.Actor, Email: e.ActorName}, CreatedAt: stamp(e.CreatedAt), Data: json.RawMessage(e.Data), Previous: json.RawMessage(e.Previous),
		Published: stamp(at), Resource: e.Resource, Sequence: e.Number, UpdatedAt: stamp(e.CreatedAt), Version: APIVersion,
	}
	if e.Include == build.IncludeBuild {
		var b build.ToldBuild
		if err := json.Unmarshal(p.Data, &b); err != nil {
			return p, fmt.Errorf("event %s: %w", e.ID, err)
		}
		b.LogURL = LogURL(service, b.App.Name, b.Number)
		p.Data = json.RawMessage(build.JSON(b))
	}
	return p, nil
}

// eventLetter tells a webhook of an event. Its id stays the same however often it is sent.
func eventLetter(ctx context.Context, w build.Webhook, m build.Message, e build.Event, service string, try store.Try) (l letter, err error) {
	p, err := PayloadOf(e, service, try.At)
	if err != nil {
		return l, err
	}
	p.Metadata = &metadata{Attempt: identity{try.ID}, Delivery: identity{m.ID}, Webhook: identity{w.ID}}
	p.Metadata.Event.ID, p.Metadata.Event.Include = e.ID, e.Include
	body := []byte(build.JSON(p))
	l.request, err = http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return l, &unsendable{"the URL of the webhook is none"}
	}
	h := l.request.Header
	at := strconv.FormatInt(try.At.Unix(), 10)
	h.Set("webhook-id", string(m.ID))
	h.Set("webhook-timestamp", at)
	if w.Secret != "" {
		h.Set("webhook-signature", "v1,"+signature(standardKey(w.Secret), string(m.ID)+"."+at+"."+string(body)))
		h.Set("Heroku-Webhook-Hmac-SHA256", signature([]byte(w.Secret), string(body)))
	}
	if w.Authorization != "" {
		h.Set("Authorization", w.Authorization)
	}
	l.secrets = append(urlSecrets(w.URL), w.Secret, w.Authorization)
	if _, token, ok := strings.Cut(w.Authorization, " "); ok {
		l.secrets = append(l.secrets, token)
	}
	return l, nil
}

// urlSecrets are the parts of a URL that may be a password.
func urlSecrets(text string) []string {
	u, err := url.Parse(text)
	if err != nil {
		return nil
	}
	out := []string{text, u.RequestURI(), u.RawQuery}
	if password, ok := u.User.Password(); ok {
		out = append(out, password)
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if len(part) >= 16 {
			out = append(out, part)
		}
	}
	return out
}

// standardKey is the key in a secret (Standard Webhooks, "Signature scheme"): what follows whsec_ in base64, or, for a
// secret of another form, its text.
func standardKey(secret string) []byte {
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err := base64.StdEncoding.DecodeString(text); err == nil && len(key) > 0 {
			return key
		}
	}
	return []byte(secret)
}

func signature(key []byte, text string) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

package webhook

import (
	"mime"
	"net/http"
	"net/url"
)

// A dialect is how a forge speaks.
type dialect struct {
	forge    Forge
	event    string   // header that names the event, by which the forge is known
	delivery []string // headers that may have the delivery's id, the first one wins
	verify   func(r Request, signed []byte, secrets []string) (which int, refusal *Refusal)
	read     func(e *Event, text []byte) *Refusal
	// signsPayload tells that of a form the payload in it is signed, and not the form.
	signsPayload bool
	// unlike tells that no two events have the same text.
	unlike bool
}

// dialects are in the order in which they are looked for: Gitea and Forgejo send GitHub's headers too, and Forgejo
// Gitea's.
func dialects() []dialect {
	return []dialect{
		{Forgejo, "X-Forgejo-Event", []string{"X-Forgejo-Delivery", "X-Gitea-Delivery"}, bareHex("X-Forgejo-Signature"), readHub, true, true},
		{Gitea, "X-Gitea-Event", []string{"X-Gitea-Delivery"}, bareHex("X-Gitea-Signature"), readHub, true, true},
		{GitLab, "X-Gitlab-Event", []string{"Webhook-Id", "Idempotency-Key", "X-Gitlab-Event-Uuid"}, gitlabToken, readGitLab, false, false},
		{Bitbucket, "X-Event-Key", []string{"X-Request-Uuid", "X-Request-Id"}, bitbucketHex, readBitbucket, false, false},
		{GitHub, "X-Github-Event", []string{"X-Github-Delivery"}, githubHex, readHub, false, true},
	}
}

// identify finds out who sent a request, by its header alone.
func identify(r Request) (dialect, Event, *Refusal) {
	for _, d := range dialects() {
		name := r.Header.Get(d.event)
		if name == "" {
			continue
		}
		e := Event{Forge: d.forge, Name: name}
		if !word(name, 100) {
			e.Name = ""
			return d, e, malformed("the header %s is not the name of an event", d.event)
		}
		for _, h := range d.delivery {
			if id := r.Header.Get(h); id != "" && word(id, 200) {
				e.Delivery = id
				break
			}
		}
		return d, e, nil
	}
	return dialect{}, Event{}, &Refusal{http.StatusBadRequest, CodeUnknownForge,
		"the header does not say which event of which forge this is: GitHub, GitLab, Gitea, Forgejo and Bitbucket are understood"}
}

// mediaType tells whether the body is a form; else it is JSON.
func mediaType(h http.Header) (form bool, refusal *Refusal) {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case err == nil && media == "application/json":
		return false, nil
	case err == nil && media == "application/x-www-form-urlencoded":
		return true, nil
	}
	return false, &Refusal{http.StatusUnsupportedMediaType, CodeMediaType, "the body is neither application/json nor application/x-www-form-urlencoded: set the content type of the hook to application/json"}
}

// payloadOf is the JSON in a form.
func payloadOf(body []byte) ([]byte, *Refusal) {
	fields, err := url.ParseQuery(string(body))
	if err != nil || len(fields) != 1 || len(fields["payload"]) != 1 {
		return nil, malformed("the body is no form with one field, payload")
	}
	return []byte(fields["payload"][0]), nil
}

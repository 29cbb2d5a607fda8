package outbox

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// How often and how long a message is tried: each pause is twice the one before, and up to half as long again, so that not
// all that failed together comes together.
const (
	maxAttempts = 20
	maxAge      = 48 * time.Hour
	firstPause  = 2 * time.Second
	longPause   = 6 * time.Hour
)

// judge says what follows from an attempt.
func judge(m build.Message, try *store.Try, header http.Header) {
	refused := try.Code == codeRefused
	if refused {
		try.Code = 0
	}
	switch {
	case try.Code >= 200 && try.Code < 300, alreadySo(m, *try):
		try.Sent = true
		return
	case try.Code != 0:
		try.Error = fmt.Sprintf("it was answered %d %s", try.Code, http.StatusText(try.Code))
	}
	if m.Kind == build.MessageWebhook && try.Code == http.StatusGone { // Standard Webhooks, "Webhook delivery"
		try.Disable = "it was answered 410 Gone"
		return
	}
	if !refused && m.Level != build.LevelNotify && mayPass(m, try.Code, header) {
		try.Again = again(m, try.Code, header, time.Now().UTC())
	}
}

// alreadySo is how GitLab answers a state that a commit has, or has gone beyond.
func alreadySo(m build.Message, try store.Try) bool {
	return m.Kind == build.MessageStatus && try.Code == http.StatusBadRequest && strings.Contains(try.Answer, "Cannot transition status")
}

// mayPass tells whether the same request may be taken later. A webhook's server is its owner's, who may still be at it; a
// forge means what it says.
func mayPass(m build.Message, code int, header http.Header) bool {
	if m.Kind == build.MessageWebhook {
		return true
	}
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusForbidden: // GitHub's way to say 429
		return header.Get("Retry-After") != "" || header.Get("X-RateLimit-Remaining") == "0"
	}
	return code == 0 || code >= 500 && code != http.StatusNotImplemented
}

// again is when a message is tried once more; zero: never.
func again(m build.Message, code int, header http.Header, now time.Time) time.Time {
	if m.Attempts+1 >= maxAttempts {
		return time.Time{}
	}
	if code == http.StatusForbidden {
		code = http.StatusTooManyRequests
	}
	pause := retryablehttp.DefaultBackoff(firstPause, longPause, m.Attempts, &http.Response{StatusCode: code, Header: header})
	pause = min(max(pause, firstPause), longPause)
	at := now.Add(pause + rand.N(pause/2+1))
	if at.After(m.CreatedAt.Add(maxAge)) {
		return time.Time{}
	}
	return at
}

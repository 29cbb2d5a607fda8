package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/store"
)

// maxRead is how much is read of an answer, and maxAnswer how much of it is kept, and of an error.
const (
	maxRead   = 8 << 10
	maxAnswer = 300
)

// A letter is a message as it is sent, and the texts in it that nobody may read elsewhere.
type letter struct {
	request *http.Request
	secrets []string
}

// An unsendable tells why a message cannot be sent at all.
type unsendable struct{ text string }

func (e *unsendable) Error() string { return e.text }

// send tries once to send a message, and records what came of it. The error is ours.
func (s *Sender) send(ctx context.Context, m build.Message) error {
	try := store.Try{ID: build.NewID(), At: time.Now().UTC()}
	bounded, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	l, err := s.write(bounded, m, try)
	if bad, ok := errors.AsType[*unsendable](err); ok {
		try.Error = bad.text
		return s.Store.Tried(ctx, m.ID, try)
	}
	if err != nil {
		return err
	}
	killpoint.Here(killpoint.MessageBegun)
	header := s.deliver(l, &try)
	if ctx.Err() != nil {
		return nil // we are stopping: it is sent when the service is back
	}
	killpoint.Here(killpoint.MessageTaken)
	judge(m, &try, header)
	return s.Store.Tried(ctx, m.ID, try)
}

// write makes the request of a message.
func (s *Sender) write(ctx context.Context, m build.Message, try store.Try) (l letter, err error) {
	app, err := s.Store.AppByID(ctx, m.App)
	if err != nil {
		return l, gone(err, "the app is gone")
	}
	if m.Kind == build.MessageStatus {
		f, err := s.Store.Forge(ctx, m.App)
		if err != nil {
			return l, gone(err, "the app has no forge any more")
		}
		l, err = statusLetter(ctx, f, m.Status, LogURL(s.URL, app.Name, m.BuildNumber), m.BuildNumber)
		return s.complete(l, err)
	}
	w, err := s.Store.Webhook(ctx, m.App, string(m.Webhook))
	if err != nil {
		return l, gone(err, "the webhook is gone")
	}
	e, err := s.Store.Event(ctx, m.App, string(m.Event))
	if err != nil {
		return l, gone(err, "the event is not kept any more")
	}
	l, err = eventLetter(ctx, w, m, e, s.URL, try)
	return s.complete(l, err)
}

// complete adds what all letters have.
func (s *Sender) complete(l letter, err error) (letter, error) {
	if err == nil {
		l.request.Header.Set("User-Agent", "slipway/"+s.Version)
		l.request.Header.Set("Content-Type", "application/json")
	}
	return l, err
}

func gone(err error, text string) error {
	if errors.Is(err, build.ErrNotFound) {
		return &unsendable{text}
	}
	return err
}

// deliver sends a letter, and fills in what came back.
func (s *Sender) deliver(l letter, try *store.Try) http.Header {
	client := http.Client{Transport: s.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(l.request)
	if err != nil {
		try.Error = l.problem(err)
		if refused, ok := errors.AsType[*fetch.RefusedError](err); ok {
			try.Error, try.Code = l.clean(refused.Error()), codeRefused
		}
		return nil
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxRead)) // what does not come does not matter
	try.Code, try.Answer = res.StatusCode, l.clean(string(body))
	return res.Header
}

// codeRefused stands for an address that is not connected to, until judge has seen it.
const codeRefused = -1

// problem is why there was no answer, without the URL, which may be secret.
func (l letter) problem(err error) string {
	if l.request.Context().Err() != nil {
		return fmt.Sprintf("there was no answer in %s", attemptTime)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return l.clean(err.Error())
}

// clean makes text of others fit to be kept: on one line, not long, and without what we have sent in secret.
func (l letter) clean(text string) string {
	for _, secret := range l.secrets {
		if len(secret) < 4 {
			continue
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			text = strings.ReplaceAll(text, form, "[masked]")
		}
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > maxAnswer {
		text = string(r[:maxAnswer-3]) + "..."
	}
	return text
}

// LogURL is where people find the log of a build: a browser asks for a token and then follows it.
func LogURL(service string, app build.AppName, number int64) string {
	return fmt.Sprintf("%s/apps/%s/builds/%d/log?follow=true&plain=true", service, app, number)
}

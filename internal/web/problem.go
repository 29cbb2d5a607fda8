package web

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/store"
)

// A problem is the answer to a request that was not done: ID is for programs, Message one line for people.
type problem struct {
	status  int
	ID      string `json:"id"`
	Message string `json:"message"`
}

// A registryProblem is a problem as the clients of the registry API look for it: its message is error too.
type registryProblem struct {
	ID      string `json:"id"`
	Message string `json:"message"`
	Error   string `json:"error"`
}

func (p *problem) Error() string { return p.Message }

// The answers that no other error stands for.
func unauthorized() error {
	return &problem{http.StatusUnauthorized, "unauthorized", "no token, or none that is valid: send Authorization: Bearer <token>"}
}

func forbidden(message string) error { return &problem{http.StatusForbidden, "forbidden", message} }

func badRequest(message string) error { return &problem{http.StatusBadRequest, "bad_request", message} }

func conflict(message string) error { return &problem{http.StatusConflict, "conflict", message} }

func tooLarge(message string) error {
	return &problem{http.StatusRequestEntityTooLarge, "too_large", message}
}

// invalid tells of a field of a request.
func invalid(field, text string) error { return &build.InvalidError{Field: field, Text: text} }

// problemOf is the one table of errors and statuses. What it does not know is ours: the client learns nothing of it, and
// ours is true.
func problemOf(err error, requestID string) (p *problem, ours bool) {
	if p, ok := errors.AsType[*problem](err); ok {
		return &problem{p.status, p.ID, oneLine(p.Message)}, false
	}
	answer := func(status int, id string) (*problem, bool) { return &problem{status, id, oneLine(err.Error())}, false }
	if e, ok := errors.AsType[*build.InvalidError](err); ok {
		return &problem{http.StatusUnprocessableEntity, "invalid_params", oneLine(e.Error())}, false
	}
	_, largeBody := errors.AsType[*http.MaxBytesError](err)
	_, largeSource := errors.AsType[*fetch.LimitError](err)
	switch {
	case largeBody, largeSource:
		return answer(http.StatusRequestEntityTooLarge, "too_large")
	case errors.Is(err, build.ErrNotFound):
		return answer(http.StatusNotFound, "not_found")
	case errors.Is(err, build.ErrForbidden):
		return answer(http.StatusForbidden, "forbidden")
	case errors.Is(err, store.ErrBusy):
		return &problem{http.StatusConflict, "conflict", store.ErrBusy.Error()}, false
	case errors.Is(err, build.ErrConflict), errors.Is(err, build.ErrStale):
		return answer(http.StatusConflict, "conflict")
	case errors.Is(err, logs.ErrOffset):
		return answer(http.StatusUnprocessableEntity, "invalid_params")
	}
	return &problem{http.StatusInternalServerError, "internal", "something went wrong on our side: try again; if it stays, tell the operator request " + requestID}, true
}

// bodyProblem is for a body that could not be read to its end: the client's doing, whatever it was.
func bodyProblem(err error) error {
	switch _, large := errors.AsType[*http.MaxBytesError](err); {
	case large:
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return badRequest("the body stopped coming, or came too slowly")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("the body ended too early")
	}
	return badRequest("the body could not be read")
}

// oneLine makes a message safe to print.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "") + "..."
	}
	return s
}

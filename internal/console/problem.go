package console

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// A problem is an error that the visitor is told of, as a page.
type problem struct {
	status      int
	Title, Text string
}

func (p *problem) Error() string { return p.Title + ": " + p.Text }

func nowhere(text string) error { return &problem{http.StatusNotFound, "Not found", text} }

func refused(text string) error { return &problem{http.StatusForbidden, "Not allowed", text} }

// errSignIn sends the visitor to the door.
var errSignIn = errors.New("nobody is signed in")

// problemOf is the one table that makes pages of errors. ours tells that the operator should hear of it.
func problemOf(err error) (p *problem, ours bool) {
	if p, ok := errors.AsType[*problem](err); ok {
		return p, false
	}
	if e, ok := errors.AsType[*build.InvalidError](err); ok {
		return &problem{http.StatusUnprocessableEntity, "That cannot be taken", e.Error()}, false
	}
	switch {
	case errors.Is(err, build.ErrNotFound):
		return &problem{http.StatusNotFound, "Not found", "It does not exist, or the token that you signed in with does not see it."}, false
	case errors.Is(err, build.ErrForbidden):
		return &problem{http.StatusForbidden, "Not allowed", err.Error()}, false
	case errors.Is(err, store.ErrBusy):
		return &problem{http.StatusConflict, "That cannot be done now", store.ErrBusy.Error()}, false
	case errors.Is(err, build.ErrConflict), errors.Is(err, build.ErrStale):
		return &problem{http.StatusConflict, "That cannot be done now", err.Error()}, false
	}
	return &problem{http.StatusInternalServerError, "Something went wrong on our side", "Try again. If it stays, tell the operator the number of this request."}, true
}

// fail answers with what an error means.
func (v *visit) fail(err error) {
	if v.begun {
		panic(http.ErrAbortHandler) // the browser must not take what it has for the whole
	}
	if errors.Is(err, errSignIn) {
		_ = v.redirect(toSignIn(v))
		return
	}
	p, ours := problemOf(err)
	if ours && v.Context().Err() == nil {
		v.c.Fault(fmt.Errorf("console: %s %.200q, request %s: %w", v.Method, v.URL.Path, v.id, err))
	}
	if err := v.page(p.status, "problem", p.Title, p); err != nil {
		v.c.Fault(fmt.Errorf("console: page of a problem: %w", err))
		http.Error(v.w, p.Title, p.status)
	}
}

package console

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// sessionLife is how long somebody stays signed in; a token that ends earlier ends the session too.
const sessionLife = 7 * 24 * time.Hour

type signInData struct {
	Next, Wrong string
	// Action is where the form goes that somebody sends who comes by another form, with its Fields; "" is the door's own.
	Action, Asked string
	Fields        [][2]string
}

func (c *Console) signInPage(_ context.Context, v *visit) error {
	next := local(v.FormValue("next"), "/console/apps")
	if v.signed {
		return v.redirect(next)
	}
	return v.page(http.StatusOK, "sign-in", "Sign in", signInData{Next: next})
}

// signIn takes a token.
func (c *Console) signIn(ctx context.Context, v *visit) error {
	d := signInData{Next: local(v.PostForm.Get("next"), "/console/apps")}
	if ok, err := c.authenticate(ctx, v, d); !ok {
		return err
	}
	return v.redirect(d.Next)
}

// authenticate takes the token of a form and begins a session, or answers with the door. Whatever is wrong with the token,
// the answer is the same.
func (c *Console) authenticate(ctx context.Context, v *visit, d signInData) (ok bool, err error) {
	if wait := c.Tries.Wait(v.Request); wait > 0 {
		seconds := int(math.Ceil(wait.Seconds()))
		v.w.Header().Set("Retry-After", strconv.Itoa(seconds))
		d.Wrong = fmt.Sprintf("Too many wrong tokens came from your address. Try again in %d s.", seconds)
		return false, v.page(http.StatusTooManyRequests, "sign-in", "Sign in", d)
	}
	a, err := c.Store.Authenticate(ctx, strings.TrimSpace(v.PostForm.Get("token")))
	if errors.Is(err, build.ErrNotFound) {
		c.Tries.Failed(v.Request)
		d.Wrong = "That is no token of this service, or one that has ended. It begins with slw_ and is copied whole."
		return false, v.page(http.StatusUnauthorized, "sign-in", "Sign in", d)
	}
	if err != nil {
		return false, err
	}
	until := time.Now().Add(sessionLife)
	if end := a.Token.ExpiresAt; !end.IsZero() && end.Before(until) {
		until = end
	}
	id, err := c.Store.CreateSession(ctx, a.Token.ID, until)
	if err != nil {
		return false, err
	}
	v.setCookie(sessionCookie, id, time.Until(until))
	v.setCookie(visitorCookie, "", 0)
	v.signed, v.actor, v.secret = true, a, id
	return true, nil
}

func (c *Console) signOut(ctx context.Context, v *visit) error {
	if v.signed {
		if err := c.Store.EndSession(ctx, v.secret); err != nil {
			return err
		}
		v.setCookie(sessionCookie, "", 0)
	}
	return v.redirect("/console/sign-in")
}

// toSignIn is where who is not signed in is sent, to come back after that.
func toSignIn(v *visit) string {
	if v.Method != http.MethodGet {
		return "/console/sign-in"
	}
	return "/console/sign-in?" + url.Values{"next": {local(v.URL.RequestURI(), "/")}}.Encode()
}

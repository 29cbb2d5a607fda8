package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// A visit is one request for a page, with what the front door found out before its handler runs.
type visit struct {
	*http.Request
	w     http.ResponseWriter
	c     *Console
	id    string // Request-Id
	rc    *http.ResponseController
	begun bool

	signed bool
	actor  build.Actor // where signed
	// secret is the id of the session, or of a browser that has none: what its forms are bound to.
	secret string
}

type visitKey struct{}

// maxForm is the bytes of a form.
const maxForm = 1 << 20

var requestID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`) })

// policy lets a page have what is ours, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'none'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"

// ServeHTTP is what every request goes through, whatever it asks for.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{Request: r, w: w, c: c, id: r.Header.Get("Request-Id"), rc: http.NewResponseController(w)}
	if !requestID().MatchString(v.id) {
		v.id = string(build.NewID())
	}
	c.harden(v)
	defer v.end()
	if r.ContentLength != 0 {
		_ = v.rc.SetReadDeadline(time.Now().Add(c.stall)) // not every server can
	}
	if err := v.enter(); err != nil {
		v.fail(err)
		return
	}
	if err := c.cross.Check(r); err != nil {
		v.fail(refused("This form was sent by a page of another site, so nothing was done."))
		return
	}
	handler, pattern := c.mux.Handler(r)
	if pattern == "" {
		v.elsewhere(handler, r)
		return
	}
	c.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
}

func (c *Console) harden(v *visit) {
	h := v.w.Header()
	h.Set("Request-Id", v.id)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
	if v.secure() {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// end follows the handler, also when it panicked.
func (v *visit) end() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	v.fail(fmt.Errorf("panic: %v", p))
}

// elsewhere answers a request that has no route.
func (v *visit) elsewhere(handler http.Handler, r *http.Request) {
	var a discarded
	handler.ServeHTTP(&a, r)
	if a.status == http.StatusMethodNotAllowed {
		v.w.Header().Set("Allow", a.Header().Get("Allow"))
		v.fail(&problem{a.status, "That is not done here", "This page does not take " + r.Method + "."})
		return
	}
	v.fail(nowhere("There is no page at this address."))
}

// discarded keeps of an answer its status and header.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}

func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }

func (d *discarded) WriteHeader(status int) { d.status = status }

// secure tells whether the visitor came by https.
func (v *visit) secure() bool {
	return v.TLS != nil || v.c.base != nil && v.c.base.Scheme == "https"
}

// cookie is the name of a cookie. Over https no other host of the domain can set it.
func (v *visit) cookie(name string) string {
	if v.secure() {
		return "__Host-slipway-" + name
	}
	return "slipway-" + name
}

// The cookies.
const (
	sessionCookie = "session"
	visitorCookie = "visitor" // of a browser that has no session
	flashCookie   = "flash"
)

func (v *visit) setCookie(name, value string, life time.Duration) {
	k := &http.Cookie{Name: v.cookie(name), Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: v.secure()}
	if k.MaxAge = int(life / time.Second); value == "" {
		k.MaxAge = -1
	}
	http.SetCookie(v.w, k)
}

func (v *visit) getCookie(name string) string {
	k, err := v.Cookie(v.cookie(name))
	if err != nil {
		return ""
	}
	return k.Value
}

// enter finds out who visits. A browser without a session gets a cookie for its forms, when it is shown one.
func (v *visit) enter() error {
	if id := v.getCookie(sessionCookie); id != "" {
		a, err := v.c.Store.OpenSession(v.Context(), id)
		if err == nil {
			v.signed, v.actor, v.secret = true, a, id
			return nil
		}
		if !errors.Is(err, build.ErrNotFound) {
			return err
		}
	}
	if id := v.getCookie(visitorCookie); len(id) == len(rand.Text()) {
		v.secret = id
	}
	return nil
}

// admit says whether a visitor may have a route, and whether a form is one of ours.
func (v *visit) admit(r route) error {
	if r.method == http.MethodPost {
		if err := v.checkForm(); err != nil {
			return err
		}
	}
	if r.need == anybody {
		return nil
	}
	if !v.signed {
		return errSignIn
	}
	if r.need == admin && !v.administers() {
		return refused("This page is for administrators, with a token for all apps that has the scope manage.")
	}
	return v.may(build.VerbRead)
}

func (v *visit) administers() bool {
	return v.actor.User.Admin && v.actor.Token.App == "" && v.actor.Can(build.VerbManage)
}

// may refuses what the visitor's token has no verb for.
func (v *visit) may(verb build.Verb) error {
	if v.actor.Can(verb) {
		return nil
	}
	return refused(fmt.Sprintf("The token that you signed in with lacks the scope %s, which this needs.", verb))
}

// csrfField is the name of the field that shows that a form is one of ours.
const csrfField = "csrf"

// csrf is what forms of this visitor have in that field.
func (v *visit) csrf() string {
	if v.secret == "" {
		v.secret = rand.Text()
		v.setCookie(visitorCookie, v.secret, 24*time.Hour)
	}
	return mac(v.secret, "form")
}

func mac(key, text string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func (v *visit) checkForm() error {
	v.Body = http.MaxBytesReader(v.w, v.Body, maxForm)
	if err := v.ParseForm(); err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return &problem{http.StatusRequestEntityTooLarge, "That is too much", "The form has more than 1 MiB."}
		}
		return &problem{http.StatusBadRequest, "That form was not understood", "Go back, load the page again, and send it once more."}
	}
	_ = v.rc.SetReadDeadline(time.Time{}) // the server reads on, to learn that the browser went away
	if v.secret == "" || !hmac.Equal([]byte(v.PostForm.Get(csrfField)), []byte(mac(v.secret, "form"))) {
		return refused("This form has expired or is not one of ours, so nothing was done. Go back, load the page again, and send it once more.")
	}
	return nil
}

// redirect sends the browser on, with GET.
func (v *visit) redirect(to string) error {
	http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
	return nil
}

// local is a path of ours that a visitor named, or the fallback: nothing that a browser takes for another site.
func local(path, fallback string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }) {
		return fallback
	}
	return path
}

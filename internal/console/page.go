package console

import (
	"bytes"
	"crypto/hmac"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-build/slipway/internal/build"
)

//go:embed page/*.html
var pageFiles embed.FS

// A view is what templates see: the page's own data, and what the layout needs.
type view struct {
	Title string
	Name  string // of the template: the layout marks where one is by it
	Data  any

	Signed    bool
	User      string
	Admin     bool // the visitor may have the page of that name
	CSRF      string
	Flash     flash
	RequestID string
	Version   string
	Path      string // that was asked for
	now       time.Time
}

// A flash is told once, on the page after the one that did something.
type flash struct{ Kind, Text string }

// The kinds of flash.
const (
	done = "done"
	bad  = "bad"
)

// page answers with a page: a template of that name, inside of the layout.
func (v *visit) page(status int, name, title string, data any) error {
	t, ok := v.c.pages[name]
	if !ok {
		return fmt.Errorf("there is no page %q", name)
	}
	out := view{
		Title: title, Name: name, Data: data, Signed: v.signed, User: v.actor.User.Name, Admin: v.administers(), CSRF: v.csrf(), Flash: v.takeFlash(),
		RequestID: v.id, Version: v.c.Version, Path: v.URL.Path, now: time.Now(),
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "layout", out); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	return v.send(status, "text/html; charset=utf-8", visible(b.Bytes()))
}

// visible leaves out what nobody sees and what turns the direction of text: escaping lets it through, and with it one text
// is taken for another.
func visible(page []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r >= ' ' && r < 0x7f || r == '\n' || r == '\t' {
			return r
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, page)
}

// send is the last step of every answer that is no stream. That the browser does not take it concerns nobody else.
func (v *visit) send(status int, contentType string, text []byte) error {
	h := v.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	v.begun = true
	_ = v.rc.SetWriteDeadline(time.Now().Add(v.c.stall)) // not every server can
	v.w.WriteHeader(status)
	if v.Method != http.MethodHead {
		_, _ = v.w.Write(text)
	}
	return nil
}

// say has the next page tell something, and goes there.
func (v *visit) say(kind, text, to string) error {
	if v.secret != "" {
		body := base64.RawURLEncoding.EncodeToString([]byte(kind + " " + text))
		v.setCookie(flashCookie, body+"."+mac(v.secret, "flash "+body), time.Minute)
	}
	return v.redirect(to)
}

func (v *visit) takeFlash() flash {
	text := v.getCookie(flashCookie)
	if text == "" {
		return flash{}
	}
	v.setCookie(flashCookie, "", 0)
	body, sum, _ := strings.Cut(text, ".")
	if v.secret == "" || !hmac.Equal([]byte(sum), []byte(mac(v.secret, "flash "+body))) {
		return flash{}
	}
	plain, err := base64.RawURLEncoding.DecodeString(body)
	kind, said, ok := strings.Cut(string(plain), " ")
	if err != nil || !ok {
		return flash{}
	}
	return flash{kind, said}
}

// templates reads all pages, each with the layout and the parts that pages share.
func (c *Console) templates() (map[string]*template.Template, error) {
	layout, err := template.New("layout").Funcs(c.functions()).ParseFS(pageFiles, "page/layout.html", "page/parts.html")
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	all := map[string]*template.Template{}
	files, err := fs.Glob(pageFiles, "page/*.html")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name := strings.TrimSuffix(path.Base(f), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		t, err := layout.Clone()
		if err == nil {
			t, err = t.ParseFS(pageFiles, f)
		}
		if err != nil {
			return nil, fmt.Errorf("console: page %s: %w", name, err)
		}
		all[name] = t
	}
	return all, nil
}

func (c *Console) functions() template.FuncMap {
	return template.FuncMap{
		"asset": c.assets.url, "ago": func(t time.Time) string { return ago(time.Now(), t) }, "stamp": stamp, "iso": iso,
		"took": took, "bytes": size, "short": short, "sentence": sentence, "mark": markOf, "percent": percent, "list": func(all ...any) []any { return all },
		"plural": plural, "plus": func(a, b int) int { return a + b }, "cause": cause, "why": why, "whereis": whereIs, "chart": chartOf, "buildpacks": buildpacksOf, "targets": targetsOf,
	}
}

// markOf is how a state is shown: never by colour alone.
func markOf(s build.State) mark {
	switch s {
	case build.Succeeded:
		return mark{"ok", "✓", "succeeded"}
	case build.Failed:
		return mark{"bad", "✕", "failed"}
	case build.Running:
		return mark{"run", "◐", "running"}
	case build.Queued:
		return mark{"wait", "○", "queued"}
	case build.Cancelled:
		return mark{"off", "⊘", "cancelled"}
	case build.TimedOut:
		return mark{"bad", "✕", "timed out"}
	}
	return mark{"off", "–", string(s)}
}

type mark struct{ Class, Sign, Word string }

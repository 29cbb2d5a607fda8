package console

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

// A badge is read where nobody is signed in: in a README, by the proxy of a forge. But that an app exists, and how its builds
// go, is told to nobody who does not see it. So the URL of a badge has a key, which the app's page shows: whoever was given
// the URL sees the badge, and whoever was not sees the same whether there is such an app or none.

func (c *Console) badgeKey(a build.App) string { return mac(string(c.Key), "badge "+string(a.ID))[:22] }

func (c *Console) badgeURL(r *http.Request, a build.App) string {
	u := c.at(r, "/badge/"+string(a.Name)+".svg")
	u.RawQuery = url.Values{"key": {c.badgeKey(a)}}.Encode()
	return u.String()
}

type badgeView struct {
	Left, Right   string
	Colour        string
	LeftW, RightW int
}

func (b badgeView) Width() int  { return b.LeftW + b.RightW }
func (b badgeView) LeftX() int  { return b.LeftW / 2 }
func (b badgeView) RightX() int { return b.LeftW + b.RightW/2 }

// The colours have contrast with white, and the word says the same.
func newBadge(word, colour string) badgeView {
	width := func(s string) int { return 14 + 7*len(s) }
	return badgeView{"build", word, colour, width("build"), width(word)}
}

func badgeOf(s build.State) badgeView {
	switch s {
	case build.Succeeded:
		return newBadge("passing", "#14693c")
	case build.Failed, build.TimedOut:
		return newBadge("failing", "#a5221b")
	case build.Running, build.Queued:
		return newBadge(string(s), "#0b5a94")
	}
	return newBadge(string(s), "#565c65")
}

var badgeSVG = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("badge").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="20" role="img" aria-label="{{.Left}}: {{.Right}}">` +
		`<title>{{.Left}}: {{.Right}}</title><clipPath id="r"><rect width="{{.Width}}" height="20" rx="4"/></clipPath><g clip-path="url(#r)">` +
		`<rect width="{{.LeftW}}" height="20" fill="#3b4148"/><rect x="{{.LeftW}}" width="{{.RightW}}" height="20" fill="{{.Colour}}"/></g>` +
		`<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">` +
		`<text x="{{.LeftX}}" y="14">{{.Left}}</text><text x="{{.RightX}}" y="14">{{.Right}}</text></g></svg>`))
})

// badge is the state of an app's newest build, as SVG.
func (c *Console) badge(ctx context.Context, v *visit) error {
	name, ok := strings.CutSuffix(v.PathValue("file"), ".svg")
	status, b := http.StatusNotFound, newBadge("unknown", "#565c65")
	if ok {
		found, state, err := c.badgeState(ctx, v, name)
		if err != nil {
			return err
		}
		if found {
			status, b = http.StatusOK, state
		}
	}
	var out bytes.Buffer
	if err := badgeSVG().Execute(&out, b); err != nil {
		return fmt.Errorf("badge: %w", err)
	}
	h := v.w.Header()
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-cache, max-age=0") // proxies of forges would keep it for hours
	return v.send(status, "image/svg+xml", out.Bytes())
}

func (c *Console) badgeState(ctx context.Context, v *visit, name string) (found bool, b badgeView, err error) {
	a, err := c.Store.AppByName(ctx, name)
	if errors.Is(err, build.ErrNotFound) {
		return false, b, nil
	}
	if err != nil {
		return false, b, err
	}
	key := v.URL.Query().Get("key")
	if !hmac.Equal([]byte(key), []byte(c.badgeKey(a))) && !(v.signed && v.actor.Sees(a) && v.actor.Can(build.VerbRead)) {
		return false, b, nil
	}
	last, err := c.Store.PlainBuilds(ctx, a.ID, store.Page{Max: 1, Desc: true})
	if err != nil || len(last) == 0 {
		return err == nil, newBadge("none yet", "#565c65"), err
	}
	return true, badgeOf(last[0].State), nil
}

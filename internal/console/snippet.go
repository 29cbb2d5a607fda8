package console

import (
	"context"
	"net/http"

	"github.com/slipway-build/slipway/internal/button"
)

type buttonData struct {
	Given    string
	Wrong    string
	Link     string // of the button, to look at
	Template string
	Allowed  bool // this service takes templates of that host
	Snippets []snippet
	Names    []string // of config vars whose values are in the link
	Ignored  []string
}

type snippet struct{ Format, Text string }

// buttonPage makes the text that puts a deploy button into a page. It connects to nothing.
func (c *Console) buttonPage(_ context.Context, v *visit) error {
	given := v.URL.Query().Get("template")
	d := buttonData{Given: given[:min(len(given), 8<<10)]}
	if d.Given == "" {
		return v.page(http.StatusOK, "button", "A deploy button for your README", d)
	}
	t, err := button.Parse(given, func(string) bool { return true })
	if err != nil {
		d.Wrong = sentence(err.Error())
		return v.page(http.StatusUnprocessableEntity, "button", "A deploy button for your README", d)
	}
	service := c.at(v.Request, "/").String()
	for _, f := range []struct {
		format button.Format
		name   string
	}{{button.Markdown, "Markdown"}, {button.HTML, "HTML"}, {button.URL, "Link"}} {
		text, err := button.Snippet(service, t, f.format)
		if err != nil {
			return err
		}
		d.Snippets = append(d.Snippets, snippet{f.name, text})
	}
	d.Link, d.Template, d.Allowed, d.Ignored = deployLink(t), t.URL(), c.shelf.allowed(t.Repository.Host()), t.Ignored
	for _, s := range t.Env {
		d.Names = append(d.Names, string(s.Name))
	}
	return v.page(http.StatusOK, "button", "A deploy button for your README", d)
}

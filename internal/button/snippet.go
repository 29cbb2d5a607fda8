package button

import (
	_ "embed"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
)

// Alt is what the button says, to those who do not see it too.
const Alt = "Deploy with Slipway"

// ImagePath is where a service has the button's picture, and PagePath where the button leads.
const (
	ImagePath = "/button.svg"
	PagePath  = "/deploy"
)

//go:embed button.svg
var svg []byte

// SVG is the picture of the button: our own, with its text as its title, and readable on light and dark pages.
func SVG() []byte { return slices.Clone(svg) }

// A Format is a form of a snippet.
type Format string

// The values of Format.
const (
	Markdown Format = "markdown"
	HTML     Format = "html"
	URL      Format = "url" // the link alone
)

// Formats are all of them.
func Formats() []Format { return []Format{Markdown, HTML, URL} }

// Link is the link of a button for a template on a service.
func Link(service string, t Template) (string, error) {
	base, err := serviceURL(service)
	if err != nil {
		return "", err
	}
	var link strings.Builder
	link.WriteString(base + PagePath + "?template=" + url.QueryEscape(t.URL()))
	for _, s := range t.Env {
		link.WriteString("&" + url.QueryEscape("env["+string(s.Name)+"]") + "=" + url.QueryEscape(s.Value))
	}
	return link.String(), nil
}

// Snippet is the text that puts the button for a template into a page.
func Snippet(service string, t Template, f Format) (string, error) {
	link, err := Link(service, t)
	if err != nil {
		return "", err
	}
	base, err := serviceURL(service)
	if err != nil {
		return "", err
	}
	switch f {
	case URL:
		return link, nil
	case Markdown:
		return fmt.Sprintf("[![%s](%s)](%s)", Alt, base+ImagePath, link), nil
	case HTML:
		return fmt.Sprintf(`<a href="%s"><img src="%s" alt="%s" width="172" height="32"></a>`, html.EscapeString(link), html.EscapeString(base+ImagePath), Alt), nil
	}
	return "", fmt.Errorf("a button in the format %.40q: want markdown, html or url", f)
}

// serviceURL is the URL of a service without a slash at its end. Nothing in it ends the link that it becomes part of.
func serviceURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(u.Host+u.Path, "()<>[]\"' \t\n*_`\\") && !strings.HasPrefix(u.Host, "[") {
		return "", fmt.Errorf("the URL of the service %s is not of the form https://host", quoted(s))
	}
	return strings.TrimRight(u.String(), "/"), nil
}

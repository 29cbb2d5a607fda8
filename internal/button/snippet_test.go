package button

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestSnippet(t *testing.T) {
	tmpl, err := Parse("https://github.com/u/r/tree/a/b(c)", nil)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.Env = []Setting{{"A", `"><script>&)`}}
	const link = "https://slipway.example.com/deploy?template=https%3A%2F%2Fgithub.com%2Fu%2Fr%2Ftree%2Fa%2Fb%2528c%2529"
	for f, want := range map[Format]string{
		URL:      link + "&env%5BA%5D=%22%3E%3Cscript%3E%26%29",
		Markdown: "[![Deploy with Slipway](https://slipway.example.com/button.svg)](" + link + "&env%5BA%5D=%22%3E%3Cscript%3E%26%29)",
		HTML:     `<a href="` + link + `&amp;env%5BA%5D=%22%3E%3Cscript%3E%26%29"><img src="https://slipway.example.com/button.svg" alt="Deploy with Slipway" width="172" height="32"></a>`,
	} {
		if got, err := Snippet("https://slipway.example.com/", tmpl, f); got != want || err != nil {
			t.Errorf("%s:\n%s\n%s, %v", f, got, want, err)
		}
	}
	if _, err := Snippet("https://slipway.example.com", tmpl, "pdf"); err == nil {
		t.Error("there is a button in PDF")
	}
	for _, bad := range []string{"", "slipway.example.com", "javascript:alert(1)", "https://u:p@slipway.example.com", "https://slipway.example.com/?x", "https://slipway.example.com/)x", "https://slipway.example.com/\"x"} {
		if got, err := Link(bad, tmpl); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
	if got, err := Link("http://[::1]:5000", tmpl); err != nil || !strings.HasPrefix(got, "http://[::1]:5000/deploy?") {
		t.Errorf("%s, %v", got, err)
	}
}

// TestSVG: the picture is small, complete in itself, and says in its title what it is.
func TestSVG(t *testing.T) {
	b := SVG()
	if len(b) > 2048 {
		t.Errorf("the button has %d bytes", len(b))
	}
	d := xml.NewDecoder(strings.NewReader(string(b)))
	title, role, inTitle := "", "", false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			inTitle = x.Name.Local == "title"
			if x.Name.Local == "script" || x.Name.Local == "image" || x.Name.Local == "style" {
				t.Errorf("it has <%s>", x.Name.Local)
			}
			for _, a := range x.Attr {
				if a.Name.Local == "href" || strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Value, "url(") {
					t.Errorf("it has %s=%q", a.Name.Local, a.Value)
				}
				if x.Name.Local == "svg" && a.Name.Local == "role" {
					role = a.Value
				}
			}
		case xml.CharData:
			if inTitle {
				title += string(x)
			}
		case xml.EndElement:
			inTitle = false
		}
	}
	if title != Alt || role != "img" {
		t.Errorf("title %q, role %q", title, role)
	}
	b[0] = 'x'
	if SVG()[0] != '<' {
		t.Error("somebody who has the picture can change it")
	}
}

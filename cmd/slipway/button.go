package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/button"
)

func (a *app) buttonCommand() *cobra.Command {
	var service, format string
	cmd := &cobra.Command{
		Use: "button TEMPLATE-URL", Short: "Write the deploy button of a repository for its README",
		Long: `Write the deploy button of a repository for its README. TEMPLATE-URL is the URL of a
git repository, of a branch, tag, directory or file of it as forges show them, or a
deploy link of another service. The button leads to a build service, which asks who
clicks it for what the repository's app.json wants; nothing is connected to now.`,
		Example: `  slipway button https://github.com/example/guestbook
  slipway button https://gitlab.com/example/guestbook/-/tree/stable --service https://slipway.example.com --format html`,
		Args: wants("TEMPLATE-URL"),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := button.Parse(args[0], func(string) bool { return true }) // whom the service allows, it says itself
			if err != nil {
				return &usageError{err}
			}
			if !slices.Contains(button.Formats(), button.Format(format)) {
				return usagef("--format %s: want markdown, html or url", format)
			}
			if service == "" {
				c, err := a.credentials()
				if err != nil {
					return err
				}
				if service = firstOf(a.getenv("SLIPWAY_URL"), c.Current); service == "" {
					return usagef("no build service is known here: name it with --service URL, or slipway login URL")
				}
			}
			return a.showButton(service, t, button.Format(format))
		},
	}
	cmd.Flags().StringVar(&service, "service", "", "the `URL` of the build service (default the one that you are logged in to)")
	cmd.Flags().StringVar(&format, "format", string(button.Markdown), "markdown, html or url")
	return cmd
}

// buttonText is a button as --output-format json writes it.
type buttonText struct {
	Template string `json:"template"`
	Link     string `json:"link"`
	Snippet  string `json:"snippet"`
}

func (a *app) showButton(service string, t button.Template, f button.Format) error {
	link, err := button.Link(service, t)
	if err != nil {
		return &usageError{err}
	}
	snippet, err := button.Snippet(service, t, f)
	if err != nil {
		return &usageError{err}
	}
	for _, text := range t.Ignored {
		a.warn("%s", text)
	}
	if len(t.Env) > 0 {
		var names []string
		for _, s := range t.Env {
			names = append(names, string(s.Name))
		}
		a.note("whoever sees the link sees the values of %s", strings.Join(names, ", "))
	}
	return a.print(buttonText{t.URL(), link, snippet}, func(w io.Writer) { fmt.Fprintln(w, snippet) })
}

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/appjson"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) appjsonCommand() *cobra.Command {
	check := &cobra.Command{
		Use: "check [FILE|DIR]", Short: "Look at an app.json as the build service reads it",
		Long: `Look at an app.json as the build service reads it: the file, or that of a directory (default
this one). Each line is about one key: an error makes a deploy impossible, a warning
says what is left out or read in another way. The exit code is 1 where there is an error.`,
		Example: `  slipway appjson check
  slipway appjson check ./my-app --output json`,
		Args: wants("[FILE|DIR]"),
		RunE: func(_ *cobra.Command, args []string) error {
			path := "."
			if len(args) > 0 {
				path = args[0]
			}
			return a.checkAppjson(path)
		},
	}
	check.Flags().StringVar(&a.format, "output", "human", "the same as --output-format: human or json")
	return group("appjson", "Look at app.json, what a template asks for before it can run", check)
}

// checkedAppjson is what is found in a file, as --output json writes it.
type checkedAppjson struct {
	File     string            `json:"file"`
	Errors   int               `json:"errors"`
	Warnings int               `json:"warnings"`
	Findings []appjson.Finding `json:"findings"`
	Asks     *asked            `json:"asks"` // null where the file cannot be read
}

// asked is what a deploy by a button asks for.
type asked struct {
	Values     []string `json:"values"`    // config vars that somebody has to give
	Generated  []string `json:"generated"` // config vars that are made up
	Addons     []string `json:"addons"`
	Buildpacks []string `json:"buildpacks"` // with the default builder
}

func (a *app) checkAppjson(path string) error {
	text, file, err := readAppjson(path)
	if err != nil {
		return err
	}
	app, found := appjson.Parse(text)
	d := checkedAppjson{File: file, Findings: found}
	if d.Findings == nil {
		d.Findings = []appjson.Finding{}
	}
	for _, f := range found {
		if f.Severity == appjson.Error {
			d.Errors++
		} else {
			d.Warnings++
		}
	}
	if app != nil {
		_, err := os.Lstat(filepath.Join(filepath.Dir(file), "Procfile"))
		d.Asks = asks(app.For(appjson.Production), err == nil)
	}
	if err := a.print(d, func(w io.Writer) { a.showAppjson(w, d) }); err != nil {
		return err
	}
	if d.Errors > 0 {
		return &statusError{code: 1, text: file + ": it cannot be deployed as it is", quiet: a.json()}
	}
	return nil
}

// readAppjson reads a file, at most a byte more than one may have.
func readAppjson(path string) (text []byte, file string, err error) {
	fi, err := os.Stat(path)
	if err == nil && fi.IsDir() {
		path = filepath.Join(path, "app.json")
		fi, err = os.Stat(path)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read app.json: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return nil, "", fmt.Errorf("read app.json: %s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, "", fmt.Errorf("read app.json: %w", err)
	}
	defer f.Close()
	if text, err = io.ReadAll(io.LimitReader(f, appjson.MaxBytes+1)); err != nil {
		return nil, "", fmt.Errorf("read app.json: %w", err)
	}
	return text, path, nil
}

func asks(s appjson.Settings, procfile bool) *asked {
	q := &asked{Values: []string{}, Generated: []string{}, Addons: []string{}, Buildpacks: []string{}}
	for _, v := range s.Env {
		switch {
		case v.Secret:
			q.Generated = append(q.Generated, string(v.Name))
		case v.Missing():
			q.Values = append(q.Values, string(v.Name))
		}
	}
	for _, x := range s.Addons {
		q.Addons = append(q.Addons, x.String())
	}
	q.Buildpacks = append(q.Buildpacks, s.Order(func(string) bool { return true }, procfile)...)
	return q
}

func (a *app) showAppjson(w io.Writer, d checkedAppjson) {
	paint := a.paint(w)
	for _, f := range d.Findings {
		word := paint.warn.Render("warning")
		if f.Severity == appjson.Error {
			word = paint.bad.Render("error")
		}
		where := ""
		if f.Path != "" {
			where = f.Path + ": "
		}
		fmt.Fprintf(w, "%s:%d:%d: %s: %s\n", d.File, f.Line, f.Column, word, transcript.Clean(where+f.Text, false))
	}
	if a.quiet || d.Errors > 0 || d.Asks == nil {
		return
	}
	fmt.Fprintf(w, "%s: it can be deployed, %s\n", d.File, counted(d.Warnings, "warning"))
	for _, l := range []struct {
		what string
		list []string
	}{{"asks for", d.Asks.Values}, {"generates", d.Asks.Generated}, {"wants add-ons", d.Asks.Addons}, {"builds with", d.Asks.Buildpacks}} {
		for i, text := range l.list {
			what := l.what
			if i > 0 {
				what = ""
			}
			fmt.Fprintf(w, "  %-14s %s\n", what, transcript.Clean(text, false))
		}
	}
}

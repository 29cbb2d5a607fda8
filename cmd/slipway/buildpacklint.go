package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/lint"
)

func (a *app) lintBuildpackCommand() *cobra.Command {
	return &cobra.Command{
		Use: "lint [DIR|FILE]...", Short: "Look at a buildpack for what fails at its users' or is not what the spec says",
		Long: `Look at buildpack.toml, extension.toml, package.toml and builder.toml of directories, and at
the executables: ids, versions, APIs, targets, licences, orders, unknown keys, modes, #! lines,
line endings, names of layers. Each finding has file and line, its rule, and what to do. Nothing
is run. A file is taken for what its name ends in: go-builder.toml is a builder.toml.

The exit code is 1 where there is an error; warnings alone are no error.`,
		Example: `  slipway buildpack lint
  slipway buildpack lint ./jdk ./maven go-builder.toml
  slipway buildpack lint --output-format json`,
		Args: wants("[DIR|FILE]..."),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			return a.lintBuildpacks(args)
		},
	}
}

// lintedResult is what was found, as JSON has it.
type lintedResult struct {
	Errors   int            `json:"errors"`
	Warnings int            `json:"warnings"`
	Findings []lint.Finding `json:"findings"`
}

func (a *app) lintBuildpacks(args []string) error {
	r := lintedResult{Findings: []lint.Finding{}}
	for _, arg := range args {
		found, err := lintOne(arg)
		if err != nil {
			return fmt.Errorf("lint %s: %w", arg, err)
		}
		r.Findings = append(r.Findings, found...)
	}
	for _, f := range r.Findings {
		if f.Severity == lint.Error {
			r.Errors++
		} else {
			r.Warnings++
		}
	}
	if err := a.print(r, func(w io.Writer) { a.showLinted(w, r) }); err != nil {
		return err
	}
	if r.Errors > 0 {
		return &statusError{code: 1, text: "lint found " + counted(r.Errors, "error"), quiet: a.data()}
	}
	return nil
}

// lintOne looks at a directory or a file; the files of findings are then as they are reached from here.
func lintOne(arg string) ([]lint.Finding, error) {
	fi, err := os.Stat(arg)
	if err != nil {
		return nil, err
	}
	dir, name := arg, ""
	if !fi.IsDir() {
		dir, name = filepath.Split(arg)
		if dir == "" {
			dir = "."
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var found []lint.Finding
	if fi.IsDir() {
		found, err = lint.Dir(root)
	} else {
		found, err = lint.File(root, name)
	}
	for i := range found {
		found[i].File = filepath.Join(dir, filepath.FromSlash(found[i].File))
	}
	return found, err
}

func (a *app) showLinted(w io.Writer, r lintedResult) {
	paint := a.paint(w)
	for _, f := range r.Findings {
		at := f.File
		if f.Line > 0 {
			at = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		style := paint.warn
		if f.Severity == lint.Error {
			style = paint.bad
		}
		fmt.Fprintf(w, "%s: %s %s [%s]\n    %s\n", clean(at), style.Render(string(f.Severity)+":"), clean(f.What), f.Rule, paint.faint.Render(clean(f.Fix)))
	}
	if !a.quiet {
		fmt.Fprintf(w, "%s, %s\n", counted(r.Errors, "error"), counted(r.Warnings, "warning"))
	}
}

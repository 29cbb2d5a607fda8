package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/source"
	"github.com/slipway-build/slipway/internal/transcript"
	"github.com/slipway-build/slipway/internal/watch"
)

// workshopFlags are those of commands by which an author runs buildpacks over an app, without an image of it.
type workshopFlags struct {
	buildFlags
	watch bool
}

// add declares the flags of commands that run without anybody.
func (f *workshopFlags) add(cmd *cobra.Command) {
	f.addAll(cmd)
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "run again when a file of a buildpack or of the app changes; Ctrl-C ends it")
}

// addAll declares the flags of all of them.
func (f *workshopFlags) addAll(cmd *cobra.Command) {
	s := cmd.Flags()
	f.set = s
	s.SortFlags = false
	s.StringVarP(&f.path, "app", "p", ".", "directory, zip or tar file of an app")
	f.addBuilder(s)
	s.StringArrayVar(&f.pre, "pre-buildpack", nil, "buildpack before every group of the order; repeatable")
	s.StringArrayVar(&f.post, "post-buildpack", nil, "buildpack after every group of the order; repeatable")
	s.BoolVar(&f.noSystem, "disable-system-buildpacks", false, "leave out the system buildpacks of the builder")
	f.addInputs(s)
	f.addSurroundings(s)
	f.addLimits(s)
	f.compression = "gzip"
}

// workshopArgs is the help of what DIR is.
const workshopArgs = `Each DIR is a buildpack: a directory, or whatever slipway build --buildpack takes. Several
are one group; without any it is the builder's order. A composite buildpack's order is
unfolded, and what its package.toml names beside it is there.`

// options are the platform's. The name is not used.
func (f *workshopFlags) options(a *app, args []string) (platform.Options, error) {
	if len(args) == 0 && f.builder == "" {
		return platform.Options{}, usagef("name a directory of a buildpack, or with --builder a builder whose order is to be tried")
	}
	f.buildpacks = args
	return a.options(&f.buildFlags, "workshop")
}

// workshop runs do once, or with --watch over and over. An error of do does not end the watch.
func (a *app) workshop(ctx context.Context, f *workshopFlags, args []string, do func(context.Context, *platform.Machine, platform.Options) error) error {
	o, err := f.options(a, args)
	if err != nil {
		return err
	}
	return a.withMachine(ctx, func(ctx context.Context, m *platform.Machine) error {
		if f.watch {
			return a.rerun(ctx, m, o, func(ctx context.Context) error { return do(ctx, m, o) })
		}
		return do(ctx, m, o)
	})
}

// errOutdated ends a run whose files have changed.
var errOutdated = errors.New("a file changed")

// rerun runs do, and again whenever a file of o changes, until ctx ends: a run that is under way is ended then.
func (a *app) rerun(ctx context.Context, m *platform.Machine, o platform.Options, do func(context.Context) error) error {
	for changed := []string(nil); ; {
		w, err := watch.Open(trees(ctx, m, o)...)
		if err != nil {
			return err
		}
		for again := true; again; {
			if changed, err = a.runUntilChange(ctx, w, changed, do); err != nil {
				break
			}
			again = !rules(changed)
		}
		if cerr := w.Close(); ctx.Err() != nil {
			return cerr // the user's Ctrl-C is how this ends
		} else if err = errors.Join(err, cerr); err != nil {
			return err
		}
	}
}

// runUntilChange runs do and returns when something changed, which ends do.
func (a *app) runUntilChange(ctx context.Context, w *watch.Watcher, changed []string, do func(context.Context) error) ([]string, error) {
	if len(changed) > 0 && !a.hidesOutput() {
		fmt.Fprintf(a.stdout, "\n%s %s\n", a.paint(a.stdout).head.Render(time.Now().Format("15:04:05")), transcript.Clean(changedText(changed), false))
	}
	run, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := do(run)
		if run.Err() != nil {
			return
		}
		if err != nil {
			a.report(told(ctx, err), exitCode(ctx, err), a.json())
		}
		if !a.hidesOutput() {
			fmt.Fprintln(a.stdout, a.paint(a.stdout).faint.Render("Waiting for changes; Ctrl-C ends it."))
		}
	}()
	next, err := w.Next(ctx)
	cancel(errOutdated)
	<-done
	return next, err
}

// changedText names a few of many files: those that are there, for editors write others beside them and remove them.
func changedText(changed []string) string {
	const most = 3
	names := slices.DeleteFunc(slices.Clone(changed), func(p string) bool {
		_, err := os.Lstat(p)
		return err != nil
	})
	if len(names) == 0 {
		names = changed
	}
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more changed", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ") + " changed"
}

// rules says whether a change is one of what is watched.
func rules(changed []string) bool {
	for _, p := range changed {
		if base := filepath.Base(p); base == source.DescriptorName || base == "package.toml" {
			return true
		}
	}
	return false
}

// trees are what a run of o reads of this machine: the app, the buildpacks that are directories or files, and the
// components of composite ones. What is no part of the app is not watched, nor what git keeps, nor Slipway's own files.
func trees(ctx context.Context, m *platform.Machine, o platform.Options) []watch.Tree {
	own := func(root string) func(name string, isDir bool) bool {
		return func(name string, isDir bool) bool {
			return isDir && (name == ".git" || filepath.Join(root, name) == m.State)
		}
	}
	app := absolute(o.Source)
	skip := own(app)
	if outside, err := source.Skips(ctx, app, source.DescriptorName, nil); err == nil {
		mine := skip
		skip = func(name string, isDir bool) bool {
			return mine(name, isDir) || name != source.DescriptorName && outside(name, isDir)
		}
	}
	out := []watch.Tree{{Path: app, Skip: skip}}
	for _, p := range platform.Files(o) {
		p = absolute(p)
		out = append(out, watch.Tree{Path: p, Skip: own(p)})
	}
	return out
}

// absolute is a path that does not change with the directory that we are in.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// indented writes a table two columns from the edge.
func indented(w io.Writer, head string, lines [][]string) {
	var b strings.Builder
	table(&b, head, lines)
	for line := range strings.Lines(b.String()) {
		fmt.Fprint(w, "  "+strings.TrimRight(line, " \n")+"\n")
	}
}

// shortRefs are ids with their versions, in one line.
func shortRefs(refs []cnb.Ref) string {
	var names []string
	for _, r := range refs {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

// varsHelp is what the help of slipway config says of --app.
const varsHelp = `

With --app it is about the config vars of an app of the build service instead: they
are variables of its builds. The next build has what was changed.`

// varsOf tells whether a config command is about an app's config vars. Only the flag says so: without it the command
// means what it means on a machine that knows no service.
func (a *app) varsOf() bool { return a.appName != "" }

// showVars lists config vars with their values, or the names alone with --quiet.
func (a *app) showVars(ctx context.Context) error {
	return a.inApp(ctx, func(ctx context.Context, c *client.Client, app string) error {
		vars, err := c.ConfigVars(ctx, app)
		if err != nil {
			return err
		}
		return a.printVars(vars)
	})
}

func (a *app) printVars(vars map[string]string) error {
	return a.print(vars, func(w io.Writer) {
		if a.quiet {
			for _, k := range sortedKeys(vars) {
				fmt.Fprintln(w, transcript.Clean(k, false))
			}
			return
		}
		var lines [][]string
		for _, k := range sortedKeys(vars) {
			lines = append(lines, []string{k, strings.ReplaceAll(vars[k], "\n", `\n`)})
		}
		table(w, "NAME VALUE", lines)
	})
}

// getVar prints one value as it is. There being none is exit code 1 and no output, as for settings.
func (a *app) getVar(ctx context.Context, key string) error {
	return a.inApp(ctx, func(ctx context.Context, c *client.Client, app string) error {
		vars, err := c.ConfigVars(ctx, app)
		if err != nil {
			return err
		}
		v, ok := vars[key]
		if !ok {
			return &statusError{code: 1, text: fmt.Sprintf("%s is not set for %s", key, app)}
		}
		return a.print(v, func(w io.Writer) {
			if a.isTerminal(w) {
				v = transcript.Clean(v, false)
			}
			fmt.Fprintln(w, v)
		})
	})
}

// setVars takes NAME=VALUE, NAME=- for what standard input has, and files.
func (a *app) setVars(ctx context.Context, args, files []string) error {
	if len(args)+len(files) == 0 {
		return usagef("slipway config set --app %s wants NAME=VALUE... or --env-file FILE", a.appName)
	}
	fromStdin := func(arg string) bool { return strings.HasSuffix(arg, "=-") && strings.Count(arg, "=") == 1 }
	if i := slices.IndexFunc(args, fromStdin); i >= 0 && slices.ContainsFunc(args[i+1:], fromStdin) {
		return usagef("%s: standard input can be the value of one variable only", args[i])
	}
	vars, err := a.environment(files, nil)
	if err != nil {
		return err
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if _, err := build.ParseEnvName(name); err != nil {
			return &usageError{err}
		}
		if !ok {
			return usagef("%s: want %s=VALUE, or %s=- for what standard input has", name, name, name)
		}
		if value == "-" {
			if value, err = a.secret("Value of " + name); err != nil {
				return err
			}
		}
		vars[name] = value
	}
	changes := map[string]*string{}
	for k, v := range maps.All(vars) {
		changes[k] = &v
	}
	return a.changeVars(ctx, changes, "Set")
}

func (a *app) unsetVars(ctx context.Context, names []string) error {
	changes := map[string]*string{}
	for _, n := range names {
		if _, err := build.ParseEnvName(n); err != nil {
			return &usageError{err}
		}
		changes[n] = nil
	}
	return a.changeVars(ctx, changes, "Removed")
}

func (a *app) changeVars(ctx context.Context, changes map[string]*string, did string) error {
	return a.inApp(ctx, func(ctx context.Context, c *client.Client, app string) error {
		after, err := c.ChangeConfigVars(ctx, app, changes)
		if err != nil {
			return err
		}
		return a.print(after, func(w io.Writer) {
			if !a.quiet {
				fmt.Fprintf(w, "%s %s of %s: the next build has it so\n", did, strings.Join(sortedKeys(changes), ", "), app)
			}
		})
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
	"github.com/slipway-build/slipway/internal/transcript"
)

// setupFlags say what is set up, and how.
type setupFlags struct {
	name, url, checksum, deployer string
	vars, varFiles, buildpacks    []string
	withoutAddons                 bool
	follow                        followFlags
}

func (a *app) setupCommand() *cobra.Command {
	var f setupFlags
	cmd := &cobra.Command{
		Use: "setup [TEMPLATE]", Short: "Make an app of a template on the build service, as a deploy button does",
		Long: `Make an app of a template on the build service, as a deploy button does. TEMPLATE is the
URL of a git repository with an app.json, of a branch, tag or directory of it, or a deploy
link; or a directory or archive of this machine (default .), which is sent. The app gets its
config vars, is built and released, its postdeploy runs once, and then its deployer deploys
it. When any of this fails the app is removed; slipway setups shows what there was.

Where it is waited for, exit code 101 is that the template failed, in whatever step.
` + serviceCodes,
		Example: `  slipway setup https://github.com/example/guestbook --name my-guestbook
  slipway setup https://github.com/example/guestbook -e ADMIN=me@example.com --deployer local
  slipway setup https://github.com/example/samples/tree/main/guestbook
  slipway setup ./guestbook --without-addons`,
		Args: wants("[TEMPLATE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service()
			if err != nil {
				return err
			}
			return a.setUp(cmd.Context(), c, strings.Join(args, ""), f)
		},
	}
	s := cmd.Flags()
	s.SortFlags = false
	s.StringVar(&f.name, "name", "", "name of the app (default: one is made up)")
	s.StringArrayVarP(&f.vars, "env", "e", nil, "config var `NAME=value`, or NAME for the value it has here; repeatable")
	s.StringArrayVar(&f.varFiles, "env-file", nil, "`FILE` of such lines; --env wins; repeatable")
	s.StringArrayVarP(&f.buildpacks, "buildpack", "b", nil, "buildpack in place of the template's; repeatable, in order")
	s.BoolVar(&f.withoutAddons, "without-addons", false, "set it up though nobody gives the config vars of its add-ons")
	s.StringVar(&f.deployer, "deployer", "", "none or local (default: as the service has it)")
	s.StringVar(&f.url, "source-url", "", "https `URL` of an archive, which the service fetches, in place of TEMPLATE")
	s.StringVar(&f.checksum, "checksum", "", "what that must have, `SHA256:HEX`")
	f.follow.add(cmd)
	return a.serviceFlags(cmd)
}

// isTemplate tells a URL from a path: what is there is a path.
func isTemplate(arg string) bool {
	if _, err := os.Lstat(arg); err == nil || arg == "" {
		return false
	}
	host, _, path := strings.Cut(arg, "/")
	return strings.Contains(arg, "://") || strings.HasPrefix(arg, "git@") || strings.HasPrefix(arg, "[") || path && strings.Contains(strings.Trim(host, "."), ".")
}

func (a *app) setUp(ctx context.Context, c *client.Client, arg string, f setupFlags) error {
	switch {
	case f.url != "" && arg != "":
		return usagef("TEMPLATE and --source-url exclude each other")
	case f.url == "" && f.checksum != "":
		return usagef("--checksum is for --source-url")
	}
	vars, err := a.environment(f.varFiles, f.vars)
	if err != nil {
		return err
	}
	r := client.SetupRequest{Deployer: build.DeployerKind(f.deployer), WithoutAddons: f.withoutAddons, Overrides: client.SetupOverrides{Env: vars}}
	for _, name := range f.buildpacks {
		r.Overrides.Buildpacks = append(r.Overrides.Buildpacks, client.SetupBuildpack{URL: name})
	}
	if f.name != "" {
		r.App = &client.SetupApp{Name: f.name}
	}
	switch {
	case f.url != "":
		r.Source = &client.SetupSource{URL: f.url, Checksum: f.checksum}
	case isTemplate(arg):
		r.Template = arg
	default:
		up, err := a.upload(ctx, c, "", firstOf(arg, "."), false)
		if err != nil {
			return err
		}
		r.Source = &client.SetupSource{URL: up.url, Checksum: up.sum}
	}
	v, err := c.CreateSetup(ctx, r)
	if err != nil {
		return err
	}
	if f.follow.detach {
		return a.print(v, func(w io.Writer) {
			if a.quiet {
				fmt.Fprintln(w, v.ID)
				return
			}
			fmt.Fprintf(w, "%s is set up: slipway setups info %s\n", transcript.Clean(v.App.Name, false), v.ID)
		})
	}
	return a.watchSetup(ctx, c, v, f.follow.raw)
}

// setupEvery is how often the service is asked how a setup goes.
const setupEvery = 500 * time.Millisecond

// watchSetup follows a setup to its end: its steps, and the logs of its build and postdeploy.
func (a *app) watchSetup(ctx context.Context, c *client.Client, v client.Setup, raw bool) (err error) {
	if !a.hidesOutput() {
		fmt.Fprintf(a.stderr, "Setting up %s\n", transcript.Clean(v.App.Name, false))
	}
	told, id := map[build.StepName]bool{}, v.ID
	var built, ran bool
	for {
		a.tellSteps(v, told)
		running := func(name build.StepName) bool {
			for _, s := range v.Steps {
				if s.Name == name {
					return s.State != build.StepPending && s.State != build.StepSkipped
				}
			}
			return false
		}
		switch {
		case v.Build != nil && !built:
			built = true
			err = a.followSetup(ctx, c, client.SetupBuildLog(id), raw)
		case running(build.StepPostdeploy) && !ran:
			ran = true
			err = a.followSetup(ctx, c, client.SetupLog(id), raw)
		case v.Status != build.SetupPending:
			return a.setupEnd(v)
		}
		if err == nil {
			select {
			case <-time.After(setupEvery):
				v, err = c.Setup(ctx, id)
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			a.note("the setup goes on: slipway setups info %s, slipway setups cancel %s", id, id)
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// tellSteps says which steps have ended since it was last asked.
func (a *app) tellSteps(v client.Setup, told map[build.StepName]bool) {
	for _, s := range v.Steps {
		if s.EndedAt == nil || told[s.Name] || a.hidesOutput() {
			continue
		}
		told[s.Name] = true
		text := fmt.Sprintf("  %-10s  %s", s.Name, s.State)
		if s.Note != "" && s.State != build.StepFailed { // that of a failure comes at the end
			text += ": " + transcript.Clean(s.Note, false)
		}
		fmt.Fprintln(a.stderr, text)
	}
}

// followSetup follows one of the logs of a setup. A postdeploy that could not begin has none.
func (a *app) followSetup(ctx context.Context, c *client.Client, of client.LogOf, raw bool) error {
	w, end := a.shownLog(raw)
	_, err := c.Follow(ctx, of, 0, w)
	if e, ok := errors.AsType[*client.Error](err); ok && e.ID == "not_found" {
		err = nil
	}
	return errors.Join(err, end())
}

// setupEnd tells how a setup has ended, and ends slipway accordingly.
func (a *app) setupEnd(v client.Setup) error {
	for _, text := range v.Warnings {
		if !a.hidesOutput() {
			a.warn("%s", transcript.Clean(text, false))
		}
	}
	if err := a.print(v, func(w io.Writer) { a.showSetUp(w, v) }); err != nil {
		return err
	}
	if v.Status == build.SetupSucceeded {
		return nil
	}
	code := codeAppFailed
	switch b := v.Build; {
	case b == nil || b.State == build.Succeeded:
	case b.State == build.Cancelled:
		code = codeCancelled
	case b.State == build.TimedOut:
		code = codeTimedOut
	case b.Failure != nil && b.Failure.Blame == build.BlamePlatform:
		code = codeOursFailed
	}
	if strings.HasPrefix(v.Failure, "it was cancelled") {
		code = codeCancelled
	}
	why := v.Failure
	if len(v.Errors) > 1 { // of which the failure has the first
		why = strings.Join(v.Errors, "; ")
	}
	return &statusError{code: code, text: fmt.Sprintf("%s could not be set up, and was removed: %s", v.App.Name, why), quiet: a.data()}
}

// showSetUp is the end of a setup that went well; that of another is the error.
func (a *app) showSetUp(w io.Writer, v client.Setup) {
	if v.Status != build.SetupSucceeded {
		return
	}
	name := transcript.Clean(v.App.Name, false)
	if a.quiet {
		fmt.Fprintln(w, name)
		return
	}
	fmt.Fprintf(w, "%s\n", a.paint(w).good.Render(name+" is set up"))
	for _, line := range [][2]string{{"image", v.Image}, {"at", firstOf(v.Success, v.URL)}} {
		if line[1] != "" {
			fmt.Fprintf(w, "  %-6s %s\n", line[0], transcript.Clean(line[1], false))
		}
	}
}

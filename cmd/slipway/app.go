package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/transcript"
)

// app is one run of the command: its streams, its environment, and the flags that all commands share.
type app struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer

	quiet, verbose, timestamps bool
	noColor, forceColor        bool
	format                     string   // --output-format
	insecure                   []string // --insecure-registry
	caCerts                    []string // --ca-cert
	runtime                    string   // --runtime
	allow                      []string // --allow-network
	appName                    string   // --app

	settings *settings // the configuration file, once read
}

// run is slipway. It returns the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	ctx, stop := interruptible(ctx)
	defer stop()
	root := a.root()
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		a.completeValues(root) // a walk over all commands and their flags, which nobody else waits for
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := exitCode(ctx, err)
	a.report(told(ctx, err), code, wantsJSON(args))
	return code
}

// report tells an error: one line, and below it what a failed buildpack printed last where that was not
// shown. With --output-format json it is one object, the last of the output.
func (a *app) report(err error, code int, asJSON bool) {
	if status, ok := asStatus(err); ok && status.quiet {
		return // the app that we ran has said what there is to say
	}
	f := failure{Type: "error", Error: oneLine(err), Code: code}
	if a.hidesOutput() || asJSON {
		f.Last = lastLines(err)
	}
	if asJSON {
		_ = json.NewEncoder(a.stdout).Encode(f)
		return
	}
	paint := a.paint(a.stderr)
	fmt.Fprintf(a.stderr, "%s%s\n", paint.bad.Render("ERROR: "), transcript.Clean(f.Error, false))
	for _, l := range f.Last {
		fmt.Fprintf(a.stderr, "  | %s\n", transcript.Clean(l, false))
	}
}

// failure is an error as --output-format json writes it.
type failure struct {
	Type  string   `json:"type"`
	Error string   `json:"error"`
	Code  int      `json:"code"`
	Last  []string `json:"lastOutput,omitempty"`
}

// wantsJSON looks for the flag itself: the error may be one of the command line.
func wantsJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	text := strings.Join(args, "\x00") + "\x00"
	return slices.Contains(args, "--output-format=json") || slices.Contains(args, "--output=json") ||
		strings.Contains(text, "--output-format\x00json\x00") || strings.Contains(text, "--output\x00json\x00")
}

func (a *app) json() bool        { return a.format == "json" }
func (a *app) hidesOutput() bool { return a.quiet || a.json() }

// root is the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "Turn source code into container images with Cloud Native Buildpacks",
		Example: `  slipway build my-app --path ./my-app --run
  slipway run my-app
  slipway doctor`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkFormat(cmd); err != nil {
				return err
			}
			if a.quiet && a.verbose {
				return usagef("--quiet and --verbose exclude each other")
			}
			return nil
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.BoolVarP(&a.quiet, "quiet", "q", false, "show less output; build prints name@digest only")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "show more output")
	f.BoolVar(&a.timestamps, "timestamps", false, "begin every line with the time")
	f.BoolVar(&a.noColor, "no-color", false, "no colours and no live view (NO_COLOR does the same)")
	f.BoolVar(&a.forceColor, "force-color", false, "colours although the output is no terminal")
	f.StringVar(&a.format, "output-format", "human", "human or json; a build writes one JSON object a line")
	root.AddGroup(
		&cobra.Group{ID: "app", Title: "Apps:"},
		&cobra.Group{ID: "image", Title: "Images and builders:"},
		&cobra.Group{ID: "service", Title: "The build service:"},
		&cobra.Group{ID: "self", Title: "Slipway itself:"},
	)
	root.SetHelpCommandGroupID("self")
	for _, g := range []struct {
		id   string
		cmds []*cobra.Command
	}{
		{"app", []*cobra.Command{a.buildCommand(), a.runCommand(), a.appjsonCommand(), a.buttonCommand()}},
		{"image", []*cobra.Command{a.imagesCommand(), a.cacheCommand(), a.registryCommand(), a.inspectCommand(), a.rebaseCommand(), a.sbomCommand(), a.builderCommand(), a.buildpackCommand()}},
		{"service", a.serviceCommands()},
		{"self", []*cobra.Command{a.configCommand(), a.doctorCommand(), a.versionCommand(), a.completionCommand()}},
	} {
		for _, c := range g.cmds {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	return root
}

// group makes a command that only holds others.
func group(use, short string, cmds ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	c.AddCommand(cmds...)
	return c
}

// orUnknown runs a command that holds others and does something itself where none of them is named.
func orUnknown(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return run(cmd, args)
	}
}

// registryFlags are for commands that talk to registries.
func (a *app) registryFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&a.insecure, "insecure-registry", nil, "registry (host or host:port) that may be reached by plain http; repeatable")
	cmd.Flags().StringVar(&a.runtime, "runtime", "", "what runs containers: auto, oci (runc or crun, without a daemon), oci:NAME or docker")
	cmd.Flags().StringArrayVar(&a.allow, "allow-network", nil, "private `NETWORK` (address/bits) that builds may reach although the oci runtime keeps them from private addresses; repeatable")
	cmd.Flags().StringArrayVar(&a.caCerts, "ca-cert", nil, "PEM `FILE` of a certificate authority to trust besides the host's, here and in the build; repeatable")
}

// getenv is one variable of the environment that run was given.
func (a *app) getenv(name string) string {
	v, _ := a.lookupEnv(name)
	return v
}

func (a *app) lookupEnv(name string) (string, bool) {
	for _, e := range slices.Backward(a.environ) {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v, true
		}
	}
	return "", false
}

// file is w as a file, where it is one.
func file(w any) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok
}

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/muesli/cancelreader"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) shellBuildpackCommand() *cobra.Command {
	var f workshopFlags
	var stops platform.Stops
	cmd := &cobra.Command{
		Use: "shell [DIR...]", Short: "Enter the build container before or after a buildpack's build, or where one fails",
		Long: `Build an app with buildpacks and open a shell in the build container: before the first
buildpack's bin/build, or where --before, --after and --on-failure say. The shell has the
environment, the user, the working directory and the files that the buildpack has. $1, $2
and $3 are its arguments; build (detect, where a detect failed) runs its executable just as
Slipway does.

The end of the shell goes on with the build; after a failure it ends it with the exit code
that it has without a shell. Nothing of it is kept, and no image is made.

` + workshopArgs,
		Example: `  slipway buildpack shell ./my-buildpack --app ./my-app
  slipway buildpack shell ./jdk ./maven --app ./my-app --before acme/maven --on-failure
  slipway buildpack shell ./my-buildpack --app ./my-app --after acme/mine`,
		Args: wants("[DIR...]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			stops.First = len(stops.Before)+len(stops.After) == 0 && !stops.Failed
			if err := a.checkShell(); err != nil {
				return err
			}
			o, err := f.options(a, args)
			if err != nil {
				return err
			}
			return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error {
				return a.enterBuildpacks(ctx, m, o, stops)
			})
		},
	}
	f.addAll(cmd)
	s := cmd.Flags()
	s.StringArrayVar(&stops.Before, "before", nil, "buildpack, `ID[@VERSION]`, before whose build the shell opens; repeatable")
	s.StringArrayVar(&stops.After, "after", nil, "buildpack, `ID[@VERSION]`, after whose build the shell opens; repeatable")
	s.BoolVar(&stops.Failed, "on-failure", false, "open the shell where a build fails, or a detect goes wrong")
	a.registryFlags(cmd)
	return cmd
}

func (a *app) enterBuildpacks(ctx context.Context, m *platform.Machine, o platform.Options, stops platform.Stops) error {
	v := a.view()
	defer v.close()
	o.Stops = a.stops(v, stops)
	err := platform.Enter(ctx, m, o, v)
	v.close()
	return adviseBuilder(o, err)
}

// checkShell refuses a shell where nobody could use it.
func (a *app) checkShell() error {
	switch {
	case a.json():
		return usagef("a shell is for people: leave out --output-format json")
	case !a.isTerminal(a.stdin):
		return usagef("a shell needs a terminal, and standard input is none")
	case !a.isTerminal(a.stdout):
		return usagef("a shell needs a terminal, and standard output is none")
	}
	return nil
}

// stops has a person at this terminal enter where stops say.
func (a *app) stops(v view, stops platform.Stops) platform.Stops {
	stops.At = func(ctx context.Context, p platform.Point) error {
		defer v.hold()()
		return a.sit(ctx, p)
	}
	return stops
}

// sit opens a shell in this terminal, which passes every key on until that ends.
func (a *app) sit(ctx context.Context, p platform.Point) error {
	in, _ := file(a.stdin) // see checkShell
	paint := a.paint(a.stdout)
	fmt.Fprintf(a.stdout, "%s\n  %s runs %s as Slipway does; exit %s\n", paint.head.Render("Shell at "+transcript.Clean(p.Where(), false)),
		p.Phase, transcript.Clean(strings.Join(p.Command, " "), false), afterShell(p))
	keys, err := cancelreader.NewReader(in)
	if err != nil {
		return fmt.Errorf("read the terminal: %w", err)
	}
	defer keys.Close()
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("have the terminal pass on every key: %w", err)
	}
	defer term.Restore(int(in.Fd()), before)
	sizes, stop := sizesOf(in)
	defer stop()
	return p.Shell(ctx, platform.Terminal{In: keyboard{keys}, Out: a.stdout, Type: a.getenv("TERM"), Size: sizeOf(in), Resize: sizes})
}

func afterShell(p platform.Point) string {
	if p.Kind == platform.PointFailed {
		return "ends the build"
	}
	return "goes on with the build"
}

// keyboard is a terminal's keys, whose Close has a Read return.
type keyboard struct{ cancelreader.CancelReader }

func (k keyboard) Close() error {
	k.Cancel()
	return nil
}

func sizeOf(f *os.File) platform.TerminalSize {
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return platform.TerminalSize{}
	}
	return platform.TerminalSize{Rows: uint16(rows), Columns: uint16(columns)}
}

// sizesOf tells a terminal's size whenever it changes, until stop.
func sizesOf(f *os.File) (sizes <-chan platform.TerminalSize, stop func()) {
	changed := make(chan os.Signal, 1) // one is enough: the size is read after
	signal.Notify(changed, syscall.SIGWINCH)
	out, done, ended := make(chan platform.TerminalSize), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-changed:
			}
			select {
			case <-done:
				return
			case out <- sizeOf(f):
			}
		}
	}()
	return out, func() { signal.Stop(changed); close(done); <-ended }
}

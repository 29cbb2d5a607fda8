package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/transcript"
)

// A health is how one thing that Slipway stands on is.
type health string

const (
	healthy health = "ok"
	warning health = "warning" // something will be slower, weaker or missing
	broken  health = "error"   // builds cannot work
	noted   health = "info"
)

// A finding is one line of doctor.
type finding struct {
	What   string `json:"what"`
	State  health `json:"state"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

// examination collects findings.
type examination struct {
	a    *app
	list []finding
}

func (x *examination) add(what string, state health, format string, args ...any) *finding {
	x.list = append(x.list, finding{What: what, State: state, Text: oneLine(fmt.Errorf(format, args...))})
	return &x.list[len(x.list)-1]
}

func (x *examination) failed() bool {
	for _, f := range x.list {
		if f.State == broken {
			return true
		}
	}
	return false
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Look at what Slipway needs on this machine: installed, missing, known to be bad",
		Long: `Look at what Slipway needs on this machine: what is installed, missing, or known
to be bad. It changes nothing. The exit code is 1 only where no build can work.`,
		Args: wants(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			x := &examination{a: a}
			x.all(cmd.Context())
			if err := a.print(x.list, func(w io.Writer) { a.showFindings(w, x.list) }); err != nil {
				return err
			}
			if x.failed() {
				return &statusError{code: 1, text: "builds cannot work on this machine as it is", quiet: a.json()}
			}
			return nil
		},
	}
}

// all looks at everything, the engine first.
func (x *examination) all(ctx context.Context) {
	x.add("slipway", noted, "%s", version)
	withoutDaemon := x.oci(ctx)
	rt, err := docker.New(ctx, docker.FromEnv(x.a.environ, x.a.getenv("HOME")))
	if err != nil {
		if withoutDaemon {
			x.add("docker", noted, "%w", err).Advice = "builds do not need it; slipway run --detach, and images in Docker, do"
		} else {
			x.add("docker", broken, "%w", err)
		}
		x.dockerAccess()
	} else {
		defer rt.Close()
		x.engine(ctx, rt)
		x.dockerAccess()
	}
	x.machine()
	x.tools()
	x.stateDir()
	x.settings(ctx)
	x.trust()
	x.proxies()
	x.git(ctx)
}

func (a *app) showFindings(w io.Writer, list []finding) {
	paint := a.paint(w)
	for _, f := range list {
		mark := map[health]string{
			healthy: paint.good.Render("ok  "), warning: paint.warn.Render("warn"), broken: paint.bad.Render("FAIL"), noted: paint.faint.Render("info"),
		}[f.State]
		fmt.Fprintf(w, "%s  %-16s %s\n", mark, f.What, transcript.Clean(f.Text, false))
		if f.Advice != "" {
			fmt.Fprintf(w, "      %-16s %s\n", "", f.Advice)
		}
	}
}

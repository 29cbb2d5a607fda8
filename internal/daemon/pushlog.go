package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/logs"
	"github.com/slipway-build/slipway/internal/transcript"
)

// A push is shown as its users know it: headings behind an arrow, what is below them indented.
const (
	arrow  = "-----> "
	indent = "       "
)

func heading(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, arrow+format+"\n", args...)
}

func below(w io.Writer, format string, args ...any) { fmt.Fprintf(w, indent+format+"\n", args...) }

// A pushLog writes a build's log to the terminal of a pushing client, made safe for it, the lifecycle's headings as
// ours.
type pushLog struct {
	display *logs.Display
	lines   *transcript.LineWriter
}

func newPushLog(w io.Writer) *pushLog {
	l := &transcript.LineWriter{Emit: func(line string) {
		if title, ok := strings.CutPrefix(line, "===> "); ok {
			heading(w, "%s", sentence(title))
			return
		}
		below(w, "%s", line)
	}}
	return &pushLog{display: logs.NewDisplay(l), lines: l}
}

func (l *pushLog) Write(p []byte) (int, error) { return l.display.Write(p) }

func (l *pushLog) close() { _ = errors.Join(l.display.Close(), l.lines.Flush()) } // a terminal that is gone is gone

// sentence is "DETECTING" as "Detecting".
func sentence(s string) string {
	if s == "" {
		return s
	}
	return s[:1] + strings.ToLower(s[1:])
}

// whereLogs tells how the log can be read later.
func (d *Daemon) whereLogs(w io.Writer, app build.App, b build.Build) {
	below(w, "Log: slipway builds logs %d --app %s", b.Number, app.Name)
	below(w, "     %s", d.pageURL(app, b))
}

// pageURL is where a person sees a build, once they have signed in.
func (d *Daemon) pageURL(app build.App, b build.Build) string {
	return fmt.Sprintf("%s/console/apps/%s/builds/%d", d.base(), app.Name, b.Number)
}

// success tells what came of a build.
func (r *receiver) success(ctx context.Context, w io.Writer, app build.App, b build.Build) {
	rel, err := r.store.ReleaseOf(ctx, b.ID)
	if err != nil {
		r.host.Fault(err)
		return
	}
	switch rel.State {
	case build.ReleaseSucceeded:
		heading(w, "Released v%d of %s", rel.Version, app.Name)
	case build.ReleaseFailed: // it was that quick
		heading(w, "Made v%d of %s, whose release command failed: %s", rel.Version, app.Name, transcript.Clean(rel.Failure, false))
	default:
		heading(w, "Made v%d of %s, whose release command runs now", rel.Version, app.Name)
	}
	below(w, "%s@%s", rel.Repository, rel.Digest)
	if rel.State != build.ReleaseSucceeded {
		below(w, "It is released once that succeeds: slipway releases logs %d -f --app %s", rel.Version, app.Name)
	}
}

// refusal is a build that did not succeed, as the last lines of a push: where, why, what to do, where to read on.
func (d *Daemon) refusal(app build.App, b build.Build) error {
	no := &gitserver.Refusal{Reason: "build " + strings.ReplaceAll(string(b.State), "-", " ")}
	if f := b.Failure; f != nil {
		if f.Code == "fetch-first" {
			no.Reason = "fetch first"
		}
		if f.Phase != "" {
			where := "Phase: " + f.Phase
			if f.Buildpack != "" {
				where += ", buildpack " + f.Buildpack
			}
			no.Lines = append(no.Lines, where)
		}
		no.Lines = append(no.Lines, "Reason: "+transcript.Clean(f.Reason, false))
		for _, r := range f.Reasons {
			no.Lines = append(no.Lines, "  "+transcript.Clean(r, false))
		}
		if f.Blame == build.BlamePlatform {
			no.Lines = append(no.Lines, "This is not the app's fault.")
		}
		if f.Next != "" {
			no.Lines = append(no.Lines, "What to do: "+transcript.Clean(f.Next, false))
		}
	}
	no.Lines = append(no.Lines, fmt.Sprintf("Log: slipway builds logs %d --app %s, %s", b.Number, app.Name, d.pageURL(app, b)))
	return no
}

package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	indexhealth "github.com/slipway-build/slipway/internal/health"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

func (a *app) healthCommand() *cobra.Command {
	var only string
	var last, service bool
	var o indexhealth.Options
	cmd := &cobra.Command{
		Use: "health [NS/NAME...]", Short: "Find out whether the images of an index are still there", Args: cobra.ArbitraryArgs,
		Long: `Find out whether the images of an index are still there, of all buildpacks or of some: a
HEAD for every version that is not yanked, a few at a time for each registry, which is
waited for when it says so (429, Retry-After). What is found out is one of
  ok           it is there
  moved        something else is there, or it is with another host
  limited      the registry wants not to be asked now
  unreachable  nobody answers, or only errors
  dead         there is no such image (404), or it wants credentials that we lack (401)
and is kept beside the index. Ctrl-C ends it with what is known by then; --last asks
nobody. The exit code is 1 where something is dead.

The build service looks by itself, once a day, for what is in its own index and in those
that its builds look into: --service shows what it last found out.`,
		Example: `  slipway registry health
  slipway registry health paketo-buildpacks/java heroku/nodejs
  slipway registry health --index ours --last --output json`,
		RunE: func(cmd *cobra.Command, names []string) error {
			if service && (len(names) > 0 || last) {
				return usagef("--service shows what the build service found out: leave out buildpacks and --last")
			}
			if service {
				return a.serviceHealth(cmd.Context(), only)
			}
			return a.inIndexes(func(s *index.Set) error { return a.health(cmd.Context(), s, only, names, last, o) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&only, "index", "", "look at the index `NAME` only (default all)")
	f.BoolVar(&last, "last", false, "show what was found out last, and ask nobody")
	f.BoolVar(&service, "service", false, "show what the build service found out last")
	f.IntVar(&o.Jobs, "jobs", 32, "requests at a time")
	f.IntVar(&o.PerHost, "per-host", 4, "requests at a time to one registry")
	f.Float64Var(&o.Rate, "rate", 20, "requests a second to one registry")
	f.StringVar(&a.format, "output", "human", "the same as --output-format: human or json")
	a.registryFlags(cmd)
	return cmd
}

func (a *app) health(ctx context.Context, s *index.Set, only string, args []string, last bool, o indexhealth.Options) error {
	if o.Jobs < 1 || o.Jobs > 256 || o.PerHost < 1 || o.PerHost > o.Jobs || o.Rate <= 0 {
		return usagef("want 1 to 256 for --jobs, 1 to that for --per-host, and more than 0 for --rate")
	}
	var names []index.Name
	for _, arg := range args {
		n, err := index.ParseName(strings.TrimPrefix(arg, index.Prefix))
		if err != nil {
			return usagef("%v", err)
		}
		names = append(names, n)
	}
	settings, err := a.machineSettings()
	if err != nil {
		return err
	}
	g, err := image.NewRegistry(settings.Registry)
	if err != nil {
		return err
	}
	o.Address = s.Mirrored
	var all []*indexhealth.Report
	for _, src := range s.Registries {
		if only != "" && only != src.Name {
			continue
		}
		x, err := a.syncedIndex(ctx, s, src.Name)
		if err != nil {
			return err
		}
		r, err := a.healthOf(ctx, g, x, filepath.Join(settings.State, platform.IndexDir, src.Name), names, last, o)
		if err != nil {
			return err
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		_, err := s.Index(only) // says which there are
		return err
	}
	return a.showHealth(ctx, all)
}

// healthOf looks at one index, and keeps what it finds. The report is of the names only, where some are given.
func (a *app) healthOf(ctx context.Context, g *image.Registry, x *index.Index, dir string, names []index.Name, last bool, o indexhealth.Options) (*indexhealth.Report, error) {
	targets, err := indexhealth.Targets(x, names)
	if err != nil {
		return nil, err
	}
	old, err := indexhealth.Read(dir)
	if err != nil {
		a.note("%v: what was found out before is not known", err)
		old = &indexhealth.Report{}
	}
	var fresh []indexhealth.Result
	if !last {
		p := &healthProgress{app: a, index: x.Name, live: a.isTerminal(a.stderr) && !a.quiet && !a.data()}
		o.Progress = p.tell
		fresh = indexhealth.Check(ctx, g, targets, o)
		p.end()
	}
	r, err := old.Merge(x, fresh)
	if err != nil {
		return nil, err
	}
	if len(fresh) > 0 {
		if err := r.Write(dir); err != nil {
			a.note("%v", err)
		}
	}
	return r.Of(targets), nil
}

// healthProgress tells how far a check is: on a terminal in one line, else every thousand addresses.
type healthProgress struct {
	app   *app
	index string
	live  bool
	dead  int
	said  time.Time
}

func (p *healthProgress) tell(done, total int, r indexhealth.Result) {
	if r.State == indexhealth.Dead {
		p.dead++
	}
	switch {
	case p.live && time.Since(p.said) > 200*time.Millisecond:
		p.said = time.Now()
		fmt.Fprintf(p.app.stderr, "\r\x1b[K%s: %d of %d, %d dead", p.index, done, total, p.dead)
	case !p.live && done%1000 == 0:
		p.app.note("index %s: %d of %d looked at, %d dead", p.index, done, total, p.dead)
	}
}

func (p *healthProgress) end() {
	if p.live {
		fmt.Fprint(p.app.stderr, "\r\x1b[K")
	}
}

// showHealth prints what is known, and fails where something is dead.
func (a *app) showHealth(ctx context.Context, all []*indexhealth.Report) error {
	dead, live := 0, 0
	err := a.print(all, func(w io.Writer) {
		var lines [][]string
		for _, r := range all {
			for _, one := range r.Results {
				if one.State != indexhealth.OK || a.verbose {
					lines = append(lines, []string{one.Buildpack + "@" + one.Version, string(one.State), orText(one.Detail, "-"), one.Address})
				}
			}
		}
		if len(lines) > 0 && !a.quiet {
			table(w, "BUILDPACK STATE WHY ADDRESS", lines)
			fmt.Fprintln(w)
		}
		for _, r := range all {
			fmt.Fprintln(w, healthLine(r))
		}
	})
	if err != nil {
		return err
	}
	for _, r := range all {
		dead, live = dead+r.Counts[indexhealth.Dead], live+r.Live
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if dead > 0 {
		return &statusError{code: 1, text: fmt.Sprintf("%d of %d versions are dead", dead, live), quiet: a.json()}
	}
	return nil
}

func healthLine(r *indexhealth.Report) string {
	return healthText(r.Index, r.Live, len(r.Results), r.Counts)
}

func healthText(name string, live, looked int, counts map[indexhealth.State]int) string {
	parts := []string{}
	for _, s := range indexhealth.States() {
		if n := counts[s]; n > 0 || s == indexhealth.OK {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if n := live - looked; n > 0 {
		parts = append(parts, fmt.Sprintf("%d not looked at", n))
	}
	return fmt.Sprintf("%s: %d versions: %s", name, live, strings.Join(parts, ", "))
}

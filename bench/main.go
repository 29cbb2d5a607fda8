// Bench sets Slipway beside pack, beside the reference's lifecycle without Docker, and beside what the machine can do at
// all, in one run on one machine: the cases a developer waits for, alternating, as medians with their spread and as
// ratios with what they should be. It fails for no time, because times say something only next to other times. Without
// pack or the reference it measures what there is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }

// options are what flags and environment say.
type options struct {
	slipway, pack, lifecycle string
	reference                string
	buildImage, runImage     string
	buildpacks, fixtures     string
	registry, state          string
	mirror                   string
	index                    string
	only                     string
	json                     string
	rounds                   int
}

func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = bench(ctx, o, getenv, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	or := func(name, value string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return value
	}
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.slipway, "slipway", or("SLIPWAY", "bin/slipway"), "our binary ($SLIPWAY)")
	f.StringVar(&o.pack, "pack", or("PACK", "pack"), "pack's binary, or a name on PATH ($PACK); \"\" leaves it out")
	f.StringVar(&o.lifecycle, "lifecycle", or("LIFECYCLE", ""), "the lifecycle that pack runs, a directory or a .tgz ($LIFECYCLE); without one pack is left out")
	f.StringVar(&o.reference, "reference", or("REFERENCE", ""), "directory of the reference's lifecycle, with the creator ($REFERENCE); without one it is left out")
	f.StringVar(&o.buildImage, "build-image", or("BUILD_IMAGE", "slipway/build:trixie"), "build image of the builder ($BUILD_IMAGE)")
	f.StringVar(&o.runImage, "run-image", or("RUN_IMAGE", "slipway/run:trixie"), "run image of the builder ($RUN_IMAGE)")
	f.StringVar(&o.buildpacks, "buildpacks", "bin/buildpacks", "directory of our buildpacks, built")
	f.StringVar(&o.fixtures, "fixtures", "fixtures", "directory of the sample apps and buildpacks")
	f.StringVar(&o.registry, "registry", or("REGISTRY", ""), "registry on this machine, host:port ($REGISTRY); by default docker-registry is started on a free port")
	f.StringVar(&o.state, "state", or("SLIPWAY_HOME", ""), "Slipway's state with the base images in it ($SLIPWAY_HOME)")
	f.StringVar(&o.mirror, "node-mirror", or("BP_NODE_MIRROR", "npm:"), "where the nodejs buildpack finds Node ($BP_NODE_MIRROR)")
	f.StringVar(&o.index, "index", or("SLIPWAY_INDEX", ""), "a tar of the public buildpack index ($SLIPWAY_INDEX); without one, one of its size is made")
	f.StringVar(&o.only, "only", "", "which cases, of their rows' numbers and their apps' letters: 1,6,B (default all)")
	f.StringVar(&o.json, "json", "", "`FILE` that gets every row as JSON")
	f.IntVar(&o.rounds, "rounds", 5, "timed runs of each")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.rounds < 1 {
		return o, errors.New("-rounds: want at least 1")
	}
	if _, err := choose(o.only); err != nil {
		return o, err
	}
	return o, o.resolve(getenv)
}

// resolve makes paths absolute and finds pack, which may be absent.
func (o *options) resolve(getenv func(string) string) error {
	if o.state == "" && getenv("HOME") != "" {
		o.state = filepath.Join(getenv("HOME"), ".local", "share", "slipway")
	}
	for _, p := range []*string{&o.slipway, &o.lifecycle, &o.reference, &o.buildpacks, &o.fixtures, &o.state, &o.index} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if _, err := os.Stat(o.slipway); err != nil {
		return fmt.Errorf("%w: make build makes it", err)
	}
	if o.reference != "" {
		if _, err := os.Stat(filepath.Join(o.reference, "creator")); err != nil {
			return fmt.Errorf("-reference: %w", err)
		}
	}
	if o.pack != "" {
		found, err := exec.LookPath(o.pack)
		if err != nil {
			found = ""
		}
		o.pack = found
	}
	return nil
}

// choose gives the cases that a list names by number or letter; an empty list names all.
func choose(only string) ([]benchCase, error) {
	if only == "" {
		return cases(), nil
	}
	var chosen []benchCase
	words := strings.Split(strings.ToUpper(only), ",")
	for _, c := range cases() {
		if slices.Contains(words, c.number) || slices.Contains(words, c.letter) {
			chosen = append(chosen, c)
		}
	}
	for _, w := range words {
		if !slices.ContainsFunc(chosen, func(c benchCase) bool { return w == c.number || w == c.letter }) {
			return nil, fmt.Errorf("-only: there is no case %q", w)
		}
	}
	return chosen, nil
}

// bench sets everything up, measures, and takes everything away.
func bench(ctx context.Context, o options, getenv func(string) string, stdout, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "slipway-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	progress := func(format string, args ...any) {
		fmt.Fprintf(stderr, "bench: %4.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	progress("making the builder")
	y, err := setUp(ctx, o, dir, getenv, stderr)
	defer func() { err = errors.Join(err, y.tearDown()) }()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s, %s; %d runs each, alternating; load %s\n",
		y.describe(), time.Now().UTC().Format("2006-01-02 15:04 MST"), o.rounds, loadAverage())
	if busy() {
		fmt.Fprintln(stdout, "This machine is busy with other things: the figures say little.")
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	var all []result
	for _, c := range chosen {
		progress("row %s: %s", c.number, c.title)
		results, err := c.run(ctx, y)
		if err != nil {
			return fmt.Errorf("row %s, %s: %w", c.number, c.title, err)
		}
		writeTable(stdout, results)
		all = append(all, results...)
		if err := saveJSON(o.json, all); err != nil {
			return err
		}
	}
	writeSummary(stdout, all)
	fmt.Fprintf(stdout, "load at the end %s\n", loadAverage())
	progress("done")
	return nil
}

// saveJSON writes what there is so far to a file, if one is wanted.
func saveJSON(name string, all []result) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(writeJSON(f, all), f.Close())
}

// busy tells whether the last minute's load, of which making the builder is about one processor's, leaves processors
// free.
func busy() bool {
	one, err := strconv.ParseFloat(strings.Fields(loadAverage())[0], 64)
	return err == nil && one > float64(runtime.NumCPU())+0.5
}

// loadAverage is the machine's load averages: figures from a busy machine are worth less.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:min(3, len(strings.Fields(string(b))))], " ")
}

// Bench sets Slipway beside pack and beside what the machine can do at all, in one run on one machine: the cases a
// developer waits for, alternating, as medians with their spread and as ratios. It asserts nothing, because times
// say something only next to other times. Without pack it measures Slipway and the machine alone.
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
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }

// options are what flags and environment say.
type options struct {
	slipway, pack, lifecycle string
	buildImage, runImage     string
	buildpacks, fixtures     string
	registry, state          string
	mirror                   string
	cases                    string
	runs                     int
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
	f.StringVar(&o.buildImage, "build-image", or("BUILD_IMAGE", "slipway/build:trixie"), "build image of the builder ($BUILD_IMAGE)")
	f.StringVar(&o.runImage, "run-image", or("RUN_IMAGE", "slipway/run:trixie"), "run image of the builder ($RUN_IMAGE)")
	f.StringVar(&o.buildpacks, "buildpacks", "bin/buildpacks", "directory of our buildpacks, built")
	f.StringVar(&o.fixtures, "fixtures", "fixtures", "directory of the sample apps and buildpacks")
	f.StringVar(&o.registry, "registry", or("REGISTRY", ""), "registry on this machine, host:port ($REGISTRY); by default docker-registry is started on a free port")
	f.StringVar(&o.state, "state", or("SLIPWAY_HOME", ""), "Slipway's state with the base images in it ($SLIPWAY_HOME)")
	f.StringVar(&o.mirror, "node-mirror", or("BP_NODE_MIRROR", "npm:"), "where the nodejs buildpack finds Node ($BP_NODE_MIRROR)")
	f.StringVar(&o.cases, "cases", "abcd", "which cases: a no-op rebuild, b rebuild with modules, c first publish, d large layers")
	f.IntVar(&o.runs, "runs", 5, "timed runs of each")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.runs < 1 {
		return o, errors.New("-runs: want at least 1")
	}
	return o, o.resolve(getenv)
}

// resolve makes paths absolute and finds pack, which may be absent.
func (o *options) resolve(getenv func(string) string) error {
	if o.state == "" && getenv("HOME") != "" {
		o.state = filepath.Join(getenv("HOME"), ".local", "share", "slipway")
	}
	for _, p := range []*string{&o.slipway, &o.lifecycle, &o.buildpacks, &o.fixtures, &o.state} {
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
	if o.pack != "" {
		found, err := exec.LookPath(o.pack)
		if err != nil {
			found = ""
		}
		o.pack = found
	}
	return nil
}

// bench sets everything up, measures, and takes everything away.
func bench(ctx context.Context, o options, getenv func(string) string, stdout, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "slipway-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	y, err := setUp(ctx, o, dir, getenv, stderr)
	if y != nil {
		defer func() { err = errors.Join(err, y.tearDown()) }()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s, %s; %d runs each, alternating, after one that is not counted; load %s\n",
		y.describe(), time.Now().UTC().Format("2006-01-02 15:04 MST"), o.runs, load())
	for _, c := range y.cases() {
		if !strings.Contains(o.cases, c.key) {
			continue
		}
		rows, err := c.measure(ctx, y)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.title, err)
		}
		writeTable(stdout, c.title, rows)
	}
	fmt.Fprintf(stdout, "\nload at the end %s\n", load())
	return nil
}

// load is the machine's load averages: figures from a busy machine are worth less.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:min(3, len(strings.Fields(string(b))))], " ")
}

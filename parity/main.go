// Parity builds the same apps with two lifecycles and compares what comes out: exit codes, layers, history, config
// and labels of the image, what the cache holds, and what buildpacks see of an earlier build. Each case is built
// twice in all four orders of the two lifecycles, so that each has to reuse what the other left.
//
// It knows lifecycles by their command line only. It needs root, because a creator drops privileges, and no network but for the demo apps.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }

// options are what flags and environment say.
type options struct {
	ours, other string
	only        string
	logs        string
	apps        bool
}

func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "parity: %v\n", err)
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	different, err := compareAll(ctx, o, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "parity: %v\n", err)
		return 1
	}
	if different {
		return 2
	}
	return 0
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("parity", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.ours, "lifecycle", "bin/lifecycle", "directory of our lifecycle")
	f.StringVar(&o.other, "with", getenv("PARITY_LIFECYCLE"), "directory of the other lifecycle ($PARITY_LIFECYCLE), with lifecycle and launcher in it")
	f.StringVar(&o.only, "only", "", "cases whose names contain this")
	f.BoolVar(&o.apps, "apps", false, "also the demo apps, with bin/buildpacks; this needs the network")
	f.StringVar(&o.logs, "logs", "", "directory for the output of all builds")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.other == "" {
		return o, errors.New("want the other lifecycle: -with DIRECTORY or PARITY_LIFECYCLE")
	}
	if os.Geteuid() != 0 {
		return o, errors.New("want root: a creator changes to the user of the build")
	}
	if o.logs != "" {
		if err := os.MkdirAll(o.logs, 0o755); err != nil {
			return o, err
		}
	}
	for _, dir := range []*string{&o.ours, &o.other} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return o, err
		}
		if _, err := os.Stat(filepath.Join(abs, "lifecycle")); err != nil {
			return o, err
		}
		*dir = abs
	}
	return o, nil
}

// compareAll runs the cases, prints a line for each and what differs below it, and tells whether anything did.
func compareAll(ctx context.Context, o options, out io.Writer) (different bool, err error) {
	p, err := openPlace(o)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	equal, known, n := 0, 0, 0
	all := cases()
	if o.apps {
		all = append(all, demoCases()...)
	}
	for _, c := range all {
		if !strings.Contains(c.name, o.only) {
			continue
		}
		n++
		diffs, err := p.compare(ctx, c)
		if err != nil {
			return true, fmt.Errorf("case %q: %w", c.name, err)
		}
		verdict := "equal"
		switch {
		case c.known != "" && len(diffs) > 0 && o.ours != o.other:
			known++
			fmt.Fprintf(out, "known      %s: %s\n", c.name, c.known)
			continue
		case c.known != "" && o.ours != o.other:
			verdict, different = "EQUAL, though known to differ", true
		case len(diffs) > 0:
			verdict, different = "DIFFERENT", true
		default:
			equal++
		}
		fmt.Fprintf(out, "%-10s %s\n", verdict, c.name)
		for _, d := range diffs {
			fmt.Fprintln(out, "    "+d)
		}
	}
	fmt.Fprintf(out, "%d cases: %d equal, %d different for a reason, %d different\n", n, equal, known, n-equal-known)
	return different, nil
}

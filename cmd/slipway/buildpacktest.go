package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/suite"
	"github.com/slipway-build/slipway/internal/transcript"
)

// testFlags are those of slipway buildpack test.
type testFlags struct {
	buildFlags
	config, run, junit string
	jobs               int
}

func (a *app) testBuildpackCommand() *cobra.Command {
	var f testFlags
	cmd := &cobra.Command{
		Use: "test [DIR]", Short: "Run a buildpack's own tests: apps that it builds, and what is expected of them",
		Long: `Run the cases of buildpack.test.toml in a buildpack's directory. Each builds an app with the
buildpack and compares what came of it; with several builders or versions of the buildpack it
does so with each. A case looks like this, and what it does not say is not looked at:

  builders = ["slipway/builder"]          # and versions = [".", "./older"]: the matrix
  [[case]]
  name = "an app"
  app = "fixtures/app"
  expect.result = "built"                 # not-detected, detect-error, build-fails
  expect.log.contains = ["installing"]    # matches, absent
  expect.max-size = 60000000              # and labels, env, no-layers, no-processes
  [[case.expect.layer]]                   # name, launch, build, cache, env
  name = "tools"
  launch = true
  [[case.expect.process]]                 # type, command, default
  type = "web"
  [[case.expect.file]]                    # path, mode, content.contains, absent
  path = "/layers/acme_one/tools/tool"
  [[case.expect.sbom]]                    # layer, format, content.contains
  [[case.expect.http]]                    # path, status, body.contains
  path = "/"
  [[case.rebuild]]                        # write, remove, env; reused, made; expect
  reused = ["tools"]

A layer that is made again with the same files was not reused. The exit code is 1 where
something is other than expected.`,
		Example: `  slipway buildpack test ./my-buildpack
  slipway buildpack test --run '^an app' --jobs 4
  slipway buildpack test --junit results.xml --output-format json`,
		Args: wants("[DIR]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return a.testBuildpack(cmd.Context(), &f, dir)
		},
	}
	s := cmd.Flags()
	f.set, f.compression = s, "gzip"
	s.SortFlags = false
	s.StringVarP(&f.config, "config", "c", "", "the suite, in its apps' directory (default buildpack.test.toml of DIR)")
	s.StringVar(&f.run, "run", "", "run only cases whose name a `PATTERN` matches")
	s.IntVarP(&f.jobs, "jobs", "j", runtime.NumCPU(), "how many cases run at once")
	s.StringVar(&f.junit, "junit", "", "write the results to a `FILE` as JUnit's XML too")
	f.addBuilder(s)
	f.addInputs(s)
	f.addSurroundings(s)
	f.addLimits(s)
	a.registryFlags(cmd)
	return cmd
}

// testedResult is what a suite came to, as JSON has it.
type testedResult struct {
	Suite  string          `json:"suite"`
	Passed int             `json:"passed"`
	Failed int             `json:"failed"`
	Cases  []suite.Outcome `json:"cases"`
}

func (a *app) testBuildpack(ctx context.Context, f *testFlags, dir string) error {
	if f.jobs < 1 {
		return usagef("--jobs %d: want 1 or more", f.jobs)
	}
	file := firstOf(f.config, filepath.Join(dir, suite.FileName))
	runs, err := readSuite(file, f.run)
	if err != nil {
		return err
	}
	f.path = dir
	o, err := a.options(&f.buildFlags, "suite")
	if err != nil {
		return err
	}
	return a.withMachine(ctx, func(ctx context.Context, m *platform.Machine) error {
		r := suite.Runner{Machine: m, Options: o, Buildpack: dir, Jobs: f.jobs}
		if !a.data() {
			r.Done = func(o suite.Outcome) { a.showOutcome(o) }
		}
		all, err := r.Run(ctx, filepath.Dir(file), runs)
		if err != nil {
			return err
		}
		return a.tested(file, f.junit, all)
	})
}

// readSuite reads a suite and the runs of it whose names match.
func readSuite(file, pattern string) ([]suite.Run, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, usagef("--run: %w", err)
	}
	b, err := cnb.ReadFile(filepath.Dir(file), filepath.Base(file), cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: write one, or have slipway buildpack new make a buildpack with one", file)
	}
	if err != nil {
		return nil, fmt.Errorf("suite %s: %w", file, err)
	}
	s, err := suite.Decode(file, b)
	if err != nil {
		return nil, err
	}
	var out []suite.Run
	for _, r := range s.Runs() {
		if re.MatchString(r.Name()) {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("--run %s: no case of %s has such a name", pattern, file)
	}
	return out, nil
}

// tested reports what all came to.
func (a *app) tested(file, junit string, all []suite.Outcome) error {
	r := testedResult{Suite: file, Cases: all}
	for _, o := range all {
		if o.Passed() {
			r.Passed++
		} else {
			r.Failed++
		}
	}
	if junit != "" {
		var b bytes.Buffer
		if err := suite.WriteJUnit(&b, file, all); err != nil {
			return err
		}
		if err := os.WriteFile(junit, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	err := a.print(r, func(w io.Writer) {
		if !a.quiet {
			fmt.Fprintf(w, "%s passed, %d failed\n", counted(r.Passed, "case"), r.Failed)
		}
	})
	if err == nil && r.Failed > 0 {
		err = &statusError{code: 1, text: fmt.Sprintf("%d of %s failed", r.Failed, counted(len(all), "case")), quiet: a.data()}
	}
	return err
}

func (a *app) showOutcome(o suite.Outcome) {
	paint := a.paint(a.stdout)
	if o.Passed() {
		if !a.quiet {
			fmt.Fprintf(a.stdout, "%s %s, %s\n", paint.good.Render("ok  "), clean(o.Name), transcript.Duration(o.Took))
		}
		return
	}
	fmt.Fprintf(a.stdout, "%s %s, %s\n", paint.bad.Render("FAIL"), clean(o.Name), transcript.Duration(o.Took))
	if o.Error != "" {
		fmt.Fprintf(a.stdout, "  %s\n", clean(oneLine(errors.New(o.Error))))
	}
	for _, f := range o.Failures {
		fmt.Fprintf(a.stdout, "  %s\n    %s\n    %s\n", clean(f.What), paint.good.UnsetBold().Render("expected: "+clean(f.Expected)), paint.bad.UnsetBold().Render("actual:   "+clean(f.Actual)))
		for _, l := range f.Near {
			fmt.Fprintf(a.stdout, "    nearest:  %s\n", clean(l))
		}
	}
}

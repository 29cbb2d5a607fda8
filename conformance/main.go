// Command conformance runs a lifecycle of Cloud Native Buildpacks through the cases in cases/ and says where it does
// other than the specification wants. It looks at a lifecycle from outside only: a directory with the executables
// detector, analyzer, restorer, builder, exporter, creator, rebaser and launcher. README.md tells how to use it.
package main

import (
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed cases
var caseFiles embed.FS

//go:embed clauses.txt
var clauseText string

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run returns 0 if the lifecycle does as expected, 1 if not, 2 for a wrong command line.
func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	flags.SetOutput(stderr)
	lifecycle := flags.String("lifecycle", "bin/lifecycle", "directory of the lifecycle's executables")
	only := flags.String("run", "", "run what this regular expression matches of \"phase/case[platform]\"")
	known := flags.String("known", "", "file of failures that are known, with their reasons")
	asJSON := flags.Bool("json", false, "print results and coverage as JSON")
	coverage := flags.Bool("coverage", false, "print how many cases each clause of the specification has")
	verbose := flags.Bool("v", false, "print every case, not only failures")
	keep := flags.Bool("keep", false, "leave the directories of the cases")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	suite, err := newSuite(*lifecycle, *only, *known)
	if err != nil {
		fmt.Fprintln(stderr, "conformance:", err)
		return 2
	}
	suite.Keep = *keep
	start := time.Now()
	runs, err := suite.run()
	if err != nil {
		fmt.Fprintln(stderr, "conformance:", err)
		return 1
	}
	report := newReport(suite, runs, time.Since(start))
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		if err := e.Encode(report); err != nil {
			fmt.Fprintln(stderr, "conformance:", err)
			return 1
		}
	} else {
		report.print(stdout, *verbose, *coverage)
	}
	if !report.Good {
		return 1
	}
	return 0
}

func newSuite(lifecycle, only, known string) (*Suite, error) {
	dir, err := filepath.Abs(lifecycle)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, name := range []string{"detector", "analyzer", "restorer", "builder", "exporter", "creator", "rebaser", "launcher"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("lifecycle directory %s: no %s", dir, strings.Join(missing, ", "))
	}
	s := &Suite{Lifecycle: dir}
	below, err := fs.Sub(caseFiles, "cases")
	if err != nil {
		return nil, err
	}
	if s.Cases, err = loadCases(below); err != nil {
		return nil, err
	}
	if only != "" {
		if s.Only, err = regexp.Compile(only); err != nil {
			return nil, err
		}
	}
	if known != "" {
		if s.Known, err = loadKnown(known, s.Cases); err != nil {
			return nil, err
		}
	}
	return s, nil
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A Status is how a run compares with what is expected of it.
type Status string

// A run passes or fails; a failure may be known, with a reason, and then passing is unexpected.
const (
	Pass       Status = "pass"
	Fail       Status = "fail"
	Known      Status = "known"
	Unexpected Status = "unexpected pass"
)

// A Run is one case with one Platform API version.
type Run struct {
	Case    string   `json:"case"`
	API     string   `json:"platform"`
	Title   string   `json:"title"`
	Clauses []string `json:"clauses"`
	Status  Status   `json:"status"`
	Reason  string   `json:"reason,omitempty"` // why a failure is known
	Diff    []string `json:"diff,omitempty"`
	Millis  int64    `json:"ms"`
}

// A Suite is what runs.
type Suite struct {
	Lifecycle string // directory
	Cases     []*Case
	Only      *regexp.Regexp // of "case[api]", or all
	Known     []KnownFailure
	Keep      bool // leaves the cases' directories
}

// run runs all cases and returns the runs in order.
func (s *Suite) run() ([]Run, error) {
	base, err := openTempDir()
	if err != nil {
		return nil, err
	}
	if s.Keep {
		fmt.Fprintln(os.Stderr, "directories are kept in", base)
	} else {
		defer os.RemoveAll(base)
	}
	type job struct {
		c   *Case
		api string
	}
	var jobs []job
	for _, c := range s.Cases {
		apis, err := c.apis()
		if err != nil {
			return nil, err
		}
		for _, api := range apis {
			if s.Only == nil || s.Only.MatchString(c.Name+"["+api+"]") {
				jobs = append(jobs, job{c, api})
			}
		}
	}
	runs := make([]Run, len(jobs))
	next := make(chan int)
	var wg sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				runs[i] = s.runCase(jobs[i].c, jobs[i].api, base)
			}
		})
	}
	for i := range jobs {
		next <- i
	}
	close(next)
	wg.Wait()
	return runs, nil
}

func (s *Suite) runCase(c *Case, api, base string) Run {
	start := time.Now()
	lines, err := s.try(c, api, base)
	if err != nil {
		lines = append(lines, "the case could not be run: "+err.Error())
	}
	run := Run{Case: c.Name, API: api, Title: c.Title, Clauses: c.Clauses, Status: Pass, Diff: lines, Millis: time.Since(start).Milliseconds()}
	known, isKnown := findKnown(s.Known, c.Name, api)
	switch failed := len(lines) > 0; {
	case failed && isKnown:
		run.Status, run.Reason = Known, known.Reason
	case failed:
		run.Status = Fail
	case isKnown:
		run.Status = Unexpected
	}
	return run
}

func (s *Suite) try(c *Case, api, base string) ([]string, error) {
	r, err := newRoot(c, api, base, s.Lifecycle)
	if r != nil && !s.Keep {
		defer r.close()
	}
	if err != nil {
		return nil, err
	}
	if err := r.build(); err != nil {
		return nil, err
	}
	m := &matcher{saved: map[string]any{}}
	for i, step := range c.Steps {
		if err := r.prepare(i+1, step); err != nil {
			return nil, err
		}
		got, err := r.run(step)
		if err != nil {
			return nil, err
		}
		lines, err := r.check(m, i+1, step, got)
		if err != nil || len(lines) > 0 {
			for j, line := range lines {
				lines[j] = r.shorten(line)
			}
			said := fmt.Sprintf("step %d, %s, exited with %d and said", i+1, strings.Join(append([]string{step.Run}, step.Args...), " "), got.code)
			return append(lines, said+"\n\t"+r.shorten(strings.ReplaceAll(strings.TrimRight(got.both, "\n"), "\n", "\n\t"))), err
		}
	}
	return nil, nil
}

// shorten puts the words back for what they stood for in this run.
func (r *root) shorten(text string) string {
	for _, word := range []string{"registry", "other", "root"} {
		text = strings.ReplaceAll(text, r.words[word], "{{"+word+"}}")
	}
	return text
}

// openTempDir makes a directory that the CNB user reaches.
func openTempDir() (string, error) {
	for _, parent := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if !reachable(parent) {
			continue
		}
		dir, err := os.MkdirTemp(parent, "conformance-")
		if err != nil {
			return "", err
		}
		return dir, os.Chmod(dir, 0o755)
	}
	return "", fmt.Errorf("no temporary directory that another user could enter: set TMPDIR")
}

func reachable(dir string) bool {
	if os.Getuid() != 0 {
		return true
	}
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return true
	}
}

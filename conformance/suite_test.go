package main

import (
	"bytes"
	"io/fs"
	"os"
	"slices"
	"testing"
)

// TestLifecycle runs the suite on the lifecycle that `make lifecycle` built.
func TestLifecycle(t *testing.T) {
	const dir = "../bin/lifecycle"
	if _, err := os.Stat(dir + "/detector"); err != nil {
		t.Fatalf("no lifecycle to test: %v (make lifecycle)", err)
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"-lifecycle", dir, "-known", "known/slipway.toml"}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d\n%s%s", code, stderr.String(), stdout.String())
	} else {
		t.Log(stdout.String())
	}
}

// TestClauses holds clauses.txt and the cases together: a case names clauses that there are.
func TestClauses(t *testing.T) {
	clauses, err := parseClauses(clauseText)
	if err != nil {
		t.Fatal(err)
	}
	below, err := fs.Sub(caseFiles, "cases")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := loadCases(below)
	if err != nil {
		t.Fatal(err)
	}
	titles := map[string]string{}
	for _, c := range cases {
		for _, id := range c.Clauses {
			if !slices.ContainsFunc(clauses, func(have Clause) bool { return have.ID == id }) {
				t.Errorf("%s: no clause %s in clauses.txt", c.Name, id)
			}
		}
		// One title for two cases of one phase is a copy that somebody forgot to finish.
		key := c.Name[:bytes.IndexByte([]byte(c.Name), '/')] + c.Title
		if other := titles[key]; other != "" {
			t.Errorf("%s and %s have the same title", c.Name, other)
		}
		titles[key] = c.Name
	}
}

// TestKnown holds the lists of known failures: each names cases, with reasons.
func TestKnown(t *testing.T) {
	below, err := fs.Sub(caseFiles, "cases")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := loadCases(below)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := fs.Glob(os.DirFS("known"), "*.toml")
	if err != nil || len(lists) == 0 {
		t.Fatalf("no lists: %v", err)
	}
	for _, name := range lists {
		if _, err := loadKnown("known/"+name, cases); err != nil {
			t.Error(err)
		}
	}
}

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The tests that need a process of their own run this binary again as one of its parts.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_LIFECYCLE") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 3, "want one of: agent, collector"},
		{[]string{"lifecycle"}, 3, "want one of"},
		{[]string{"/cnb/lifecycle/detector"}, 3, "want one of"},
		{[]string{"lifecycle", "agent", "x"}, 3, "lifecycle agent: takes no arguments"},
		{[]string{"/cnb/slipway/collector", "-v"}, 3, "lifecycle collector: takes no arguments"},
	} {
		var stderr bytes.Buffer
		if code := run(tc.args, nil, &stderr); code != tc.code || !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%q: exit %d, %q", tc.args, code, stderr.String())
		}
	}
}

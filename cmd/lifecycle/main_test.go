package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// A test that needs a process of its own runs this binary again as the command.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_LIFECYCLE") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestCommandLine(t *testing.T) {
	for _, tc := range []struct {
		api  string
		args []string
		code int
		want string
	}{
		{"0.15", nil, 3, "name a phase"},
		{"0.15", []string{"lifecycle"}, 3, "name a phase"},
		{"0.15", []string{"lifecycle", "fly"}, 3, "failed to recognize phase: fly"},
		{"0.15", []string{"lifecycle", "-version"}, 0, "0.0.0\n"},
		{"", []string{"/cnb/lifecycle/detector"}, 11, "please set 'CNB_PLATFORM_API'"},
		{"0.6", []string{"/cnb/lifecycle/detector"}, 11, "platform API version '0.6' is incompatible"},
		{"x", []string{"/cnb/lifecycle/detector"}, 11, "failed to parse platform API 'x'"},
		{"0.15", []string{"/cnb/lifecycle/detector", "-version"}, 0, "0.0.0\n"},
		{"0.15", []string{"lifecycle", "analyze", "-daemon", "-version"}, 0, "0.0.0\n"},
		{"0.15", []string{"/cnb/lifecycle/detector", "-nonsense"}, 3, "flag provided but not defined: -nonsense"},
		{"0.14", []string{"/cnb/lifecycle/detector", "-system", "x"}, 3, "flag provided but not defined: -system"},
		{"0.12", []string{"/cnb/lifecycle/analyzer", "-stack", "x"}, 3, "flag provided but not defined: -stack"},
		{"0.15", []string{"/cnb/lifecycle/detector", "x"}, 3, "failed to parse arguments: received unexpected arguments"},
		{"0.15", []string{"/cnb/lifecycle/analyzer"}, 3, "failed to parse arguments: received 0 arguments, but expected 1"},
		{"0.15", []string{"/cnb/lifecycle/restorer", "x"}, 3, "failed to parse arguments: received unexpected Args"},
		{"0.15", []string{"/cnb/lifecycle/exporter"}, 3, "failed to parse arguments: at least one image argument is required"},
		{"0.15", []string{"/cnb/lifecycle/analyzer", "-run-image", "a", "UPPER"}, 3, "UPPER"},
		{"0.15", []string{"/cnb/lifecycle/analyzer", "-run-image", "a", "-tag", "r.example/x", "s.example/x"}, 3, "multiple registries"},
		{"0.15", []string{"/cnb/lifecycle/analyzer", "-run-image", "a", "-layout", "-layout-dir", "/x", "x"}, 1, "experimental features are disabled by CNB_EXPERIMENTAL_MODE=error"},
		{"0.15", []string{"/cnb/lifecycle/extender"}, 102, "failed to extend: this lifecycle does not run Dockerfiles"},
		{"0.15", []string{"/cnb/lifecycle/detector", "-log-level", "loud"}, 1, "failed to parse log level"},
	} {
		var out bytes.Buffer
		env := []string{"CNB_PLATFORM_API=" + tc.api, "CNB_NO_COLOR=true"}
		if code := run(t.Context(), tc.args, env, &out, &out); code != tc.code || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%q: exit %d, %q", tc.args, code, out.String())
		}
	}
}

package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/agent"
)

// Both parts answer, under the name of the binary and under their own.
func TestParts(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"lifecycle", "agent"}, {"/cnb/slipway/agent"}} {
		cmd := exec.Command(exe)
		cmd.Args, cmd.Env, cmd.Stderr = argv, []string{"TEST_LIFECYCLE=1", "IMAGE_VARIABLE=x"}, os.Stderr
		r, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		w, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		a, err := agent.ConnectAgent(t.Context(), r, w)
		if err != nil {
			t.Fatal(err)
		}
		if h := a.Hello(); h.UID != os.Getuid() || !slices.Contains(h.Env, "IMAGE_VARIABLE=x") {
			t.Errorf("%q says %+v", argv, h)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%q: %v", argv, err)
		}
	}
}

// Started by hand it says so instead of waiting for a greeting that makes no sense.
func TestStartedByHand(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Args, cmd.Env, cmd.Stdin = []string{"lifecycle", "collector"}, []string{"TEST_LIFECYCLE=1"}, strings.NewReader("help\nme\n")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), `does not speak it, it says "help\nme\n"`) {
		t.Errorf("%v, %q", err, stderr.String())
	}
}

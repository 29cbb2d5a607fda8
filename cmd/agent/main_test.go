package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/agent"
)

// The tests run this binary again as the command.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AGENT") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestAgent(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "agent")
	cmd.Env, cmd.Stderr = []string{"TEST_AGENT=1", "IMAGE_VARIABLE=x"}, os.Stderr
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
		t.Errorf("it says %+v", h)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"help"}, {"agent", "-v"}, {"detector"}} {
		var stderr strings.Builder
		if code := run(args, nil, &stderr); code != 2 || !strings.Contains(stderr.String(), "part of slipway") {
			t.Errorf("%q: exit %d, %q", args, code, stderr.String())
		}
	}
}

// Started by hand it says so instead of waiting for a greeting that makes no sense.
func TestStartedByHand(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "collector")
	cmd.Env, cmd.Stdin = []string{"TEST_AGENT=1"}, strings.NewReader("help\nme\n")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err == nil || !strings.Contains(stderr.String(), `does not speak it, it says "help\nme\n"`) {
		t.Errorf("%v, %q", err, stderr.String())
	}
}

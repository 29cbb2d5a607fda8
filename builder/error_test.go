package builder

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

func TestExitCode(t *testing.T) {
	a := cnb.Ref{ID: "a", Version: "1"}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{errors.New("x"), 1, "x"},
		{&APIError{API: cnb.API{Major: 0, Minor: 3}}, 11, "platform API 0.3 is not supported (supported: 0.7 to 0.15)"},
		{&APIError{}, 11, "platform API (none given) is not supported"},
		{&APIError{Buildpack: a, API: cnb.API{Major: 1}}, 12, "buildpack a@1: buildpack API 1.0 is not supported"},
		{&NoGroupError{}, 20, "no group of buildpacks detected"},
		{&DetectError{}, 21, "no group of buildpacks detected, and detect went wrong"},
		{&ExitError{Phase: PhaseBuild, Buildpack: a, Code: 1}, 51, "build of buildpack a@1 exited with status 1"},
		{&ExitError{Phase: PhaseBuild, Buildpack: a, Code: 137, Signal: "killed", OutOfMemory: true}, 51, "build of buildpack a@1 was killed: out of memory"},
		{&StartError{Phase: PhaseDetect, Buildpack: a, Path: "/p", Reason: "r"}, 21, "start detect of buildpack a@1: /p: r"},
		{&OutputError{Phase: PhaseBuild, Buildpack: a, Err: errors.New("x")}, 51, "buildpack a@1: x"},
		{&OutputError{Phase: PhaseBuild, Buildpack: a, File: "/f", Err: errors.New("x")}, 51, "buildpack a@1: /f: x"},
		{inPhase("analyze", errors.New("x")), 32, "x"},
		{inPhase("restore", errors.New("x")), 42, "x"},
		{inPhase("export", errors.New("x")), 62, "x"},
		{inPhase("rebase", errors.New("x")), 72, "x"},
		{inPhase("launch", errors.New("x")), 82, "x"},
		{inPhase("other", errors.New("x")), 1, "x"},
		{inPhase("export", inPhase("build", errors.New("x"))), 52, "x"},
		{fmt.Errorf("round it: %w", inPhase("detect", &NoGroupError{})), 20, "round it: no group"},
	} {
		if code := ExitCode(c.err); code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, code, c.code)
		}
		if c.err != nil && !strings.HasPrefix(c.err.Error(), c.text) {
			t.Errorf("error %q, want %q", c.err, c.text)
		}
	}
}

func TestPlatformAPIIsChecked(t *testing.T) {
	if _, err := Detect(t.Context(), DetectInput{PlatformAPI: cnb.API{Major: 0, Minor: 16}}); ExitCode(err) != 11 {
		t.Errorf("detect: %v", err)
	}
	if _, err := Build(t.Context(), BuildInput{PlatformAPI: cnb.API{Major: 0, Minor: 6}}); ExitCode(err) != 11 {
		t.Errorf("build: %v", err)
	}
}

func FuzzOutputError(f *testing.F) {
	d := &cnb.Descriptor{Ref: cnb.Ref{ID: "a", Version: "1"}}
	dirs := Dirs{Layers: "/layers"}
	for _, s := range []string{"x", "/layers/a/x.toml:3:1: key: bad", "/layers/a/x.toml", "/layers/a/x.toml:", "buildpack a@1: /layers/a/x.toml: y", "/layers/a/x.toml:12"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := outputError(dirs, d, "x.toml", errors.New(text))
		if !strings.HasPrefix(err.Error(), "buildpack a@1: /layers/a/x.toml") {
			t.Errorf("error %q", err)
		}
	})
}

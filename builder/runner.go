package builder

import (
	"context"
	"io"

	"github.com/slipway-build/slipway/builder/cnb"
)

// The phases in which executables of buildpacks run.
const (
	PhaseDetect   = "detect"
	PhaseGenerate = "generate" // of image extensions
	PhaseBuild    = "build"
)

// A Cmd is one execution of a buildpack's bin/detect or bin/build, or of an extension's bin/detect or bin/generate.
type Cmd struct {
	Phase     string  // PhaseDetect, PhaseGenerate or PhaseBuild
	Buildpack cnb.Ref // for attribution
	Path      string  // absolute path of the executable, as seen where it runs
	Args      []string
	Env       []string // the whole environment, NAME=value, sorted by name
	Dir       string   // working directory
	// Stdout and Stderr receive the output. Nil leaves it to the runner.
	Stdout, Stderr io.Writer
}

// A Runner starts one executable and returns when it and what it started are gone.
// A non-zero exit is an *ExitError; a program that could not be started is a *StartError; any other error means
// that it may or may not have run, and ends the phase. Implementations are safe for concurrent use, because the
// detects of one group run side by side. When ctx ends, the program is killed.
type Runner interface {
	Run(ctx context.Context, cmd Cmd) error
}

package builder

import (
	"context"
	"io"

	"github.com/slipway-build/slipway/builder/cnb"
)

// DetectInput is what Detect works on.
type DetectInput struct {
	PlatformAPI cnb.API
	Dirs        Dirs
	Order       cnb.Order
	System      cnb.System // merged into every group from Platform API 0.15 on
	Target      cnb.Target // of the run image
	StackID     string     // of the run image; "" for none
	ExecEnv     string     // "" is production
	Env         []string   // environment of the build image; buildpacks get an allow-list of it
	Catalog     Catalog
	Runner      Runner
	Emit        func(Event) // may be nil; never called concurrently
	MaxTrials   int         // limit of groups and of plan alternatives tried; 0 is 100,000
	// Stdio gives the writers for one buildpack's output; nil leaves output to the Runner.
	Stdio func(cnb.Ref) (stdout, stderr io.Writer)
}

// Detected is the outcome of detection: the chosen group with API and Homepage filled in, and its plan.
type Detected struct {
	Group cnb.Group `json:"group"`
	Plan  cnb.Plan  `json:"plan"`
}

// Detect finds the first group of the order whose buildpacks all pass and whose plan can be resolved
// (buildpack, "Phase #1: Detection"). Without one the error is a *NoGroupError, or a *DetectError when a detect
// went wrong.
func Detect(ctx context.Context, in DetectInput) (*Detected, error) {
	return nil, nil
}

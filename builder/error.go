package builder

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// An ExitError tells that an executable of a buildpack ran and ended with something other than success.
type ExitError struct {
	Phase       string  `json:"phase"`
	Buildpack   cnb.Ref `json:"buildpack"`
	Code        int     `json:"code"` // exit status; 128 + signal number where a signal ended it
	Signal      string  `json:"signal,omitempty"`
	OutOfMemory bool    `json:"out-of-memory,omitempty"`
	// OutOfProcesses: meanwhile a process could not be started because there were as many as may be, which need not be
	// the reason for Code.
	OutOfProcesses bool `json:"out-of-processes,omitempty"`
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s of %s %s ", e.Phase, module(e.Phase == PhaseGenerate), e.Buildpack)
	switch {
	case e.OutOfMemory:
		return s + "was killed: out of memory"
	case e.Signal != "":
		return s + "was ended by signal " + e.Signal
	}
	return s + fmt.Sprintf("exited with status %d", e.Code)
}

// A StartError tells that an executable of a buildpack could not be started. Reason is for its author.
type StartError struct {
	Phase     string  `json:"phase"`
	Buildpack cnb.Ref `json:"buildpack"`
	Path      string  `json:"path"`
	Reason    string  `json:"reason"`
}

func (e *StartError) Error() string {
	return fmt.Sprintf("start %s of %s %s: %s: %s", e.Phase, module(e.Phase == PhaseGenerate), e.Buildpack, e.Path, e.Reason)
}

// An OutputError tells that a buildpack ran well but left something the spec does not allow.
type OutputError struct {
	Phase     string
	Buildpack cnb.Ref
	Extension bool   // Buildpack is an image extension
	File      string // as executables see it; "" where no one file is to blame
	Err       error
}

func (e *OutputError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("%s %s: %s", module(e.Extension), e.Buildpack, e.Err)
	}
	return fmt.Sprintf("%s %s: %s: %s", module(e.Extension), e.Buildpack, e.File, e.Err)
}

func (e *OutputError) Unwrap() error { return e.Err }

// An APIError tells that a version of the Platform API or of the Buildpack API is not spoken here.
type APIError struct {
	Buildpack cnb.Ref // zero for the Platform API
	Extension bool    // Buildpack is an image extension
	API       cnb.API
}

func (e *APIError) Error() string {
	if e.Buildpack == (cnb.Ref{}) {
		return fmt.Sprintf("platform API %s is not supported (supported: %s to %s)", orNone(e.API), cnb.OldestPlatformAPI, cnb.NewestPlatformAPI)
	}
	return fmt.Sprintf(module(e.Extension)+" %s: buildpack API %s is not supported (supported: %s to %s)", e.Buildpack, orNone(e.API), cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI)
}

func orNone(a cnb.API) string {
	if a == (cnb.API{}) {
		return "(none given)"
	}
	return a.String()
}

// module is the word for a buildpack or an extension.
func module(extension bool) string {
	if extension {
		return "extension"
	}
	return "buildpack"
}

// A NotFoundError tells that a Catalog has no such buildpack, or an ExtensionCatalog no such extension.
type NotFoundError struct {
	Buildpack cnb.Ref
	Extension bool     // Buildpack is an image extension
	Have      []string // versions of the same id that are there
}

func (e *NotFoundError) Error() string {
	s := fmt.Sprintf("%s %s is not in the builder", module(e.Extension), e.Buildpack)
	if len(e.Have) > 0 {
		s += " (it has " + strings.Join(e.Have, ", ") + ")"
	}
	return s
}

// A Verdict is why one buildpack kept its group from being chosen, or that it would have been part of it.
type Verdict struct {
	Buildpack cnb.Ref   `json:"buildpack"`
	Extension bool      `json:"extension,omitempty"` // Buildpack is an image extension
	Kind      EventKind `json:"kind"`                // EventDetectPass, -Fail, -Error or -Skip
	Optional  bool      `json:"optional,omitempty"`
	Code      int       `json:"code,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	// Duration is how long bin/detect took, here or in an earlier group: it runs once.
	Duration time.Duration `json:"duration,omitempty"`
	// Plan is what it provides and requires, where it passed; with DetectInput.Every alone.
	Plan *cnb.BuildPlan `json:"plan,omitempty"`
}

// ran tells whether bin/detect was executed: a buildpack that is not for the run image fails without a status.
func (v Verdict) ran() bool {
	return v.Kind != EventDetectSkip && (v.Kind != EventDetectFail || v.Code == statusFail)
}

// A GroupVerdict is one group that was tried, with the reason of its failure.
type GroupVerdict struct {
	Buildpacks []Verdict `json:"buildpacks"`
	Reason     string    `json:"reason"` // "" of one that works
	// The rest is there with DetectInput.Every alone. A group that works has a Plan, and Kept is who takes part then.
	Chosen bool        `json:"chosen,omitempty"`
	Kept   []cnb.Ref   `json:"kept,omitempty"`
	Plan   *cnb.Plan   `json:"plan,omitempty"`
	Plans  []PlanTrial `json:"plans,omitempty"` // alternatives in the order in which they were tried, the first 100
}

// A PlanTrial is a choice of alternatives of build plans, of some or all buildpacks of a group that passed, and why it
// does not work; "" of the one that does.
type PlanTrial struct {
	Choices []PlanChoice `json:"choices"`
	Why     string       `json:"why,omitempty"`
}

// A PlanChoice is one alternative of a build plan: 0 is the plan itself, above it the number of the [[or]].
type PlanChoice struct {
	Buildpack   cnb.Ref `json:"buildpack"`
	Extension   bool    `json:"extension,omitempty"`
	Alternative int     `json:"alternative"`
	LeftOut     bool    `json:"leftOut,omitempty"` // it is optional, and the plan works without it
}

// A NoGroupError tells that no group of the order detected and that no detect went wrong. Buildpacks holds each
// buildpack that was tried once, in order of the first trial.
type NoGroupError struct {
	Buildpacks []Verdict      `json:"buildpacks"`
	Groups     []GroupVerdict `json:"groups"`
}

func (e *NoGroupError) Error() string {
	return "no group of buildpacks detected" + afterColon(e.Reasons())
}

// Reasons says for each buildpack that was not for the app why, and why groups failed whose buildpacks were.
func (e *NoGroupError) Reasons() []string { return reasons(e.Buildpacks, e.Groups) }

// A DetectError tells that no group detected and that at least one detect went wrong.
type DetectError struct {
	Buildpacks []Verdict      `json:"buildpacks"`
	Groups     []GroupVerdict `json:"groups"`
}

func (e *DetectError) Error() string {
	return "no group of buildpacks detected, and detect went wrong" + afterColon(e.Reasons())
}

// Reasons says for each buildpack whose detect went wrong why.
func (e *DetectError) Reasons() []string {
	var bad []Verdict
	for _, v := range e.Buildpacks {
		if v.Kind == EventDetectError {
			bad = append(bad, v)
		}
	}
	return reasons(bad, nil)
}

// reasons are those of the verdicts; buildpacks that passed appear by their group's reason only.
func reasons(vs []Verdict, groups []GroupVerdict) (parts []string) {
	for _, v := range vs {
		if v.Kind != EventDetectPass && v.Reason != "" {
			parts = append(parts, v.Buildpack.String()+": "+v.Reason)
		}
	}
	seen := map[string]bool{}
	for _, g := range groups {
		if g.byPlan() && !seen[g.Reason] {
			seen[g.Reason] = true
			parts = append(parts, g.Reason)
		}
	}
	return parts
}

// afterColon makes one line of reasons, if there are any.
func afterColon(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, "; ")
}

// byPlan reports whether every buildpack of the group was fine and the group failed for another reason.
func (g GroupVerdict) byPlan() bool {
	for _, v := range g.Buildpacks {
		if !v.Optional && (v.Kind == EventDetectFail || v.Kind == EventDetectError) {
			return false
		}
	}
	return true
}

// A PhaseError marks an error with the phase that it ended, where no other type tells. It adds no text.
type PhaseError struct {
	Phase string // "analyze", "detect", "generate", "restore", "build", "export", "launch"
	Err   error
}

func (e *PhaseError) Error() string { return e.Err.Error() }
func (e *PhaseError) Unwrap() error { return e.Err }

// inPhase wraps err in a PhaseError, unless it is nil or has one.
func inPhase(phase string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*PhaseError](err); ok {
		return err
	}
	return &PhaseError{Phase: phase, Err: err}
}

// ExitCode is the spec's exit status for err (platform, "Outputs" of each phase): 0 for nil, 11 and 12 for API
// versions, 20 and 21 for detection, 91 for an extension's failure, 51 for a buildpack's in build, else the phase's generic code.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*APIError](err); ok {
		if e.Buildpack == (cnb.Ref{}) {
			return 11
		}
		return 12
	}
	if _, ok := errors.AsType[*NoGroupError](err); ok {
		return 20
	}
	if _, ok := errors.AsType[*DetectError](err); ok {
		return 21
	}
	if code, ok := buildpackFault(err); ok {
		return code
	}
	if e, ok := errors.AsType[*PhaseError](err); ok {
		if code := genericCodes(e.Phase); code != 0 {
			return code
		}
	}
	return 1
}

// buildpackFault is the exit status where one buildpack's executable or its output is at fault.
func buildpackFault(err error) (int, bool) {
	var phase string
	if e, ok := errors.AsType[*ExitError](err); ok {
		phase = e.Phase
	} else if e, ok := errors.AsType[*StartError](err); ok {
		phase = e.Phase
	} else if e, ok := errors.AsType[*OutputError](err); ok {
		phase = e.Phase
	} else {
		return 0, false
	}
	switch phase {
	case PhaseDetect:
		return 21, true
	case PhaseGenerate:
		if _, ok := errors.AsType[*OutputError](err); ok {
			return 92, true // the spec's 91 is for bin/generate itself
		}
		return 91, true
	case "export": // found when layers are made: the spec's 51 is for the build phase alone
		return 62, true
	}
	return 51, true
}

func genericCodes(phase string) int {
	switch phase {
	case "analyze":
		return 32
	case "detect":
		return 22
	case PhaseGenerate:
		return 92
	case "restore":
		return 42
	case "build":
		return 52
	case "export":
		return 62
	case "rebase":
		return 72
	case "launch":
		return 82
	}
	return 0
}

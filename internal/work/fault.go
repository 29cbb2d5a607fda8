package work

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

// verdict turns the error of a build into how it ended: the one table of blame. What is the app's, or that of the
// buildpacks that it chose, is told to its developer and never tried again; all else is the platform's.
func verdict(ctx context.Context, err error) Outcome {
	cause := context.Cause(ctx)
	switch c, asked := errors.AsType[*cancelled](cause); {
	case err == nil:
		return Outcome{State: build.Succeeded}
	case asked:
		return Outcome{State: build.Cancelled, Failure: &build.Failure{Blame: build.BlameApp, Code: "cancelled", Reason: c.Error()}}
	case errors.Is(cause, errStopping), errors.Is(cause, errLeaseLost):
		return failed(build.Failure{Blame: build.BlamePlatform, Code: "worker-lost", Reason: cause.Error(), Next: "start the build again"})
	}
	f := build.Failure{Reason: oneLine(err.Error()), Exit: builder.ExitCode(err)}
	if e, ok := errors.AsType[*builder.PhaseError](err); ok {
		f.Phase = e.Phase
	}
	if e, ok := errors.AsType[*platform.StoppedError](err); ok {
		f.Buildpack = e.Buildpack
	}
	if limit, ok := errors.AsType[*container.LimitError](err); ok {
		return overLimit(f, limit)
	}
	for _, look := range []func(error, *build.Failure) bool{notDetected, buildpackFailed, badOutput, badChoice, registryFailed, badSource} {
		if look(err, &f) {
			return failed(f)
		}
	}
	f.Blame, f.Code, f.Next = build.BlamePlatform, "platform", "try again; if it stays, tell the operator"
	if fault, ok := errors.AsType[*SourceError](err); ok {
		f.Blame, f.Code, f.Phase, f.Next = fault.Blame, "source", string(platform.PhasePrepare), fault.Next
	}
	return failed(f)
}

func failed(f build.Failure) Outcome { return Outcome{State: build.Failed, Failure: &f} }

func overLimit(f build.Failure, e *container.LimitError) Outcome {
	f.Blame = build.BlameApp
	switch e.Resource {
	case container.Time:
		f.Code, f.Next = "timeout", "make the build faster, or raise the app's time limit"
		return Outcome{State: build.TimedOut, Failure: &f}
	case container.Disk:
		f.Code, f.Next = "disk", "write less, or raise the app's disk limit"
	}
	return failed(f)
}

func notDetected(err error, f *build.Failure) bool {
	if e, ok := errors.AsType[*builder.NoGroupError](err); ok {
		f.Blame, f.Code, f.Phase = build.BlameApp, "not-detected", builder.PhaseDetect
		f.Reason, f.Reasons = "no group of buildpacks detected", lines(e.Reasons())
		f.Next = "add the file that a buildpack looks for, or set the app's buildpacks"
		return true
	}
	if e, ok := errors.AsType[*builder.DetectError](err); ok {
		f.Blame, f.Code, f.Phase = build.BlameApp, "detect-failed", builder.PhaseDetect
		f.Reason, f.Reasons = "no group of buildpacks detected, and detect went wrong", lines(e.Reasons())
		f.Next = "look at what the buildpack printed above"
		return true
	}
	return false
}

// maxReasons and maxBelow bound what stands below a reason: builders with a hundred buildpacks say all of it.
const (
	maxReasons = 200
	maxBelow   = 300
)

// lines makes a line of each reason.
func lines(reasons []string) (out []string) {
	for i, r := range reasons {
		if i == maxReasons {
			return append(out, fmt.Sprintf("and %d more", len(reasons)-i))
		}
		out = append(out, cut(r, maxBelow))
	}
	return out
}

func buildpackFailed(err error, f *build.Failure) bool {
	if e, ok := errors.AsType[*builder.ExitError](err); ok {
		f.Blame, f.Code, f.Phase, f.Buildpack = build.BlameApp, "buildpack-failed", e.Phase, e.Buildpack.String()
		f.Next = "look at what the buildpack printed above"
		switch {
		case e.OutOfMemory:
			f.Code, f.Next = "memory", "use less memory, or raise the app's memory limit"
		case e.OutOfProcesses:
			f.Code, f.Next = "pids", "start fewer processes at once, or raise the app's pids limit"
		}
		return true
	}
	if e, ok := errors.AsType[*builder.StartError](err); ok {
		f.Blame, f.Code, f.Phase, f.Buildpack = build.BlameApp, "buildpack-broken", e.Phase, e.Buildpack.String()
		f.Next = "use another version of the buildpack"
		return true
	}
	if e, ok := errors.AsType[*container.ExitError](err); ok && e.OutOfMemory {
		f.Blame, f.Code, f.Next = build.BlameApp, "memory", "use less memory, or raise the app's memory limit"
		return true
	}
	return false
}

func badOutput(err error, f *build.Failure) bool {
	e, ok := errors.AsType[*builder.OutputError](err)
	if ok {
		f.Blame, f.Code, f.Phase, f.Buildpack = build.BlameApp, "buildpack-output", e.Phase, e.Buildpack.String()
		f.Next = "use another version of the buildpack"
	}
	return ok
}

// badChoice: the app, or its project.toml, asks for a buildpack that is not there or too new.
func badChoice(err error, f *build.Failure) bool {
	api, isAPI := errors.AsType[*builder.APIError](err)
	missing, isMissing := errors.AsType[*builder.NotFoundError](err)
	var ref cnb.Ref
	named, isNamed := errors.AsType[*platform.BuildpackError](err)
	_, isRegistry := errors.AsType[*image.RegistryError](err)
	_, isMachine := errors.AsType[syscall.Errno](err)
	_, isIndex := errors.AsType[*index.SyncError](err)
	switch {
	case isNamed && !isRegistry && !isMachine && !isIndex: // a registry has its own say, our disk is ours, and so is an index that is not reached
		f.Phase, f.Buildpack = string(platform.PhasePrepare), cut(named.Buildpack, maxBelow)
	case isAPI:
		ref = api.Buildpack
	case isMissing:
		ref = missing.Buildpack
	default:
		return false
	}
	f.Blame, f.Code, f.Next = build.BlameApp, "buildpack-unusable", "choose a buildpack that the builder has, or an index"
	if ref != (cnb.Ref{}) {
		f.Buildpack = ref.String()
	}
	return true
}

// registryFailed: an image that is named wrongly is the app's, a registry that does not answer the platform's.
func registryFailed(err error, f *build.Failure) bool {
	e, ok := errors.AsType[*image.RegistryError](err)
	if !ok {
		return false
	}
	f.Code = "registry-" + string(e.Reason)
	switch e.Reason {
	case image.ReasonNotFound, image.ReasonUnauthorized, image.ReasonDenied, image.ReasonReadOnly:
		f.Blame, f.Next = build.BlameApp, "check the image's name, and the credentials for "+e.Host
	default:
		f.Blame, f.Next = build.BlamePlatform, "try again; if it stays, tell the operator"
	}
	return true
}

// badSource: what was handed in cannot be unpacked, or describes itself wrongly. Where it lies is nobody's business.
func badSource(err error, f *build.Failure) bool {
	e, ok := errors.AsType[*platform.SourceError](err)
	if ok {
		f.Blame, f.Code, f.Phase, f.Next = build.BlameApp, "source", string(platform.PhasePrepare), "mend the source and hand it in again"
		f.Reason = strings.ReplaceAll(f.Reason, "source "+e.Path+": ", "source: ")
	}
	return ok
}

// maxReason bounds a line that goes into a record and to a pushing git.
const maxReason = 2000

func oneLine(s string) string { return cut(s, maxReason) }

// cut makes one line of at most so many bytes.
func cut(s string, most int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// A SourceError is a source that could not be had, and whose fault that is.
type SourceError struct {
	Blame build.Blame
	Next  string // what to do
	Err   error
}

func (e *SourceError) Error() string { return "source: " + e.Err.Error() }
func (e *SourceError) Unwrap() error { return e.Err }

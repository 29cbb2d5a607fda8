package main

import (
	"fmt"
	"net/http"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/client"
)

// The exit codes of commands that talk to the build service, besides those of every command: 1 for what has no code of
// its own, 3 for a wrong command line.
const (
	codeNotFound     = 5
	codeUnauthorized = 6
	codeConflict     = 7
	codeAppFailed    = 101
	codeOursFailed   = 102
	codeCancelled    = 103
	codeTimedOut     = 104
)

// serviceCodes is what help says of them.
const serviceCodes = `Exit codes: 5 there is no such app, build or the like; 6 the token is missing, not
valid or may not do this; 7 it is not possible as things stand. Of commands that
wait for a build: 101 the app failed to build, 102 the service failed, 103 the
build was cancelled, 104 it took too long. 1 is for everything else.`

// serviceCode is the exit code of an answer of the service; ok is false for those without one.
func serviceCode(e *client.Error) (code int, ok bool) {
	switch {
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return codeUnauthorized, true
	case e.Status == http.StatusNotFound && e.ID == "not_found":
		return codeNotFound, true
	case e.Status == http.StatusConflict:
		return codeConflict, true
	}
	return 0, false
}

// serviceTold is what a user reads of an answer of the service.
func serviceTold(e *client.Error) error {
	if e.Status == http.StatusUnauthorized {
		return fmt.Errorf("the service does not take this token: log in anew with slipway login, or mend SLIPWAY_TOKEN")
	}
	return e
}

// outcome is how a build that has ended ends the command that waited for it: nil where it succeeded. With JSON the build
// itself was printed and says all of it.
func (a *app) outcome(b client.Build) error {
	code := codeOursFailed
	switch {
	case b.State == build.Succeeded:
		return nil
	case b.State == build.Cancelled:
		code = codeCancelled
	case b.State == build.TimedOut:
		code = codeTimedOut
	case b.Failure != nil && b.Failure.Blame == build.BlameApp:
		code = codeAppFailed
	}
	return &statusError{code: code, text: outcomeText(b), quiet: a.data()}
}

// outcomeText is one line: which build, where it failed, why, what to do.
func outcomeText(b client.Build) string {
	text := fmt.Sprintf("build %d of %s ", b.Number, b.App.Name)
	switch b.State {
	case build.Cancelled:
		text += "was cancelled"
		if b.Reason != "" {
			text += ": " + b.Reason
		}
	case build.TimedOut:
		text += "took too long"
	default:
		text += "failed"
	}
	f := b.Failure
	if f == nil || b.State == build.Cancelled {
		return text
	}
	switch {
	case f.Buildpack != "" && f.Phase != "":
		text += fmt.Sprintf(" (%s of %s)", f.Phase, f.Buildpack)
	case f.Phase != "":
		text += fmt.Sprintf(" (%s)", f.Phase)
	}
	if f.Reason != "" {
		text += ": " + f.Reason
	}
	if f.Blame == build.BlamePlatform {
		text += "; it is not the app's fault"
	}
	if f.Next != "" {
		text += "; " + f.Next
	}
	return text
}

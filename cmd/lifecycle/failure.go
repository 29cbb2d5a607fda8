package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// Exit statuses that belong to no phase (platform, "Outputs").
const (
	exitFailed       = 1
	exitArguments    = 3
	exitPlatformAPI  = 11
	exitBuildpackAPI = 12
)

// A failure ends a phase with an exit status. Its text begins as platforms know it: "failed to <action>".
type failure struct {
	action string
	err    error // may be nil
	code   int
}

func (f *failure) Error() string {
	if f.err == nil {
		return "failed to " + f.action
	}
	return fmt.Sprintf("failed to %s: %v", f.action, f.err)
}

func (f *failure) Unwrap() error { return f.err }

// fail wraps err, unless it is nil or a failure already. The status is that of the engine's error where it has one of
// its own, else otherwise.
func fail(err error, otherwise int, action string) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{action: action, err: err, code: statusOf(err, otherwise)}
}

// statusOf is the engine's exit status for err; an error that the engine does not know has the status otherwise.
func statusOf(err error, otherwise int) int {
	if code := builder.ExitCode(err); code != exitFailed {
		return code
	}
	return otherwise
}

// badArguments is a command line that cannot be carried out.
func badArguments(format string, args ...any) error {
	return &failure{action: "parse arguments", err: fmt.Errorf(format, args...), code: exitArguments}
}

// checkPlatformAPI reads CNB_PLATFORM_API.
func checkPlatformAPI(s string) (cnb.API, error) {
	if strings.TrimSpace(s) == "" {
		return cnb.API{}, &failure{action: "get platform API version; please set 'CNB_PLATFORM_API' to specify the desired platform API version", code: exitPlatformAPI}
	}
	api, err := cnb.ParseAPI(s)
	if err != nil {
		return api, &failure{action: fmt.Sprintf("parse platform API '%s'", s), code: exitPlatformAPI}
	}
	if !api.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return api, &failure{action: "set platform API", code: exitPlatformAPI, err: fmt.Errorf("platform API version '%s' is incompatible with the lifecycle (it speaks %s to %s)", s, cnb.OldestPlatformAPI, cnb.NewestPlatformAPI)}
	}
	return api, nil
}

// checkBuildpackAPI makes sure that an element of a group speaks an API we know.
func checkBuildpackAPI(e cnb.GroupElement) error {
	kind := "buildpack"
	if e.Extension {
		kind = "extension"
	}
	if e.API == (cnb.API{}) {
		return &failure{action: fmt.Sprintf("parse buildpack API '<nil>' for %s '%s'", kind, e.Ref), code: exitBuildpackAPI}
	}
	if !e.API.Within(cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI) {
		return apiFailure(e.API, kind, e.Ref)
	}
	return nil
}

func apiFailure(api cnb.API, kind string, ref cnb.Ref) error {
	return &failure{
		action: fmt.Sprintf("set API for %s '%s'", kind, ref), code: exitBuildpackAPI,
		err: fmt.Errorf("buildpack API version '%s' is incompatible with the lifecycle (it speaks %s to %s)", api, cnb.OldestBuildpackAPI, cnb.NewestBuildpackAPI),
	}
}

// phrased gives an error of the engine the words that suites look for, where they have fixed ones.
func phrased(err error) error {
	if e, ok := errors.AsType[*builder.APIError](err); ok && e.Buildpack != (cnb.Ref{}) {
		kind := "buildpack"
		if e.Extension {
			kind = "extension"
		}
		return apiFailure(e.API, kind, e.Buildpack)
	}
	return err
}

// errNoExtender is why extender does not run.
var errNoExtender = errors.New("this lifecycle does not run Dockerfiles: use an extender of the reference lifecycle, or a builder without image extensions")

// tomlPhrase is an error in a file's TOML where suites have fixed words for it: a key without a value.
func tomlPhrase(err error, text []byte) error {
	m := regexp.MustCompile(`^(.*):(\d+): not valid TOML: expected '=' after key$`).FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	n, _ := strconv.Atoi(m[2])
	lines := strings.Split(string(text), "\n")
	if n < 1 || n > len(lines) {
		return err
	}
	rest := strings.TrimLeft(strings.TrimLeftFunc(strings.TrimSpace(lines[n-1]), bareKey), " \t")
	if rest == "" {
		return err
	}
	got, _ := utf8.DecodeRuneInString(rest)
	return fmt.Errorf("toml: line %d: expected '.' or '=', but got %s instead (%s)", n, strconv.QuoteRune(got), m[1])
}

func bareKey(r rune) bool {
	return r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

// Package parcel holds what the buildpacks we ship share: how a thing is fetched and verified, unpacked
// below one directory, keyed to what it depends on, listed in an SBOM, and how a buildpack says whose fault
// a failure is. It knows nothing of any language, and nothing outside buildpacks/ uses it.
package parcel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/buildpacks/libcnb/v2"
)

// Work is what a buildpack gets from outside besides libcnb's context: tests make their own.
type Work struct {
	Env   Env       // the process environment; nothing below Main reads it again
	Out   io.Writer // where the user reads along
	Fetch Fetcher   // how to download
}

// Sayf writes one line for the user.
func (w Work) Sayf(format string, a ...any) { fmt.Fprintf(w.Out, format+"\n", a...) }

// Env is an environment. Its String form is sorted, so that what is made from it is the same each time.
type Env map[string]string

// ParseEnv reads the form of os.Environ.
func ParseEnv(list []string) Env {
	e := Env{}
	for _, kv := range list {
		if k, v, ok := strings.Cut(kv, "="); ok {
			e[k] = v
		}
	}
	return e
}

// With is a copy of e in which each "K=V" of list is set. An empty V is kept.
func (e Env) With(list ...string) Env {
	c := maps.Clone(e)
	maps.Copy(c, ParseEnv(list))
	return c
}

// List is the sorted form that os/exec wants.
func (e Env) List() []string {
	l := make([]string, 0, len(e))
	for _, k := range slices.Sorted(maps.Keys(e)) {
		l = append(l, k+"="+e[k])
	}
	return l
}

// Flag reads a yes/no variable: unset and "" are no, "true", "1", "yes", "on" and their opposites are what
// they say, and all else is the user's mistake.
func (e Env) Flag(name string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(e[name])) {
	case "", "0", "false", "no", "off":
		return false, nil
	case "1", "true", "yes", "on":
		return true, nil
	}
	return false, Yours("set "+name+" to true or false", "%s is %q, neither true nor false", name, e[name])
}

// Words splits a list that a user typed into one variable at blanks and commas.
func (e Env) Words(name string) []string {
	return strings.FieldsFunc(e[name], func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

// A Fault is an error that knows whose it is and what to do about it.
type Fault struct {
	Ours bool   // a download, a mirror, this buildpack: not the app's
	Text string // what is wrong, naming the file and the key
	Do   string // what the reader does next
	Err  error  // the cause, may be nil
}

func (f *Fault) Error() string {
	switch {
	case f.Err == nil:
		return f.Text
	case f.Text == "":
		return f.Err.Error()
	}
	return f.Text + ": " + f.Err.Error()
}

func (f *Fault) Unwrap() error { return f.Err }

// Yours is a fault of the app or of its configuration. A last argument that is an error, with
// "%w" at the end of format, becomes the cause.
func Yours(do, format string, a ...any) error { return fault(false, do, format, a) }

// Ours is a fault of the outside world or of the buildpack.
func Ours(do, format string, a ...any) error { return fault(true, do, format, a) }

func fault(ours bool, do, format string, a []any) error {
	f := &Fault{Ours: ours, Do: do}
	if n := len(a); n > 0 {
		if err, ok := a[n-1].(error); ok && strings.HasSuffix(format, "%w") {
			f.Err, a, format = err, a[:n-1], strings.TrimSuffix(strings.TrimSuffix(format, "%w"), ": ")
		}
	}
	f.Text = fmt.Sprintf(format, a...)
	return f
}

// Exit codes of a build that failed, for whoever runs a buildpack by hand; the lifecycle reports both as 51.
const (
	ExitYours = 1
	ExitOurs  = 69 // EX_UNAVAILABLE of sysexits.h
)

// Detect and Build are a buildpack.
type (
	Detect func(ctx context.Context, c libcnb.DetectContext, w Work) (libcnb.DetectResult, error)
	Build  func(ctx context.Context, c libcnb.BuildContext, w Work) (libcnb.BuildResult, error)
)

// Main runs a buildpack as bin/detect or bin/build, whichever name it was started by, and exits.
// SIGTERM and SIGINT cancel the context, so that a half-made layer is never declared.
func Main(name string, detect Detect, build Build) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	env := ParseEnv(os.Environ())
	w := Work{Env: env, Out: os.Stdout, Fetch: NewFetcher(env)}
	libcnb.BuildpackMain(
		func(c libcnb.DetectContext) (libcnb.DetectResult, error) { return detect(ctx, c, w) },
		func(c libcnb.BuildContext) (libcnb.BuildResult, error) { return build(ctx, c, w) },
		libcnb.WithExitHandler(exit{name: name, stderr: os.Stderr}),
	)
}

// exit is libcnb's way out: it writes the error in our form.
type exit struct {
	name   string
	stderr io.Writer
}

func (e exit) Error(err error) {
	fmt.Fprint(e.stderr, Explain(e.name, err))
	if f, ok := errors.AsType[*Fault](err); ok && f.Ours {
		os.Exit(ExitOurs)
	}
	os.Exit(ExitYours)
}

func (e exit) Fail() { os.Exit(100) }
func (e exit) Pass() { os.Exit(0) }

// Explain is what a buildpack prints last: what went wrong, whose it is, what to do.
func Explain(name string, err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	f, ok := errors.AsType[*Fault](err)
	if !ok {
		return fmt.Sprintf("ERROR %s: %s\n      This is not your app's fault but the buildpack's or the build container's.\n", name, text)
	}
	s := fmt.Sprintf("ERROR %s: %s\n", name, text)
	if f.Ours {
		s += "      This is not your app's fault.\n"
	}
	if f.Do != "" {
		s += "      What to do: " + f.Do + "\n"
	}
	return s
}

// Pass is a detect that passes: it says why and gives its plan.
func (w Work) Pass(why string, plans ...libcnb.BuildPlan) (libcnb.DetectResult, error) {
	w.Sayf("passed: %s", why)
	return libcnb.DetectResult{Pass: true, Plans: plans}, nil
}

// Fail is a detect that does not want the app: it says why. That is no error (exit 100).
func (w Work) Fail(why string) (libcnb.DetectResult, error) {
	w.Sayf("not for this app: %s", why)
	return libcnb.DetectResult{}, nil
}

// Plan provides name and requires it, the form of a buildpack that stands on its own.
func Plan(name string) libcnb.BuildPlan {
	return libcnb.BuildPlan{
		Provides: []libcnb.BuildPlanProvide{{Name: name}},
		Requires: []libcnb.BuildPlanRequire{{Name: name}},
	}
}

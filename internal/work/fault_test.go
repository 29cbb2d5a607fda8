package work

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/index"
	"github.com/slipway-build/slipway/internal/platform"
)

func TestVerdict(t *testing.T) {
	ref := cnb.Ref{ID: "acme/go", Version: "1.2.3"}
	exit := &builder.ExitError{Phase: "build", Buildpack: ref, Code: 2}
	for _, c := range []struct {
		err   error
		state build.State
		want  build.Failure // what is set is compared
	}{
		{nil, build.Succeeded, build.Failure{}},
		{&builder.NoGroupError{}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "not-detected", Phase: "detect", Exit: 20}},
		{&builder.DetectError{}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "detect-failed", Phase: "detect", Exit: 21}},
		{fmt.Errorf("wrapped: %w", &platform.BuildError{Err: exit}), build.Failed, build.Failure{Blame: build.BlameApp, Code: "buildpack-failed", Phase: "build", Buildpack: "acme/go@1.2.3", Exit: 51}},
		{&builder.ExitError{Phase: "build", Buildpack: ref, Code: 137, OutOfMemory: true}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "memory", Buildpack: "acme/go@1.2.3"}},
		{&builder.ExitError{Phase: "build", Buildpack: ref, Code: 2, OutOfProcesses: true}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "pids", Buildpack: "acme/go@1.2.3"}},
		{&builder.StartError{Phase: "build", Buildpack: ref}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "buildpack-broken"}},
		{&builder.OutputError{Phase: "build", Buildpack: ref, Err: errors.New("x")}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "buildpack-output", Phase: "build"}},
		{&builder.NotFoundError{Buildpack: ref}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "buildpack-unusable", Buildpack: "acme/go@1.2.3"}},
		{&builder.APIError{}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "buildpack-unusable"}},
		{&container.LimitError{Resource: container.Time, Limit: int64(time.Minute)}, build.TimedOut, build.Failure{Blame: build.BlameApp, Code: "timeout"}},
		{&builder.PhaseError{Phase: "build", Err: &container.LimitError{Resource: container.Disk}}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "disk", Phase: "build"}},
		{&image.RegistryError{Reason: image.ReasonDenied, Host: "r", Err: errors.New("x")}, build.Failed, build.Failure{Blame: build.BlameApp, Code: "registry-denied"}},
		{&image.RegistryError{Reason: image.ReasonDown, Host: "r", Err: errors.New("x")}, build.Failed, build.Failure{Blame: build.BlamePlatform, Code: "registry-down"}},
		{&SourceError{Blame: build.BlamePlatform, Err: errors.New("gone")}, build.Failed, build.Failure{Blame: build.BlamePlatform, Code: "source", Phase: "prepare"}},
		{fmt.Errorf("prepare: %w", &platform.SourceError{Path: "/data/sources/1", Err: errors.New("source /data/sources/1: no archive")}), build.Failed,
			build.Failure{Blame: build.BlameApp, Code: "source", Phase: "prepare", Reason: "prepare: source: no archive"}},
		{errors.New("a\nb"), build.Failed, build.Failure{Blame: build.BlamePlatform, Code: "platform", Reason: "a; b"}},
		{errors.New(strings.Repeat("é", 5000)), build.Failed, build.Failure{Reason: strings.Repeat("é", 1000) + "..."}},
		{&platform.BuildpackError{Buildpack: "acme/none", Err: errors.New("it is not in builder b")}, build.Failed,
			build.Failure{Blame: build.BlameApp, Code: "buildpack-unusable", Phase: "prepare", Buildpack: "acme/none"}},
		{&platform.BuildpackError{Buildpack: "x.test/b:1", Err: &image.RegistryError{Host: "x.test", Reason: image.ReasonDown}}, build.Failed,
			build.Failure{Blame: build.BlamePlatform, Code: "registry-" + string(image.ReasonDown)}},
		{&platform.BuildpackError{Buildpack: "acme/new", Err: fmt.Errorf("no such buildpack: %w", &index.SyncError{Index: "official", Err: errors.New("no route")})}, build.Failed,
			build.Failure{Blame: build.BlamePlatform, Code: "platform"}},
		{&platform.BuildpackError{Buildpack: "x.test/b:1", Err: fmt.Errorf("unpack: %w", syscall.ENOSPC)}, build.Failed,
			build.Failure{Blame: build.BlamePlatform, Code: "platform"}},
	} {
		o := verdict(t.Context(), c.err)
		if o.State != c.state || (o.Failure == nil) != (c.state == build.Succeeded) {
			t.Errorf("%v: %+v", c.err, o)
			continue
		}
		if o.Failure == nil {
			continue
		}
		got := *o.Failure
		for _, f := range []struct{ name, got, want string }{
			{"blame", string(got.Blame), string(c.want.Blame)}, {"code", got.Code, c.want.Code}, {"phase", got.Phase, c.want.Phase},
			{"buildpack", got.Buildpack, c.want.Buildpack}, {"reason", got.Reason, c.want.Reason},
		} {
			if f.want != "" && f.got != f.want {
				t.Errorf("%.80v: %s is %q, want %q", c.err, f.name, f.got, f.want)
			}
		}
		if c.want.Exit != 0 && got.Exit != c.want.Exit || got.Reason == "" && c.err.Error() != "" {
			t.Errorf("%v: %+v, want exit %d", c.err, got, c.want.Exit)
		}
		if strings.ContainsAny(got.Reason+got.Next, "\n\r") {
			t.Errorf("%v: more than a line: %+v", c.err, got)
		}
	}
}

// TestReasons: what each buildpack says against an app is a line of its own, however many there are.
func TestReasons(t *testing.T) {
	e := &builder.NoGroupError{}
	for i := range 250 {
		e.Buildpacks = append(e.Buildpacks, builder.Verdict{
			Buildpack: cnb.Ref{ID: cnb.ID(fmt.Sprintf("acme/b%d", i)), Version: "1.0"}, Kind: builder.EventDetectFail, Reason: "no file\nof mine" + strings.Repeat(".", 1000)})
	}
	f := verdict(t.Context(), e).Failure
	if f.Reason != "no group of buildpacks detected" || len(f.Reasons) != maxReasons+1 || f.Reasons[maxReasons] != "and 50 more" {
		t.Errorf("%q and %d reasons", f.Reason, len(f.Reasons))
	}
	for i, r := range f.Reasons[:maxReasons] {
		if want := fmt.Sprintf("acme/b%d@1.0: no file; of mine...", i); !strings.HasPrefix(r, want) || len(r) > maxBelow+3 {
			t.Errorf("reason %d is %q", i, r)
		}
	}
}

// TestVerdictOfTheStopped: whoever ended the build decides, whatever it came upon meanwhile.
func TestVerdictOfTheStopped(t *testing.T) {
	for _, c := range []struct {
		cause error
		state build.State
		blame build.Blame
	}{
		{&cancelled{"x"}, build.Cancelled, build.BlameApp},
		{errStopping, build.Failed, build.BlamePlatform},
		{errLeaseLost, build.Failed, build.BlamePlatform},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(c.cause)
		o := verdict(ctx, &builder.ExitError{Phase: "build", Code: 137})
		if o.State != c.state || o.Failure == nil || o.Failure.Blame != c.blame {
			t.Errorf("%v: %+v %+v", c.cause, o, o.Failure)
		}
		if o := verdict(ctx, nil); o.State != build.Succeeded {
			t.Errorf("done before it heard of %v: %+v", c.cause, o)
		}
	}
}

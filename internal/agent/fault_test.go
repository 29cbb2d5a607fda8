package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// An error keeps its text, its exit code and its types on the way from a helper to its parent.
func TestErrorsCrossTheWire(t *testing.T) {
	bp := cnb.Ref{ID: "a/b", Version: "1"}
	for _, want := range []error{
		errors.New("plain"),
		&builder.ExitError{Phase: builder.PhaseBuild, Buildpack: bp, Code: 137, Signal: "SIGKILL", OutOfMemory: true},
		&builder.ExitError{Phase: builder.PhaseBuild, Buildpack: bp, Code: 2, OutOfProcesses: true},
		&builder.StartError{Phase: builder.PhaseDetect, Buildpack: bp, Path: "/x", Reason: "no"},
		&builder.OutputError{Phase: builder.PhaseBuild, Buildpack: bp, File: "/layers/a_b/launch.toml", Err: fmt.Errorf("line 3: %w", errors.New("bad"))},
		&builder.OutputError{Phase: "export", Buildpack: bp, Err: errors.New("too much")},
		&builder.APIError{Buildpack: bp, API: cnb.API{Major: 9, Minor: 9}},
		&builder.NotFoundError{Buildpack: bp, Have: []string{"2"}},
		&builder.NoGroupError{Buildpacks: []builder.Verdict{{Buildpack: bp, Kind: builder.EventDetectFail, Code: 100, Reason: "no"}}},
		&builder.DetectError{Buildpacks: []builder.Verdict{{Buildpack: bp, Kind: builder.EventDetectError, Code: 1, Reason: "bad"}}},
		&builder.PhaseError{Phase: "export", Err: fmt.Errorf("write: %w", syscall.ENOSPC)},
		fmt.Errorf("it: %w", context.Canceled), fmt.Errorf("it: %w", fs.ErrNotExist), fmt.Errorf("it: %w", fs.ErrPermission),
	} {
		got := decodeError(encodeError(want))
		if got.Error() != want.Error() || builder.ExitCode(got) != builder.ExitCode(want) {
			t.Errorf("%T: got %q with code %d, want %q with code %d", want, got, builder.ExitCode(got), want, builder.ExitCode(want))
		}
		for _, is := range []error{syscall.ENOSPC, context.Canceled, fs.ErrNotExist, fs.ErrPermission} {
			if errors.Is(got, is) != errors.Is(want, is) {
				t.Errorf("%v: it is %q on one side only", want, is)
			}
		}
	}
	o, ok := errors.AsType[*builder.OutputError](decodeError(encodeError(&builder.OutputError{Buildpack: bp, File: "f", Err: errors.New("x")})))
	if !ok || o.Buildpack != bp || o.File != "f" || o.Err == nil {
		t.Errorf("output error: %+v", o)
	}
}

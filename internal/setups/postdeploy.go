package setups

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/deploy"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/logs"
)

// errInterrupted is a postdeploy of which nobody knows how far it came.
var errInterrupted = errors.New(interrupted)

const (
	maxOutput      = 32 << 10  // of a postdeploy that is kept in the record: the end of it
	maxLog         = 1 << 20   // of a postdeploy
	postdeployTime = time.Hour // which migrations of a large database take
)

// postdeploy runs scripts.postdeploy, once: that it runs is recorded before, and what is not known to have ended has failed.
func (d *drive) postdeploy(ctx context.Context) (string, error) {
	script := d.in.Plan.Postdeploy
	if script == "" {
		return "", &skipped{"the template has none"}
	}
	v, err := d.s.o.Store.ReleaseByID(ctx, d.v.Release)
	if err != nil {
		return "", err
	}
	log, err := d.s.o.Logs.Create(d.v.ID, logs.Options{Limit: maxLog})
	if err != nil {
		return "", err
	}
	out := &tail{}
	err = d.s.o.Deploys.Once(ctx, deploy.Once{Release: v, Script: script, Time: postdeployTime, Output: both{log, out}})
	killpoint.Here(killpoint.PostdeployRan)
	code, why := ended(err)
	if e, ok := errors.AsType[*stopped](context.Cause(ctx)); ok {
		why = e
	} else if ctx.Err() != nil {
		why = errInterrupted
	}
	state := build.Succeeded
	if why != nil {
		state = build.Failed
		fmt.Fprintf(log, "slipway: %s\n", why)
	}
	if err := log.Close(state); err != nil {
		d.s.o.Fault(fmt.Errorf("log of setup %s: %w", d.v.ID, err))
	}
	if err := d.change(ctx, func(v *build.Setup) { v.Postdeploy = &build.SetupRun{Output: out.String(), Exit: code} }); err != nil {
		return "", err
	}
	return "", why
}

// resume says how a postdeploy of an earlier process has ended, if that is known.
func (d *drive) resume(context.Context) (string, error) {
	switch run := d.v.Postdeploy; {
	case run == nil || run.Exit < 0:
		return "", errInterrupted
	case run.Exit > 0:
		return "", fmt.Errorf("postdeploy exited with code %d", run.Exit)
	}
	return "", nil
}

// ended is the exit code of a postdeploy, and why it counts as failed.
func ended(err error) (code int, why error) {
	e, exit := errors.AsType[*container.ExitError](err)
	_, limit := errors.AsType[*container.LimitError](err)
	switch {
	case err == nil:
		return 0, nil
	case exit && e.OutOfMemory:
		return e.Code, errors.New("postdeploy used more memory than it may")
	case exit && e.Signal != "":
		return e.Code, fmt.Errorf("postdeploy was killed by %s", e.Signal)
	case exit:
		return e.Code, fmt.Errorf("postdeploy exited with code %d", e.Code)
	case limit:
		return -1, fmt.Errorf("postdeploy: %w", err)
	}
	return -1, fmt.Errorf("postdeploy could not be run: %w", err)
}

// both is a log and what is kept of it in the record. Writing never fails the script.
type both struct {
	log *logs.Writer
	out *tail
}

func (b both) Write(p []byte) (int, error) {
	_, _ = b.log.Write(p) // a full disk is not the script's fault
	return b.out.Write(p)
}

// tail keeps the end of what is written.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	if t.text = append(t.text, p...); len(t.text) > 2*maxOutput {
		t.text = append(t.text[:0], t.text[len(t.text)-maxOutput:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	return strings.ToValidUTF8(string(t.text[max(0, len(t.text)-maxOutput):]), "\uFFFD")
}

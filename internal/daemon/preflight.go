package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/platform"
)

// preflightTime is how long an answer may take before a build is taken in without one: its worker will see.
const preflightTime = 5 * time.Second

// preflight refuses a build whose builder, run image or target registry cannot be used, before it is taken in. Its error
// is one line for the app's developer.
func (d *Daemon) preflight(ctx context.Context, app build.App) error {
	limited, done := context.WithTimeout(ctx, preflightTime)
	defer done()
	o := d.worker.Options
	o.Image, o.Builder, o.Target = app.Image, app.Builder, ""
	if o.Image == "" {
		o.Image = d.repository(app.Name)
	}
	if o.Builder == "" {
		o.Builder = d.config.Builder
	}
	m := d.machine
	if _, ok := d.own(o.Image); !ok { // our own is open to the build alone, when it runs
		o.Output = platform.Output{Publish: true, ByDigest: true}
		credentials, err := d.service.Credentials(ctx, app.ID)
		if err == nil {
			m, err = d.machineFor(credentials)
		}
		if err != nil {
			return err
		}
	} else {
		o.Output = platform.Output{Store: true}
	}
	err := platform.Check(limited, m, o)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		d.host.Fault(fmt.Errorf("the images of app %s could not be looked at within %s: %w", app.Name, preflightTime, err))
		return nil
	}
	return err
}

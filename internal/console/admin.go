package console

import (
	"context"
	"net/http"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/store"
)

type adminData struct {
	Queued, Running int
	Workers         int
	NotReady        string
	Going           []going
	Limits          build.Limits
	Disk            *Disk
	Users           []build.User
	Registries      []string // that the service has credentials for
	Namespaces      int
}

// A going is a build that waits or runs.
type going struct {
	build.Build
	AppName build.AppName
}

// goingShown is how many builds that wait or run a page has.
const goingShown = 50

func (c *Console) adminPage(ctx context.Context, v *visit) error {
	d := adminData{Workers: c.Workers, Limits: c.Limits}
	n, err := c.Store.Counts(ctx)
	if err != nil {
		return err
	}
	d.Queued, d.Running = n.Queued, n.Running
	if err := c.Ready(ctx); err != nil {
		d.NotReady = err.Error()
	}
	all, err := c.Store.Going(ctx, goingShown)
	if err != nil {
		return err
	}
	for _, b := range all {
		a, err := c.Store.AppByID(ctx, b.App)
		if err != nil {
			continue // it was deleted just now
		}
		d.Going = append(d.Going, going{b, a.Name})
	}
	if c.Disk != nil {
		disk, err := c.Disk()
		if err != nil {
			return err
		}
		d.Disk = &disk
	}
	if d.Users, err = c.Store.Users(ctx); err != nil {
		return err
	}
	if d.Registries, err = c.Store.SecretNames(ctx, "", store.SecretRegistry); err != nil {
		return err
	}
	return v.page(http.StatusOK, "admin", "Admin", d)
}

// Used is how much of a disk is not free, of 100.
func (d Disk) Used() int {
	if d.Total <= 0 {
		return 0
	}
	return int(100 * (d.Total - d.Free) / d.Total)
}

package daemon

import "context"

// Tidy is upkeep, now.
func (d *Daemon) Tidy(ctx context.Context) error { return d.tidy(ctx) }

// Scrub reads all kept layers, now and without pauses.
func (d *Daemon) Scrub(ctx context.Context) error { return d.scrubOnce(ctx, 0) }

// Layers is where the service keeps layers.
func (d *Daemon) Layers() string { return d.machine.Store.Dir() }

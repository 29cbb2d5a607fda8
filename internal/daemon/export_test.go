package daemon

import "context"

// Tidy is upkeep, now.
func (d *Daemon) Tidy(ctx context.Context) error { return d.tidy(ctx) }

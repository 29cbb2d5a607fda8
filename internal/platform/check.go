package platform

import (
	"context"
	"fmt"
)

// Check finds out, before a build is accepted, whether its builder and run image are there and whether its output can
// be written. Of o it looks at the names of images, Output, Target and Pull; nothing is downloaded but manifests.
func Check(ctx context.Context, m *Machine, o Options) (err error) {
	j := &job{m: m, o: o}
	if j.dest, err = m.destination(o.Output, o.Image, o.Tags); err != nil {
		return err
	}
	if err := j.dest.check(ctx); err != nil {
		return fmt.Errorf("target: %w", err)
	}
	if err := j.resolveBuilder(ctx); err != nil {
		return err
	}
	return j.findRunImage(ctx)
}

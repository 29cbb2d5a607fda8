package docker

import (
	"context"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// RemoveVolume deletes a named volume; one that is not there is no error. Mounts
// make volumes when they are first used.
func (r *Runtime) RemoveVolume(ctx context.Context, name string) error {
	if _, err := r.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("remove volume %s: %w", name, trim(err))
	}
	return nil
}

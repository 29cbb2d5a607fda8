package docker

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"

	"github.com/slipway-build/slipway/internal/container"
)

// written is what the container wrote to its own root.
func (p *Prepared) written(ctx context.Context) (int64, error) {
	res, err := p.r.api.ContainerInspect(ctx, p.id, client.ContainerInspectOptions{Size: true})
	if err != nil {
		return 0, fmt.Errorf("measure container %s: %w", short(p.id), trim(err))
	}
	if res.Container.SizeRw == nil {
		return 0, nil
	}
	return *res.Container.SizeRw, nil
}

// resize passes the user's terminal size on; an engine that refuses one is
// asked again at the next.
func (p *Prepared) resize(ctx context.Context, s container.Size) {
	_, _ = p.r.api.ContainerResize(ctx, p.id, client.ContainerResizeOptions{Height: uint(max(s.Rows, 0)), Width: uint(max(s.Columns, 0))})
}

package web

import (
	"context"
	"net/http"
)

type serviceStatus struct {
	Version string `json:"version"`
	Queued  int    `json:"queued"`
	Running int    `json:"running"`
	Ready   bool   `json:"ready"`
	Workers int    `json:"workers"` // how many builds can run at once
}

func (s *server) status(ctx context.Context, _ *call) (serviceStatus, error) {
	n, err := s.Store.Counts(ctx)
	return serviceStatus{Version: s.Version, Queued: n.Queued, Running: n.Running, Ready: s.Ready(ctx) == nil, Workers: s.Workers()}, err
}

func (s *server) healthz(_ context.Context, c *call) error {
	return c.send(http.StatusOK, textPlain, []byte("ok\n"))
}

func (s *server) readyz(ctx context.Context, c *call) error {
	if err := s.Ready(ctx); err != nil {
		return c.send(http.StatusServiceUnavailable, textPlain, []byte(oneLine(err.Error())+"\n"))
	}
	return s.healthz(ctx, c)
}

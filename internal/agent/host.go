package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent/wire"
)

// layerHeader opens a layer on the wire.
type layerHeader struct {
	ID       string `json:"id"`
	Previous string `json:"previous,omitempty"`
}

// blobReply and knownReply are the host's answers.
type blobReply struct {
	Path string `json:"path"`
}

type knownReply struct {
	Known  bool                `json:"known"`
	Result builder.LayerResult `json:"result"`
}

// hostHandlers serves the collector's calls. What it sends is decoded and checked here and nowhere else.
func hostHandlers(host Host) map[string]wire.Handler {
	var emit sync.Mutex
	return map[string]wire.Handler{
		"run": handler(func(ctx context.Context, _ *wire.Call, r runRequest) (any, error) {
			if !filepath.IsAbs(r.Path) {
				return nil, fmt.Errorf("run %q: not an absolute path", r.Path)
			}
			return nil, host.Run(ctx, r.cmd())
		}),
		"blob": handler(func(ctx context.Context, _ *wire.Call, diffID string) (any, error) {
			if !isDiffID(diffID) {
				return nil, fmt.Errorf("layer %q: not a digest", diffID)
			}
			path, err := host.Blob(ctx, diffID)
			return blobReply{path}, err
		}),
		"drop": handler(func(ctx context.Context, _ *wire.Call, diffID string) (any, error) {
			d, ok := host.(Dropper)
			if !ok || !isDiffID(diffID) {
				return nil, nil
			}
			return nil, d.Drop(ctx, diffID)
		}),
		"known": handler(func(_ context.Context, _ *wire.Call, diffID string) (any, error) {
			if !isDiffID(diffID) {
				return nil, fmt.Errorf("layer %q: not a digest", diffID)
			}
			res, ok := host.Known(diffID)
			return knownReply{ok, res}, nil
		}),
		"emit": handler(func(_ context.Context, _ *wire.Call, e builder.Event) (any, error) {
			e.Text, e.Layer = line(e.Text), line(e.Layer)
			emit.Lock()
			defer emit.Unlock()
			host.Emit(e)
			return nil, nil
		}),
		"layer": func(ctx context.Context, call *wire.Call) ([]byte, error) {
			var h layerHeader
			if err := decode(call.Body, &h); err != nil {
				return nil, err
			}
			if h.Previous != "" && !isDiffID(h.Previous) {
				return nil, fmt.Errorf("layer %s: previous layer %q is not a digest", line(h.ID), h.Previous)
			}
			l := &LayerStream{ID: line(h.ID), Previous: h.Previous, r: call.Reader(0), trailer: call.Reader(1)}
			res, err := host.Layer(ctx, l)
			if err != nil {
				return nil, err
			}
			if l.diffID == "" {
				return nil, errors.New("the host did not read the layer to its end")
			}
			return encode(res)
		},
	}
}

// handler makes a wire handler of a function over JSON values.
func handler[T any](f func(context.Context, *wire.Call, T) (any, error)) wire.Handler {
	return func(ctx context.Context, call *wire.Call) ([]byte, error) {
		var req T
		if err := decode(call.Body, &req); err != nil {
			return nil, err
		}
		v, err := f(ctx, call, req)
		if err != nil {
			return nil, err
		}
		return encode(v)
	}
}

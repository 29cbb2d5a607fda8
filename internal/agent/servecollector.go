package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent/wire"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/source"
)

// ServeCollector is the collector: it answers the calls that r brings on w until r ends. It owns its process, which it
// limits in memory, open files and core dumps.
func ServeCollector(r io.Reader, w io.WriteCloser) error {
	if err := limitSelf(); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	syscall.Umask(0o022) // modes of a build do not depend on who started it
	mine, err := encode(greeting{Role: roleCollector})
	if err != nil {
		return err
	}
	s := &collectorServer{ready: make(chan struct{})}
	conn, _, err := wire.Open(context.Background(), r, w, mine, wire.Options{
		Limits: helperLimits, Handle: s.handlers(), Encode: encodeError, Decode: decodeError,
	})
	if err != nil {
		return fmt.Errorf("connect to slipway: %w", err)
	}
	s.conn = conn
	close(s.ready)
	defer conn.Close()
	<-conn.Done()
	if err := conn.Err(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("connection to slipway: %w", err)
	}
	return nil
}

// What the collector allows itself. Data is a hard limit beyond which it dies; it keeps well below by collecting
// garbage when memory nears soft.
const (
	softMemory = 1 << 30
	hardMemory = 4 << 30
	maxFiles   = 16384
)

func limitSelf() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make this process undumpable: %w", err)
	}
	debug.SetMemoryLimit(softMemory)
	for _, l := range []struct {
		name string
		what int
		most uint64
	}{
		{"core files", unix.RLIMIT_CORE, 0},
		{"memory", unix.RLIMIT_DATA, hardMemory},
		{"open files", unix.RLIMIT_NOFILE, maxFiles},
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.what, &now); err != nil {
			return fmt.Errorf("read the limit of %s: %w", l.name, err)
		}
		most := min(l.most, now.Max)
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
	}
	return nil
}

// collectorServer is the state of one collector.
type collectorServer struct {
	conn  *wire.Conn
	ready chan struct{} // closed when conn is set

	mu      sync.Mutex
	catalog builder.Catalog
	// The plan and the build as they were made here, and as the parent knows them. JSON loses the kinds of numbers and
	// dates in free-form metadata; where the parent hands back what it was given, the original is used.
	plan  kept[cnb.Plan]
	built kept[builder.Built]
}

// kept is a value together with the only form of it that has crossed the wire.
type kept[T any] struct {
	value T
	json  []byte
}

func keep[T any](v T) (kept[T], error) {
	b, err := encode(v)
	return kept[T]{v, b}, err
}

// restore gives the original where raw is its JSON, else what raw says.
func (k kept[T]) restore(raw json.RawMessage) (T, error) {
	if k.json != nil && bytes.Equal(k.json, raw) {
		return k.value, nil
	}
	var v T
	err := decode(raw, &v)
	return v, err
}

func (s *collectorServer) handlers() map[string]wire.Handler {
	m := map[string]wire.Handler{
		"ping":    handler(func(context.Context, *wire.Call, any) (any, error) { return nil, nil }),
		"catalog": handler(s.setCatalog),
		"prepare": handler(func(_ context.Context, _ *wire.Call, p Preparation) (any, error) { return nil, prepare(p) }),
		"usage": handler(func(ctx context.Context, _ *wire.Call, dirs []string) (any, error) {
			return measure(ctx, dirs)
		}),
		"remove": handler(func(ctx context.Context, _ *wire.Call, dir string) (any, error) { return nil, remove(ctx, dir) }),
		"copy":   handler(sendFiles),
		"source": handler(func(ctx context.Context, _ *wire.Call, req source.Request) (any, error) {
			return source.Unpack(ctx, req)
		}),
		"told": handler(func(ctx context.Context, _ *wire.Call, req source.Request) (any, error) {
			return source.Tell(ctx, req.Path, req.Unwrap)
		}),
		"unpack":  handler(func(ctx context.Context, _ *wire.Call, r unpackRequest) (any, error) { return nil, unpack(ctx, r) }),
		"same":    handler(func(ctx context.Context, _ *wire.Call, pairs []FilePair) (any, error) { return SameFiles(ctx, pairs) }),
		"tree":    handler(s.tree),
		"list":    handler(func(ctx context.Context, _ *wire.Call, r listRequest) (any, error) { return list(ctx, r) }),
		"detect":  handler(s.detect),
		"restore": handler(s.restore),
		"build":   handler(s.build),
		"export":  handler(s.export),
	}
	for name, h := range m {
		m[name] = func(ctx context.Context, call *wire.Call) ([]byte, error) {
			<-s.ready
			return h(ctx, call)
		}
	}
	return m
}

func (s *collectorServer) detect(ctx context.Context, _ *wire.Call, r detectRequest) (any, error) {
	out, err := builder.Detect(ctx, builder.DetectInput{
		PlatformAPI: r.PlatformAPI, Dirs: r.Dirs, Order: r.Order, System: r.System, Target: r.Target,
		StackID: r.StackID, ExecEnv: r.ExecEnv, Env: r.Env, MaxTrials: r.MaxTrials, Every: r.Every,
		Catalog: s.buildpacks(), Runner: hostRunner{s.conn}, Emit: s.emit(ctx),
	})
	if err != nil {
		return nil, err
	}
	k, err := keep(out.Plan)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan = k
	return out, nil
}

func (s *collectorServer) build(ctx context.Context, _ *wire.Call, r buildRequest) (any, error) {
	s.mu.Lock()
	plan, err := s.plan.restore(r.Plan)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out, err := builder.Build(ctx, builder.BuildInput{
		PlatformAPI: r.PlatformAPI, Dirs: r.Dirs, Group: r.Group, Plan: plan, Target: r.Target,
		StackID: r.StackID, ExecEnv: r.ExecEnv, Env: r.Env,
		Catalog: s.buildpacks(), Runner: hostRunner{s.conn}, Emit: s.emit(ctx),
	})
	if err != nil {
		return nil, err
	}
	k, err := keep(*out)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.built = k
	return out, nil
}

func (s *collectorServer) restore(ctx context.Context, _ *wire.Call, r RestoreRequest) (any, error) {
	blobs := hostCache{conn: s.conn}
	in := builder.RestoreInput{
		PlatformAPI: r.PlatformAPI, Dirs: r.Dirs, Group: r.Group, Previous: r.Previous,
		SkipLayers: r.SkipLayers, InPlace: r.InPlace, Limits: r.Limits, Emit: s.emit(ctx),
	}
	if r.HasCache {
		blobs.meta = r.Cache
		in.Cache = blobs
	}
	if r.Previous.BOM != nil {
		in.SBOM = func(ctx context.Context) (io.ReadCloser, error) { return blobs.Open(ctx, r.Previous.BOM.SHA) }
	}
	return nil, builder.Restore(ctx, in)
}

func (s *collectorServer) export(ctx context.Context, _ *wire.Call, r exportRequest) (any, error) {
	s.mu.Lock()
	built, err := s.built.restore(r.Built)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return builder.Export(ctx, builder.ExportInput{
		PlatformAPI: r.PlatformAPI, Dirs: r.Dirs, Group: r.Group, Built: &built, Previous: r.Previous,
		Cache: r.Cache, PreviousCache: r.PreviousCache, Unchanged: r.Unchanged, Launcher: r.Launcher, ProcessType: r.ProcessType,
		ExecEnv: r.ExecEnv, Project: r.Project, LayersOnly: r.LayersOnly, Limits: r.Limits, Emit: s.emit(ctx),
	}, hostSink{s.conn, layerstore.NewCompressor(r.Compression)})
}

// emit reports progress to the host. It returns when the host has it, so that events keep their order.
func (s *collectorServer) emit(ctx context.Context) func(builder.Event) {
	return func(e builder.Event) {
		if body, err := encode(e); err == nil {
			_, _ = s.conn.Call(ctx, "emit", body) // the phase hears of a lost host elsewhere
		}
	}
}

// hostRunner has executables run by the host.
type hostRunner struct{ conn *wire.Conn }

func (r hostRunner) Run(ctx context.Context, cmd builder.Cmd) error {
	body, err := encode(newRunRequest(cmd))
	if err != nil {
		return err
	}
	_, err = r.conn.Call(ctx, "run", body)
	return err
}

func (s *collectorServer) buildpacks() builder.Catalog {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.catalog == nil {
		return builder.MapCatalog(nil)
	}
	return s.catalog
}

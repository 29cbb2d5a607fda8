package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// host is what a build's collector asks of us (agent.Host): it runs executables through the agent, finds
// and keeps layers in the store, and passes progress on.
type host struct {
	ui         UI
	store      *layerstore.Store
	showDetect bool

	agent *agent.Agent // set before the first phase that runs something
	stops stopper

	mu       sync.Mutex
	last     map[string]*lines        // "<phase> <buildpack>" -> the end of its output
	executed map[string]time.Duration // the same keys -> time of the process
	running  map[string]bool          // the same keys: what has not ended by itself
	reused   int                      // layers that were there already
	added    int
	// fetch brings a layer that the store lacks from the cache image or the previous image; nil: nothing does.
	fetch func(ctx context.Context, diffID string) error
	// made is told of every new layer when it is in the store, by its builder.Layer.ID; it does not wait. May be nil.
	made func(id, diffID string)
}

func newHost(ui UI, store *layerstore.Store, showDetect bool) *host {
	return &host{ui: ui, store: store, showDetect: showDetect, last: map[string]*lines{}, executed: map[string]time.Duration{}, running: map[string]bool{}}
}

// took is how long each executable ran that has ended.
func (h *host) took() map[string]time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.executed)
}

// Run runs one executable in the build container, and stops where a person wants to look.
func (h *host) Run(ctx context.Context, cmd builder.Cmd) error {
	return h.stops.run(ctx, h.agent, cmd, func() error { return h.execute(ctx, cmd) })
}

// execute runs one executable. A build's output goes to the UI as it comes; a detect's is kept and shown when it fails,
// for its last line says why.
func (h *host) execute(ctx context.Context, cmd builder.Cmd) error {
	key := cmd.Phase + " " + cmd.Buildpack.String()
	tail := &lines{}
	h.mu.Lock()
	h.last[key], h.running[key] = tail, true
	h.mu.Unlock()

	var kept capped
	if cmd.Phase == builder.PhaseDetect {
		both := &locked{w: io.MultiWriter(&kept, tail)}
		cmd.Stdout, cmd.Stderr = both, both
	} else {
		stdout, stderr := h.ui.Output(Phase(cmd.Phase), cmd.Buildpack)
		tee := &locked{w: tail}
		cmd.Stdout, cmd.Stderr = &shown{stdout, tee}, &shown{stderr, tee}
		defer flush(stdout, stderr)
	}
	took, err := h.agent.RunTimed(ctx, cmd)
	h.mu.Lock()
	h.executed[key] = took
	if err == nil || ended(err) {
		delete(h.running, key)
	}
	h.mu.Unlock()
	h.ui.Event(Event{Kind: EventExecuted, Phase: Phase(cmd.Phase), Buildpack: cmd.Buildpack.String(), Elapsed: took})
	if cmd.Phase == builder.PhaseDetect && (h.showDetect || wentWrong(err)) {
		stdout, stderr := h.ui.Output(PhaseDetect, cmd.Buildpack)
		_, _ = stdout.Write(kept.bytes())
		flush(stdout, stderr)
	}
	return err
}

// ended tells the end of an executable by itself from one that was cut off.
func ended(err error) bool {
	_, exit := errors.AsType[*builder.ExitError](err)
	_, start := errors.AsType[*builder.StartError](err)
	return exit || start
}

// cutOff names the executables that were running when the build was stopped, and the buildpack where it was one.
func (h *host) cutOff() (what, one string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for key := range h.running {
		phase, bp, _ := strings.Cut(key, " ")
		names = append(names, phase+" of buildpack "+bp)
		one = bp
	}
	if len(names) > 1 {
		one = ""
	}
	slices.Sort(names)
	return strings.Join(names, " and "), one
}

// flush ends a last line that has no newline, where a writer holds lines back.
func flush(ws ...io.Writer) {
	for _, w := range ws {
		if f, ok := w.(interface{ Flush() error }); ok {
			_ = f.Flush()
		}
	}
}

// wentWrong tells an error from the answer "no" (exit status 100).
func wentWrong(err error) bool {
	if e, ok := errors.AsType[*builder.ExitError](err); ok {
		return e.Code != 100
	}
	return err != nil
}

// lastLines is the end of what an executable printed.
func (h *host) lastLines(phase string, bp cnb.Ref) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.last[phase+" "+bp.String()]; t != nil {
		return t.all()
	}
	return nil
}

// Blob gives the collector the file of a layer to restore.
func (h *host) Blob(ctx context.Context, diffID string) (string, error) {
	for range 2 {
		if e, ok := h.store.Any(diffID); ok {
			return h.store.Path(e.Digest, false)
		}
		fetch := h.fetches()
		if fetch == nil {
			break
		}
		if err := fetch(ctx, diffID); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("layer %s: %w", diffID, fs.ErrNotExist)
}

// fetchWith has Blob ask fetch for layers that the store lacks. All that fetch reads is there before.
func (h *host) fetchWith(fetch func(ctx context.Context, diffID string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fetch = fetch
}

func (h *host) fetches() func(ctx context.Context, diffID string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fetch
}

// Drop reads a layer that could not be restored. Where its bytes are wrong the store forgets it as they are read.
func (h *host) Drop(_ context.Context, diffID string) error {
	e, ok := h.store.Any(diffID) // the one that Blob gave
	if !ok {
		return nil
	}
	l, err := h.store.NewLayer(e)
	if err != nil {
		return err
	}
	r, err := l.Uncompressed()
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	if _, corrupt := errors.AsType[*layerstore.CorruptError](err); corrupt {
		return nil
	}
	return err
}

// Emit passes progress on.
func (h *host) Emit(e builder.Event) {
	h.mu.Lock()
	switch e.Kind {
	case builder.EventLayerAdded:
		h.added++
	case builder.EventLayerReused:
		h.reused++
	}
	h.mu.Unlock()
	h.ui.Event(Event{Kind: EventEngine, Engine: &e})
}

// Layer keeps a new layer in the store.
func (h *host) Layer(ctx context.Context, l *agent.LayerStream) (builder.LayerResult, error) {
	w, err := h.store.Writer(ctx)
	if err != nil {
		return builder.LayerResult{}, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, l); err != nil {
		return builder.LayerResult{}, err // the collector names the layer
	}
	e, err := w.Commit(l.DiffID())
	if err != nil {
		return builder.LayerResult{}, err // the collector names the layer
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.made != nil {
		h.made(l.ID, e.DiffID)
	}
	return builder.LayerResult{DiffID: e.DiffID, Digest: e.Digest, Size: e.Size}, nil
}

// tell sets made.
func (h *host) tell(made func(id, diffID string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.made = made
}

// Known finds a layer in the store.
func (h *host) Known(diffID string) (builder.LayerResult, bool) {
	e, ok := h.store.Known(diffID)
	return builder.LayerResult{DiffID: e.DiffID, Digest: e.Digest, Size: e.Size, Reused: true}, ok
}

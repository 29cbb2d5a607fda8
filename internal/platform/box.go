package platform

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/agent"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// Where our own files are seen in the build container.
const (
	layersPath  = "/layers"
	agentPath   = "/cnb/slipway/agent"
	scratchPath = "/slipway"
	bundlePath  = "/etc/ssl/certs/ca-certificates.crt"
)

// A collectorBox is the line to the collector and what it runs in.
type collectorBox struct {
	*agent.Collector
	stop func() error // ends its container and returns when it is gone; nil for a child process
}

// Close ends the collector.
func (c *collectorBox) Close() error {
	err := c.Collector.Close()
	if c.stop != nil {
		err = errors.Join(err, c.stop())
	}
	return err
}

// startCollector starts the process that touches the build's files: a child where we are root, else root
// in a container that holds nothing but the binary. readable are paths outside the directory of builds that
// it has to read. ctx bounds the start only: after a cancelled build it is the collector that cleans up.
func (m *Machine) startCollector(ctx context.Context, readable []string, h agent.Host) (*collectorBox, error) {
	if os.Geteuid() == 0 {
		c, err := agent.StartCollector(ctx, m.Tools.Agent, h)
		if err != nil {
			return nil, err
		}
		return &collectorBox{Collector: c}, nil
	}
	rt, err := m.runtime()
	if err != nil {
		return nil, fmt.Errorf("%w (without root the collector of a build needs it too)", err)
	}
	id, err := m.collectorImage(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare the collector's image: %w", err)
	}
	mounts := []container.Mount{{Source: m.builds(), Target: m.builds()}}
	for _, p := range slices.Compact(slices.Sorted(slices.Values(append(readable, m.Store.Dir(), m.Tools.Launcher)))) {
		mounts = append(mounts, container.Mount{Source: p, Target: p, ReadOnly: true})
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stdin, toCollector := io.Pipe()
	fromCollector, stdout := io.Pipe()
	crash := &lines{}
	ended := make(chan struct{})
	var failed error // how the container ended, after ended is closed
	go func() {
		defer close(ended)
		failed = rt.Run(run, container.Spec{
			Image: id, Argv: []string{"/agent", "collector"}, Dir: "/",
			Mounts: mounts, Network: container.Network{Mode: "none"},
			Capabilities: []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"},
			ReadOnlyRoot: true,
			Stdin:        stdin, Stdout: stdout, Stderr: &locked{w: crash},
		})
		_ = stdout.Close()
		_ = stdin.Close()
	}()
	stop := func() error {
		select {
		case <-ended: // it ends by itself when its input does
		case <-time.After(2 * time.Second):
		}
		cancel()
		<-ended
		return nil
	}
	c, err := agent.ConnectCollector(ctx, fromCollector, toCollector, h)
	if err != nil {
		cancel()
		<-ended
		if failed != nil && ctx.Err() == nil {
			err = failed
		}
		return nil, crashed(fmt.Errorf("start the collector: %w", err), crash)
	}
	return &collectorBox{Collector: c, stop: stop}, nil
}

// crashed adds to err the last thing that a helper process said before it died.
func crashed(err error, output *lines) error {
	if text := output.all(); len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text[len(text)-1])
	}
	return err
}

// collectorImage makes sure that the engine has an image of the agent binary alone, named by the
// binary's digest, and returns its ID.
func (m *Machine) collectorImage(ctx context.Context) (string, error) {
	b, err := os.ReadFile(m.Tools.Agent)
	if err != nil {
		return "", err
	}
	ref, err := image.ParseRef(fmt.Sprintf("slipway/collector:%x", sha256.Sum256(b)))
	if err != nil {
		return "", err
	}
	if have, err := m.Engine.Inspect(ctx, ref.Familiar()); err == nil {
		return have.ID, nil
	}
	layer, err := m.singleFile(ctx, "agent", b)
	if err != nil {
		return "", err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", err
	}
	if img, err = mutate.ConfigFile(img, withPlatform(img)); err != nil {
		return "", err
	}
	w, err := image.LoadEngine(ctx, m.Engine, []image.Ref{ref}, img, image.LoadOptions{Store: m.Store})
	return w.EngineID, err
}

// singleFile is a layer of one executable.
func (m *Machine) singleFile(ctx context.Context, name string, b []byte) (v1.Layer, error) {
	return m.store(ctx, func(w io.Writer) error {
		tw := tar.NewWriter(w)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(b)), ModTime: builder.LayerTime()}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(b); err != nil {
			return err
		}
		return tw.Close()
	})
}

// layer keeps one layer of a builder image.
func (m *Machine) layer(ctx context.Context, l builder.Layer) (v1.Layer, error) {
	return m.store(ctx, func(w io.Writer) error { return l.WriteTar(ctx, w) })
}

// store keeps the tar that write gives as a layer.
func (m *Machine) store(ctx context.Context, write func(io.Writer) error) (v1.Layer, error) {
	w, err := m.Store.Writer(ctx)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	enc := layerstore.NewEncoder(w)
	if err := errors.Join(write(enc), enc.Close()); err != nil {
		return nil, err
	}
	e, err := w.Commit(enc.DiffID())
	if err != nil {
		return nil, err
	}
	return m.Store.NewLayer(e)
}

func withPlatform(img v1.Image) *v1.ConfigFile {
	cf, err := img.ConfigFile()
	if err != nil {
		return &v1.ConfigFile{}
	}
	cf = cf.DeepCopy()
	p := hostPlatform()
	cf.OS, cf.Architecture, cf.Variant = p.OS, p.Architecture, p.Variant
	return cf
}

// buildBox is the build container with the agent in it.
type buildBox struct {
	*agent.Agent
	cancel context.CancelCauseFunc
	ended  chan struct{}
	err    error // how the container ended, after ended is closed
	close  func() error
}

// startBuildBox starts prepared with the agent as pid 1 and returns when the agent has said hello.
func startBuildBox(ctx context.Context, prepared container.Prepared) (*buildBox, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &buildBox{cancel: cancel, ended: make(chan struct{}), close: prepared.Close}
	stdin, toAgent := io.Pipe()
	fromAgent, stdout := io.Pipe()
	crash := &lines{}
	go func() {
		defer close(b.ended)
		b.err = prepared.Run(ctx, container.Streams{Stdin: stdin, Stdout: stdout, Stderr: &locked{w: crash}})
		_ = stdout.Close()
		_ = stdin.Close()
	}()
	a, err := agent.ConnectAgent(ctx, fromAgent, toAgent)
	if err != nil {
		cancel(err)
		<-b.ended
		if b.err != nil && !errors.Is(b.err, context.Canceled) {
			err = b.err
		}
		return nil, errors.Join(crashed(fmt.Errorf("start the build container: %w", err), crash), prepared.Close())
	}
	b.Agent = a
	return b, nil
}

// explain replaces err, the loss of the agent, by the reason for which the container ended.
func (b *buildBox) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-b.Done():
	default:
		return err
	}
	<-b.ended
	if limit, ok := errors.AsType[*container.LimitError](b.err); ok {
		return limit
	}
	if exit, ok := errors.AsType[*container.ExitError](b.err); ok {
		if exit.OutOfMemory {
			return exit
		}
		return err
	}
	if b.err != nil && !errors.Is(b.err, context.Canceled) {
		return &boxError{b.err, err}
	}
	return err
}

// A boxError says why the build container ended while something ran in it, which stays the error's kind.
type boxError struct{ why, during error }

func (e *boxError) Error() string   { return "build container: " + e.why.Error() }
func (e *boxError) Unwrap() []error { return []error{e.why, e.during} }

// Close ends the container and everything in it, and returns when it is gone.
func (b *buildBox) Close() error {
	_ = b.Agent.Close()
	b.cancel(context.Canceled)
	<-b.ended
	return b.close()
}

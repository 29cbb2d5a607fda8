package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/source"
)

// undescribed says that nothing but the builder decides what the build container is made of.
func (j *job) undescribed() bool {
	if j.o.Descriptor != "" || len(j.o.Buildpacks)+len(j.o.Pre)+len(j.o.Post) > 0 || j.o.Workspace != "" && (!path.IsAbs(j.o.Workspace) || path.Clean(j.o.Workspace) == "/") {
		return false
	}
	fi, err := os.Stat(j.o.Source)
	return err == nil && fi.IsDir() && !exists(filepath.Join(j.o.Source, source.DescriptorName))
}

// startSoon begins to start the build container, which takes an engine a quarter of a second or more, without
// waiting for the collector. Until the first detect the agent runs alone in it. What is mounted is made here,
// empty; the collector gives it owners and contents.
func (j *job) startSoon(ctx context.Context) error {
	j.dirs = j.directories()
	if err := j.addBuildpacks(ctx); err != nil {
		return err
	}
	if err := os.Mkdir(j.dirs.Root, 0o700); err != nil {
		return fmt.Errorf("make the build's directory: %w", err)
	}
	for _, d := range []string{j.dirs.App, j.dirs.Layers, j.dirs.Platform, scratchPath} {
		at := j.dirs.Host(d)
		if err := errors.Join(os.MkdirAll(at, 0o755), os.Chmod(at, 0o755)); err != nil {
			return fmt.Errorf("make directory %s of the build: %w", d, err)
		}
	}
	if err := j.reserveIDs(); err != nil {
		return err
	}
	j.stackLayers()
	j.boxing = inBackground(ctx, j.startBox)
	return nil
}

// startBox creates the build container and starts it. The box outlives the phase: it is bound to the build's context.
func (j *job) startBox(ctx context.Context) error {
	err := j.tryBox(ctx)
	if j.stack != nil && ctx.Err() == nil && neverBegan(err) {
		// The engine may not find a shared mount at our path. If it was something else, it says so again.
		j.stack.refused = true
		err = j.tryBox(ctx)
	}
	return err
}

func (j *job) tryBox(ctx context.Context) error {
	if err := j.prepareBox(ctx); err != nil {
		return err
	}
	box, err := startBuildBox(ctx, j.prepared)
	if err != nil {
		return err
	}
	j.box, j.h.agent = box, box.Agent
	return nil
}

// neverBegan says of a container that could not be started that its mounts may be the reason.
func neverBegan(err error) bool {
	_, start := errors.AsType[*container.StartError](err)
	return start
}

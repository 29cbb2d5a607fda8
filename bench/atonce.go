package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/layerstore"
)

// buildsPerCore builds run at once for every processor: eight on two.
const buildsPerCore = 4

// burnTicks is the processor time that bench/burn uses up, in hundredths of a second.
const burnTicks = 400

func atOnceTitle() string {
	n := runtime.NumCPU()
	return fmt.Sprintf("%d first builds at once on %d processors, %.0f s of processor time each, to a registry", buildsPerCore*n, n, float64(burnTicks)/100)
}

// A load is many builds at once, and what they cannot do without: the processor time of their buildpacks, and that of
// compressing what is new once.
type load struct {
	jobs              []job
	wall, burn, press time.Duration
}

// atOnce measures the runtime that slipway takes by itself, against the least that the machine could take: there is no
// target to others, who would take minutes.
func atOnce(ctx context.Context, y *yard) ([]*row, error) {
	rows := []*row{y.loadRow(y.tools(true)[0])}
	return rows, y.alternate(ctx, rows, nil)
}

func (y *yard) loadRow(t tool) *row {
	r := &row{key: t.key, name: t.name, ours: true}
	var l load
	var all []load
	r.prepare = func(_ context.Context, round int) (err error) {
		l, err = y.loadOf(t.key, round)
		return err
	}
	r.run = func(ctx context.Context, _ int) error {
		began := time.Now()
		err := t.buildAll(ctx, l.jobs)
		l.wall = time.Since(began)
		return err
	}
	r.after = func(ctx context.Context, round int) error {
		if err := y.count(ctx, &l); err != nil {
			return err
		}
		for _, j := range l.jobs {
			if err := t.forget(ctx, j); err != nil {
				return err
			}
		}
		if round > 0 {
			all = append(all, l)
			r.floors = append(r.floors, l.ratio(runtime.NumCPU()))
			r.note = noteOf(all)
		}
		return nil
	}
	return r
}

// loadOf makes the apps of one run, each with content of its own.
func (y *yard) loadOf(key string, round int) (load, error) {
	var l load
	for i := range buildsPerCore * runtime.NumCPU() {
		name := fmt.Sprintf("burn-%s-%d-%d", key, round, i)
		app, err := y.oneFile(name, "burn", name)
		if err != nil {
			return l, err
		}
		told, err := y.share(name, shown)
		if err != nil {
			return l, err
		}
		l.jobs = append(l.jobs, job{image: y.registry.host + "/" + name, publish: true, app: app, mounts: []mount{told}, cold: true})
	}
	return l, nil
}

// buildAll builds everything at the same time.
func (t tool) buildAll(ctx context.Context, jobs []job) error {
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, j := range jobs {
		wg.Go(func() { errs[i] = t.build(ctx, j) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// count finds out what the builds could not do without.
func (y *yard) count(ctx context.Context, l *load) error {
	for _, j := range l.jobs {
		burn, err := burned(j.mounts[0])
		if err != nil {
			return err
		}
		press, err := y.compression(ctx, j.image)
		if err != nil {
			return err
		}
		l.burn, l.press = l.burn+burn, l.press+press
	}
	return nil
}

// compression is the processor time of compressing the layer that the buildpack made, an image's largest, once, as
// Slipway compresses.
func (y *yard) compression(ctx context.Context, name string) (time.Duration, error) {
	layers, err := y.newLayers(ctx, name)
	if err != nil {
		return 0, err
	}
	var largest v1.Layer
	var most int64
	for _, l := range layers {
		size, err := l.Size()
		if err != nil {
			return 0, err
		}
		if size > most {
			largest, most = l, size
		}
	}
	if largest == nil {
		return 0, fmt.Errorf("image %s has no new layer", name)
	}
	rc, err := largest.Uncompressed()
	if err != nil {
		return 0, err
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		return 0, err
	}
	return compressed(b)
}

func compressed(b []byte) (time.Duration, error) {
	z := layerstore.NewEncoder(io.Discard)
	before, err := processorTime()
	if err != nil {
		return 0, err
	}
	if _, err := z.Write(b); err != nil {
		return 0, err
	}
	if err := z.Close(); err != nil {
		return 0, err
	}
	after, err := processorTime()
	return after - before, err
}

// processorTime is what this process has used.
func processorTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// ratio is the wall time as a multiple of what all processors together could not do without.
func (l load) ratio(processors int) float64 {
	least := (l.burn + l.press) / time.Duration(processors)
	return float64(l.wall) / float64(max(least, 1))
}

func noteOf(all []load) string {
	var burn, press []time.Duration
	for _, l := range all {
		burn, press = append(burn, l.burn), append(press, l.press)
	}
	return fmt.Sprintf("processor time: buildpacks %s, one compression of what is new %s", seconds(median(burn)), seconds(median(press)))
}

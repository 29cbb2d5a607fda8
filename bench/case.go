package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A benchCase is one situation, with the targets that it has: what ours may take at most, as multiples of what another
// takes. 0 is no target.
type benchCase struct {
	number, letter string // the row of the targets, and the app
	title          string
	toPack         map[string]float64 // by our tool's key
	toReference    float64            // of slipway with the oci runtime
	toFloor        float64            // of wall to the processor time that is not ours
	measure        func(ctx context.Context, y *yard) ([]*row, error)
	figures        func(ctx context.Context, y *yard) ([]figure, error) // in place of measure
}

func pair(oci, docker float64) map[string]float64 {
	return map[string]float64{slipwayOCI: oci, slipwayDocker: docker}
}

func cases() []benchCase {
	return []benchCase{
		{number: "1", letter: "A", title: "no-op rebuild of a small app, to a registry", toPack: pair(0.25, 0.9), toReference: 0.6, measure: rebuildSmall},
		{number: "2", letter: "B", title: "rebuild of a Node app with 75 MB of modules, nothing changed, to a registry", toPack: pair(0.03, 0.1), toReference: 0.05, measure: rebuildNode},
		{number: "3", letter: "B", title: "rebuild of it, one line of source changed, to a registry", toPack: pair(0.05, 0.12), toReference: 0.08, measure: rebuildChangedNode},
		{number: "4", letter: "B", title: "first build of it, to a registry: overhead (the buildpack's own time is taken off)", toPack: pair(0.3, 0.4), toReference: 0.35, measure: firstNode},
		{number: "5", letter: "C", title: "first build with three layers of 174 MB copied from system libraries, to a registry", toPack: pair(0.25, 0.3), toReference: 0.3, measure: firstLibraries},
		{number: "6", letter: "C", title: "rebuild of it, nothing changed, to a registry", toPack: pair(0.04, 0.15), toReference: 0.06, measure: rebuildLibraries},
		{number: "6", letter: "C", title: "rebuild of it, nothing changed, to Docker", toPack: pair(0, 0.1), measure: rebuildLibrariesDocker},
		{number: "7", letter: "C", title: "rebase of its image in a registry", toPack: map[string]float64{slipwayAny: 0.3}, measure: rebase},
		{number: "11", letter: "D", title: atOnceTitle(), toFloor: 1.1, measure: atOnce},
		{number: "S1", letter: "S", title: "service: a build of 100 lines a second, followed by many", figures: followed},
		{number: "S2", letter: "S", title: "service: a build that prints 1 GB", figures: flooded},
		{number: "S3", letter: "S", title: "service: many sleeping builds at once", figures: crowded},
		{number: "S4", letter: "S", title: "service: many pushes, and a long queue", figures: queued},
		{number: "W1", letter: "W", title: "buildpack author: save to result of detect, with --watch", figures: watchedDetect},
		{number: "W2", letter: "W", title: "buildpack author: save to result of a build that does nothing, with --watch", figures: watchedBuild},
		{number: "I1", letter: "I", title: "buildpack index: the public one, or one of its size", figures: indexed},
		{number: "I2", letter: "I", title: "buildpack index: a million versions", figures: indexedMillion},
	}
}

// rebuild measures builds over and over under one name a tool, with one cache. to is "" for Docker, else a registry.
// before changes what is to be different, untimed, in every round.
func (y *yard) rebuild(ctx context.Context, what, to string, j job, before func(round int) error) ([]*row, error) {
	var rows []*row
	for _, t := range y.tools(to != "") {
		j := j
		j.image, j.cache = prefix+"/"+what+"-"+t.key, what+"-docker"
		if to != "" {
			j.image, j.cache, j.publish = to+"/"+what+"-"+t.key, what+"-registry", true
		} else {
			y.names = append(y.names, j.image)
		}
		rows = append(rows, t.row(func(int) (job, error) { return j, nil }))
	}
	// The first builds, which fetch and make what later ones find, are not rebuilds.
	if key := what + " " + to; !y.primed[key] {
		y.primed[key] = true
		if err := once(ctx, rows, 0); err != nil {
			return nil, err
		}
	}
	return rows, y.alternate(ctx, rows, before)
}

func rebuildSmall(ctx context.Context, y *yard) ([]*row, error) {
	app, err := y.smallApp()
	if err != nil {
		return nil, err
	}
	rows, err := y.rebuild(ctx, "small", y.registry.host, job{app: app}, nil)
	if err != nil {
		return nil, err
	}
	empty := y.emptyContainers()
	return append(rows, empty...), errors.Join(once(ctx, empty, 0), y.alternate(ctx, empty, nil))
}

func rebuildNode(ctx context.Context, y *yard) ([]*row, error) {
	app, err := y.nodeApp("node")
	if err != nil {
		return nil, err
	}
	return y.rebuild(ctx, "node", y.registry.host, job{app: app, env: y.nodeEnv()}, nil)
}

// rebuildChangedNode has another line in the source each round.
func rebuildChangedNode(ctx context.Context, y *yard) ([]*row, error) {
	app, err := y.nodeApp("node")
	if err != nil {
		return nil, err
	}
	line := filepath.Join(app, "line.js")
	rows, err := y.rebuild(ctx, "node", y.registry.host, job{app: app, env: y.nodeEnv()}, func(round int) error {
		return os.WriteFile(line, fmt.Appendf(nil, "// %d\n", round), 0o644)
	})
	return rows, errors.Join(err, os.Remove(line))
}

// first measures builds whose image, caches and content nobody has seen: a repository, a cache and layers of their own
// for every tool in every round. It is only the run image that the registry has. make says what is built.
func (y *yard) first(ctx context.Context, what string, make func(key string) (job, error)) []*row {
	var rows []*row
	for _, t := range y.tools(true) {
		rows = append(rows, t.row(func(round int) (job, error) {
			key := fmt.Sprintf("%s-%s-%d", what, t.key, round)
			j, err := make(key)
			j.image, j.cache, j.publish, j.cold = y.registry.host+"/"+key, key, true, true
			return j, err
		}))
	}
	return rows
}

// firstNode takes off the time that the buildpack's process took.
func firstNode(ctx context.Context, y *yard) ([]*row, error) {
	made, err := y.recordNode(ctx)
	if err != nil {
		return nil, err
	}
	rows := y.first(ctx, "first-node", func(key string) (job, error) {
		app, err := y.nodeApp(key)
		if err != nil {
			return job{}, err
		}
		told, err := y.share(key, shown)
		if err != nil {
			return job{}, err
		}
		return job{app: app, env: y.nodeEnv(), mounts: []mount{told, {source: made.source, target: replayed}}}, errors.Join(
			os.WriteFile(filepath.Join(app, "line.js"), []byte("// "+key+"\n"), 0o644),
			os.WriteFile(filepath.Join(told.source, "round"), []byte(key+"\n"), 0o644))
	})
	for _, r := range rows {
		r.off = func() (time.Duration, error) { return took(r.job.mounts[0]) }
	}
	rows = append(rows, floor(made.source)...)
	return rows, y.alternate(ctx, rows, nil)
}

// recordNode has the buildpack build the app once, and gives the directory of what it made.
func (y *yard) recordNode(ctx context.Context) (mount, error) {
	app, err := y.nodeApp("node-recorded")
	if err != nil {
		return mount{}, err
	}
	told, err1 := y.share("record", shown)
	made, err2 := y.share("made", replayed)
	if err := errors.Join(err1, err2, os.WriteFile(filepath.Join(told.source, "record"), nil, 0o644)); err != nil {
		return mount{}, err
	}
	t := y.tools(true)[0]
	j := job{image: y.registry.host + "/recorded", publish: true, app: app, env: y.nodeEnv(), mounts: []mount{told, made}}
	if err := t.build(ctx, j); err != nil {
		return mount{}, err
	}
	return made, t.forget(ctx, j)
}

func firstLibraries(ctx context.Context, y *yard) ([]*row, error) {
	rows := y.first(ctx, "first-libs", func(key string) (job, error) {
		app, err := y.librariesApp(key, key)
		return job{app: app}, err
	})
	if err := y.alternate(ctx, rows, nil); err != nil {
		return nil, err
	}
	tree := filepath.Join(y.dir, "libs-tree")
	if err := y.unpackNew(ctx, rows[0].job.image, tree); err != nil {
		return nil, err
	}
	floors := floor(tree)
	return append(rows, floors...), errors.Join(y.alternate(ctx, floors, nil), os.RemoveAll(tree))
}

func rebuildLibraries(ctx context.Context, y *yard) ([]*row, error) {
	return y.sameLibraries(ctx, y.registry.host)
}

func rebuildLibrariesDocker(ctx context.Context, y *yard) ([]*row, error) {
	return y.sameLibraries(ctx, "")
}

func (y *yard) sameLibraries(ctx context.Context, to string) ([]*row, error) {
	app, err := y.librariesApp("libs", "rebuild")
	if err != nil {
		return nil, err
	}
	return y.rebuild(ctx, "libs", to, job{app: app}, nil)
}

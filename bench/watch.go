package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/child"
)

// What an author waits for at most, in milliseconds from a save to its result.
const (
	mostToDetect = 500
	mostToBuild  = 1000
)

func watchedDetect(ctx context.Context, y *yard) ([]figure, error) {
	return y.watched(ctx, "detect", mostToDetect)
}

func watchedBuild(ctx context.Context, y *yard) ([]figure, error) {
	return y.watched(ctx, "build", mostToBuild)
}

// watched measures from a save of a buildpack's file to what slipway buildpack detect or build --watch says of it, and
// beside it what an author waits for who starts anew each time: the same command, and pack where it is.
func (y *yard) watched(ctx context.Context, verb string, most float64) ([]figure, error) {
	if !y.withOCI {
		return nil, errors.New("there is no OCI runtime here")
	}
	app, err := y.smallApp()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(y.dir, "watched-"+verb)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(y.fixtures, "buildpacks", "noop"))); err != nil {
		return nil, err
	}
	args := []string{"buildpack", verb, dir, "--app", app, "--builder", y.builder, "--runtime", "oci", "--output-format", "json"}
	w, err := y.startWatch(append(args, "--watch"))
	if err != nil {
		return nil, err
	}
	var saved, anew, packed []time.Duration
	for round := range y.rounds {
		took, err := w.save(filepath.Join(dir, "bin", verb), round)
		if err == nil {
			saved = append(saved, took)
			anew, err = y.timed(ctx, anew, y.slipway, args...)
		}
		if err == nil && y.withPack {
			packed, err = y.timed(ctx, packed, y.pack, "build", prefix+"/watched-"+verb, "--quiet", "--path", app, "--buildpack", dir,
				"--builder", y.builder, "--pull-policy", "never", "--trust-builder", "--trust-extra-buildpacks")
			y.names = append(y.names, prefix+"/watched-"+verb)
		}
		if err != nil {
			return nil, errors.Join(err, w.stop())
		}
	}
	figures := slices.Concat(spread("slipway, save to result of "+verb, saved, time.Millisecond, most),
		spread("slipway, "+verb+" started anew", anew, time.Millisecond, 0),
		spread("pack build, started anew", packed, time.Millisecond, 0))
	return figures, w.stop()
}

// timed runs a program and adds the time that it took.
func (y *yard) timed(ctx context.Context, all []time.Duration, name string, args ...string) ([]time.Duration, error) {
	began := time.Now()
	err := y.command(ctx, name, args...)
	return append(all, time.Since(began)), err
}

// A watching is a command with --watch, whose results are JSON values one after the other.
type watching struct {
	cmd     *exec.Cmd
	results *json.Decoder
}

// startWatch starts it and waits for its first result.
func (y *yard) startWatch(args []string) (*watching, error) {
	cmd := exec.Command(y.slipway, args...)
	cmd.Env, cmd.Stderr = y.environ, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(cmd); err != nil {
		return nil, err
	}
	w := &watching{cmd, json.NewDecoder(out)}
	if err := w.next(""); err != nil {
		return nil, errors.Join(err, w.stop())
	}
	return w, nil
}

// next waits for a result of a round; of any where round is "".
func (w *watching) next(round string) error {
	for {
		var r struct {
			Error          string
			Output, Labels map[string]string
		}
		if err := w.results.Decode(&r); err != nil {
			return fmt.Errorf("the output of %v: %w", w.cmd.Args, err)
		}
		said := slices.Collect(maps.Values(r.Output))
		switch {
		case r.Error != "":
			return errors.New(r.Error)
		case round == "", r.Labels["round"] == round, slices.Contains(said, "round "+round+"\n"):
			return nil
		}
	}
}

// save writes a script anew as editors do, beside it and then in its place, and returns when there is a result of it.
func (w *watching) save(script string, n int) (time.Duration, error) {
	round := strconv.Itoa(n)
	text := []byte("#!/bin/sh\necho round " + round + "\n")
	if filepath.Base(script) == "build" {
		text = []byte("#!/bin/sh\nprintf '[[labels]]\\nkey = \"round\"\\nvalue = \"" + round + "\"\\n' >\"$CNB_LAYERS_DIR/launch.toml\"\n")
	}
	if err := errors.Join(os.WriteFile(script+"~", text, 0o755), os.Chmod(script+"~", 0o755)); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := os.Rename(script+"~", script); err != nil {
		return 0, err
	}
	err := w.next(round)
	return time.Since(began), err
}

func (w *watching) stop() error {
	if err := w.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return w.cmd.Wait()
}

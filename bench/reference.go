package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
)

// The reference's creator runs as a platform without Docker would run it: as root in a container that runc starts on
// the builder's unpacked layers, with the app, the layers and a cache as directories, in the host's network. Our own
// runtime makes the bundle, so that it costs what it costs ours. Timed is the container from its making to its removal;
// the copy of the app and the empty directories are made before.

// creatorPrepare makes the directories of one run. The cache stays where it was.
func (y *yard) creatorPrepare(_ context.Context, j job) error {
	at := y.creatorDir(j)
	for _, d := range []string{"layers", "workspace", "platform"} {
		if err := os.RemoveAll(filepath.Join(at, d)); err != nil {
			return err
		}
	}
	for _, d := range []string{"layers", "cache", "platform/env"} {
		if err := os.MkdirAll(filepath.Join(at, d), 0o755); err != nil {
			return err
		}
	}
	env := j.env
	if y.bundle != "" {
		env = append(bundleEnv(), env...)
	}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if err := os.WriteFile(filepath.Join(at, "platform", "env", name), []byte(value), 0o644); err != nil {
			return err
		}
	}
	workspace := filepath.Join(at, "workspace")
	if err := os.CopyFS(workspace, os.DirFS(j.app)); err != nil {
		return err
	}
	return filepath.WalkDir(workspace, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, y.uid, y.gid))
	})
}

func (y *yard) creatorDir(j job) string { return filepath.Join(y.dir, "reference", j.cache) }

func (y *yard) creatorForget(_ context.Context, j job) error {
	return os.RemoveAll(y.creatorDir(j))
}

// creatorBuild is one run of the creator.
func (y *yard) creatorBuild(ctx context.Context, j job) error {
	rt, ok := y.machine.Runtime.(container.Preparer)
	if !ok {
		return errors.New("the runtime makes no containers beforehand")
	}
	at := y.creatorDir(j)
	mounts := []container.Mount{
		{Source: y.reference, Target: "/cnb/lifecycle", ReadOnly: true},
		{Source: filepath.Join(at, "workspace"), Target: "/workspace"},
		{Source: filepath.Join(at, "layers"), Target: "/layers"},
		{Source: filepath.Join(at, "cache"), Target: "/cache"},
		{Source: filepath.Join(at, "platform"), Target: "/platform"},
	}
	if y.bundle != "" {
		mounts = append(mounts, container.Mount{Source: y.bundle, Target: bundleAt, ReadOnly: true})
	}
	for _, m := range j.mounts {
		mounts = append(mounts, container.Mount{Source: m.source, Target: m.target, ReadOnly: !m.writable})
	}
	var out bytes.Buffer
	env := []string{"CNB_PLATFORM_API=0.12"}
	if y.bundle != "" {
		env = append(env, bundleEnv()...)
	}
	p, err := rt.Prepare(ctx, container.Spec{
		Image: y.builderID,
		Argv: []string{
			"/cnb/lifecycle/creator", "-app", "/workspace", "-layers", "/layers", "-platform", "/platform", "-cache-dir", "/cache",
			"-run-image", y.published, "-log-level", "warn", j.image,
		},
		Env: env, Dir: "/", Mounts: mounts, Network: container.Network{Mode: "host"},
		Capabilities: []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"},
	})
	if err != nil {
		return err
	}
	err = p.Run(ctx, container.Streams{Stdout: &out, Stderr: &out})
	if err != nil {
		err = fmt.Errorf("creator: %w\n%s", err, tail(out.Bytes()))
	}
	return errors.Join(err, p.Close())
}

// bringBuilder readies the builder for the containers that this program starts itself, and learns its user.
func (y *yard) bringBuilder(ctx context.Context) error {
	r := image.Resolver{Images: y.machine.Images, Engine: y.machine.Engine, Policy: image.PullNever}
	img, err := r.Resolve(ctx, y.builder)
	if err != nil {
		return err
	}
	for _, e := range img.Config.Config.Env {
		name, value, _ := strings.Cut(e, "=")
		for of, to := range map[string]*int{"CNB_USER_ID": &y.uid, "CNB_GROUP_ID": &y.gid} {
			if name != of {
				continue
			}
			if *to, err = strconv.Atoi(value); err != nil {
				return fmt.Errorf("builder's %s: %w", of, err)
			}
		}
	}
	docker, err := y.machine.Engine.Inspect(ctx, y.builder)
	if err != nil {
		return err
	}
	y.engineID = docker.ID
	y.builderID, err = y.machine.Bring(ctx, img)
	return err
}

package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
)

// A builderImage is the builder of a build, with what its labels say.
type builderImage struct {
	*image.Image
	ref      image.Ref
	meta     cnb.BuilderMetadata
	order    cnb.Order
	layers   cnb.BuildpackLayersLabel
	system   cnb.System
	uid, gid int
}

func hostPlatform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// platform is what the image is built for.
func (j *job) platform() (v1.Platform, error) {
	if j.o.Target == "" {
		return hostPlatform(), nil
	}
	p, err := image.ParsePlatform(j.o.Target)
	if err == nil && (p.OS != "linux" || p.Architecture != runtime.GOARCH) {
		err = fmt.Errorf("platform %s: this machine builds for linux/%s only", j.o.Target, runtime.GOARCH)
	}
	return p, err
}

// names reads and checks the names of the result. It asks nobody.
func (j *job) names() (err error) {
	if j.dest, err = j.m.destination(j.o.Output, j.o.Image, j.o.Tags); err != nil {
		return err
	}
	if j.o.Source == "" {
		return errors.New("no source given: name a directory, a zip or a tar file")
	}
	return nil
}

// prepare brings together everything that a build needs before foreign code runs: source, builder, run
// image, buildpacks, directories, and a container on its way.
func (j *job) prepare(ctx context.Context) (err error) {
	if _, err := j.m.runtime(); err != nil {
		return err
	}
	if j.dir, err = j.m.newBuildDir(); err != nil {
		return err
	}
	readable, err := j.readable()
	if err != nil {
		return err
	}
	var descriptor []byte
	early := j.o.Builder != "" // else the source's descriptor may name it
	soon := early && j.undescribed()
	j.opened = make(chan struct{})
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return j.dest.check(gctx) })
	g.Go(func() (err error) {
		if err = j.openCollector(ctx, readable); err == nil && !soon {
			descriptor, err = j.openSource(ctx)
		}
		return err
	})
	if early {
		g.Go(func() error {
			if err := j.findBuilder(gctx); err != nil || !soon {
				return err
			}
			return j.startSoon(ctx)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	close(j.opened)
	if !early {
		if err := j.findBuilder(ctx); err != nil {
			return err
		}
	}
	if !soon {
		if j.o.Workspace == "" && slices.ContainsFunc(slices.Concat(j.o.Buildpacks, j.o.Pre, j.o.Post), hasClassic) {
			j.o.Workspace = classicWorkspace
		}
		j.dirs = j.directories()
		if err := j.reserveIDs(); err != nil {
			return err
		}
		j.stackLayers()
	}
	if err := j.collector.Prepare(ctx, j.preparation()); err != nil {
		return err
	}
	if !soon {
		if err := j.addBuildpacks(ctx); err != nil {
			return err
		}
		j.boxing = inBackground(ctx, j.startBox)
	}
	j.looking = inBackground(ctx, j.findPrevious)
	g, gctx = errgroup.WithContext(ctx)
	g.Go(func() error { return j.unpack(gctx, descriptor) })
	// The run image is read until the end of the build: it is bound to the build's context.
	g.Go(func() error { return j.findRunImage(ctx) })
	return g.Wait()
}

// openCollector starts the collector, which removes what dead builds left behind while this one goes on.
func (j *job) openCollector(ctx context.Context, readable []string) (err error) {
	if j.collector, err = j.m.startCollector(ctx, readable, j.h); err != nil {
		return err
	}
	j.swept = make(chan struct{})
	go func() {
		defer close(j.swept)
		if err := j.m.sweep(ctx, j.collector); err != nil && ctx.Err() == nil {
			j.warn("what an earlier build left behind cannot be removed: %v", err)
		}
	}()
	return nil
}

// openSource has the collector look at the source's descriptor, whose text it returns.
func (j *job) openSource(ctx context.Context) ([]byte, error) {
	project, descriptor, err := j.readProject(ctx)
	if err == nil {
		err = j.applyProject(project)
	}
	if err != nil {
		return nil, j.badSource(ctx, err)
	}
	return descriptor, nil
}

func (j *job) directories() builder.Dirs {
	if j.o.Workspace == "" {
		j.o.Workspace = "/workspace"
	}
	d := builder.Dirs{
		Root: filepath.Join(j.dir.path, "root"), App: j.o.Workspace, Layers: layersPath, Platform: "/platform",
		BuildConfig: "/cnb/build-config", Scratch: scratchPath, UID: j.builder.uid, GID: j.builder.gid,
	}
	if j.o.UID != nil {
		d.UID = *j.o.UID
	}
	if j.o.GID != nil {
		d.GID = *j.o.GID
	}
	return d
}

// findBuilder resolves the builder, and makes sure that the engine has it.
func (j *job) findBuilder(ctx context.Context) error {
	err := j.resolveBuilder(ctx)
	if err != nil {
		return err
	}
	if j.builder.EngineID, err = j.m.Bring(ctx, j.builder.Image); err != nil {
		return fmt.Errorf("builder %s: %w", j.o.Builder, err)
	}
	return nil
}

// resolveBuilder finds the builder and reads its labels.
func (j *job) resolveBuilder(ctx context.Context) error {
	if j.o.Builder == "" {
		return errors.New("no builder given: use --builder, a project.toml, or `slipway config default-builder NAME`")
	}
	ref, err := image.ParseRef(j.o.Builder)
	if err != nil {
		return fmt.Errorf("builder: %w", err)
	}
	if err := j.dest.isNot(ref, "builder"); err != nil {
		return err
	}
	p, err := j.platform()
	if err != nil {
		return err
	}
	j.resolver = j.m.resolver(p, j.o.Pull)
	img, err := j.resolver.ResolveRef(ctx, ref)
	if err != nil {
		return fmt.Errorf("builder: %w", err)
	}
	b := &builderImage{Image: img, ref: ref}
	if err := b.readLabels(j.o.Builder); err != nil {
		return err
	}
	j.builder = b
	return nil
}

func (b *builderImage) readLabels(name string) (err error) {
	if b.Label(cnb.LabelBuilderMetadata) == "" {
		return fmt.Errorf("image %s is not a builder: it has no label %s", name, cnb.LabelBuilderMetadata)
	}
	var system cnb.SystemLabel
	for _, l := range []struct {
		key string
		v   any
	}{
		{cnb.LabelBuilderMetadata, &b.meta},
		{cnb.LabelBuildpackOrder, &b.order},
		{cnb.LabelBuildpackLayers, &b.layers},
		{cnb.LabelBuildpackSystem, &system},
	} {
		text := b.Label(l.key)
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), l.v); err != nil {
			return fmt.Errorf("builder %s: label %s: %w", name, l.key, err)
		}
	}
	b.system = cnb.System{Pre: system.Pre.Buildpacks, Post: system.Post.Buildpacks}
	if b.uid, b.gid, err = builder.CNBUser(b.Config.Config.Env); err != nil {
		return fmt.Errorf("builder %s: %w", name, err)
	}
	if b.Label("io.buildpacks.buildpack.order-extensions") != "" && b.Label("io.buildpacks.buildpack.order-extensions") != "null" {
		return fmt.Errorf("builder %s has image extensions, which this version does not run", name)
	}
	return nil
}

// findRunImage resolves the run image: the user's, else the builder's, the mirror in the output's registry
// first. Every name that was tried is in the error.
func (j *job) findRunImage(ctx context.Context) error {
	j.runName = j.runImageName()
	if j.runName.Image == "" {
		return fmt.Errorf("builder %s names no run image: use --run-image", j.o.Builder)
	}
	candidates := j.dest.candidates(j.runName)
	for _, name := range candidates {
		ref, err := image.ParseRef(name)
		if err != nil {
			return fmt.Errorf("run image: %w", err)
		}
		if err := j.dest.isNot(ref, "run image"); err != nil {
			return err
		}
	}
	img, err := j.resolver.ResolveAny(ctx, candidates)
	if err != nil {
		return fmt.Errorf("run image: %w", err)
	}
	j.run = img
	return nil
}

// runImageName is the run image with its mirrors, the user's mirrors first.
func (j *job) runImageName() cnb.RunImageName {
	r := cnb.RunImageName{Image: j.o.RunImage}
	images := j.builder.meta.RunImages
	if len(images) == 0 && j.builder.meta.Stack.RunImage.Image != "" {
		images = []cnb.BuilderRunImage{j.builder.meta.Stack.RunImage}
	}
	for i, known := range images {
		if r.Image == known.Image || r.Image == "" && i == 0 {
			r.Image, r.Mirrors = known.Image, known.Mirrors
		}
	}
	if own := j.o.RunImageMirrors[r.Image]; len(own) > 0 {
		r.Mirrors = append(append([]string(nil), own...), r.Mirrors...)
	}
	return r
}

// preparation is what the collector puts into the build's directories. The user's variables win over what
// is passed on of the host's trust.
func (j *job) preparation() agent.Preparation {
	p := agent.Preparation{Dirs: j.dirs, Env: map[string]string{}, Bindings: j.o.Bindings}
	if len(j.o.Trust.Bundle) > 0 {
		for _, name := range trustVariables {
			p.Env[name] = bundlePath
		}
	}
	maps.Copy(p.Env, j.o.Env)
	return p
}

// trustVariables are the names by which tools find a bundle of CA certificates: OpenSSL and Go, Node, curl,
// Python, git, cargo.
var trustVariables = []string{
	"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO",
}

// prepareBox creates the build container.
func (j *job) prepareBox(ctx context.Context) error {
	rt, err := j.m.runtime()
	if err != nil {
		return err
	}
	preparer, ok := rt.(container.Preparer)
	if !ok {
		return errors.New("this container runtime cannot prepare containers")
	}
	mounts := []container.Mount{
		{Source: j.dirs.Host(j.dirs.App), Target: j.dirs.App, Own: true},
		{Source: j.dirs.Host(j.dirs.Layers), Target: j.dirs.Layers, Own: true, Slave: j.stack != nil && !j.stack.refused},
		{Source: j.dirs.Host(j.dirs.Platform), Target: j.dirs.Platform, Own: true, ReadOnly: true},
		{Source: j.dirs.Host(scratchPath), Target: scratchPath, Own: true},
		{Source: j.m.Tools.Agent, Target: agentPath, ReadOnly: true},
	}
	if len(j.o.Trust.Bundle) > 0 {
		bundle := filepath.Join(j.dir.path, "ca-certificates.crt")
		if err := os.WriteFile(bundle, j.o.Trust.Bundle, 0o644); err != nil {
			return fmt.Errorf("write the CA bundle: %w", err)
		}
		mounts = append(mounts, container.Mount{Source: bundle, Target: bundlePath, Own: true, ReadOnly: true})
	}
	for _, a := range j.added {
		mounts = append(mounts, container.Mount{Source: a.dir, Target: builder.BuildpackPath(a.ref), ReadOnly: true})
	}
	for _, v := range j.o.Volumes {
		mounts = append(mounts, container.Mount{Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Volume: !filepath.IsAbs(v.Source)})
	}
	spec := container.Spec{
		Image: j.builder.EngineID, Argv: []string{agentPath, "agent"}, Env: j.o.Proxy, Dir: "/",
		UID: j.dirs.UID, GID: j.dirs.GID, IDs: j.ids, Mounts: mounts, // Detect needs no network, and a build none of our neighbours: where the runtime can, see container.Network.
		Network: container.Network{Mode: j.o.Network, Later: true, Public: true},
		Limits:  container.Limits{Memory: j.limits.Memory, CPUs: j.limits.CPUs, PIDs: j.limits.PIDs, Disk: j.limits.Disk},
		DiskUsage: func(ctx context.Context) (int64, error) {
			select {
			case <-j.opened:
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
			u, err := j.collector.Usage(ctx, j.dirs.Root, filepath.Join(j.dir.path, "upper"))
			return u.Bytes, err
		},
		Labels: map[string]string{"build.slipway.image": j.dest.refs[0].Familiar()},
	}
	j.prepared, err = preparer.Prepare(ctx, spec)
	if err != nil {
		return fmt.Errorf("create the build container: %w", err)
	}
	return nil
}

package platform_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// TestSameEverywhere holds rule 7 of the architecture: one source gives one image, whatever the output, with
// and without cache, first and again, after a build that was cancelled.
func TestSameEverywhere(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, "")
	all := y.fixtures("one-layer", "layer-types", "sbom", "env-suffixes", "slices", "labels", "exec-d", "two-processes")
	src := app(t, "sub/file", "text\n", "run.sh", "#!/bin/sh\n")

	outputs := map[string]platform.Options{
		"store":    {Image: name(t), Output: platform.Output{Store: true}},
		"oci":      {Image: name(t), Output: platform.Output{OCI: filepath.Join(t.TempDir(), "layout")}},
		"registry": {Image: host + "/" + name(t), Output: platform.Output{Publish: true}, Tags: []string{host + "/other/app:tag"}},
		"docker":   {Image: name(t)},
	}
	var first *platform.Result
	for _, where := range []string{"store", "oci", "registry", "docker"} {
		o := outputs[where]
		o.Source, o.Buildpacks = src, all
		clear, again := o, o
		clear.Cache.Clear = true
		again.Cache.Key = o.Image + "-other"
		type step struct {
			what string
			o    platform.Options
		}
		steps := []step{{"first", o}, {"again", o}}
		if o.Output.Store || where == "docker" {
			steps = append(steps, step{"cache cleared", clear}, step{"another cache", again})
		}
		for _, step := range steps {
			res, r := y.build(t, step.o)
			if first == nil {
				first = res
			}
			if res.Digest != first.Digest || res.ImageID != first.ImageID {
				t.Errorf("%s, %s: %s (config %s), want %s (config %s)\n%s", where, step.what, res.Digest, res.ImageID, first.Digest, first.ImageID, r)
			}
			if step.what == "again" && res.Reused != res.Layers {
				t.Errorf("%s: %d of %d layers reused\n%s", where, res.Reused, res.Layers, r)
			}
		}
	}
	engine, err := y.machine.Engine.Inspect(t.Context(), outputs["docker"].Image)
	if err != nil || engine.ID != first.ImageID {
		t.Errorf("Docker has %s, %v, want %s", engine.ID, err, first.ImageID)
	}
	for _, arg := range []string{outputs["store"].Image, outputs["registry"].Image, host + "/other/app:tag", "oci:" + outputs["oci"].Output.OCI} {
		img := y.find(t, arg)
		if img.ManifestDigest.String() != first.Digest || img.ID.String() != first.ImageID {
			t.Errorf("%s has %s (config %s), want %s", arg, img.ManifestDigest, img.ID, first.Digest)
		}
		checkBytes(t, img)
	}
}

// checkBytes reads every layer: its bytes are what digest and diffID say.
func checkBytes(t *testing.T, img *image.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := v1.SHA256(r)
		if err := errors.Join(err, r.Close()); err != nil || got != img.Config.RootFS.DiffIDs[i] {
			t.Errorf("%s: layer %d has diffID %s, %v, want %s", img.Ref, i, got, err, img.Config.RootFS.DiffIDs[i])
		}
	}
}

var errStop = errors.New("stopped by the test")

// TestSameAfterCancel cancels a build in each phase; the next gives what a build gives that nothing came before.
func TestSameAfterCancel(t *testing.T) {
	t.Parallel()
	y := open(t)
	o := platform.Options{Image: name(t), Output: platform.Output{Store: true}, Source: app(t), Buildpacks: y.fixtures("layer-types", "reuse")}
	other := o
	other.Image = name(t)
	want, _ := y.build(t, other)
	for _, phase := range []platform.Phase{platform.PhasePrepare, platform.PhaseAnalyze, platform.PhaseDetect, platform.PhaseBuild, platform.PhaseExport} {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := &record{on: func(e platform.Event) {
			if e.Kind == platform.EventPhaseStart && e.Phase == phase ||
				phase == platform.PhaseExport && e.Engine != nil && e.Engine.Kind == builder.EventLayerAdded {
				cancel(errStop)
			}
		}}
		o := o
		o.Builder = y.name
		if _, err := platform.Build(ctx, y.machine, o, r); !errors.Is(err, errStop) || strings.Contains(err.Error(), "\n") {
			t.Errorf("cancelled in %s: %v", phase, err)
		}
		cancel(nil)
	}
	if got, _ := y.build(t, o); got.Digest != want.Digest {
		t.Errorf("got %s after cancelled builds, want %s", got.Digest, want.Digest)
	}
}

// TestBaseImages takes builder and run image from every place that there is.
func TestBaseImages(t *testing.T) {
	t.Parallel()
	y := open(t)
	host := registry(t, "")
	ctx := t.Context()
	for from, to := range map[string]string{y.name: host + "/builder", y.oci("run"): host + "/run"} {
		ref, err := image.ParseRef(to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := y.machine.Registry.Push(ctx, []image.Ref{ref}, y.find(t, from), image.PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	docker, err := image.ParseRef("slipway-test/" + filepath.Base(t.TempDir()) + "-run:" + host[strings.LastIndexByte(host, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.LoadEngine(ctx, y.machine.Engine, []image.Ref{docker}, y.find(t, "test/run"), image.LoadOptions{Store: y.machine.Store}); err != nil {
		t.Fatal(err)
	}
	forget(t, y.machine, docker.Familiar())

	// A path that no registry could have.
	if _, err := y.layout(ctx, "A run", y.find(t, "test/run")); err != nil {
		t.Fatal(err)
	}

	var diffIDs []string
	for _, tc := range []struct {
		builder, run string
		fresh        bool // the machine has an empty store
	}{
		{y.name, "test/run", false},
		{y.name, "", false},
		{y.name, docker.Familiar(), false},
		{y.name, docker.Familiar(), true},
		{y.name, y.oci("run"), false},
		{y.name, y.oci("A run"), false},
		{host + "/builder", host + "/run", true},
		{y.oci("builder"), host + "/run", false},
	} {
		o := platform.Options{Image: name(t), Output: platform.Output{Store: true}, Source: app(t), Builder: tc.builder, RunImage: tc.run}
		m := y.machine
		if tc.fresh {
			if m, err = machine(t.TempDir(), y.tools(), image.RegistryOptions{}); err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			defer func() { _ = m.Engine.Remove(context.Background(), host+"/builder") }()
		}
		t.Run(fmt.Sprintf("%s and %s, fresh %v", tc.builder, tc.run, tc.fresh), func(t *testing.T) {
			_, r := y.buildOn(t, m, o)
			ref, _ := image.ParseRef(o.Image)
			img, err := m.Images.Get(t.Context(), ref, v1.Platform{})
			if err != nil {
				t.Fatal(err)
			}
			again, _ := y.buildOn(t, m, o)
			if again.Digest != img.ManifestDigest.String() {
				t.Errorf("built again: %s, want %s", again.Digest, img.ManifestDigest)
			}
			if ref := lifecycleLabel(t, img).RunImage.Reference; !strings.Contains(ref, "run@sha256:") {
				t.Errorf("it stands on %q", ref)
			}
			var got []string
			for _, d := range img.Config.RootFS.DiffIDs {
				got = append(got, d.String())
			}
			if diffIDs == nil {
				diffIDs = got
			}
			// The last layer of ours but one holds metadata.toml; none of them knows where the base came from.
			if !slices.Equal(got, diffIDs) {
				t.Errorf("layers %v, want %v\n%s", got, diffIDs, r)
			}
			checkBytes(t, img)
		})
	}
}

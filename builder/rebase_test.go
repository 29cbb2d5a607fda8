package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/builder/cnb"
)

// rebaseInput is an app image and a newer run image that fits it.
func rebaseInput(t *testing.T) RebaseInput {
	t.Helper()
	b := sample(t)
	return RebaseInput{
		PlatformAPI: cnb.NewestPlatformAPI, App: b.compose(t, runImage(t), b.export(t, nil), nil), Run: runImage(t),
		RunReference: "example.com/run@sha256:" + strings.Repeat("1", 64), RunName: "example.com/run:1",
	}
}

// change gives both images further changes of their configs.
func (in RebaseInput) change(t *testing.T, app, run func(*v1.ConfigFile)) RebaseInput {
	t.Helper()
	if app != nil {
		in.App = withConfig(t, in.App, app)
	}
	if run != nil {
		in.Run = withConfig(t, in.Run, run)
	}
	return in
}

// builtWith makes the app image one of an older Platform API, of stack s.
func builtWith(api, s string) func(*v1.ConfigFile) {
	return func(cf *v1.ConfigFile) {
		cf.Config.Env = setEnv(cf.Config.Env, "CNB_PLATFORM_API", api)
		cf.Config.Labels[cnb.LabelStackID] = s
	}
}

func diffIDs(t *testing.T, img v1.Image) []v1.Hash { return config(t, img).RootFS.DiffIDs }

func rebased(t *testing.T, in RebaseInput) v1.Image {
	t.Helper()
	img, err := Rebase(in)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestRebase(t *testing.T) {
	in := rebaseInput(t).change(t, func(cf *v1.ConfigFile) {
		cf.Author, cf.Config.Labels["io.buildpacks.base.old"], cf.Config.Labels["io.buildpacks.stack.old"] = "me", "x", "y"
	}, func(cf *v1.ConfigFile) {
		cf.Variant, cf.OSVersion = "v2", "10"
		cf.Config.Env, cf.Config.User, cf.Config.WorkingDir = []string{"NEW=1"}, "root", "/new"
		cf.Config.Labels["io.buildpacks.base.id"], cf.Config.Labels["io.buildpacks.stack.id"], cf.Config.Labels["other"] = "b", "s", "o"
	})
	img := rebased(t, in)
	cf, old, run := config(t, img), config(t, in.App), config(t, in.Run)
	if want := append(diffIDs(t, in.Run), diffIDs(t, in.App)[2:]...); !slices.Equal(cf.RootFS.DiffIDs, want) {
		t.Errorf("layers %v, want %v", cf.RootFS.DiffIDs, want)
	}
	if !slices.Equal(cf.Config.Env, old.Config.Env) || cf.Config.User != old.Config.User || cf.Config.WorkingDir != "/workspace" || !slices.Equal(cf.Config.Entrypoint, old.Config.Entrypoint) {
		t.Errorf("config %+v", cf.Config)
	}
	if cf.Architecture != run.Architecture || cf.OS != run.OS || cf.OSVersion != "10" || cf.Variant != "v2" || cf.Author != "" || !cf.Created.Time.Equal(LayerTime()) {
		t.Errorf("config file %+v", cf)
	}
	for _, h := range cf.History {
		if h != (v1.History{Created: v1.Time{Time: LayerTime()}}) {
			t.Errorf("history %+v", h)
		}
	}
	l := cf.Config.Labels
	if l["io.buildpacks.base.id"] != "b" || l["io.buildpacks.stack.id"] != "s" || l["io.buildpacks.base.old"]+l["io.buildpacks.stack.old"]+l["other"] != "" || l["l"] != "two" {
		t.Errorf("labels %v", l)
	}
	md, err := cnb.DecodeLayersMetadata(l[cnb.LabelLifecycleMetadata])
	if err != nil || md.RunImage.TopLayer != run.RootFS.DiffIDs[1].String() || md.RunImage.Reference != in.RunReference || md.RunImage.Image != "example.com/run:1" || len(md.RunImage.Mirrors) != 1 {
		t.Errorf("metadata %+v, %v", md.RunImage, err)
	}
	// All that the label says of layers is as it was, byte for byte.
	before, _, _ := strings.Cut(old.Config.Labels[cnb.LabelLifecycleMetadata], `"runImage"`)
	if !strings.HasPrefix(l[cnb.LabelLifecycleMetadata], before) {
		t.Errorf("label %s\nwas %s", l[cnb.LabelLifecycleMetadata], old.Config.Labels[cnb.LabelLifecycleMetadata])
	}
	// Again, and back: nothing is lost.
	in.App = img
	if again, _ := rebased(t, in).Digest(); again != digestOf(t, img) {
		t.Error("the same rebase gives another image")
	}
}

func digestOf(t *testing.T, img v1.Image) v1.Hash {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRebaseReadsNoLayer(t *testing.T) {
	for _, kind := range []struct{ manifest, config, layer types.MediaType }{
		{types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer},
		{types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer},
	} {
		in := rebaseInput(t)
		in.App, in.Run = opaque{mutate.ConfigMediaType(mutate.MediaType(in.App, kind.manifest), kind.config)}, opaque{in.Run}
		m, err := rebased(t, in).Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if m.MediaType != kind.manifest || m.Config.MediaType != kind.config || slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return d.MediaType != kind.layer }) {
			t.Errorf("%+v", m)
		}
	}
}

// opaque is an image of layers that may not be read.
type opaque struct{ v1.Image }

func (o opaque) Layers() ([]v1.Layer, error) {
	ls, err := o.Image.Layers()
	for i := range ls {
		ls[i] = opaqueLayer{ls[i]}
	}
	return ls, err
}

func TestRebaseChecks(t *testing.T) {
	label := func(key, value string) func(*v1.ConfigFile) {
		return func(cf *v1.ConfigFile) { cf.Config.Labels[key] = value }
	}
	both := func(fs ...func(*v1.ConfigFile)) func(*v1.ConfigFile) {
		return func(cf *v1.ConfigFile) {
			for _, f := range fs {
				f(cf)
			}
		}
	}
	for _, c := range []struct {
		name     string
		app, run func(*v1.ConfigFile)
		force    bool // lets it pass
		want     string
	}{
		{name: "not rebasable", app: label(cnb.LabelRebasable, "false"), force: true, want: "app image is not marked as rebasable"},
		{name: "architecture", run: func(cf *v1.ConfigFile) { cf.Architecture = "arm64" }, force: true,
			want: `unable to satisfy target os/arch constraints; new run image: {"os":"linux","arch":"arm64","distro":{"name":"debian","version":"13"}}, old run image: {"os":"linux","arch":"amd64","distro":{"name":"debian","version":"13"}}`},
		{name: "system", run: func(cf *v1.ConfigFile) { cf.OS = "windows" }, force: true, want: "unable to satisfy target"},
		{name: "variant", app: func(cf *v1.ConfigFile) { cf.Variant = "v1" }, run: func(cf *v1.ConfigFile) { cf.Variant = "v2" }, force: true, want: "unable to satisfy target"},
		{name: "one variant", app: func(cf *v1.ConfigFile) { cf.Variant = "v1" }},
		{name: "distribution", run: label(cnb.LabelDistroName, "ubuntu"), force: true, want: "unable to satisfy target"},
		{name: "version", run: label(cnb.LabelDistroVersion, "14"), force: true, want: "unable to satisfy target"},
		{name: "no distribution any more", run: func(cf *v1.ConfigFile) { cf.Config.Labels = nil }},
		{name: "no distribution before", app: func(cf *v1.ConfigFile) {
			delete(cf.Config.Labels, cnb.LabelDistroName)
			delete(cf.Config.Labels, cnb.LabelDistroVersion)
		}, force: true, want: "unable to satisfy target"},
		{name: "stacks are nothing to a new app", app: label(cnb.LabelStackID, "a"), run: label(cnb.LabelStackID, "b")},

		{name: "old: same stack", app: builtWith("0.11", "s"), run: label(cnb.LabelStackID, "s")},
		{name: "old: rebasable is nothing to it", app: both(builtWith("0.11", "s"), label(cnb.LabelRebasable, "false")), run: label(cnb.LabelStackID, "s")},
		{name: "old: no stack", app: builtWith("0.7", ""), want: "stack not defined on app image"},
		{name: "unknown: no stack", app: func(cf *v1.ConfigFile) { cf.Config.Env = nil }, want: "stack not defined on app image"},
		{name: "old: no stack of the run image", app: builtWith("0.7", "s"), want: "stack not defined on new base image"},
		{name: "old: another stack", app: builtWith("0.7", "s"), run: label(cnb.LabelStackID, "t"), want: "incompatible stack: 't' is not compatible with 's'"},
		{name: "old: mixins", app: both(builtWith("0.7", "s"), label(cnb.LabelStackMixins, `["run:a","b"]`)),
			run: both(label(cnb.LabelStackID, "s"), label(cnb.LabelStackMixins, `["a","run:b","c"]`))},
		{name: "old: missing mixins", app: both(builtWith("0.7", "s"), label(cnb.LabelStackMixins, `["run:z","b","z","a"]`)),
			run: both(label(cnb.LabelStackID, "s"), label(cnb.LabelStackMixins, `["a"]`)), want: "missing required mixin(s): b, z"},
		{name: "old: garbled mixins", app: both(builtWith("0.7", "s"), label(cnb.LabelStackMixins, `x`)), run: label(cnb.LabelStackID, "s"),
			want: "get app image mixins: label io.buildpacks.stack.mixins: "},
		{name: "unreadable API", app: builtWith("new", "s"), want: "read the app image's CNB_PLATFORM_API: "},

		{name: "no metadata", app: label(cnb.LabelLifecycleMetadata, ""), want: "the app image has no label io.buildpacks.lifecycle.metadata, so it was not made by buildpacks"},
		{name: "garbled metadata", app: label(cnb.LabelLifecycleMetadata, "{"), want: "read the app image's label io.buildpacks.lifecycle.metadata: "},
		{name: "another base", app: label(cnb.LabelLifecycleMetadata, `{"runImage":{"topLayer":"sha256:0"}}`), want: "rebase app image: could not find base layer in image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := rebaseInput(t).change(t, c.app, c.run)
			_, err := Rebase(in)
			var warned []string
			in.Force, in.Emit = true, func(e Event) { warned = append(warned, e.Text) }
			_, forced := Rebase(in)
			if c.want == "" {
				if err != nil || forced != nil || len(warned) > 0 {
					t.Errorf("%v; forced: %v, %q", err, forced, warned)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || ExitCode(err) != 72 {
				t.Fatalf("%v, exit status %d; want %q", err, ExitCode(err), c.want)
			}
			if e, ok := errors.AsType[*RebaseError](err); c.force != (ok && e.Force) || c.force != strings.HasSuffix(err.Error(), "; please provide -force to override") {
				t.Errorf("%v: may be forced: %v", err, !c.force)
			}
			if c.force != (forced == nil) || c.force != (len(warned) == 1 && strings.HasPrefix(warned[0], c.want) && !strings.Contains(warned[0], "-force")) {
				t.Errorf("forced: %v, %q", forced, warned)
			}
		})
	}
}

func TestRebaseRunImageName(t *testing.T) {
	for name, known := range map[string]bool{
		"example.com/run:1": true, "example.com/run:1@sha256:" + strings.Repeat("2", 64): true, "m.example.com/run:1": true,
		"example.com/run": false, "example.com/run:2": false, "run:1": false, "docker.io/library/stack": true, "stack:latest": true, "": false,
	} {
		in := rebaseInput(t).change(t, func(cf *v1.ConfigFile) {
			l := cf.Config.Labels[cnb.LabelLifecycleMetadata]
			i := strings.LastIndex(l, `"stack":`)
			cf.Config.Labels[cnb.LabelLifecycleMetadata] = l[:i] + `"stack":{"runImage":{"image":"stack"}}}`
		}, nil)
		in.RunName = name
		_, err := Rebase(in)
		if known != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if !known && !strings.HasPrefix(err.Error(), "rebase app image: new base image '"+name+`' not found in existing run image metadata: {"topLayer":"sha256:`) {
			t.Errorf("%s: %v", name, err)
		}
		in.Force = true
		md, _ := cnb.DecodeLayersMetadata(config(t, rebased(t, in)).Config.Labels[cnb.LabelLifecycleMetadata])
		if want := name; !known && (md.RunImage.Image != want || md.RunImage.Mirrors != nil || md.Stack.RunImage.Image != want) {
			t.Errorf("%s: forced: %+v, %+v", name, md.RunImage, md.Stack)
		}
		// An older platform asks for no name and leaves those that are there.
		in.PlatformAPI, in.Force = cnb.API{Major: 0, Minor: 11}, false
		md, _ = cnb.DecodeLayersMetadata(config(t, rebased(t, in)).Config.Labels[cnb.LabelLifecycleMetadata])
		if md.RunImage.Image != "example.com/run:1" || md.Stack.RunImage.Image != "stack" {
			t.Errorf("%s: platform API 0.11: %+v", name, md.RunImage)
		}
	}
}

// TestRebaseOfOldLabels keeps an "app" that is no list and drops what nobody knows.
func TestRebaseOfOldLabels(t *testing.T) {
	in := rebaseInput(t)
	top := diffIDs(t, in.App)[1].String()
	in = in.change(t, func(cf *v1.ConfigFile) {
		builtWith("0.7", "s")(cf)
		cf.Config.Labels[cnb.LabelLifecycleMetadata] = fmt.Sprintf(`{"more":1,"runImage":{"reference":"x","topLayer":%q},"app":{"z":1,"a":{"sha":"y"}},"buildpacks":[{"key":"a","version":"1","layers":{"l":{"sha":"s","data":{"n":12,"html":"<&>"},"build":false,"launch":true,"cache":false}}}],"stack":{"runImage":{"image":"r"}}}`, top)
	}, builtWith("", "s"))
	in.RunName = "r"
	got := config(t, rebased(t, in)).Config.Labels[cnb.LabelLifecycleMetadata]
	run := diffIDs(t, in.Run)[1].String()
	want := `{"app":{"a":{"sha":"y"},"z":1},"buildpacks":[{"key":"a","version":"1","layers":{"l":{"sha":"s","data":{"html":"\u003c\u0026\u003e","n":12},"build":false,"launch":true,"cache":false}}}],"config":{"sha":""},"launcher":{"sha":""},"process-types":{"sha":""},"runImage":{"topLayer":"` + run + `","reference":"` + in.RunReference + `"},"stack":{"runImage":{"image":"r"}}}`
	if got != want {
		t.Errorf("label\n%s\nwant\n%s", got, want)
	}
}

// TestRebaseRepeatedLayers has the run image's top layer twice in it, as a Dockerfile makes empty layers.
func TestRebaseRepeatedLayers(t *testing.T) {
	in := rebaseInput(t)
	old := runImage(t)
	ls, err := old.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if old, err = mutate.AppendLayers(old, ls[0]); err != nil { // A B A
		t.Fatal(err)
	}
	b := sample(t)
	in.App = b.compose(t, old, b.export(t, nil), nil)
	app := diffIDs(t, in.App)
	if got, want := diffIDs(t, rebased(t, in)), append(diffIDs(t, in.Run), app[3:]...); !slices.Equal(got, want) {
		t.Errorf("layers %v, want %v", got, want)
	}
	// A layer of the app with the same contents stays.
	var md cnb.LayersMetadata
	if err := json.Unmarshal([]byte(config(t, in.App).Config.Labels[cnb.LabelLifecycleMetadata]), &md); err != nil {
		t.Fatal(err)
	}
	label := rebaseLabel{App: []any{map[string]any{"sha": "b"}}, LayersMetadata: cnb.LayersMetadata{RunImage: cnb.RunImageMetadata{TopLayer: "sha256:a"}, Config: cnb.LayerSHA{SHA: "c"}}}
	ids := func(names ...string) (out []v1.Hash) {
		for _, n := range names {
			out = append(out, v1.Hash{Algorithm: "sha256", Hex: n})
		}
		return out
	}
	label.App = []any{map[string]any{"sha": "sha256:b"}}
	if n, err := baseLayers(ids("a", "x", "a", "b", "a"), label); n != 3 || err != nil {
		t.Errorf("%d layers of the base, %v", n, err)
	}
}

package platform_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/platform"
)

// detects are the sample buildpacks that decide something in detect, alone and in groups that do.
func (y *yard) detects(t *testing.T) (groups [][]string) {
	t.Helper()
	for _, pattern := range []string{"*", "hostile/detect-*", "hostile/order-*", "hostile/toml-*", "hostile/api-*"} {
		found, err := filepath.Glob(y.fixture(pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range found {
			if fi, err := os.Stat(dir); err == nil && fi.IsDir() && !strings.HasSuffix(dir, "hangs") && filepath.Base(dir) != "hostile" {
				groups = append(groups, []string{dir})
			}
		}
	}
	return append(groups, y.fixtures("plan-provider", "plan-requirer"), y.fixtures("plan-requirer", "plan-provider"),
		y.fixtures("noop", "detect-no"), y.fixtures("hostile/detect-error", "detect-no"), y.fixtures("composite", "one-layer"),
		y.fixtures("hostile/order-cycle-a", "hostile/order-cycle-b"))
}

// errDetected ends a build whose detect has an answer.
var errDetected = errors.New("detected")

// TestDetectIsABuilds compares what Detect says of each with a build's detect: the group, or the exit code and the error.
func TestDetectIsABuilds(t *testing.T) {
	t.Parallel()
	y := open(t)
	src := app(t)
	for _, group := range y.detects(t) {
		t.Run(strings.Join(group, " ")[len(y.dir):], func(t *testing.T) {
			t.Parallel()
			o := platform.Options{Source: src, Builder: y.name, Buildpacks: group}
			d, alone := platform.Detect(t.Context(), y.machine, o, &record{})
			var chosen strings.Builder
			if d != nil && d.Chosen() != nil {
				for _, r := range d.Chosen().Kept {
					chosen.WriteString(r.String() + ", ")
				}
			}
			want, err := y.detectOfBuild(t, o)
			if strings.TrimSuffix(chosen.String(), ", ") != want {
				t.Errorf("Detect chooses %q, a build %q", chosen.String(), want)
			}
			if !errors.Is(err, errDetected) && (alone == nil || alone.Error() != err.Error() || builder.ExitCode(alone) != builder.ExitCode(err)) {
				t.Errorf("Detect says %v, a build %v", alone, err)
			}
		})
	}
}

// detectOfBuild builds as far as detect, and says which group was chosen.
func (y *yard) detectOfBuild(t *testing.T, o platform.Options) (chosen string, err error) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	o.Image, o.Output = name(t), platform.Output{Store: true}
	r := &record{on: func(e platform.Event) {
		if e.Engine != nil && e.Engine.Kind == builder.EventGroupChosen {
			chosen = e.Engine.Text
			cancel(errDetected)
		}
	}}
	_, err = platform.Build(ctx, y.machine, o, r)
	if err == nil || chosen != "" && !errors.Is(err, errDetected) {
		t.Errorf("the build went on: %v", err)
	}
	return chosen, err
}

// TestTry runs buildpacks twice, and a third time over other files.
func TestTry(t *testing.T) {
	t.Parallel()
	y := open(t)
	o := platform.Options{Source: app(t), Builder: y.name, Buildpacks: y.fixtures("layer-types", "reuse", "sbom", "env-suffixes", "plan-provider", "plan-requirer", "two-processes")}
	try := func() *platform.Tried {
		t.Helper()
		got, err := platform.Try(t.Context(), y.machine, o, &record{})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := try()
	how := func(r *platform.Tried) map[string]string {
		out := map[string]string{}
		for _, b := range r.Buildpacks {
			for _, l := range b.Layers {
				out[string(l.Name)] = l.How
			}
		}
		return out
	}
	for name, h := range how(first) {
		if h != platform.LayerNew || first.Last != nil {
			t.Errorf("first run: layer %s is %s, last %v", name, h, first.Last)
		}
	}
	if len(first.Plan.Entries) == 0 || len(first.Processes) != 2 || len(first.SBOMs) != 4 {
		t.Errorf("first run: %+v", first)
	}
	i := slices.IndexFunc(first.Buildpacks, func(b platform.TriedBuildpack) bool { return b.Buildpack.ID == "sample/env-suffixes" })
	if env := first.Buildpacks[i].Layers[0].Env; env["env.launch/web/PREPEND_env_launch_web.prepend"] != "first" {
		t.Errorf("variables %q", env)
	}
	second := try()
	got := how(second)
	if got["kept"] != platform.LayerKept || got["of-build"] != platform.LayerSame || !slices.Contains([]string{platform.LayerSame, platform.LayerUntouched}, got["of-cache"]) {
		t.Errorf("second run: %v", got)
	}
	if d := second.Since(second.Last); len(d.Changes) != 1 || d.Changes[0].What != "store sample/reuse builds" {
		t.Errorf("second run: %+v", d)
	}
	o.Cache.Clear = true
	if third := try(); how(third)["kept"] != platform.LayerNew {
		t.Errorf("without what was kept: %v", how(third))
	}
}

// TestComponents has the recipe of a composite buildpack say where its parts are; not that of a project descriptor's,
// which may be somebody else's and lead anywhere.
func TestComponents(t *testing.T) {
	t.Parallel()
	y := open(t)
	all := filepath.Join(t.TempDir(), "all")
	write(t, all, 0o644, "buildpack.toml", "api = \"0.10\"\n[buildpack]\nid = \"acme/all\"\nversion = \"1\"\n[[order]]\n[[order.group]]\nid = \"sample/labels\"\nversion = \"0.0.1\"\n",
		"package.toml", "[[dependencies]]\nuri = \""+y.fixture("labels")+"\"\n")
	o := platform.Options{Source: app(t), Builder: y.name, Buildpacks: []string{all}}
	d, err := platform.Detect(t.Context(), y.machine, o, &record{})
	if err != nil || d.Chosen() == nil {
		t.Fatalf("%+v %v", d, err)
	}
	if files := platform.Files(o); !slices.Equal(files, []string{all, y.fixture("labels")}) {
		t.Errorf("files %q", files)
	}
	o = platform.Options{Source: app(t, "project.toml", "[[build.buildpacks]]\nuri = \"./all\"\n"), Builder: y.name}
	if err := os.CopyFS(filepath.Join(o.Source, "all"), os.DirFS(all)); err != nil {
		t.Fatal(err)
	}
	_, err = platform.Detect(t.Context(), y.machine, o, &record{})
	if err == nil || err.Error() != "order of buildpack acme/all@1: buildpack sample/labels@0.0.1 is not in the builder" {
		t.Errorf("by a project descriptor: %v", err)
	}
}

// TestPlaceInDescriptor has errors say where in an author's file the fault is.
func TestPlaceInDescriptor(t *testing.T) {
	t.Parallel()
	y := open(t)
	for fixture, want := range map[string]string{
		"hostile/order-absent":    "/buildpack.toml:11: order.group.id: order of buildpack sample/order-absent@0.0.1: buildpack sample/nowhere@0.0.1 is not in the builder: name its directory too,",
		"hostile/api-unsupported": "/buildpack.toml:1: api: buildpack sample/api-unsupported@0.0.1: buildpack API 9.9 is not supported",
	} {
		o := platform.Options{Source: app(t), Builder: y.name, Buildpacks: y.fixtures(fixture)}
		_, err := platform.Detect(t.Context(), y.machine, o, &record{})
		if err == nil || !strings.Contains(err.Error(), y.fixture(fixture)+want) {
			t.Errorf("%s: %v", fixture, err)
		}
	}
}

package builder

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

// check says whether the app image may be put on the run image. Which rules hold depends on the Platform API that
// the app was built with: stacks and mixins up to 0.11, targets from 0.12 on.
func (in RebaseInput) check(app, run *v1.ConfigFile) error {
	built := getEnv(app.Config.Env, "CNB_PLATFORM_API")
	if built != "" {
		api, err := cnb.ParseAPI(built)
		if err != nil {
			return fmt.Errorf("read the app image's CNB_PLATFORM_API: %w", err)
		}
		if api.AtLeast(0, 12) {
			return in.checkTarget(app, run)
		}
	}
	if err := checkStack(app.Config.Labels[cnb.LabelStackID], run.Config.Labels[cnb.LabelStackID]); err != nil {
		return err
	}
	return checkMixins(app.Config.Labels[cnb.LabelStackMixins], run.Config.Labels[cnb.LabelStackMixins])
}

func checkStack(app, run string) error {
	switch {
	case app == "":
		return &RebaseError{Reason: "stack not defined on app image"}
	case run == "":
		return &RebaseError{Reason: "stack not defined on new base image"}
	case app != run:
		return &RebaseError{Reason: fmt.Sprintf("incompatible stack: '%s' is not compatible with '%s'", run, app)}
	}
	return nil
}

// checkMixins wants the run image to have every mixin that the app's has.
func checkMixins(app, run string) error {
	want, err := decodeMixins(app)
	if err != nil {
		return fmt.Errorf("get app image mixins: %w", err)
	}
	have, err := decodeMixins(run)
	if err != nil {
		return fmt.Errorf("get run image mixins: %w", err)
	}
	missing := slices.DeleteFunc(want, func(m string) bool { return slices.Contains(have, m) })
	if len(missing) > 0 {
		slices.Sort(missing)
		return &RebaseError{Reason: "missing required mixin(s): " + strings.Join(slices.Compact(missing), ", ")}
	}
	return nil
}

// decodeMixins reads a label of mixins, without the stages ("run:") that they are for.
func decodeMixins(label string) (mixins []string, err error) {
	if label == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(label), &mixins); err != nil {
		return nil, fmt.Errorf("label %s: %w", cnb.LabelStackMixins, err)
	}
	for i, m := range mixins {
		if _, name, ok := strings.Cut(m, ":"); ok {
			mixins[i] = name
		}
	}
	return mixins, nil
}

func (in RebaseInput) checkTarget(app, run *v1.ConfigFile) error {
	if app.Config.Labels[cnb.LabelRebasable] == "false" {
		if err := in.allow("app image is not marked as rebasable"); err != nil {
			return err
		}
	}
	have, want := rebaseTargetOf(run), rebaseTargetOf(app)
	if have.fits(want) {
		return nil
	}
	return in.allow("unable to satisfy target os/arch constraints; new run image: %s, old run image: %s", jsonText(have), jsonText(want))
}

// allow is the error of something that Force lets pass with a warning.
func (in RebaseInput) allow(format string, args ...any) error {
	reason := fmt.Sprintf(format, args...)
	if !in.Force {
		return &RebaseError{Reason: reason, Force: true}
	}
	emitter(in.Emit)(Event{Kind: EventWarning, Text: reason})
	return nil
}

// rebaseTarget is what an image says of where it runs, in the form of error messages.
type rebaseTarget struct {
	ID      string        `json:"id,omitempty"`
	OS      string        `json:"os"`
	Arch    string        `json:"arch"`
	Variant string        `json:"arch-variant,omitempty"`
	Distro  *rebaseDistro `json:"distro,omitempty"`
}

type rebaseDistro struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

func rebaseTargetOf(cf *v1.ConfigFile) rebaseTarget {
	labels := cf.Config.Labels
	t := rebaseTarget{ID: labels[cnb.LabelBaseID], OS: cf.OS, Arch: cf.Architecture, Variant: cf.Variant}
	name, hasName := labels[cnb.LabelDistroName]
	version, hasVersion := labels[cnb.LabelDistroVersion]
	if hasName || hasVersion {
		t.Distro = &rebaseDistro{name, version}
	}
	return t
}

// fits says whether a run image can take the place of one with target old: what it leaves open matches.
func (t rebaseTarget) fits(old rebaseTarget) bool {
	if t.OS != old.OS || t.Arch != old.Arch || t.Variant != "" && old.Variant != "" && t.Variant != old.Variant {
		return false
	}
	if t.Distro == nil {
		return true
	}
	return old.Distro != nil && (t.Distro.Name == "" || t.Distro.Name == old.Distro.Name) &&
		(t.Distro.Version == "" || t.Distro.Version == old.Distro.Version)
}

// jsonText is v for a message.
func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

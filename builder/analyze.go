package builder

import (
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/builder/cnb"
)

// AnalyzeInput is what Analyze works on: images that the platform has found already.
type AnalyzeInput struct {
	PlatformAPI cnb.API
	// Previous is the previous image, nil where there is none; PreviousReference is its exact name.
	Previous          v1.Image
	PreviousReference string
	// Run is the run image; RunReference is its exact name (digest form), RunName what the platform was given.
	Run          v1.Image
	RunReference string
	RunName      string
	// OSRelease is /etc/os-release of the build image, for a run image without distribution labels.
	OSRelease []byte
	// Platform is where the build image runs; a run image for another one is a *MismatchError. Empty fields
	// match anything.
	Platform cnb.Target
	ExecEnv  string // "" is production
	Emit     func(Event)
}

// maxLabel caps the lifecycle metadata label: larger ones come from no build.
const maxLabel = 4 << 20

// A MismatchError tells that the run image cannot run what the build image builds.
type MismatchError struct {
	Image  string
	Reason string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("run image %s does not fit the build image: %s", e.Image, e.Reason)
}

// Analyze says what is known of the previous image and the run image (platform, "analyzer"). A previous image
// whose metadata cannot be used is a warning and counts as none.
func Analyze(in AnalyzeInput) (cnb.Analyzed, error) {
	a, err := analyze(in)
	return a, inPhase("analyze", err)
}

func analyze(in AnalyzeInput) (cnb.Analyzed, error) {
	if !in.PlatformAPI.Within(cnb.OldestPlatformAPI, cnb.NewestPlatformAPI) {
		return cnb.Analyzed{}, &APIError{API: in.PlatformAPI}
	}
	var out cnb.Analyzed
	if in.Previous != nil {
		out.Image = &cnb.ImageRef{Reference: in.PreviousReference}
		md, err := previousMetadata(in)
		if err != nil {
			emitter(in.Emit)(Event{Kind: EventWarning, Text: fmt.Sprintf("previous image %s is not used: %v", in.PreviousReference, err)})
			out.Image = nil
		} else {
			out.Metadata = md
		}
	}
	if in.Run == nil {
		return out, nil
	}
	out.RunImage = &cnb.RunImage{Reference: in.RunReference, Image: in.RunName}
	t, err := ImageTarget(in.Run, in.OSRelease)
	if err != nil {
		return out, fmt.Errorf("run image %s: %w", in.RunName, err)
	}
	if why := mismatch(in.Platform, t); why != "" {
		return out, &MismatchError{Image: in.RunName, Reason: why}
	}
	if in.PlatformAPI.AtLeast(0, 12) {
		out.RunImage.Target = &t
	}
	return out, nil
}

// mismatch says why an image with target have cannot stand where want is asked for, "" where it can.
func mismatch(want, have cnb.Target) string {
	for _, f := range []struct{ name, want, have string }{
		{"operating system", want.OS, have.OS},
		{"architecture", want.Arch, have.Arch},
		{"architecture variant", want.Variant, have.Variant},
	} {
		if f.want != "" && f.have != "" && f.want != f.have {
			return fmt.Sprintf("its %s is %s, not %s", f.name, f.have, f.want)
		}
	}
	return ""
}

// StackID is an image's legacy stack id, "" for none.
func StackID(img v1.Image) (string, error) {
	cf, err := img.ConfigFile()
	if err != nil {
		return "", fmt.Errorf("read the image's config: %w", err)
	}
	return cf.Config.Labels[cnb.LabelStackID], nil
}

// ImageTarget is where an image runs: os, architecture and variant of its config and the distribution of its
// labels, else of osRelease, else of the one stack whose distribution the spec tells (bionic).
func ImageTarget(img v1.Image, osRelease []byte) (cnb.Target, error) {
	cf, err := img.ConfigFile()
	if err != nil {
		return cnb.Target{}, fmt.Errorf("read the image's config: %w", err)
	}
	if cf.OS == "" {
		return cnb.Target{}, fmt.Errorf("the image's config names no operating system")
	}
	labels := cf.Config.Labels
	t := cnb.Target{ID: labels[cnb.LabelBaseID], OS: cf.OS, Arch: cf.Architecture, Variant: cf.Variant}
	name, hasName := labels[cnb.LabelDistroName]
	version, hasVersion := labels[cnb.LabelDistroVersion]
	switch d := ParseOSRelease(osRelease); {
	case hasName || hasVersion:
		t.Distros = []cnb.Distro{{Name: name, Version: version}}
	case labels[cnb.LabelStackID] == "io.buildpacks.stacks.bionic":
		t.Distros = []cnb.Distro{{Name: "ubuntu", Version: "18.04"}}
	case d != cnb.Distro{}:
		t.Distros = []cnb.Distro{d}
	}
	return t, nil
}

// ParseOSRelease reads ID and VERSION_ID of /etc/os-release (os-release(5)); of more than 64 KiB it reads the
// first part only. What is missing stays empty.
func ParseOSRelease(b []byte) cnb.Distro {
	var d cnb.Distro
	for line := range strings.Lines(string(b[:min(len(b), 64<<10)])) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		value = unquote(value)
		if len(value) > 256 || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			continue
		}
		switch key {
		case "ID":
			d.Name = value
		case "VERSION_ID":
			d.Version = value
		}
	}
	return d
}

// unquote takes a shell-style quoted value out of its quotes.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' && s[0] != '\'' || s[len(s)-1] != s[0] {
		return s
	}
	if s[0] == '\'' {
		return s[1 : len(s)-1]
	}
	var b strings.Builder
	for in, i := s[1:len(s)-1], 0; i < len(in); i++ {
		if in[i] == '\\' && i+1 < len(in) && strings.IndexByte("\\\"$`", in[i+1]) >= 0 {
			i++
		}
		b.WriteByte(in[i])
	}
	return b.String()
}

// previousMetadata is the previous image's lifecycle metadata, without anything that the image does not hold.
func previousMetadata(in AnalyzeInput) (cnb.LayersMetadata, error) {
	cf, err := in.Previous.ConfigFile()
	if err != nil {
		return cnb.LayersMetadata{}, fmt.Errorf("read its config: %w", err)
	}
	labels := cf.Config.Labels
	label, ok := labels[cnb.LabelLifecycleMetadata]
	if !ok || label == "" {
		return cnb.LayersMetadata{}, fmt.Errorf("it has no label %s, so it was not made by buildpacks", cnb.LabelLifecycleMetadata)
	}
	if len(label) > maxLabel {
		return cnb.LayersMetadata{}, fmt.Errorf("its label %s has %d bytes, more than %d", cnb.LabelLifecycleMetadata, len(label), maxLabel)
	}
	if in.PlatformAPI.AtLeast(0, 15) {
		if had, want := execEnv(labels[cnb.LabelExecEnv]), execEnv(in.ExecEnv); had != want {
			return cnb.LayersMetadata{}, fmt.Errorf("it was built for the execution environment %s, not %s", had, want)
		}
	}
	md, err := cnb.DecodeLayersMetadata(label)
	if err != nil {
		// Very old images have an object for "app"; all else in them is as it is today.
		if md, err = withoutApp(label, err); err != nil {
			return cnb.LayersMetadata{}, err
		}
	}
	holds := map[string]bool{}
	for _, id := range cf.RootFS.DiffIDs {
		holds[id.String()] = true
	}
	return prune(md, holds, emitter(in.Emit)), nil
}

func execEnv(s string) string {
	if s == "" {
		return "production"
	}
	return s
}

func withoutApp(label string, because error) (cnb.LayersMetadata, error) {
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(label), &m) != nil {
		return cnb.LayersMetadata{}, because
	}
	delete(m, "app")
	b, err := json.Marshal(m)
	if err != nil {
		return cnb.LayersMetadata{}, because
	}
	return cnb.DecodeLayersMetadata(string(b))
}

// prune takes out layers that the image does not hold and names that cannot be: each is a layer that the next
// build makes anew.
func prune(md cnb.LayersMetadata, holds map[string]bool, emit func(Event)) cnb.LayersMetadata {
	warn := func(what string) {
		emit(Event{Kind: EventWarning, Text: fmt.Sprintf("previous image: %s is damaged or not in the image: not reused", what)})
	}
	for _, s := range []*cnb.LayerSHA{&md.Config, &md.Launcher, &md.ProcessTypes} {
		if !holds[s.SHA] {
			*s = cnb.LayerSHA{}
		}
	}
	if md.BOM != nil && !holds[md.BOM.SHA] {
		warn("the SBOM layer")
		md.BOM = nil
	}
	var bps []cnb.BuildpackLayers
	for _, bp := range md.Buildpacks {
		if _, err := cnb.ParseID(string(bp.ID)); err != nil {
			warn(fmt.Sprintf("buildpack %.100q", bp.ID))
			continue
		}
		layers := map[string]cnb.LayerMetadata{}
		for _, name := range sortedKeys(bp.Layers) {
			l := bp.Layers[name]
			if _, err := cnb.ParseLayerName(name); err != nil || !holds[l.SHA] || tooDeep(l.Data, maxData) {
				warn(fmt.Sprintf("layer %.100q of buildpack %s", name, bp.ID))
				continue
			}
			layers[name] = l
		}
		bp.Layers = layers
		if bp.Store != nil && tooDeep(bp.Store.Data, maxData) {
			warn(fmt.Sprintf("store.toml of buildpack %s", bp.ID))
			bp.Store = nil
		}
		bps = append(bps, bp)
	}
	md.Buildpacks = bps
	return md
}

// maxData is how deep tables of a buildpack may lie in each other, as in the files it writes.
const maxData = 32

func tooDeep(v any, left int) bool {
	if left == 0 {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if tooDeep(e, left-1) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if tooDeep(e, left-1) {
				return true
			}
		}
	}
	return false
}

package suite

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/platform"
)

// A Failure is one thing that is other than expected.
type Failure struct {
	Kind     string   `json:"kind"` // "result", "log", "layer", "env", "process", "file", "sbom", "label", "size", "http", "rebuild"
	What     string   `json:"what"`
	Expected string   `json:"expected"`
	Actual   string   `json:"actual"`
	Near     []string `json:"near,omitempty"` // the lines of the text that are most like what was expected
}

// Seen is what a build came to.
type Seen struct {
	Result string
	Error  string
	Log    string
	ID     cnb.ID          // of the tested buildpack
	Tried  *platform.Tried // nil where nothing was built
	Image  *Image          // nil where nothing of it is expected
}

// Image is what there is to know of an image.
type Image struct {
	Files  map[string]ImageFile // those that are expected, by their absolute paths
	Labels map[string]string
	Env    map[string]string
	SBOMs  map[string]string // file below the SBOM directory to its text
	Bytes  int64
	HTTP   []Answer // in the order in which they are expected
}

// An ImageFile is a file of an image.
type ImageFile struct {
	Mode    int64
	Content string
}

// An Answer is the app's to a request. Error is set where there was none.
type Answer struct {
	Status int
	Body   string
	Error  string
}

// check compares. The failures are in the order of Expect's fields.
func check(e Expect, s Seen) (out []Failure) {
	if want := cmp.Or(e.Result, Built); want != s.Result {
		actual := s.Result
		if s.Error != "" {
			actual += ": " + s.Error
		}
		out = append(out, Failure{"result", "result of the build", want, actual, last(s.Log)})
	}
	out = append(out, e.Log.check("log", "log", s.Log)...)
	if s.Tried != nil {
		out = append(out, checkLayers(e, s)...)
		out = append(out, checkProcesses(e, s.Tried.Processes)...)
	}
	if s.Image != nil {
		out = append(out, checkImage(e, s.Image)...)
	}
	return out
}

// last is the end of a text.
func last(text string) []string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[max(0, len(lines)-3):]
}

func (t Text) check(kind, of, text string) (out []Failure) {
	for _, want := range t.Contains {
		if !strings.Contains(text, want) {
			out = append(out, Failure{kind, of + " contains", fmt.Sprintf("%q", want), "nothing like it", nearest(text, want)})
		}
	}
	for _, want := range t.Matches {
		if !regexp.MustCompile("(?m)" + want).MatchString(text) {
			out = append(out, Failure{kind, of + " matches", want, "no line matches", nearest(text, want)})
		}
	}
	for _, not := range t.Absent {
		if before, _, ok := strings.Cut(text, not); ok {
			n := 1 + strings.Count(before, "\n")
			line := strings.Split(text, "\n")[n-1]
			out = append(out, Failure{kind, of + " has not", fmt.Sprintf("nowhere %q", not), fmt.Sprintf("line %d: %s", n, short(line)), nil})
		}
	}
	return out
}

// word is what lines are compared by.
var word = regexp.MustCompile(`[\pL\pN]+`)

// nearest are at most three lines that have the most words of what was wanted, as they follow in the text.
func nearest(text, want string) []string {
	words := map[string]bool{}
	for _, w := range word.FindAllString(strings.ToLower(want), -1) {
		words[w] = true
	}
	type scored struct{ n, score int }
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	var found []scored
	for n, l := range lines {
		score := 0
		for _, w := range word.FindAllString(strings.ToLower(l), -1) {
			if words[w] {
				score++
			}
		}
		if score > 0 {
			found = append(found, scored{n, score})
		}
	}
	slices.SortStableFunc(found, func(a, b scored) int { return b.score - a.score })
	found = found[:min(3, len(found))]
	slices.SortFunc(found, func(a, b scored) int { return a.n - b.n })
	var out []string
	for _, f := range found {
		out = append(out, fmt.Sprintf("line %d: %s", f.n+1, short(lines[f.n])))
	}
	return out
}

func short(s string) string {
	s = strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", `\n`)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}

// layersOf are those of the tested buildpack.
func layersOf(s Seen) map[string]platform.TriedLayer {
	out := map[string]platform.TriedLayer{}
	for _, b := range s.Tried.Buildpacks {
		if b.Buildpack.ID != s.ID {
			continue
		}
		for _, l := range b.Layers {
			out[string(l.Name)] = l
		}
	}
	return out
}

func checkLayers(e Expect, s Seen) (out []Failure) {
	have := layersOf(s)
	names := strings.Join(slices.Sorted(maps.Keys(have)), ", ")
	for _, want := range e.Layers {
		l, ok := have[want.Name]
		if !ok {
			out = append(out, Failure{"layer", "layer " + want.Name, "is there", "layers: " + cmp.Or(names, "none"), nil})
			continue
		}
		for _, f := range []struct {
			name string
			want *bool
			has  bool
		}{{"launch", want.Launch, l.Launch}, {"build", want.Build, l.Build}, {"cache", want.Cache, l.Cache}} {
			if f.want != nil && *f.want != f.has {
				out = append(out, Failure{"layer", fmt.Sprintf("layer %s, %s", want.Name, f.name), fmt.Sprint(*f.want), fmt.Sprint(f.has), nil})
			}
		}
		out = append(out, checkMap("env", "layer "+want.Name+", ", want.Env, l.Env)...)
	}
	for _, not := range e.NoLayers {
		if _, ok := have[not]; ok {
			out = append(out, Failure{"layer", "layer " + not, "is not there", "layers: " + names, nil})
		}
	}
	return out
}

// checkMap wants values of keys. Keys that nothing is expected of are not looked at.
func checkMap(kind, of string, want, have map[string]string) (out []Failure) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		v, ok := have[k]
		if !ok {
			out = append(out, Failure{kind, of + k, short(want[k]), "not there; there are " + cmp.Or(short(strings.Join(slices.Sorted(maps.Keys(have)), ", ")), "none"), nil})
		} else if v != want[k] {
			out = append(out, Failure{kind, of + k, short(want[k]), short(v), nil})
		}
	}
	return out
}

func checkProcesses(e Expect, all []platform.TriedProcess) (out []Failure) {
	have := map[string]platform.TriedProcess{}
	for _, p := range all {
		have[string(p.Type)] = p
	}
	names := cmp.Or(strings.Join(slices.Sorted(maps.Keys(have)), ", "), "none")
	for _, want := range e.Processes {
		p, ok := have[want.Type]
		argv := slices.Concat(p.Command, p.Args)
		switch {
		case !ok:
			out = append(out, Failure{"process", "process " + want.Type, "is there", "processes: " + names, nil})
			continue
		case len(want.Command) > 0 && !slices.Equal(want.Command, argv):
			out = append(out, Failure{"process", "process " + want.Type + ", command", fmt.Sprintf("%q", want.Command), fmt.Sprintf("%q", argv), nil})
		}
		if want.Default != nil && *want.Default != p.Default {
			out = append(out, Failure{"process", "process " + want.Type + ", default", fmt.Sprint(*want.Default), fmt.Sprint(p.Default), nil})
		}
	}
	for _, not := range e.NoProcesses {
		if _, ok := have[not]; ok {
			out = append(out, Failure{"process", "process " + not, "is not there", "processes: " + names, nil})
		}
	}
	return out
}

func checkImage(e Expect, i *Image) (out []Failure) {
	for _, want := range e.Files {
		f, ok := i.Files[absolute(want.Path)]
		switch {
		case want.Absent && ok:
			out = append(out, Failure{"file", "file " + want.Path, "is not there", fmt.Sprintf("is there, mode %04o", f.Mode), nil})
		case want.Absent:
		case !ok:
			out = append(out, Failure{"file", "file " + want.Path, "is there", "is not there", nil})
		default:
			if mode := fmt.Sprintf("%04o", f.Mode); want.Mode != "" && strings.TrimLeft(want.Mode, "0") != strings.TrimLeft(mode, "0") {
				out = append(out, Failure{"file", "file " + want.Path + ", mode", want.Mode, mode, nil})
			}
			out = append(out, want.Content.check("file", "file "+want.Path, f.Content)...)
		}
	}
	for _, want := range e.SBOMs {
		out = append(out, want.check(i.SBOMs)...)
	}
	out = append(out, checkMap("label", "label ", e.Labels, i.Labels)...)
	out = append(out, checkMap("env", "variable ", e.Env, i.Env)...)
	if e.MaxSize > 0 && i.Bytes > e.MaxSize {
		out = append(out, Failure{"size", "size of the image", fmt.Sprintf("at most %d bytes", e.MaxSize), fmt.Sprintf("%d bytes, %d too many", i.Bytes, i.Bytes-e.MaxSize), nil})
	}
	for n, want := range e.HTTP {
		a := i.HTTP[n]
		if a.Error != "" {
			out = append(out, Failure{"http", "GET " + want.Path, "an answer", a.Error, last(a.Body)})
			continue
		}
		if status := cmp.Or(want.Status, 200); status != a.Status {
			out = append(out, Failure{"http", "GET " + want.Path + ", status", fmt.Sprint(status), fmt.Sprint(a.Status), nearest(a.Body, "error")})
		}
		out = append(out, want.Body.check("http", "GET "+want.Path, a.Body)...)
	}
	return out
}

// check wants one of the files to be it.
func (b SBOM) check(all map[string]string) []Failure {
	what := strings.TrimSpace("SBOM " + b.Layer + " " + b.Format)
	var best []Failure
	found := false
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if b.Layer != "" && !strings.Contains("/"+name, "/"+b.Layer+"/") || b.Format != "" && !strings.HasSuffix(name, b.Format) {
			continue
		}
		fails := b.Content.check("sbom", what, all[name])
		if len(fails) == 0 {
			return nil
		}
		if !found || len(fails) < len(best) {
			best = fails
		}
		found = true
	}
	if !found {
		return []Failure{{"sbom", what, "is there", "SBOM files: " + cmp.Or(strings.Join(slices.Sorted(maps.Keys(all)), ", "), "none"), nil}}
	}
	return best
}

// checkReuse looks at what a rebuild did to layers. A layer that was made again with the same files was not reused.
func checkReuse(r Rebuild, s Seen) (out []Failure) {
	if s.Tried == nil {
		return nil // the result is told of
	}
	have := layersOf(s)
	reused := func(l platform.TriedLayer) bool {
		return l.How == platform.LayerUntouched || l.How == platform.LayerKept
	}
	for _, name := range r.Reused {
		if l, ok := have[name]; !ok || !reused(l) {
			out = append(out, Failure{"rebuild", "layer " + name, "reused", howText(l.How), nil})
		}
	}
	for _, name := range r.Made {
		if l, ok := have[name]; !ok || reused(l) {
			out = append(out, Failure{"rebuild", "layer " + name, "made again", howText(l.How), nil})
		}
	}
	return out
}

func howText(how string) string {
	switch how {
	case "":
		return "there is no such layer"
	case platform.LayerSame:
		return "made again, with the same files"
	case platform.LayerUntouched, platform.LayerKept:
		return "reused (" + how + ")"
	}
	return how
}

package platform

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
)

// The kinds of TriedChange.
const (
	ChangeAdded   = "added"
	ChangeRemoved = "removed"
	ChangeChanged = "changed"
)

// A TriedDiff is what two runs of Try came to differently.
type TriedDiff struct {
	Changes     []TriedChange `json:"changes"`
	BytesBefore int64         `json:"bytesBefore"` // of all layers
	Bytes       int64         `json:"bytes"`
}

// Empty says that nothing differs.
func (d TriedDiff) Empty() bool { return len(d.Changes) == 0 && d.Bytes == d.BytesBefore }

// A TriedChange is one thing that is new, gone or other.
type TriedChange struct {
	Kind   string `json:"kind"` // ChangeAdded ...
	What   string `json:"what"` // "layer acme/x:deps", "file acme/x:deps/bin/tool", "process web"
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Since compares with an earlier run: group, plan, layers with their flags, metadata, variables and files, processes,
// labels and SBOM files. Times do not count.
func (t *Tried) Since(old *Tried) TriedDiff {
	d := TriedDiff{Changes: []TriedChange{}}
	before, after := old.facts(), t.facts()
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if now, ok := after[k]; !ok {
			d.Changes = append(d.Changes, TriedChange{Kind: ChangeRemoved, What: k, Before: before[k]})
		} else if now != before[k] {
			d.Changes = append(d.Changes, TriedChange{Kind: ChangeChanged, What: k, Before: before[k], After: now})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if _, ok := before[k]; !ok {
			d.Changes = append(d.Changes, TriedChange{Kind: ChangeAdded, What: k, After: after[k]})
		}
	}
	slices.SortStableFunc(d.Changes, func(a, b TriedChange) int { return strings.Compare(a.What, b.What) })
	d.BytesBefore, d.Bytes = old.bytes(), t.bytes()
	return d
}

func (t *Tried) bytes() (sum int64) {
	for _, b := range t.Buildpacks {
		for _, l := range b.Layers {
			sum += l.Bytes
		}
	}
	return sum
}

// facts is everything that is compared: what it is, and its value in one line.
func (t *Tried) facts() map[string]string {
	out := map[string]string{}
	for _, e := range t.Plan.Entries {
		if len(e.Requires) == 0 {
			continue
		}
		var by []string
		for _, p := range e.Providers {
			by = append(by, p.Ref.String())
		}
		out["plan "+e.Requires[0].Name] = fmt.Sprintf("provided by %s, required %d times", strings.Join(by, ", "), len(e.Requires))
	}
	for _, b := range t.Buildpacks {
		out["buildpack "+string(b.Buildpack.ID)] = b.Buildpack.Version
		for k, v := range b.Store {
			out[fmt.Sprintf("store %s %s", b.Buildpack.ID, k)] = fmt.Sprint(v)
		}
		for i := range b.Layers {
			b.Layers[i].facts(b.Buildpack.ID, out)
		}
	}
	for _, p := range t.Processes {
		out["process "+string(p.Type)] = fmt.Sprintf("%q %q direct=%t default=%t dir=%q env=%q", p.Command, p.Args, p.Direct, p.Default, p.WorkingDir, p.ExecEnv)
	}
	for k, v := range t.Labels {
		out["label "+k] = v
	}
	for i, s := range t.Slices {
		out[fmt.Sprintf("slice %d", i+1)] = strings.Join(s, " ")
	}
	for _, s := range t.SBOMs {
		out[fmt.Sprintf("SBOM %s:%s %s", s.Buildpack.ID, s.Layer, s.Format)] = fmt.Sprintf("launch=%t build=%t", s.Launch, s.Build)
	}
	return out
}

func (l *TriedLayer) facts(bp cnb.ID, out map[string]string) {
	id := fmt.Sprintf("%s:%s", bp, l.Name)
	out["layer "+id] = fmt.Sprintf("launch=%t build=%t cache=%t", l.Launch, l.Build, l.Cache)
	for k, v := range l.Metadata {
		out[fmt.Sprintf("metadata %s %s", id, k)] = fmt.Sprint(v)
	}
	for at, text := range l.Env {
		out[fmt.Sprintf("variable %s/%s", id, at)] = text
	}
	for _, f := range l.Files {
		if _, ok := l.Env[f.Path]; !ok {
			out[fmt.Sprintf("file %s/%s", id, f.Path)] = fileFact(f)
		}
	}
	if more := l.Count - len(l.Files); more > 0 {
		out["more files "+id] = fmt.Sprintf("%d", more)
	}
}

func fileFact(f agent.ListedFile) string {
	if f.Link != "" {
		return "link to " + f.Link
	}
	return fmt.Sprintf("%s %d bytes %.12s", f.Mode, f.Size, f.Sum)
}

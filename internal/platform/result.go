package platform

import (
	"maps"
	"path/filepath"
	"slices"
)

// result is what the caller gets.
func (j *job) result() *Result {
	r := &Result{
		Image: j.o.Image, Tags: j.o.Tags, Where: j.dest.where,
		Digest: j.written.Digest.String(), ImageID: j.written.ID.String(), Size: j.written.ManifestSize,
		Builder: j.builder.Reference, RunImage: j.run.Reference,
		Layers: len(j.exported.Layers), Pushed: j.written.Pushed, Timings: j.timings, Executed: maps.Clone(j.h.executed),
		Default: string(j.built.Metadata.DefaultProcessType),
	}
	if m, err := j.image.Manifest(); err == nil {
		for _, l := range m.Layers {
			r.Bytes += l.Size
		}
	}
	for _, e := range j.detected.Group.Elements {
		r.Buildpacks = append(r.Buildpacks, e.Ref)
	}
	for _, a := range j.added {
		if a.from != "" && slices.Contains(r.Buildpacks, a.ref) {
			if r.Packages == nil {
				r.Packages = map[string]string{}
			}
			r.Packages[a.ref.String()] = a.from
		}
	}
	r.Group, r.Launch = j.detected.Group.Elements, j.built.Metadata.Processes
	for _, p := range j.built.Metadata.Processes {
		r.Processes = append(r.Processes, string(p.Type))
	}
	for _, l := range j.exported.Layers {
		if l.Reused || l.Kept {
			r.Reused++
		}
	}
	if len(j.exported.Entrypoint) > 0 {
		if base := filepath.Base(j.exported.Entrypoint[0]); base != "launcher" {
			r.Default = base
		}
	}
	return r
}

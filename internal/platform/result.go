package platform

import (
	"path/filepath"
	"slices"
)

// reached is what is known of a build however it ended.
func (j *job) reached() *Result {
	r := &Result{Timings: j.timings, Executed: j.h.took()}
	if j.detected != nil {
		r.Group = j.detected.Group.Elements
	}
	return r
}

// result is what the caller gets.
func (j *job) result() *Result {
	r := j.reached()
	r.Image, r.Tags, r.Where = j.o.Image, j.o.Tags, j.dest.where
	r.Digest, r.ImageID, r.Size = j.written.Digest.String(), j.written.ID.String(), j.written.ManifestSize
	r.Builder, r.RunImage = j.builder.Reference, j.run.Reference
	r.Layers, r.Pushed, r.Default = len(j.exported.Layers), j.written.Pushed, string(j.built.Metadata.DefaultProcessType)
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
	r.Launch = j.built.Metadata.Processes
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

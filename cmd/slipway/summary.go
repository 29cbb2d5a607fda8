package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

// summary is the end of a build that went well.
func (p *plainView) summary(r *platform.Result) []string {
	out := []string{p.paint.good.Render(fmt.Sprintf("Successfully built image '%s'", r.Image))}
	row := func(name, format string, args ...any) {
		out = append(out, fmt.Sprintf("  %-10s ", name)+fmt.Sprintf(format, args...))
	}
	if len(r.Tags) > 0 {
		row("tags", "%s", strings.Join(r.Tags, ", "))
	}
	row("digest", "%s", r.Digest)
	row("image id", "%s", r.ImageID)
	size := fmt.Sprintf("%d layers of the app, %d reused", r.Layers, r.Reused)
	if r.Bytes > 0 {
		size = transcript.Bytes(r.Bytes) + " compressed, " + size
	}
	row("size", "%s", size)
	row("where", "%s", place(r))
	if len(r.Processes) > 0 {
		row("processes", "%s", processes(r))
	}
	row("time", "%s", timings(r))
	return append(out, "Run it:    "+howToRun(r))
}

// place says where the image is.
func place(r *platform.Result) string {
	switch {
	case r.Where == platform.WhereDocker:
		return "Docker, as " + r.Image
	case r.Where == platform.WhereStore:
		return "the local image store, as " + r.Image
	case r.Where == platform.WhereRegistry:
		return "the registry, as " + r.Image + "@" + r.Digest
	}
	return "the OCI layout directory " + strings.TrimPrefix(r.Where, "oci:")
}

func howToRun(r *platform.Result) string {
	if strings.HasPrefix(r.Where, "oci:") {
		return "slipway run " + r.Where
	}
	return "slipway run " + r.Image
}

func processes(r *platform.Result) string {
	names := make([]string, 0, len(r.Processes))
	for _, n := range r.Processes {
		if n == r.Default {
			n += " (default)"
		}
		names = append(names, n)
	}
	return strings.Join(names, ", ")
}

// timings is the whole time and that of the phases that took some of it.
func timings(r *platform.Result) string {
	var total time.Duration
	var parts []string
	for _, ph := range []platform.Phase{
		platform.PhasePrepare, platform.PhaseAnalyze, platform.PhaseDetect,
		platform.PhaseRestore, platform.PhaseBuild, platform.PhaseExport,
	} {
		d := r.Timings[ph]
		total += d
		if d >= 50*time.Millisecond {
			parts = append(parts, fmt.Sprintf("%s %s", ph, transcript.Duration(d)))
		}
	}
	if len(parts) == 0 {
		return transcript.Duration(total)
	}
	return transcript.Duration(total) + " (" + strings.Join(parts, ", ") + ")"
}

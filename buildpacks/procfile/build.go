package main

import (
	"context"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// build makes a process of each line. It contributes no layer, so there is nothing to key and no SBOM.
func build(_ context.Context, c libcnb.BuildContext, w parcel.Work) (libcnb.BuildResult, error) {
	text, _, err := parcel.ReadText(c.ApplicationPath, fileName)
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	lines, err := parse(text)
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	result := libcnb.NewBuildResult()
	for _, l := range lines {
		p := libcnb.Process{Type: l.process, Command: command(l.command), Default: l.process == "web" || len(lines) == 1}
		result.Processes = append(result.Processes, p)
		w.Sayf("process %s: %s", l.process, l.command)
	}
	return result, nil
}

package main

import (
	"context"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

const fileName = "Procfile"

// detect passes for a Procfile. A broken one is an error here already, before anything is built.
func detect(_ context.Context, c libcnb.DetectContext, w parcel.Work) (libcnb.DetectResult, error) {
	text, ok, err := parcel.ReadText(c.ApplicationPath, fileName)
	if err != nil {
		return libcnb.DetectResult{}, err
	}
	if !ok {
		return w.Fail("no Procfile in the app's root directory")
	}
	lines, err := parse(text)
	if err != nil {
		return libcnb.DetectResult{}, err
	}
	return w.Pass("found a Procfile with "+names(lines), parcel.Plan("procfile"))
}

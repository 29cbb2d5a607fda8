package main

import (
	"context"
	"strings"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// detect passes for an app that names at least one package.
func detect(_ context.Context, c libcnb.DetectContext, w parcel.Work) (libcnb.DetectResult, error) {
	list, from, err := wanted(c.ApplicationPath)
	if err != nil {
		return libcnb.DetectResult{}, err
	}
	switch {
	case from == "":
		return w.Fail("no [com.slipway.deb-packages] in project.toml, and no Aptfile")
	case len(list) == 0:
		return w.Fail(from + " names no Debian package")
	}
	return w.Pass(from+" names "+strings.Join(list, " "), parcel.Plan("deb-packages"))
}

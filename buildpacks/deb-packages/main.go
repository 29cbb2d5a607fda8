// Command deb-packages is the buildpack slipway/deb-packages: bin/detect and bin/build are links to it.
package main

import (
	"context"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

func main() {
	parcel.Main("slipway/deb-packages", detect, func(ctx context.Context, c libcnb.BuildContext, w parcel.Work) (libcnb.BuildResult, error) {
		return build(ctx, c, w, system{etc: "/etc/apt", status: "/var/lib/dpkg/status", bin: "/usr/bin"})
	})
}

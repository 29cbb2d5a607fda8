// Command static is the buildpack slipway/static: bin/detect and bin/build are links to it, and the same
// binary, under the name static-server, is the web server that it puts into images.
package main

import (
	"os"
	"path/filepath"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
	"github.com/slipway-build/slipway/buildpacks/static/site"
)

func main() {
	if filepath.Base(os.Args[0]) == serverName {
		os.Exit(site.Main(os.Args[1:], os.Getenv("PORT"), os.Stderr))
	}
	parcel.Main("slipway/static", detect, build)
}

// Command procfile is the buildpack slipway/procfile: bin/detect and bin/build are links to it.
package main

import "github.com/slipway-build/slipway/buildpacks/internal/parcel"

func main() { parcel.Main("slipway/procfile", detect, build) }

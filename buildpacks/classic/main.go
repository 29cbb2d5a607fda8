// Command classic runs a classic buildpack as a Cloud Native Buildpack. It lies in the buildpack that package
// internal/classic makes, as bin/detect, which bin/build is a link to; the classic one is beside it in the directory classic.
//
// What a classic buildpack finds is what its API documents: BUILD_DIR is the app's directory, CACHE_DIR a layer that is
// cached, ENV_DIR has a file for each config var, none of which is in the environment; it runs in its own directory, of which
// it has a copy that it may write to, with HOME, STACK, SOURCE_VERSION and REQUEST_ID.
package main

import "github.com/slipway-build/slipway/buildpacks/internal/parcel"

func main() { parcel.Main("classic", detect, build) }

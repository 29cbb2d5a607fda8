// Command slipway turns source code into container images with Cloud Native Buildpacks.
package main

import (
	"context"
	"os"
)

// version is set when slipway is built.
var version = "devel"

// lifecycleVersion is the version of the lifecycle that goes into builders; set by the linker as well.
var lifecycleVersion = "0.0.0-devel"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

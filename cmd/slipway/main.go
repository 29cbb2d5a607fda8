// Command slipway turns source code into container images with Cloud Native Buildpacks.
package main

import (
	"context"
	"os"

	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/gitserver"
)

// version is set when slipway is built.
var version = "devel"

// lifecycleVersion is the version of the lifecycle that goes into builders; set by the linker as well.
var lifecycleVersion = "0.0.0-devel"

func main() {
	// The service's gits start this binary to be their hook, and to be told credentials.
	switch ctx := context.Background(); {
	case gitserver.IsHook(os.Args, os.Environ()):
		os.Exit(gitserver.Hook(ctx, os.Stdin, os.Stdout, os.Environ()))
	case fetch.IsAskpass(os.Args, os.Environ()):
		os.Exit(fetch.Askpass(ctx, os.Args, os.Environ(), os.Stdout))
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

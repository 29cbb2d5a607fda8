package agent

// What one builder image may tell about itself. A hostile image costs bounded time and memory on both ends.
const (
	maxEnv        = 2048
	maxBuildpacks = 2000
	maxTOML       = 1 << 20 // one descriptor
	maxAllTOML    = 12 << 20
	maxOSRelease  = 64 << 10
	maxConfigEnv  = 1 << 20 // all of the operator's variables
)

// cnbFiles are the platform's files in a builder image that the agent reads.
var cnbFiles = [...]string{"order.toml", "run.toml", "stack.toml", "system.toml", "lifecycle/lifecycle.toml"}

// configEnvDir is where a builder image keeps the operator's variables (platform, "Operator-Provided Environment
// Variables"). Hello.Files names each by its path from /cnb.
const configEnvDir = "build-config/env"

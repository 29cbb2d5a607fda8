package build

import (
	"slices"
	"time"
)

// A DeployerKind says what happens after a release of an app.
type DeployerKind string

// The kinds of deployer. An app without one has DeployNone: its image is in the registry, and that is all.
const (
	DeployNone    DeployerKind = "none"
	DeployCommand DeployerKind = "command" // the operator's, on the service's machine
	DeployWebhook DeployerKind = "webhook" // one signed request, until it is taken
	DeployLocal   DeployerKind = "local"   // the web process runs on the service's machine
)

// DeployerKinds lists all of them.
func DeployerKinds() []DeployerKind {
	return []DeployerKind{DeployNone, DeployCommand, DeployWebhook, DeployLocal}
}

// A Deployer is what happens after each release of an app.
type Deployer struct {
	App  ID
	Kind DeployerKind
	// Command is a whole command line, for DeployCommand. It is the operator's: nobody else may set one.
	Command []string
	// Time is how long a command may take, and how long a process may take until it answers; 0: DeployTime.
	Time time.Duration
	// Path is asked by HTTP to know whether a local process answers; "": that something listens is enough.
	Path string
	// Port of the machine, for DeployLocal. It is chosen once and kept; 0: not yet.
	Port int
	// Webhook is the app's webhook that is told, for DeployWebhook; "": somebody has deleted it.
	Webhook   ID
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Limits of a deployer.
const (
	MaxDeployTime    = time.Hour
	MaxDeployments   = 200 // that are kept of one app
	MaxCommandArgs   = 64
	MaxCommandBytes  = 16 << 10 // all of them
	DefaultAnswer    = time.Minute
	DefaultCommanded = 10 * time.Minute
)

// DeployTime is Time, or what stands for 0.
func (d Deployer) DeployTime() time.Duration {
	switch {
	case d.Time > 0:
		return d.Time
	case d.Kind == DeployCommand:
		return DefaultCommanded
	}
	return DefaultAnswer
}

// A DeploymentState is where a deployment stands.
type DeploymentState string

// The states. Only a local deployment is ever running; the others have succeeded when who was told of it is.
const (
	DeployPending   DeploymentState = "pending"
	DeployStarting  DeploymentState = "starting"
	DeployRunning   DeploymentState = "running"
	DeploySucceeded DeploymentState = "succeeded"
	DeployFailed    DeploymentState = "failed"
	DeployStopped   DeploymentState = "stopped" // another has taken its place, or nothing is to run any more
)

// Ended tells that nothing follows.
func (s DeploymentState) Ended() bool {
	return slices.Contains([]DeploymentState{DeploySucceeded, DeployFailed, DeployStopped}, s)
}

// A DeploymentReason says why a release was deployed.
type DeploymentReason string

// The reasons of deployments.
const (
	BecauseRelease  DeploymentReason = "release"     // it is new
	BecauseConfig   DeploymentReason = "config-vars" // they have changed
	BecauseDeployer DeploymentReason = "deployer"    // it was set
	BecauseAsked    DeploymentReason = "asked"       // somebody wants it once more
)

// A Deployment is what became of one release at the hands of the app's deployer.
type Deployment struct {
	ID      ID
	App     ID
	Number  int64 // grows by one per app
	Release ID
	Version int64 // of the release
	Kind    DeployerKind
	Reason  DeploymentReason
	State   DeploymentState
	// Live tells that a local process of it has answered: from then on it is started again whenever it ends.
	Live      bool
	Failure   string // one line, of the last time that something went wrong
	URL       string // where it answers, for a local one
	Restarts  int
	Event     ID // that a webhook is told
	CreatedAt time.Time
	UpdatedAt time.Time
}

// IncludeDeployment is what the webhook of a deployer is told of. No other webhook can ask for it.
const IncludeDeployment = "api:deployment"

// A ToldDeployment is what a deployer's webhook is told.
type ToldDeployment struct {
	ID        ID               `json:"id"`
	Number    int64            `json:"number"`
	App       ToldApp          `json:"app"`
	Release   ToldRef          `json:"release"`
	Reason    DeploymentReason `json:"reason"`
	Image     string           `json:"image"`  // repository@digest
	Digest    string           `json:"digest"` // of the manifest
	CreatedAt *string          `json:"created_at"`
}

// TellDeployment is what is told of a deployment of a release.
func TellDeployment(d Deployment, app ToldApp, v Release) ToldDeployment {
	return ToldDeployment{
		ID: d.ID, Number: d.Number, App: app, Release: ToldRef{v.ID, v.Version}, Reason: d.Reason,
		Image: v.Repository + "@" + v.Digest, Digest: v.Digest, CreatedAt: stamped(d.CreatedAt),
	}
}

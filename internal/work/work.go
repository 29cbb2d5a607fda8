// Package work runs the builds that a service has queued: it claims them, keeps their lease alive, runs package
// platform, hands on what it prints, and says how each ended. It knows the service by four verbs whose values could
// cross a wire (Service), and nothing of its record, its users or its tags: what a worker makes is an image in a
// registry, and only the service gives it a name.
package work

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/internal/build"
)

// A Service is where work comes from. Its methods are called from many goroutines at once, and each may be called
// again after an error that is none of this package's: a verb that reached the service twice changes nothing more.
type Service interface {
	// Claim gives the next build, or nil when none waits. It does not wait for one.
	Claim(ctx context.Context, worker string) (*Job, error)
	// Heartbeat extends the lease of a claim and says whether the build shall stop.
	Heartbeat(ctx context.Context, c Claim, at Progress) (Order, error)
	// Log appends what the build printed. Pieces of one claim come in order, one at a time. It is full when of what
	// follows only the end will be kept: then the worker may leave out what is not the end, and tells of it. It does
	// not keep p.
	Log(ctx context.Context, c Claim, p Piece) (full bool, err error)
	// Finish says how a claim ended; nothing of it follows.
	Finish(ctx context.Context, c Claim, o Outcome) error
}

// ErrStale is a Service's answer to one whose claim is over: another has it, or the build has ended. What runs for
// the claim is stopped and nothing more is reported.
var ErrStale = build.ErrStale

// A Claim is a worker's right to one attempt of a build.
type Claim struct {
	Build   build.ID `json:"build"`
	Attempt int      `json:"attempt"`
	Fence   int64    `json:"fence"`
}

// A Job is all that a worker needs to know of a build. Env, Bindings and Credentials are secrets: they reach the
// build's platform directory and registries, and no log, label or error.
type Job struct {
	Claim
	App    build.AppName `json:"app"`
	Number int64         `json:"number"`

	Source     build.Source                 `json:"source"`
	Builder    string                       `json:"builder"` // image argument
	Buildpacks []string                     `json:"buildpacks,omitempty"`
	Env        map[string]string            `json:"env,omitempty"`
	Bindings   map[string]map[string]string `json:"bindings,omitempty"` // name -> file -> content
	Limits     build.Limits                 `json:"limits"`

	// Image is where the result goes: a name in a registry. Previous is the image whose layers are reused, if any.
	Image       string       `json:"image"`
	Previous    string       `json:"previous,omitempty"`
	Credentials []Credential `json:"credentials,omitempty"`
	// CacheKey names the build cache: nobody else's build has it. NoCache begins it anew.
	CacheKey string `json:"cache_key"`
	NoCache  bool   `json:"no_cache,omitempty"`
}

// A Credential opens one registry, or one repository in it, to a build's pulls and pushes.
type Credential struct {
	Registry string `json:"registry"` // host, host:port, or either with a repository
	Username string `json:"username"`
	Password string `json:"password"`
}

// A Piece is a part of what a build printed.
type Piece struct {
	Text []byte `json:"text,omitempty"`
	Left int64  `json:"left,omitempty"` // bytes behind Text that are left out
}

// Progress is where a running build is.
type Progress struct {
	Phase     string `json:"phase,omitempty"`
	Buildpack string `json:"buildpack,omitempty"` // id@version, while one runs alone
}

// An Order is a Service's answer to a heartbeat.
type Order struct {
	Cancel bool   `json:"cancel,omitempty"`
	Reason string `json:"reason,omitempty"` // one line for people
}

// An Outcome is how an attempt ended. A failure of the platform may be tried again: that is the service's to say.
type Outcome struct {
	State   build.State    `json:"state"`
	Failure *build.Failure `json:"failure,omitempty"`
	Result  *build.Result  `json:"result,omitempty"`
}

// A cancelled is the cause with which an Order to cancel ends a build.
type cancelled struct{ reason string }

func (c *cancelled) Error() string {
	if c.reason == "" {
		return "cancelled"
	}
	return "cancelled: " + c.reason
}

// errLeaseLost ends a build whose service could not be told for so long that it may have given the build away.
var errLeaseLost = errors.New("the service could not be reached for the length of the lease")

// errStopping ends builds when a worker has no time left to wait for them.
var errStopping = errors.New("the worker stops")

func (c Claim) String() string { return fmt.Sprintf("build %s, attempt %d", c.Build, c.Attempt) }

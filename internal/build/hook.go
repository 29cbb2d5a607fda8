package build

import "time"

// A Hook is where a forge tells of pushes to a repository, which are then built for an app.
type Hook struct {
	ID         ID
	App        ID
	User       ID     // who made it, and whose its builds are
	Repository string // git URL of what is cloned, whatever a forge says of itself
	Branches   []string
	Tags       []string
	Paths      []string
	Submodules bool
	CreatedAt  time.Time
	UpdatedAt  time.Time
	// PreviousUntil is how long the secret before the one there is now is taken too; zero: there is none.
	PreviousUntil time.Time
}

// Limits of hooks.
const (
	MaxHooks      = 20 // of one app
	MaxPatterns   = 50 // of branches, tags or paths of one hook
	MaxDeliveries = 1000
	MaxRefused    = 100 // of those that are refused, which anybody can send who knows the URL
)

// A DeliveryResult is what became of a delivery.
type DeliveryResult string

// The results. Of those, Ignored can become another one when it is delivered again.
const (
	DeliveryAccepted  DeliveryResult = "accepted"  // it made a build
	DeliveryDuplicate DeliveryResult = "duplicate" // of one that made a build
	DeliveryIgnored   DeliveryResult = "ignored"   // it was meant for us, and the hook's rule builds nothing of it
	DeliveryRefused   DeliveryResult = "refused"   // it cannot be believed, or not be understood
)

// A Delivery is a line in the journal of a hook: one ref of what a forge sent, or all of it where it is about none.
type Delivery struct {
	ID     ID
	Hook   ID
	Number int64  // grows by one per hook
	Forge  string // as the rest up to Before, what is refused only claims it
	Event  string // the forge's word
	Key    string // the forge's id of it, the same when it is sent again
	Replay string // the same when the same signed text is sent again; "" where that may happen by itself
	Ref    string
	Commit string
	Before string
	Result DeliveryResult
	Code   string // of why it was ignored or refused, for programs
	Reason string // one line
	Build  ID     // that it made, or that was made of the same before
	// BuildNumber is that build's.
	BuildNumber int64
	Times       int // it was received
	// Kept is what the service needs to decide about an ignored one again; JSON.
	Kept       string
	ReceivedAt time.Time
	LastAt     time.Time // it was received
}

// Package build holds the nouns and laws of the build service: apps, builds and their states, releases, users, tokens,
// and who may do what. It is pure: no I/O, no clock, nothing of ours imported.
package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// An ID names an app, a build, a release, a user or a token: a UUID of version 7, so that IDs sort by time of creation.
type ID string

// NewID makes an ID that was never used.
func NewID() ID { return ID(uuid.Must(uuid.NewV7()).String()) }

// ParseID accepts the canonical form of a UUID only, as it is used in file names too.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return "", fmt.Errorf("%.80q is not an id", s)
	}
	return ID(s), nil
}

// An AppName is the name of an app, as the Platform API has it; it is also a part of image names and URLs.
type AppName string

var appName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9-]{1,28}[a-z0-9]$`) })

// ParseAppName is the only maker of AppNames.
func ParseAppName(s string) (AppName, error) {
	if !appName().MatchString(s) {
		return "", fmt.Errorf("app name %.80q: 3 to 30 lower-case letters, digits and dashes, a letter first, no dash last", s)
	}
	return AppName(s), nil
}

// An EnvName is the name of a config var.
type EnvName string

var envName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`) })

// ParseEnvName refuses what is no name of an environment variable in a shell, and names that begin with "__".
func ParseEnvName(s string) (EnvName, error) {
	if !envName().MatchString(s) || strings.HasPrefix(s, "__") {
		return "", fmt.Errorf("config var name %.80q: letters, digits and _, no digit first, not beginning with __", s)
	}
	return EnvName(s), nil
}

// Limits of config vars of one app.
const (
	MaxVars      = 512
	MaxVarBytes  = 128 << 10 // one value
	MaxVarsBytes = 1 << 20   // all names and values
)

// Disconnect says what becomes of a pushed build when the pushing client goes away.
type Disconnect string

// The values of Disconnect.
const (
	Continue Disconnect = "continue" // the build goes on and, if it succeeds, the ref moves
	Abandon  Disconnect = "cancel"   // the build is cancelled and the ref stays
)

// Limits bound one build of an app. A zero field is the service's own limit.
type Limits struct {
	Time   time.Duration `json:"time,omitempty"`
	Memory int64         `json:"memory,omitempty"` // bytes
	CPUs   float64       `json:"cpus,omitempty"`
	PIDs   int64         `json:"pids,omitempty"`
	Disk   int64         `json:"disk,omitempty"`   // bytes
	Log    int64         `json:"log,omitempty"`    // bytes stored
	Source int64         `json:"source,omitempty"` // bytes of the unpacked source
	Cache  int64         `json:"cache,omitempty"`  // bytes of what is kept for the next build
}

// An App is something that is built again and again.
type App struct {
	ID         ID
	Name       AppName
	Owner      ID       // a User
	Builder    string   // image argument; empty means the service's default
	Buildpacks []string // replaces the builder's order when it is not empty
	Branch     string   // the deploy branch: pushes to it are built; "main" by default
	Disconnect Disconnect
	Limits     Limits
	Image      string // repository that images go to; empty means the embedded registry's, named like the app
	CacheEpoch int    // goes up when the cache is purged, so that no later build sees an earlier one's layers
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// A User owns apps. Name is unique, and looks like an e-mail address where a client wants one.
type User struct {
	ID        ID
	Name      string
	Admin     bool
	CreatedAt time.Time
}

// State is where a build stands. Each change is one durable transition; see State.To.
type State string

// The states. All but Queued and Running are terminal.
const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
	TimedOut  State = "timed-out"
)

// Terminal tells that nothing follows.
func (s State) Terminal() bool { return s != Queued && s != Running }

// To says whether the law knows the transition. Running goes back to Queued when the platform failed and attempts are
// left, or when the worker was lost.
func (s State) To(next State) bool {
	switch s {
	case Queued:
		return next == Running || next == Cancelled || next == Failed
	case Running:
		return next != Running
	default:
		return false
	}
}

// Blame says whose fault a failure is. The app's is told to its developer and never retried; the platform's is retried
// where the trigger allows it, and never counts against a buildpack.
type Blame string

// The values of Blame.
const (
	BlameApp      Blame = "app"
	BlamePlatform Blame = "platform"
)

// A Failure is why a build did not succeed, for people and for machines.
type Failure struct {
	Blame     Blame  `json:"blame"`
	Code      string `json:"code"` // a word of the kind: not-detected, buildpack-failed, timeout, memory, disk, ...
	Phase     string `json:"phase,omitempty"`
	Buildpack string `json:"buildpack,omitempty"` // id@version
	Reason    string `json:"reason"`              // one line: what was wrong and where
	// Reasons are those below the reason, a line each: why each buildpack was not for the app.
	Reasons []string `json:"reasons,omitempty"`
	Next    string   `json:"next,omitempty"` // one line: what to do
	Exit    int      `json:"exit,omitempty"` // the spec's exit code, where there is one
	// Phases are those that were reached, the last one up to the failure, and Buildpacks those that detect had found.
	Phases     []PhaseTiming `json:"phases,omitempty"`
	Buildpacks []Buildpack   `json:"buildpacks,omitempty"`
}

// TriggerKind says what asked for a build.
type TriggerKind string

// The kinds of trigger.
const (
	TriggerPush    TriggerKind = "git-push"
	TriggerAPI     TriggerKind = "api"
	TriggerRetry   TriggerKind = "retry"
	TriggerWebhook TriggerKind = "webhook"
	TriggerButton  TriggerKind = "button"
)

// A Trigger is what asked for a build, and who.
type Trigger struct {
	Kind     TriggerKind `json:"kind"`
	Delivery string      `json:"delivery,omitempty"` // of a webhook
	// Ref, Old and New are the intended update of a pushed ref. Session tells that a client waits for the result and
	// that the ref moves only when the build succeeded: such a build is lost with its session.
	Ref     string `json:"ref,omitempty"`
	Old     string `json:"old,omitempty"`
	New     string `json:"new,omitempty"`
	Session bool   `json:"session,omitempty"`
	NoCache bool   `json:"no_cache,omitempty"`
}

// A Buildpack of a build: what took part.
type Buildpack struct {
	ID       string `json:"id"`
	Version  string `json:"version"`
	Homepage string `json:"homepage,omitempty"`
	Image    string `json:"image,omitempty"` // name@digest, where it is not the builder's own
}

// A Process of a built image.
type Process struct {
	Type    string `json:"type"`
	Command string `json:"command"`
	Default bool   `json:"default,omitempty"`
}

// A Result is what a build made and of what, pinned.
type Result struct {
	Repository string        `json:"repository"` // without tag and digest
	Digest     string        `json:"digest"`     // of the manifest
	Builder    string        `json:"builder"`    // name@digest
	RunImage   string        `json:"run_image"`  // name@digest
	Lifecycle  string        `json:"lifecycle,omitempty"`
	Buildpacks []Buildpack   `json:"buildpacks"`
	Processes  []Process     `json:"processes"`
	Bytes      int64         `json:"bytes"`               // of all layers, compressed
	Pushed     int64         `json:"pushed"`              // of those that the registry did not have
	Layers     int           `json:"layers"`              // that the build made
	Reused     int           `json:"reused"`              // of those, as an earlier build made them
	EnvNames   []string      `json:"env_names,omitempty"` // never values
	Phases     []PhaseTiming `json:"phases"`
}

// A PhaseTiming tells how long a phase, or one buildpack's executable in it, took.
type PhaseTiming struct {
	Phase     string        `json:"phase"`
	Buildpack string        `json:"buildpack,omitempty"`
	Elapsed   time.Duration `json:"elapsed"`
}

// Timings are how long the build took where, as far as it came.
func (b Build) Timings() []PhaseTiming {
	switch {
	case b.Result != nil:
		return b.Result.Phases
	case b.Failure != nil:
		return b.Failure.Phases
	}
	return nil
}

// Group is the buildpacks that took part, or were to.
func (b Build) Group() []Buildpack {
	switch {
	case b.Result != nil:
		return b.Result.Buildpacks
	case b.Failure != nil:
		return b.Failure.Buildpacks
	}
	return nil
}

// MaxAttempts bounds how often a build is tried when the platform fails.
const MaxAttempts = 3

// A Build is one build of one app.
type Build struct {
	ID      ID
	App     ID
	Number  int64 // grows by one per app: the order in which builds of an app were accepted
	User    ID
	Trigger Trigger
	Source  Source
	State   State
	// Phase and Buildpack say where a running build is.
	Phase, Buildpack string
	// Attempt counts from 1; Fence is a number that no other claim ever had: what an older one reports is refused.
	Attempt int
	Fence   int64
	Worker  string
	Lease   time.Time // a running build whose lease ran out is lost
	// CancelAsked tells the worker to stop; CancelReason is the line that people read.
	CancelAsked  bool
	CancelReason string
	Failure      *Failure
	Result       *Result
	CreatedAt    time.Time
	StartedAt    time.Time // of the last attempt; zero before
	EndedAt      time.Time
}

// ReleaseState is where a release stands.
type ReleaseState string

// The states of a release.
const (
	ReleasePending   ReleaseState = "pending" // its release command runs
	ReleaseSucceeded ReleaseState = "succeeded"
	ReleaseFailed    ReleaseState = "failed" // the release command failed; the push stands
)

// A Release is an image of an app that was published, in order.
type Release struct {
	ID          ID
	App         ID
	Version     int64 // 1, 2, ... per app
	Build       ID    // empty for a rollback
	User        ID
	Description string
	Repository  string
	Digest      string
	Processes   []Process
	State       ReleaseState
	Failure     string // of the release command, one line
	// Ref, Old and New are the update of a pushed ref that belongs to the release; RefMoved tells that it was done.
	Ref, Old, New string
	RefMoved      bool
	// Tagged tells that the app's tag was moved to it, or that a newer release had moved it already.
	Tagged    bool
	CreatedAt time.Time
	UpdatedAt time.Time
}

// A Verb is something that a token may do with an app.
type Verb string

// The verbs. Each stands alone: none includes another.
const (
	VerbRead   Verb = "read"   // see the app, its builds, logs and releases; pull its images
	VerbDeploy Verb = "deploy" // push, start, cancel and retry builds, roll back
	VerbConfig Verb = "config" // see and change config vars, bindings and settings, purge the cache
	VerbManage Verb = "manage" // make, rename and delete apps; tokens and users
)

// Verbs lists all of them.
func Verbs() []Verb { return []Verb{VerbRead, VerbDeploy, VerbConfig, VerbManage} }

// ParseVerb is the only maker of Verbs.
func ParseVerb(s string) (Verb, error) {
	if v := Verb(s); slices.Contains(Verbs(), v) {
		return v, nil
	}
	return "", fmt.Errorf("scope %.40q: it is one of read, deploy, config, manage", s)
}

// A Token lets its bearer act as its user within a scope.
type Token struct {
	ID          ID
	User        ID
	Description string
	Verbs       []Verb
	App         ID     // empty: all apps of the user
	PublicKey   string // as authorized_keys has it, without comment: the token is an SSH key; else it is a text
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	LastUsedAt  time.Time // to the minute
	RevokedAt   time.Time
}

// Valid tells whether the token may be used at a time.
func (t Token) Valid(now time.Time) bool {
	return t.RevokedAt.IsZero() && (t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt))
}

// An Actor is who asks: a user, within the scope of a token.
type Actor struct {
	User  User
	Token Token
}

// Sees tells whether an app exists for the actor. Another's app does not: the answer is 404, never 403.
func (a Actor) Sees(app App) bool {
	return (a.User.Admin || app.Owner == a.User.ID) && (a.Token.App == "" || a.Token.App == app.ID)
}

// Can tells whether the actor's token has a verb, be it for one app or for all.
func (a Actor) Can(v Verb) bool { return slices.Contains(a.Token.Verbs, v) }

// The conditions that callers of the service tell apart.
var (
	ErrNotFound  = errors.New("not found")
	ErrForbidden = errors.New("not allowed")
	ErrConflict  = errors.New("conflict")
	ErrStale     = errors.New("a newer attempt has taken over") // a report with an old fence
)

// An InvalidError tells of input that cannot be accepted: Field is where, Text one line of what and what to do.
type InvalidError struct {
	Field, Text string
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Text }

// JSON is a column's text for a value of this package, which always has one.
func JSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types here have nothing that cannot be encoded
	}
	return string(b)
}

package build

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// What the service tells others of its own accord: webhooks of events of builds and releases, to whoever an app names, and
// statuses of commits, to the forge that has them. Both are messages in one outbox.

// A Level says how hard it is tried to deliver the events of a webhook.
type Level string

// The levels.
const (
	LevelNotify Level = "notify" // once
	LevelSync   Level = "sync"   // again and again, until it is taken
)

// What events are about.
const (
	IncludeBuild   = "api:build"
	IncludeRelease = "api:release"
)

// Includes lists all that a webhook can be told of.
func Includes() []string { return []string{IncludeBuild, IncludeRelease} }

// A Webhook is a URL that is told of an app's events.
type Webhook struct {
	ID            ID
	App           ID
	User          ID // who made it
	URL           string
	Include       []string
	Level         Level
	Secret        string // that signs what is sent; "": it is not signed
	Authorization string // header that is sent; "": none
	Disabled      string // why nothing is sent any more; "": it is
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// Limits of what goes out of one app.
const (
	MaxWebhooks = 20
	MaxMessages = 1000              // that are kept, sent or not
	MaxEvents   = MaxMessages + 100 // a message has its event
)

// A ForgeKind is whose API a forge has.
type ForgeKind string

// The kinds of forge.
const (
	ForgeGitHub          ForgeKind = "github"
	ForgeGitLab          ForgeKind = "gitlab"
	ForgeGitea           ForgeKind = "gitea" // and Forgejo
	ForgeBitbucket       ForgeKind = "bitbucket"
	ForgeBitbucketServer ForgeKind = "bitbucket-server" // and Data Center
)

// ForgeKinds lists all of them.
func ForgeKinds() []ForgeKind {
	return []ForgeKind{ForgeGitHub, ForgeGitLab, ForgeGitea, ForgeBitbucket, ForgeBitbucketServer}
}

// A Forge is where the commits of an app's builds get their statuses: those of builds whose source is its repository.
type Forge struct {
	App        ID
	Kind       ForgeKind
	Repository string // git URL
	API        string // URL of its API, without a slash at the end
	Context    string // by which a commit's statuses are told apart
	Token      string
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// A StatusState is what is said of a commit.
type StatusState string

// The states of a commit. A failure is the app's fault, an error is not.
const (
	StatusPending   StatusState = "pending"
	StatusRunning   StatusState = "running"
	StatusSuccess   StatusState = "success"
	StatusFailure   StatusState = "failure"
	StatusError     StatusState = "error"
	StatusCancelled StatusState = "cancelled"
)

// A CommitStatus is what a forge is told of a commit.
type CommitStatus struct {
	Commit      string      `json:"commit"`
	Ref         string      `json:"ref,omitempty"`
	State       StatusState `json:"state"`
	Description string      `json:"description"` // one line
}

// A MessageKind is what a message is.
type MessageKind string

// The kinds of message.
const (
	MessageStatus  MessageKind = "status"
	MessageWebhook MessageKind = "webhook"
)

// A MessageState is where a message stands.
type MessageState string

// The states of a message.
const (
	MessageWaiting  MessageState = "waiting"
	MessageSent     MessageState = "sent"
	MessageFailed   MessageState = "failed"   // and is not tried again
	MessageReplaced MessageState = "replaced" // by a newer one of the same commit, before it was sent
)

// A Message is a line of the outbox: something to send, and what became of it.
type Message struct {
	ID      ID
	App     ID
	Number  int64 // grows by one per app
	Kind    MessageKind
	Webhook ID // that it is for
	Event   ID // that it tells of
	Include string
	Level   Level
	// Lane names those messages of which one is sent at a time, the oldest first: a webhook's, or a commit's.
	Lane        string
	Host        string // that it goes to
	Status      CommitStatus
	Build       ID
	BuildNumber int64
	State       MessageState
	Attempts    int
	NextAt      time.Time // zero: it is not tried any more
	Attempt     ID        // the last one
	AttemptedAt time.Time
	Code        int    // of HTTP; 0: there was no answer
	Error       string // one line, of why it was not taken
	Answer      string // how the answer's body begins, on one line
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// An Event is something that happened to a build or a release, as webhooks are told of it.
type Event struct {
	ID        ID
	App       ID
	Number    int64 // grows by one per app
	Include   string
	Action    string // "create" or "update"
	Resource  string // "build" or "release"
	Actor     ID     // the user whose build or release it is
	ActorName string
	Data      string // JSON
	Previous  string // JSON of what has changed
	CreatedAt time.Time
}

// RepositoryPath is the host of a repository and its path there, without what is only how it is written.
func RepositoryPath(repository string) (host, path string) {
	if user, rest, ok := strings.Cut(repository, "@"); ok && !strings.Contains(repository, "://") && !strings.Contains(user, "/") {
		host, path, _ = strings.Cut(rest, ":")
	} else if u, err := url.Parse(repository); err == nil {
		host, path = u.Hostname(), u.Path
	}
	return strings.ToLower(host), strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}

// SameRepository tells whether two URLs are of one repository, however it is reached.
func SameRepository(a, b string) bool {
	hostA, pathA := RepositoryPath(a)
	hostB, pathB := RepositoryPath(b)
	bare := func(path string) string { return strings.TrimPrefix(path, "scm/") } // Bitbucket has it in https only
	return hostA != "" && hostA == hostB && strings.EqualFold(bare(pathA), bare(pathB))
}

// Marks tells whether a build's commit gets statuses on a forge: whether it was fetched from there.
func (f Forge) Marks(b Build) bool {
	return b.Source.Git && b.Source.Commit != "" && SameRepository(b.Source.URL, f.Repository)
}

// Wants tells whether a webhook is told of an event.
func (w Webhook) Wants(include string) bool {
	return w.Disabled == "" && slices.Contains(w.Include, include)
}

package client

import (
	"time"

	"github.com/slipway-build/slipway/internal/build"
)

// A Name names a thing of the service both ways.
type Name struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// A Person is a user as things of theirs name them.
type Person struct {
	ID    string `json:"id"`
	Email string `json:"email"`
}

// An Account is a user, and the token that asks.
type Account struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Admin     bool      `json:"admin"`
	CreatedAt time.Time `json:"created_at"`
	Using     *Token    `json:"token,omitempty"`
}

// A Token is everything of a token but its text.
type Token struct {
	ID          string       `json:"id"`
	Description string       `json:"description"`
	Scope       []build.Verb `json:"scope"`
	App         *Name        `json:"app"`
	CreatedAt   time.Time    `json:"created_at,omitzero"`
	ExpiresAt   *time.Time   `json:"expires_at"`
	LastUsedAt  *time.Time   `json:"last_used_at,omitempty"`
}

// A Key is an SSH key, and what it may.
type Key struct {
	ID          string       `json:"id"`
	Comment     string       `json:"comment"`
	Fingerprint string       `json:"fingerprint"`
	PublicKey   string       `json:"public_key"`
	Scope       []build.Verb `json:"scope"`
	App         *Name        `json:"app"`
	CreatedAt   time.Time    `json:"created_at,omitzero"`
	ExpiresAt   *time.Time   `json:"expires_at"`
	LastUsedAt  *time.Time   `json:"last_used_at,omitempty"`
}

// A KeyRequest asks for a key to be taken. Empty: Comment is that of the line, Scope read and deploy, App all apps,
// ExpiresIn, in seconds, when the token that asks does.
type KeyRequest struct {
	PublicKey string       `json:"public_key"`
	Comment   string       `json:"comment,omitempty"`
	Scope     []build.Verb `json:"scope,omitempty"`
	App       string       `json:"app,omitempty"`
	ExpiresIn int64        `json:"expires_in,omitempty"`
}

// A NewToken is a token as it is made, with its text, which nobody is told again.
type NewToken struct {
	Token
	Text string `json:"token"`
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Description string       `json:"description,omitempty"`
	Scope       []build.Verb `json:"scope,omitempty"`
	App         string       `json:"app,omitempty"`
	ExpiresIn   int64        `json:"expires_in,omitempty"` // seconds
}

// A User is a user as administrators see them.
type User struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Admin     bool      `json:"admin"`
	CreatedAt time.Time `json:"created_at"`
}

// A NewUser is a user as they are made, with the text of their first token.
type NewUser struct {
	User
	Text string `json:"token"`
}

// An App is an app.
type App struct {
	ID           string     `json:"id"`
	Name         string     `json:"name"`
	Owner        Person     `json:"owner"`
	GitURL       string     `json:"git_url"`
	Branch       string     `json:"branch"`
	Builder      string     `json:"builder"`
	Buildpacks   []string   `json:"buildpacks"`
	OnDisconnect string     `json:"on_disconnect"`
	Image        string     `json:"image"`
	Limits       Limits     `json:"limits"`
	CreatedAt    time.Time  `json:"created_at"`
	UpdatedAt    time.Time  `json:"updated_at"`
	ReleasedAt   *time.Time `json:"released_at"`
	WebURL       string     `json:"web_url"`

	Deployer   build.DeployerKind `json:"deployer"`
	Deployment *Deployment        `json:"deployment"`
}

// Limits bound one build of an app. A zero is the service's own limit.
type Limits struct {
	Time   int64   `json:"time,omitempty"` // seconds
	Memory int64   `json:"memory,omitempty"`
	CPUs   float64 `json:"cpus,omitempty"`
	PIDs   int64   `json:"pids,omitempty"`
	Disk   int64   `json:"disk,omitempty"`
	Log    int64   `json:"log,omitempty"`
	Source int64   `json:"source,omitempty"`
	Cache  int64   `json:"cache,omitempty"`
}

// An AppChange makes or changes an app: what is nil stays as it is, or as the service has it for new ones.
type AppChange struct {
	Name         *string   `json:"name,omitempty"`
	Branch       *string   `json:"branch,omitempty"`
	Builder      *string   `json:"builder,omitempty"`
	Buildpacks   *[]string `json:"buildpacks,omitempty"`
	OnDisconnect *string   `json:"on_disconnect,omitempty"`
	Image        *string   `json:"image,omitempty"`
	Limits       *Limits   `json:"limits,omitempty"`
}

// A Binding is a service binding, without the contents of its files.
type Binding struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Provider string   `json:"provider,omitempty"`
	Files    []string `json:"files"`
}

// A BindingRequest makes a service binding.
type BindingRequest struct {
	Type     string            `json:"type"`
	Provider string            `json:"provider,omitempty"`
	Files    map[string]string `json:"files"`
}

// A CredentialKind is what a credential opens.
type CredentialKind string

// The kinds of credential, by the last part of their path.
const (
	GitCredential      CredentialKind = "git-credentials"
	RegistryCredential CredentialKind = "registry-credentials"
)

// A Credential opens one host. Key, a private key in PEM form, is for git by ssh. The service gives out hosts only.
type Credential struct {
	Host     string `json:"host,omitempty"`
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Key      string `json:"key,omitempty"`
}

// A Source is a place for an archive: PutURL takes it once, GetURL is what a build names.
type Source struct {
	Blob struct {
		GetURL string `json:"get_url"`
		PutURL string `json:"put_url"`
	} `json:"source_blob"`
}

// An Uploaded is what the service got.
type Uploaded struct {
	Checksum string `json:"checksum"`
	Size     int64  `json:"size"`
}

// A BuildRequest asks for a build.
type BuildRequest struct {
	Source  BuildSource `json:"source_blob"`
	NoCache bool        `json:"no_cache,omitempty"`
}

// A BuildSource is what a build is made of: the GetURL of a Source, the URL of an archive, or a git repository.
type BuildSource struct {
	URL                string `json:"url,omitempty"`
	Checksum           string `json:"checksum,omitempty"`
	Version            string `json:"version,omitempty"`
	VersionDescription string `json:"version_description,omitempty"`
	Git                bool   `json:"git,omitempty"`
	Ref                string `json:"ref,omitempty"`
	Commit             string `json:"commit,omitempty"`
	Dir                string `json:"dir,omitempty"` // of a git repository, which alone is built
	Submodules         bool   `json:"submodules,omitempty"`
}

// A Build is one build of an app.
type Build struct {
	ID        string         `json:"id"`
	Number    int64          `json:"number"`
	App       Name           `json:"app"`
	User      Person         `json:"user"`
	Status    string         `json:"status"` // pending, succeeded, failed: for clients of the Platform API
	State     build.State    `json:"state"`
	Trigger   string         `json:"trigger"`
	Source    BuildSource    `json:"source_blob"`
	Phase     string         `json:"phase,omitempty"`
	Buildpack string         `json:"buildpack,omitempty"`
	Attempt   int            `json:"attempt"`
	Place     *Place         `json:"place"`
	Stream    string         `json:"output_stream_url"` // the log, for who has no token
	Reason    string         `json:"cancel_reason,omitempty"`
	Failure   *build.Failure `json:"failure"`
	Result    *build.Result  `json:"result"`
	Release   *ReleaseName   `json:"release"`
	CreatedAt time.Time      `json:"created_at"`
	StartedAt *time.Time     `json:"started_at"`
	EndedAt   *time.Time     `json:"ended_at"`
	Elapsed   *int64         `json:"elapsed_ms"` // of the last attempt
	UpdatedAt time.Time      `json:"updated_at"`
}

// A Place is what a queued build waits for.
type Place struct {
	Ahead     int `json:"ahead"` // builds of the same app
	OtherApps int `json:"other_apps"`
}

// A ReleaseName names a release.
type ReleaseName struct {
	ID      string             `json:"id"`
	Version int64              `json:"version"`
	Status  build.ReleaseState `json:"status"`
}

// A Release is an image of an app that was published.
type Release struct {
	ID          string             `json:"id"`
	Version     int64              `json:"version"`
	App         Name               `json:"app"`
	User        Person             `json:"user"`
	Description string             `json:"description"`
	Status      build.ReleaseState `json:"status"`
	Current     bool               `json:"current"`
	Image       string             `json:"image"` // repository@digest
	Build       *BuildName         `json:"build"`
	Failure     string             `json:"failure,omitempty"`
	Deployment  *Deployment        `json:"deployment"`
	CreatedAt   time.Time          `json:"created_at"`
	UpdatedAt   time.Time          `json:"updated_at"`
}

// A BuildName names a build.
type BuildName struct {
	ID     string `json:"id"`
	Number int64  `json:"number"`
}

// A Status is how the service does.
type Status struct {
	Version string `json:"version"`
	Queued  int    `json:"queued"`
	Running int    `json:"running"`
	Ready   bool   `json:"ready"`
	Workers int    `json:"workers"`
}

// A Hook is where a forge tells of pushes to a repository, which are then built.
type Hook struct {
	ID            string     `json:"id"`
	App           Name       `json:"app"`
	User          Person     `json:"user"`
	Repository    string     `json:"repository"`
	Branches      []string   `json:"branches"`
	Tags          []string   `json:"tags"`
	Paths         []string   `json:"paths"`
	Submodules    bool       `json:"submodules"`
	CreatedAt     time.Time  `json:"created_at"`
	UpdatedAt     time.Time  `json:"updated_at"`
	PreviousUntil *time.Time `json:"previous_secret_until"`
}

// A NewHook is a hook with what nobody is told again: its secret and, where it is new, its URL.
type NewHook struct {
	Hook
	URL    string `json:"url,omitempty"`
	Secret string `json:"secret"`
}

// A HookChange makes or changes a hook: what is nil stays as it is. Secret is for a new one; "": the service makes it.
type HookChange struct {
	Repository *string   `json:"repository,omitempty"`
	Branches   *[]string `json:"branches,omitempty"`
	Tags       *[]string `json:"tags,omitempty"`
	Paths      *[]string `json:"paths,omitempty"`
	Submodules *bool     `json:"submodules,omitempty"`
	Secret     string    `json:"secret,omitempty"`
}

// A HookRotation gives a hook another secret. Keep is how many seconds the old one is taken too, nil as the service has it.
type HookRotation struct {
	Secret string `json:"secret,omitempty"`
	Keep   *int64 `json:"keep,omitempty"`
	URL    bool   `json:"url,omitempty"`
}

// A Delivery is what a forge sent to a hook about one ref, and what became of it.
type Delivery struct {
	ID         string               `json:"id"`
	Number     int64                `json:"number"`
	Forge      string               `json:"forge"`
	Event      string               `json:"event"`
	Delivery   string               `json:"delivery"`
	Ref        string               `json:"ref,omitempty"`
	Commit     string               `json:"commit,omitempty"`
	Before     string               `json:"before,omitempty"`
	Result     build.DeliveryResult `json:"result"`
	Code       string               `json:"code,omitempty"`
	Reason     string               `json:"reason,omitempty"`
	Build      *BuildName           `json:"build"`
	Times      int                  `json:"times"`
	ReceivedAt time.Time            `json:"received_at"`
	LastAt     time.Time            `json:"last_received_at"`
}

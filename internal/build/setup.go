package build

import (
	"slices"
	"time"
)

// A SetupState is where a setup stands.
type SetupState string

// The states of a setup.
const (
	SetupPending   SetupState = "pending"
	SetupSucceeded SetupState = "succeeded"
	SetupFailed    SetupState = "failed" // its app is gone; what went wrong, and the logs, stay
)

// A StepName is a part of a setup.
type StepName string

// The steps of a setup, in their order.
const (
	StepCreate     StepName = "create"     // the app, with its repository
	StepConfigure  StepName = "configure"  // app.json is read, config vars and buildpacks are set
	StepAddons     StepName = "add-ons"    // the app has what its add-ons would give it
	StepBuild      StepName = "build"      // of the template's commit, or archive
	StepRelease    StepName = "release"    // and the release's command, where there is one
	StepPostdeploy StepName = "postdeploy" // scripts.postdeploy, once, in a container of the image
	StepDeploy     StepName = "deploy"     // the app's deployer has taken the release
)

// A StepState is where a step of a setup stands.
type StepState string

// The states of a step. Steps behind one that has failed stay pending.
const (
	StepPending   StepState = "pending"
	StepRunning   StepState = "running"
	StepSucceeded StepState = "succeeded"
	StepFailed    StepState = "failed"
	StepSkipped   StepState = "skipped" // there was nothing to do
)

// A SetupStep is a part of a setup, with what people should know of it in one line.
type SetupStep struct {
	Name      StepName  `json:"name"`
	State     StepState `json:"state"`
	Note      string    `json:"note,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
}

// SetupSteps are the steps of a new setup.
func SetupSteps() (all []SetupStep) {
	for _, name := range []StepName{StepCreate, StepConfigure, StepAddons, StepBuild, StepRelease, StepPostdeploy, StepDeploy} {
		all = append(all, SetupStep{Name: name, State: StepPending})
	}
	return all
}

// A SetupTemplate is what an app is set up from: a commit of a git repository, or an archive.
type SetupTemplate struct {
	Name       string `json:"name,omitempty"`       // as its app.json calls it
	Repository string `json:"repository,omitempty"` // URL, "" for an archive
	Ref        string `json:"ref,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Dir        string `json:"dir,omitempty"` // of the repository, where the app.json is; "" is its root
	URL        string `json:"url,omitempty"` // of an archive, without its query; "" for one that was uploaded
	Checksum   string `json:"checksum,omitempty"`
	Version    string `json:"version,omitempty"`
}

// A SetupRun is how scripts.postdeploy went.
type SetupRun struct {
	Output string `json:"output"` // the end of it, without the values of config vars; all of it is in the setup's log
	Exit   int    `json:"exit"`   // -1 where it did not end by itself
}

// MaxSetups is how many setups of one user are kept; the oldest that have ended go first.
const MaxSetups = 200

// A Setup makes a running app of a template: the app, its config vars, a build, a release and what comes after. The log of
// its postdeploy has the setup's id. When it fails its app is removed, and the record has what there was.
type Setup struct {
	ID       ID            `json:"-"`
	User     ID            `json:"-"`
	App      ID            `json:"-"` // also when it is gone again
	AppName  AppName       `json:"app_name"`
	Template SetupTemplate `json:"template"`
	Source   Source        `json:"source"` // that is built; without the query of a URL
	Trigger  TriggerKind   `json:"trigger"`
	State    SetupState    `json:"-"`
	Steps    []SetupStep   `json:"steps"`
	Failure  string        `json:"failure,omitempty"` // one line, set before the app is removed
	// Findings are what is wrong with the app.json, a line each, and Warnings what is read in another way or not obeyed.
	Findings []string `json:"findings,omitempty"`
	Warnings []string `json:"warnings,omitempty"`

	Build        ID       `json:"build,omitempty"`        // its log stays when the app goes
	BuildNumber  int64    `json:"build_number,omitempty"` // 0: it was not begun
	BuildState   State    `json:"build_state,omitempty"`
	BuildFailure *Failure `json:"build_failure,omitempty"`

	Release    ID        `json:"release,omitempty"`
	Version    int64     `json:"version,omitempty"` // of the release
	Image      string    `json:"image,omitempty"`   // repository@digest
	Processes  []Process `json:"processes,omitempty"`
	Postdeploy *SetupRun `json:"postdeploy,omitempty"` // nil: it has not run, or there is none

	Deployer   DeployerKind `json:"deployer"`
	URL        string       `json:"url,omitempty"`         // where the app answers, where a deployer has said so
	SuccessURL string       `json:"success_url,omitempty"` // where people go then
	// CancelAsked is who asked for the end of it, "" is nobody.
	CancelAsked string    `json:"cancel_asked,omitempty"`
	CreatedAt   time.Time `json:"-"`
	UpdatedAt   time.Time `json:"-"`
	EndedAt     time.Time `json:"-"`
}

// Step is a step by its name.
func (s *Setup) Step(name StepName) *SetupStep {
	i := slices.IndexFunc(s.Steps, func(p SetupStep) bool { return p.Name == name })
	return &s.Steps[i]
}

// SeesSetup tells whether a setup exists for the actor: their own, and for a token of one app the one that made it.
func (a Actor) SeesSetup(s Setup) bool {
	return (a.User.Admin || s.User == a.User.ID) && (a.Token.App == "" || a.Token.App == s.App)
}

// SetsUp tells what the actor's token lacks for setups, which make apps, set config vars, and build; "" is nothing.
func (a Actor) SetsUp() (lacks string) {
	for _, v := range []Verb{VerbManage, VerbConfig, VerbDeploy} {
		if !a.Can(v) {
			return "the token lacks the scope " + string(v)
		}
	}
	if a.Token.App != "" {
		return "the token is for one app only"
	}
	return ""
}

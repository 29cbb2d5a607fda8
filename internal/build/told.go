package build

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// MaxDescription is how many characters the description of a status has: the least that a forge takes.
const MaxDescription = 140

// StatusOf is what a forge is told of a build's commit; v is the release that the build made, nil where there is none.
func StatusOf(b Build, v *Release) CommitStatus {
	s := CommitStatus{Commit: b.Source.Commit, Ref: b.Source.Ref}
	s.State, s.Description = statusOf(b, v)
	s.Description = shorten(s.Description, MaxDescription)
	return s
}

func statusOf(b Build, v *Release) (StatusState, string) {
	build := fmt.Sprintf("Build %d", b.Number)
	switch b.State {
	case Queued:
		if b.Attempt > 0 {
			return StatusPending, build + " is tried again"
		}
		return StatusPending, build + " waits"
	case Running:
		return StatusRunning, build + " runs"
	case Cancelled:
		return StatusCancelled, build + " was cancelled: " + b.CancelReason
	case Succeeded:
		return released(build, v)
	}
	f := Failure{Blame: BlamePlatform}
	if b.Failure != nil {
		f = *b.Failure
	}
	if f.Blame == BlameApp {
		return StatusFailure, build + " failed: " + f.Reason
	}
	return StatusError, build + ": the build service failed, not the app: " + f.Reason
}

// released is what is told of a build that succeeded: the commit is good when the release command did not fail either.
func released(build string, v *Release) (StatusState, string) {
	if v == nil {
		return StatusSuccess, build + " succeeded"
	}
	switch v.State {
	case ReleasePending:
		return StatusRunning, fmt.Sprintf("%s succeeded, the release command of v%d runs", build, v.Version)
	case ReleaseFailed:
		return StatusFailure, fmt.Sprintf("%s succeeded, v%d failed: %s", build, v.Version, v.Failure)
	}
	return StatusSuccess, fmt.Sprintf("%s succeeded: v%d", build, v.Version)
}

// shorten makes text fit on one line of so many characters.
func shorten(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, s)
	s = strings.TrimRight(strings.Join(strings.Fields(s), " "), ": ")
	if r := []rune(s); len(r) > most {
		s = strings.TrimRight(string(r[:most-3]), " ") + "..."
	}
	return s
}

// A ToldBuild is what an event says of a build, in the shape of the Platform API.
type ToldBuild struct {
	ID         ID              `json:"id"`
	Number     int64           `json:"number"`
	App        ToldApp         `json:"app"`
	User       ToldUser        `json:"user"`
	Status     string          `json:"status"`
	State      State           `json:"state"`
	Trigger    TriggerKind     `json:"trigger"`
	Source     ToldSource      `json:"source_blob"`
	Buildpacks []ToldBuildpack `json:"buildpacks"`
	Stack      string          `json:"stack"`
	Slug       *string         `json:"slug"` // always null
	Release    *ToldRef        `json:"release"`
	Image      *string         `json:"image"` // repository@digest
	Failure    *Failure        `json:"failure"`
	LogURL     string          `json:"log_url,omitempty"` // where it is sent
	CreatedAt  *string         `json:"created_at"`
	StartedAt  *string         `json:"started_at"`
	EndedAt    *string         `json:"ended_at"`
	UpdatedAt  *string         `json:"updated_at"`
}

// A ToldRelease is what an event says of a release, in the shape of the Platform API.
type ToldRelease struct {
	ID          ID           `json:"id"`
	Version     int64        `json:"version"`
	App         ToldApp      `json:"app"`
	User        ToldUser     `json:"user"`
	Description string       `json:"description"`
	Status      ReleaseState `json:"status"`
	Current     bool         `json:"current"`
	Slug        *string      `json:"slug"` // always null
	Build       *ToldRef     `json:"build"`
	Image       string       `json:"image"` // repository@digest
	Failure     *string      `json:"failure"`
	CreatedAt   *string      `json:"created_at"`
	UpdatedAt   *string      `json:"updated_at"`
}

// ToldApp, ToldUser, ToldRef, ToldSource and ToldBuildpack are parts of those.
type (
	ToldApp struct {
		ID   ID      `json:"id"`
		Name AppName `json:"name"`
	}
	ToldUser struct {
		ID    ID     `json:"id"`
		Email string `json:"email"`
	}
	ToldRef struct {
		ID      ID    `json:"id"`
		Version int64 `json:"version,omitempty"`
	}
	ToldSource struct {
		Checksum    *string `json:"checksum"`
		URL         *string `json:"url"` // without a query, where signed ones have their secret
		Version     *string `json:"version"`
		Description *string `json:"version_description"`
		Commit      *string `json:"commit"`
		Ref         *string `json:"ref"`
		Dir         *string `json:"dir"` // of the repository, where that is not built from its root
	}
	ToldBuildpack struct {
		Name    string  `json:"name"`
		URL     *string `json:"url"`
		Version string  `json:"version"`
	}
)

// ToldStack is what the Platform API calls apps that are built by Cloud Native Buildpacks.
const ToldStack = "cnb"

// TellBuild is what an event says of a build; v is the release that it made, nil where there is none.
func TellBuild(b Build, app ToldApp, user ToldUser, v *Release) ToldBuild {
	t := ToldBuild{
		ID: b.ID, Number: b.Number, App: app, User: user, Status: b.State.Status(), State: b.State, Trigger: b.Trigger.Kind, Buildpacks: []ToldBuildpack{}, Stack: ToldStack,
		Source: ToldSource{
			Checksum: optional(b.Source.Checksum), URL: optional(b.Source.URL), Version: optional(b.Source.Version), Description: optional(b.Source.Description),
			Commit: optional(b.Source.Commit), Ref: optional(b.Source.Ref), Dir: optional(b.Source.Dir),
		},
		CreatedAt: stamped(b.CreatedAt), StartedAt: stamped(b.StartedAt), EndedAt: stamped(b.EndedAt), UpdatedAt: stamped(latest(b.CreatedAt, b.StartedAt, b.EndedAt)),
	}
	if b.State.Terminal() || b.State == Queued {
		t.Failure = b.Failure
	}
	if v != nil {
		t.Release = &ToldRef{v.ID, v.Version}
	}
	if b.Result != nil {
		t.Image = optional(b.Result.Repository + "@" + b.Result.Digest)
		for _, p := range b.Result.Buildpacks {
			t.Buildpacks = append(t.Buildpacks, ToldBuildpack{p.ID, optional(p.Homepage), p.Version})
		}
	}
	return t
}

// TellRelease is what an event says of a release.
func TellRelease(v Release, app ToldApp, user ToldUser, current bool) ToldRelease {
	t := ToldRelease{
		ID: v.ID, Version: v.Version, App: app, User: user, Description: v.Description, Status: v.State, Current: current, Image: v.Repository + "@" + v.Digest,
		Failure: optional(v.Failure), CreatedAt: stamped(v.CreatedAt), UpdatedAt: stamped(v.UpdatedAt),
	}
	if v.Build != "" {
		t.Build = &ToldRef{ID: v.Build}
	}
	return t
}

// Status is the Platform API's word for a state.
func (s State) Status() string {
	switch {
	case !s.Terminal():
		return "pending"
	case s == Succeeded:
		return "succeeded"
	}
	return "failed"
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func stamped(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return optional(t.UTC().Format(time.RFC3339))
}

func latest(all ...time.Time) (last time.Time) {
	for _, t := range all {
		if t.After(last) {
			last = t
		}
	}
	return last
}

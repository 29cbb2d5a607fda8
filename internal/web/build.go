package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/store"
)

type buildView struct {
	ID           build.ID          `json:"id"`
	Number       int64             `json:"number"`
	App          appRef            `json:"app"`
	User         userRef           `json:"user"`
	Status       string            `json:"status"` // pending, succeeded or failed: for clients that know no others
	State        build.State       `json:"state"`
	Trigger      build.TriggerKind `json:"trigger"`
	Source       sourceBlob        `json:"source_blob"`
	Buildpacks   []buildpack       `json:"buildpacks"`
	Stack        string            `json:"stack"`
	OutputStream string            `json:"output_stream_url"` // works without a token, for a day
	Phase        string            `json:"phase"`
	Buildpack    string            `json:"buildpack"`
	Attempt      int               `json:"attempt"`
	Place        *place            `json:"place"` // of a build that waits; lists leave it out
	CancelReason string            `json:"cancel_reason"`
	Failure      *build.Failure    `json:"failure"`
	Result       *build.Result     `json:"result"`
	Release      *releaseRef       `json:"release"`
	Slug         *string           `json:"slug"` // always null: an image is made
	CreatedAt    *stamp            `json:"created_at"`
	StartedAt    *stamp            `json:"started_at"`
	EndedAt      *stamp            `json:"ended_at"`
	Elapsed      *int64            `json:"elapsed_ms"` // of the last attempt, which times of whole seconds do not tell
	UpdatedAt    *stamp            `json:"updated_at"`
}

// A sourceBlob is what a build was made of; URL is without what may be secret in it, and null where the source came
// with a push or an upload.
type sourceBlob struct {
	Checksum    *string `json:"checksum"`
	URL         *string `json:"url"`
	Version     *string `json:"version"`
	Description *string `json:"version_description"`
	Commit      *string `json:"commit"`
	Git         bool    `json:"git"`
	Ref         *string `json:"ref"`
	Dir         *string `json:"dir"` // of the repository, where that is not built from its root
}

type buildpack struct {
	Name    string  `json:"name"`
	URL     *string `json:"url"`
	Version string  `json:"version"`
}

type place struct {
	Ahead     int `json:"ahead"`      // builds of the same app
	OtherApps int `json:"other_apps"` // whose turn comes before
}

type releaseRef struct {
	ID      build.ID           `json:"id"`
	Version int64              `json:"version"`
	Status  build.ReleaseState `json:"status"` // pending while its release command runs
}

// streamLife is how long an output_stream_url works.
const streamLife = 24 * time.Hour

// text is null where there is none.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// streamURL is where a log can be followed without a token.
func (s *server) streamURL(r *http.Request, kind string, id build.ID) string {
	u := s.at(r, "/streams/"+kind+"/"+string(id))
	u.RawQuery = url.Values{"sig": {s.signer.sign(toFollow, id, time.Now().Add(streamLife))}}.Encode()
	return u.String()
}

func (s *server) buildOf(ctx context.Context, c *call, b build.Build) (v buildView, err error) {
	v = buildView{
		ID: b.ID, Number: b.Number, App: appRef{c.app.ID, c.app.Name}, Status: b.State.Status(), State: b.State, Trigger: b.Trigger.Kind,
		Source: blobOf(b.Source), Buildpacks: buildpacksOf(b.Result), Stack: stack, Phase: b.Phase, Buildpack: b.Buildpack, Attempt: b.Attempt,
		CancelReason: b.CancelReason, Failure: b.Failure, Result: b.Result,
		CreatedAt: when(b.CreatedAt), StartedAt: when(b.StartedAt), EndedAt: when(b.EndedAt), UpdatedAt: when(b.CreatedAt),
	}
	for _, t := range []time.Time{b.StartedAt, b.EndedAt} {
		if !t.IsZero() {
			v.UpdatedAt = when(t)
		}
	}
	if !b.StartedAt.IsZero() {
		end := b.EndedAt
		if end.IsZero() {
			end = time.Now()
		}
		ms := max(end.Sub(b.StartedAt).Milliseconds(), 0)
		v.Elapsed = &ms
	}
	v.OutputStream = s.streamURL(c.Request, "builds", b.ID)
	name, err := c.userName(ctx, b.User)
	if err != nil {
		return v, err
	}
	v.User = userRef{b.User, name}
	if b.State == build.Succeeded {
		r, err := s.Store.ReleaseOf(ctx, b.ID)
		if err == nil {
			v.Release = &releaseRef{r.ID, r.Version, r.State}
		} else if !errors.Is(err, build.ErrNotFound) {
			return v, err
		}
	}
	return v, nil
}

func blobOf(b build.Source) sourceBlob {
	v := sourceBlob{Checksum: text(b.Checksum), Version: text(b.Version), Description: text(b.Description), Commit: text(b.Commit), Git: b.Git, Ref: text(b.Ref), Dir: text(b.Dir)}
	if b.Git {
		if u, err := fetch.ParseGitURL(b.URL); err == nil {
			v.URL = text(u.String())
		}
	} else if u, err := fetch.ParseTarballURL(b.URL); err == nil {
		shown := u.String()
		if b.Query != nil {
			shown += "?..." // sealed in the record, and nobody's to read
		}
		v.URL = &shown
	}
	return v
}

func buildpacksOf(r *build.Result) []buildpack {
	all := []buildpack{}
	if r != nil {
		for _, b := range r.Buildpacks {
			all = append(all, buildpack{b.ID, text(b.Homepage), b.Version})
		}
	}
	return all
}

// one is buildOf with the place that the build has in the queue.
func (s *server) one(ctx context.Context, c *call, b build.Build) (buildView, error) {
	v, err := s.buildOf(ctx, c, b)
	if err == nil && b.State == build.Queued {
		var p place
		p.Ahead, p.OtherApps, err = s.Store.Place(ctx, b)
		v.Place = &p
	}
	return v, err
}

// find is the build of the path.
func (s *server) find(ctx context.Context, c *call) (build.Build, error) {
	text := c.PathValue("build")
	if _, err := build.ParseID(text); err != nil && (len(text) > 18 || strings.Trim(text, "0123456789") != "") {
		return build.Build{}, &problem{http.StatusNotFound, "not_found", fmt.Sprintf("build %.80q: it has a number or an id", text)}
	}
	b, err := s.Store.Build(ctx, c.app.ID, text)
	if errors.Is(err, build.ErrNotFound) {
		err = &problem{http.StatusNotFound, "not_found", fmt.Sprintf("app %s has no build %.80s", c.app.Name, text)}
	}
	return b, err
}

func (s *server) build(ctx context.Context, c *call) (v buildView, err error) {
	b, err := s.find(ctx, c)
	if err != nil {
		return v, err
	}
	return s.one(ctx, c, b)
}

func (s *server) builds(ctx context.Context, c *call) ([]buildView, error) {
	all, err := numbered(c, sequence[build.Build]{
		attributes: []string{"number", "id", "created_at", "started_at"},
		numberOf: func(id string) (int64, error) {
			b, err := s.Store.Build(ctx, c.app.ID, id)
			if errors.Is(err, build.ErrNotFound) {
				err = badRange(fmt.Sprintf("there is no build %.80q", id))
			}
			return b.Number, err
		},
		get: func(p store.Page) ([]build.Build, error) { return s.Store.Builds(ctx, c.app.ID, p) },
		key: func(b build.Build) (int64, string) { return b.Number, string(b.ID) },
	})
	if err != nil {
		return nil, err
	}
	out := make([]buildView, len(all))
	for i, b := range all {
		if out[i], err = s.buildOf(ctx, c, b); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type buildRequest struct {
	Source     sourceRequest  `json:"source_blob"`
	NoCache    bool           `json:"no_cache"`
	Buildpacks []buildpackURL `json:"buildpacks"` // must be empty: they are the app's
}

type sourceRequest struct {
	URL         string `json:"url"`      // a get_url, an archive, or with git a repository
	Checksum    string `json:"checksum"` // SHA256:<hex>
	Version     string `json:"version"`
	Description string `json:"version_description"`
	Git         bool   `json:"git"`
	Ref         string `json:"ref"`
	Commit      string `json:"commit"`
	Dir         string `json:"dir"` // of the repository, which alone is built
	Submodules  bool   `json:"submodules"`
}

func (s *server) createBuild(ctx context.Context, c *call, in buildRequest) (v buildView, err error) {
	if len(in.Buildpacks) > 0 {
		return v, invalid("buildpacks", "they are the app's, not one build's: set them with PUT /apps/{app}/buildpack-installations")
	}
	src, err := s.sourceOf(ctx, c, in.Source)
	if err != nil {
		return v, err
	}
	return s.submit(ctx, c, build.Build{Trigger: build.Trigger{Kind: build.TriggerAPI, NoCache: in.NoCache}, Source: src})
}

// submit takes a build of the call's app in, if it could work.
func (s *server) submit(ctx context.Context, c *call, b build.Build) (v buildView, err error) {
	if s.Preflight != nil {
		if err := s.Preflight(ctx, c.app); err != nil {
			return v, &problem{http.StatusUnprocessableEntity, "invalid_params", err.Error()}
		}
	}
	b.App, b.User = c.app.ID, c.actor.User.ID
	if b, err = s.Service.Submit(ctx, b); err != nil {
		return v, err
	}
	return s.one(ctx, c, b)
}

// sourceOf makes sure that a build can be made of what a client names.
func (s *server) sourceOf(ctx context.Context, c *call, in sourceRequest) (src build.Source, err error) {
	const field = "source_blob."
	src = build.Source{Git: in.Git, Ref: in.Ref, Commit: in.Commit, Dir: in.Dir, Version: in.Version, Description: in.Description, Submodules: in.Submodules}
	if in.URL == "" {
		return src, invalid(field+"url", "there is none: it is the get_url of an uploaded source, or the URL of an archive or, with git, of a repository")
	}
	if err := errors.Join(line(field+"version", in.Version, 200), line(field+"version_description", in.Description, 1000)); err != nil {
		return src, err
	}
	if in.Commit != "" {
		if _, err := fetch.ParseCommit(in.Commit); err != nil {
			return src, invalid(field+"commit", "it is the full name of a commit, 40 hexadecimal digits in lower case")
		}
	}
	sum, err := fetch.ParseSum(in.Checksum)
	if err != nil {
		return src, invalid(field+"checksum", "it is SHA256: and 64 hexadecimal digits")
	}
	src.Checksum = string(sum)
	if in.Git {
		return src, s.gitSource(ctx, c, &src, in.URL)
	}
	if in.Ref != "" || in.Dir != "" || in.Submodules {
		return src, invalid(field+"git", "ref, dir and submodules are for a git repository: say git: true")
	}
	src.Packed = true
	up, ours, err := s.uploaded(ctx, c, in.URL)
	if err != nil {
		return src, err
	}
	if ours {
		if sum != "" && string(sum) != up.Checksum {
			return src, invalid(field+"checksum", "what was put has another: "+up.Checksum)
		}
		src.Stored, src.Checksum = up.Source, up.Checksum
		return src, nil
	}
	if _, err := fetch.ParseTarballURL(in.URL); err != nil {
		return src, invalid(field+"url", err.Error())
	}
	src.URL = in.URL
	return src, noPassword(field+"url", in.URL, "put the archive with POST /sources instead")
}

// gitSource checks the names of a git repository and, where the service can, finds the commit.
func (s *server) gitSource(ctx context.Context, c *call, src *build.Source, text string) error {
	repository, err := fetch.ParseGitURL(text)
	if err != nil {
		return invalid("source_blob.url", err.Error())
	}
	if err := noPassword("source_blob.url", text, "keep it with PUT /apps/{app}/git-credentials/{host}"); err != nil {
		return err
	}
	ref, err := fetch.ParseRef(src.Ref)
	if err != nil {
		return invalid("source_blob.ref", err.Error())
	}
	dir, err := fetch.ParseDir(src.Dir)
	if err != nil {
		return invalid("source_blob.dir", err.Error())
	}
	src.Dir = string(dir)
	if src.Checksum != "" {
		return invalid("source_blob.checksum", "a git repository has none: name the commit")
	}
	src.URL = text
	if src.Commit != "" || s.Resolve == nil {
		return nil
	}
	commit, err := s.Resolve(ctx, c.app, repository, ref)
	if err != nil {
		return invalid("source_blob.url", err.Error())
	}
	src.Commit = string(commit)
	return nil
}

// noPassword refuses a password in a URL: the record of a build is no place for secrets.
func noPassword(field, text, instead string) error {
	u, err := url.Parse(text)
	if err != nil || u.User == nil || u.Scheme == "ssh" {
		return nil // user@host:path is no URL, and has no password
	}
	return invalid(field, "a password or token in it would be kept with the record: "+instead)
}

func (s *server) cancelBuild(ctx context.Context, c *call) (v buildView, err error) {
	b, err := s.find(ctx, c)
	if err != nil {
		return v, err
	}
	b, err = s.Service.Cancel(ctx, b.ID, c.actor.User.Name+" asked for it")
	if errors.Is(err, build.ErrConflict) {
		return v, conflict(fmt.Sprintf("build %d has ended", b.Number))
	}
	if err != nil {
		return v, err
	}
	return s.one(ctx, c, b)
}

// retryBuild makes a new build of the same source. One that came with a push moves no ref: that push is over.
func (s *server) retryBuild(ctx context.Context, c *call) (v buildView, err error) {
	b, err := s.find(ctx, c)
	if err != nil {
		return v, err
	}
	if !b.State.Terminal() {
		return v, conflict(fmt.Sprintf("build %d has not ended: it is %s", b.Number, b.State))
	}
	if b.Source.Stored != "" {
		_, err := s.Sources.Path(fetch.Key(b.Source.Stored))
		if errors.Is(err, fs.ErrNotExist) {
			return v, conflict(fmt.Sprintf("the source of build %d is not kept any more: push or upload it again", b.Number))
		}
		if err != nil {
			return v, err
		}
	}
	return s.submit(ctx, c, build.Build{Trigger: build.Trigger{Kind: build.TriggerRetry, NoCache: b.Trigger.NoCache}, Source: b.Source})
}

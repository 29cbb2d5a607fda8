package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/work"
)

// source brings a job's source: it is here already, or is fetched.
func (d *Daemon) source(ctx context.Context, j *work.Job, say func(string)) (string, func(), error) {
	key := fetch.Key(j.Source.Stored)
	if j.Source.Stored == "" {
		say("Fetching " + shown(j.Source))
		kept, err := d.fetch(ctx, j)
		if err != nil {
			return "", nil, blame(err)
		}
		key = kept.Key
	}
	path, err := d.sources.Path(key)
	if err != nil {
		return "", nil, &work.SourceError{Blame: build.BlamePlatform, Next: "start the build again with its source", Err: fmt.Errorf("what was handed in is not kept any more: %w", err)}
	}
	return path, func() {}, nil // it stays until nothing names it
}

// shown is where a source is fetched from, without what may be secret in it.
func shown(s build.Source) string {
	if s.Git {
		if u, err := fetch.ParseGitURL(s.URL); err == nil {
			return u.String() + inDir(s.Dir)
		}
	} else if u, err := fetch.ParseTarballURL(s.URL); err == nil {
		return u.String()
	}
	return "the source"
}

func inDir(dir string) string {
	if dir == "" {
		return ""
	}
	return ", directory " + dir
}

func (d *Daemon) fetch(ctx context.Context, j *work.Job) (fetch.Kept, error) {
	limits := fetch.Limits{Archive: int64(d.config.Upload.Source), Bytes: j.Limits.Source}
	if !j.Source.Git {
		u, err := fetch.ParseTarballURL(j.Source.URL)
		if err != nil {
			return fetch.Kept{}, err
		}
		want, err := fetch.ParseSum(j.Source.Checksum)
		if err != nil {
			return fetch.Kept{}, err
		}
		return d.sources.Write(ctx, limits.Archive, func(w io.Writer) error {
			_, err := d.fetcher.Tarball(ctx, u, want, limits, w)
			return err
		})
	}
	req, err := d.gitRequest(ctx, j.Build, j.Source)
	if err != nil {
		return fetch.Kept{}, err
	}
	req.Limits = limits
	return d.sources.Write(ctx, limits.Bytes+limits.Bytes/4, func(w io.Writer) error {
		_, err := d.fetcher.Git(ctx, req, w)
		return err
	})
}

// gitRequest is what a source says of a git repository, with what the build's app has for its host.
func (d *Daemon) gitRequest(ctx context.Context, id build.ID, s build.Source) (req fetch.GitRequest, err error) {
	if req.URL, err = fetch.ParseGitURL(s.URL); err != nil {
		return req, err
	}
	if req.Ref, err = fetch.ParseRef(s.Ref); err != nil {
		return req, err
	}
	if s.Commit != "" {
		if req.Commit, err = fetch.ParseCommit(s.Commit); err != nil {
			return req, err
		}
	}
	if req.Dir, err = fetch.ParseDir(s.Dir); err != nil {
		return req, err
	}
	req.Submodules = s.Submodules
	b, err := d.store.BuildByID(ctx, id)
	if err != nil {
		return req, err
	}
	req.Credentials, _, err = d.gitCredentials(ctx, req.URL.Host(), b.App)
	return req, err
}

// gitCredentials are those for a host of the first of some owners that has any, else the service's, else none.
func (d *Daemon) gitCredentials(ctx context.Context, host string, owners ...build.ID) (c fetch.Credentials, owner build.ID, err error) {
	kept, owner, _, err := d.store.GitCredentials(ctx, host, append(owners, "")...)
	return fetch.Credentials{User: kept.Username, Password: kept.Password, Key: []byte(kept.Key)}, owner, err
}

// blame says whose fault it is that a source cannot be had: what the app named is the app's.
func blame(err error) error {
	fault := &work.SourceError{Blame: build.BlamePlatform, Next: "try again; if it stays, tell the operator", Err: err}
	app := func(next string) error {
		fault.Blame, fault.Next = build.BlameApp, next
		return fault
	}
	_, sum := errors.AsType[*fetch.SumError](err)
	_, limit := errors.AsType[*fetch.LimitError](err)
	_, refused := errors.AsType[*fetch.RefusedError](err)
	status, isStatus := errors.AsType[*fetch.StatusError](err)
	switch {
	case sum:
		return app("hand in the checksum of what is there, or look why it is something else")
	case limit:
		return app("make the source smaller")
	case refused:
		return app("name a public address, or have the operator allow this one (" + fetch.AllowSetting + ")")
	case errors.Is(err, fetch.ErrNoRef):
		return app("name a branch, tag or commit that the repository has")
	case errors.Is(err, fetch.ErrNoDir):
		return app("name a directory that the commit has")
	case errors.Is(err, fetch.ErrDenied):
		return app("look at the repository's name, and at the app's git credentials")
	case isStatus && status.Code < 500:
		return app("look at the URL")
	}
	return fault
}

package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/store"
)

// sourceLife is how long a place for a source is there, and how long what was put there can be built.
const sourceLife = time.Hour

type source struct {
	Blob sourceURLs `json:"source_blob"`
}

// sourceURLs: PutURL takes the source, once, without a token; GetURL is what a build of it names.
type sourceURLs struct {
	GetURL string `json:"get_url"`
	PutURL string `json:"put_url"`
}

func (s *server) createSource(ctx context.Context, c *call) (source, error) {
	u, err := s.Store.CreateUpload(ctx, c.actor.User.ID, sourceLife)
	if err != nil {
		return source{}, err
	}
	at := s.at(c.Request, "/sources/"+string(u.ID)+"/blob")
	get := at.String()
	at.RawQuery = url.Values{"sig": {s.signer.sign(toPut, u.ID, u.ExpiresAt)}}.Encode()
	return source{sourceURLs{GetURL: get, PutURL: at.String()}}, nil
}

type put struct {
	Checksum string `json:"checksum"`
	Size     int64  `json:"size"`
}

func (s *server) putSource() endpoint {
	e := give(http.StatusOK, s.receiveSource)
	e.takes = "application/octet-stream"
	return e
}

// receiveSource keeps what comes, and records it when all has come. Who comes second is told so, before anything is
// read where that is known already.
func (s *server) receiveSource(ctx context.Context, c *call) (out put, err error) {
	id := build.ID(c.PathValue("id"))
	u, err := s.Store.Upload(ctx, id)
	if err != nil {
		return out, err
	}
	second := conflict("a source was put here already: ask for a new place with POST /sources")
	if u.Source != "" {
		return out, second
	}
	limit := tooLarge(fmt.Sprintf("the source is larger than %d bytes, the limit: leave out what is not needed to build it", s.SourceLimit))
	if c.ContentLength > s.SourceLimit {
		return out, limit
	}
	if c.ContentLength == 0 {
		return out, invalid("body", "the source is empty")
	}
	ctx, cancel := context.WithDeadlineCause(ctx, u.ExpiresAt, badRequest("the source did not come in time"))
	defer cancel()
	body := &blamed{r: c.Body}
	kept, err := s.Sources.Put(ctx, body, s.SourceLimit)
	_, large := errors.AsType[*fetch.LimitError](err)
	switch {
	case large:
		return out, limit
	case body.err != nil:
		return out, bodyProblem(body.err)
	case err != nil:
		return out, err
	case kept.Size == 0:
		return out, invalid("body", "the source is empty")
	}
	killpoint.Here(killpoint.UploadStored)
	err = s.Store.FillUpload(ctx, id, string(kept.Key), string(kept.Sum), kept.Size)
	if errors.Is(err, build.ErrConflict) {
		err = second
	}
	return put{string(kept.Sum), kept.Size}, err
}

// blamed remembers that it was reading that failed.
type blamed struct {
	r   io.Reader
	err error
}

func (b *blamed) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// uploaded finds the upload that a URL is the GetURL of; ok is false when it is a URL of somewhere else.
func (s *server) uploaded(ctx context.Context, c *call, text string) (u store.Upload, ok bool, err error) {
	in, err := url.Parse(text)
	if err != nil || in.Host == "" || in.Host != s.at(c.Request, "/").Host {
		return u, false, nil
	}
	rest, _ := strings.CutPrefix(in.Path, s.at(c.Request, "/sources/").Path)
	name, _ := strings.CutSuffix(rest, "/blob")
	id, err := build.ParseID(name)
	if err != nil {
		return u, false, nil
	}
	u, err = s.Store.Upload(ctx, id)
	switch {
	case errors.Is(err, build.ErrNotFound), err == nil && u.User != c.actor.User.ID:
		err = invalid("source_blob.url", "there is no such source of yours, or its time is over: put it again")
	case err == nil && u.Source == "":
		err = invalid("source_blob.url", "nothing was put there yet: PUT the source to its put_url first")
	}
	return u, true, err
}

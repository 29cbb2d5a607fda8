package console

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/button"
	"github.com/slipway-build/slipway/internal/fetch"
)

// Templates are how the templates of deploy buttons are read. Whoever follows a link has one read: so all of it is bounded.
type Templates struct {
	// Hosts are where templates come from, as host or host:port.
	Hosts []string
	// Fetcher must be set where there are Hosts.
	Fetcher *fetch.Fetcher
	// Credentials are those for a git host: the user's own, else the service's, for those who may make apps. It may be nil:
	// then there are none.
	Credentials func(ctx context.Context, user build.ID, host string) (c fetch.Credentials, own bool, err error)
	// Limits bound the reading of one template. The zero Limits are right but for tests.
	Limits fetch.Limits
}

const (
	readings    = 6                // of templates at once
	readingWait = 10 * time.Second // for one's turn
	readmeShown = 6 << 10          // bytes
	maxKept     = 200              // templates in memory
	maxKeptSize = 16 << 20         // bytes of their files
)

// A shelf reads templates and keeps the last of them, by commit: what a commit says never changes.
type shelf struct {
	Templates
	turns chan struct{} // holds one for each reading under way

	mu    sync.Mutex
	size  int64
	kept  map[shelfKey]*list.Element // of *shelved
	order *list.List                 // what was used last in front
}

// A shelfKey has a reader where credentials were needed: others do not get what is behind it.
type shelfKey struct {
	repository, path string
	file             bool
	reader           reader
	commit           fetch.Commit
}

// A reader is a user with credentials of their own, or byService, with the service's; "" is anybody.
type reader string

const byService reader = "service"

type shelved struct {
	key    shelfKey
	pinned button.Pinned
	size   int64
}

func newShelf(t Templates) (*shelf, error) {
	if len(t.Hosts) > 0 && t.Fetcher == nil {
		return nil, errors.New("console: there is nothing that reads templates")
	}
	if t.Limits == (fetch.Limits{}) {
		t.Limits = fetch.Limits{Archive: 32 << 20, Time: 30 * time.Second, Stall: 10 * time.Second, Memory: 1 << 30}
	}
	return &shelf{Templates: t, turns: make(chan struct{}, readings), kept: map[shelfKey]*list.Element{}, order: list.New()}, nil
}

// allowed implements button.Allowed.
func (s *shelf) allowed(host string) bool {
	return slices.Contains(s.Hosts, host)
}

// pin is a template at a commit: the one that is given, or where its ref is now. It is public, or the visitor may have it
// read with their own credentials or the service's.
func (s *shelf) pin(ctx context.Context, v *visit, t button.Template, commit fetch.Commit) (button.Pinned, error) {
	p, err := s.read(ctx, t, commit, "", fetch.Credentials{})
	if !errors.Is(err, fetch.ErrDenied) || s.Credentials == nil || !v.signed || v.setsUp() != "" {
		return p, err
	}
	creds, own, cerr := s.Credentials(ctx, v.actor.User.ID, t.Repository.Host())
	if cerr != nil {
		return p, cerr
	}
	if creds.Password == "" {
		return p, err
	}
	if !own {
		return s.read(ctx, t, commit, byService, creds)
	}
	p, err = s.read(ctx, t, commit, reader(v.actor.User.ID), creds)
	p.Credentials = creds
	return p, err
}

func (s *shelf) read(ctx context.Context, t button.Template, commit fetch.Commit, who reader, with fetch.Credentials) (button.Pinned, error) {
	key := shelfKey{t.Repository.String(), t.Path, t.File, who, commit}
	if p, ok := s.get(key); ok && commit != "" {
		p.Template = t
		return p, nil
	}
	wait, cancel := context.WithTimeout(ctx, readingWait)
	defer cancel()
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-wait.Done():
		return button.Pinned{Template: t}, cmp.Or(ctx.Err(), errBusy)
	}
	p, err := button.Resolve(ctx, s.Fetcher, t, with, s.Limits)
	if err != nil {
		return p, err
	}
	if commit != "" {
		p.Commit = commit
	}
	key.commit = p.Commit
	if kept, ok := s.get(key); ok {
		kept.Template, kept.Ref = t, p.Ref
		return kept, nil
	}
	if p, err = p.Load(ctx, s.Fetcher, with, s.Limits); err != nil {
		return p, err
	}
	if len(p.Readme.Text) > readmeShown {
		p.Readme.Text, p.Readme.Cut = strings.ToValidUTF8(p.Readme.Text[:readmeShown], ""), true
	}
	s.put(key, p)
	return p, nil
}

func (s *shelf) get(key shelfKey) (button.Pinned, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.kept[key]
	if !ok {
		return button.Pinned{}, false
	}
	s.order.MoveToFront(e)
	return e.Value.(*shelved).pinned, true
}

func (s *shelf) put(key shelfKey, p button.Pinned) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.kept[key]; ok {
		return
	}
	p.Template = button.Template{} // the link's, with its values
	one := &shelved{key, p, 4*p.Bytes + int64(len(p.Readme.Text)) + 1<<10}
	s.kept[key] = s.order.PushFront(one)
	for s.size += one.size; s.size > maxKeptSize || s.order.Len() > maxKept; {
		last := s.order.Remove(s.order.Back()).(*shelved)
		delete(s.kept, last.key)
		s.size -= last.size
	}
}

var errBusy = errors.New("too many templates are being read just now: try again in some seconds")

// templateStatus says whose fault it is that a template cannot be read: nearly always the link's or the repository's, which
// are told what is wrong. ours is told to the operator, and to nobody else.
func templateStatus(err error) (status int, ours bool) {
	_, refused := errors.AsType[*fetch.RefusedError](err)
	_, large := errors.AsType[*fetch.LimitError](err)
	_, path := errors.AsType[*fs.PathError](err)
	_, program := errors.AsType[*exec.Error](err)
	switch {
	case errors.Is(err, errBusy):
		return http.StatusServiceUnavailable, false
	case path, program, errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.ENOMEM):
		return http.StatusInternalServerError, true
	case refused:
		return http.StatusForbidden, false
	case large, errors.Is(err, button.ErrLarge):
		return http.StatusRequestEntityTooLarge, false
	case errors.Is(err, fetch.ErrDenied), errors.Is(err, fetch.ErrNoRef), errors.Is(err, fetch.ErrNoDir):
		return http.StatusNotFound, false
	}
	return http.StatusUnprocessableEntity, false
}

// templateAdvice is what somebody can do about it.
func templateAdvice(err error, signed bool) string {
	_, refused := errors.AsType[*fetch.RefusedError](err)
	switch {
	case errors.Is(err, fetch.ErrDenied) && !signed:
		return "If the repository is private, sign in: templates are then read with the credentials that you or this service have for their host, if there are any."
	case errors.Is(err, fetch.ErrDenied):
		return "Look at the name. If the repository is private, give this service your credentials for its host: slipway credentials set git HOST --username YOU --mine. Those of single apps are not used for templates."
	case refused:
		return "Templates come from public addresses, and from those that the operator allows."
	case errors.Is(err, button.ErrNoAppJSON):
		return `The least that a template has is an app.json with {} in it. The repository can be pushed to an app of yours without one.`
	}
	return ""
}

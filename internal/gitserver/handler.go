package gitserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/slipway-build/slipway/internal/build"
)

// A Receiver decides about pushes. The service is one.
type Receiver interface {
	// Authorize finds the app of a name, and who asks, for something that needs verb. ErrCredential is for credentials
	// that are not valid, or that are missing (the zero Credential) where not everybody may; build.ErrNotFound for an app that is not there or is another's, build.ErrForbidden for a
	// token without the verb.
	Authorize(ctx context.Context, c Credential, app string, verb build.Verb) (build.App, build.Actor, error)

	// Push blocks as long as the build runs. nil lets the push through: its refs move. A *Refusal is told to the client
	// in its words; of any other error the client learns only that it is ours. ctx ends when the service stops or git
	// dies, not when the client goes away: that is Push.Gone.
	Push(ctx context.Context, p *Push) error

	// Moved is called once for every update of a push that was let through. A nil error says that the ref moved; with
	// any other it stands where it stood, and a recorded move can be made with Repos.MoveRef.
	Moved(ctx context.Context, app build.App, u Update, err error)
}

// A Credential is what a client showed: a token, which over HTTP is the password of Basic authentication, whatever the
// user name, or that of Bearer; or over SSH a key, which it has proved to have.
type Credential struct {
	Token string
	Key   PublicKey
}

// ErrCredential tells of a credential that is not valid.
var ErrCredential = errors.New("the credentials are not valid")

// The reasons for which a push ends that is neither the receiver's decision nor the client's fault.
var (
	ErrStopped = errors.New("the service is stopping")
	errEnded   = errors.New("git ended")
)

// Handler serves repositories over git's smart HTTP protocol: push, fetch and clone of <app>.git. Its transport is
// apart from what a push does (see session). The server that it runs in has no WriteTimeout and no ReadTimeout; the
// handler sets deadlines as bytes move. The zero values of Limits and Fault are fine.
type Handler struct {
	Repos    *Repos
	Receiver Receiver
	Limits   Limits
	// Fault is told what went wrong on our side and what no client is told.
	Fault func(error)

	mu       sync.Mutex
	stopped  bool
	sessions map[*context.CancelCauseFunc]struct{}
	idle     sync.WaitGroup
}

// serve is a session, whatever it comes over, from who asks to its end. The error is for the client: of what goes wrong
// once act has begun, which answers by itself, it is not told.
func (h *Handler) serve(ctx context.Context, c Credential, name string, verb build.Verb, act func(context.Context, build.App, build.Actor) (killed bool, err error)) error {
	ctx, end, err := h.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	app, actor, err := h.Receiver.Authorize(ctx, c, name, verb)
	if err == nil {
		err = h.ensure(ctx, app)
	}
	if err != nil {
		return err
	}
	leave := h.Repos.gates.use(app.ID, func() { h.fault(sweep(h.Repos.path(app.ID), false)) })
	killed := false
	defer func() { leave(killed) }()
	if killed, err = act(ctx, app, actor); err != nil && !errors.Is(context.Cause(ctx), ErrStopped) {
		h.fault(fmt.Errorf("git of app %s: %w", app.Name, err))
	}
	return nil
}

// ensure makes the repository of an app that has none yet.
func (h *Handler) ensure(ctx context.Context, app build.App) error {
	_, err := h.Repos.at(app.ID)
	if errors.Is(err, build.ErrNotFound) {
		return h.Repos.Create(ctx, app.ID, app.Branch)
	}
	return err
}

// begin counts a session and gives it a context that ends with Stop, not with the client.
func (h *Handler) begin(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		cancel(ErrStopped)
		return nil, nil, ErrStopped
	}
	if len(h.sessions) >= h.Limits.withDefaults().Sessions {
		cancel(nil)
		return nil, nil, errBusy
	}
	if h.sessions == nil {
		h.sessions = map[*context.CancelCauseFunc]struct{}{}
	}
	h.sessions[&cancel] = struct{}{}
	h.idle.Add(1)
	return ctx, func() {
		cancel(nil)
		h.mu.Lock()
		delete(h.sessions, &cancel)
		h.mu.Unlock()
		h.idle.Done()
	}, nil
}

var errBusy = errors.New("too many git sessions at once")

// Stop lets no session begin any more, ends those that run, pushes with ErrStopped as the cause, and returns when all
// have ended or ctx is done.
func (h *Handler) Stop(ctx context.Context) error {
	h.mu.Lock()
	h.stopped = true
	for cancel := range h.sessions {
		(*cancel)(ErrStopped)
	}
	h.mu.Unlock()
	return h.Drain(ctx)
}

// Drain lets no session begin any more, and returns when those that run have ended by themselves or ctx is done. A push
// that was let through is not cut off so from the news that it was.
func (h *Handler) Drain(ctx context.Context) error {
	h.mu.Lock()
	h.stopped = true
	h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.idle.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of git sessions: %w", context.Cause(ctx))
	}
}

func (h *Handler) fault(err error) {
	if err != nil && h.Fault != nil {
		h.Fault(err)
	}
}

// status is where an error of ours becomes one of HTTP, and a line that git shows behind "remote: ".
func status(err error) (int, string) {
	switch {
	case errors.Is(err, ErrCredential):
		return http.StatusUnauthorized, "A token is needed as the password; the user name may be anything. Make one: slipway tokens create"
	case errors.Is(err, build.ErrNotFound):
		return http.StatusNotFound, "There is no such app, or it is not yours."
	case errors.Is(err, build.ErrForbidden):
		return http.StatusForbidden, "This token or key may not do that: a push needs the verb deploy, a fetch the verb read."
	case errors.Is(err, ErrStopped):
		return http.StatusServiceUnavailable, "The service is stopping. Try again in a minute."
	case errors.Is(err, errBusy):
		return http.StatusServiceUnavailable, "The service is busy with other pushes. Try again in a minute."
	}
	return http.StatusInternalServerError, "Something went wrong in the service. Try again."
}

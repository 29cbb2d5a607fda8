package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/fetch"
	"github.com/slipway-build/slipway/internal/gitserver"
	"github.com/slipway-build/slipway/internal/killpoint"
	"github.com/slipway-build/slipway/internal/service"
)

// A receiver makes builds of pushes.
type receiver struct{ *Daemon }

// Authorize implements gitserver.Receiver.
func (r *receiver) Authorize(ctx context.Context, c gitserver.Credential, app string, verb build.Verb) (build.App, build.Actor, error) {
	if app == string(build.IndexName) && verb == build.VerbRead && !r.config.Index.Private && c == (gitserver.Credential{}) {
		return indexRepository(), build.Actor{}, nil
	}
	who, err := r.authenticate(ctx, c)
	if errors.Is(err, build.ErrNotFound) {
		return build.App{}, who, gitserver.ErrCredential
	}
	if err != nil {
		return build.App{}, who, err
	}
	if app == string(build.IndexName) {
		if !who.Can(verb) || verb == build.VerbDeploy && who.Token.App != "" {
			err = fmt.Errorf("the token may not %s: %w", verb, build.ErrForbidden)
		}
		return indexRepository(), who, err
	}
	a, err := r.store.App(ctx, who, app)
	if err == nil && !who.Can(verb) {
		err = fmt.Errorf("the token may not %s: %w", verb, build.ErrForbidden)
	}
	return a, who, err
}

func (r *receiver) authenticate(ctx context.Context, c gitserver.Credential) (build.Actor, error) {
	if c.Key != "" {
		return r.store.AuthenticateKey(ctx, string(c.Key))
	}
	return r.store.Authenticate(ctx, c.Token)
}

// Push implements gitserver.Receiver: the push waits for its build, and the ref moves when that succeeded.
func (r *receiver) Push(ctx context.Context, p *gitserver.Push) error {
	if p.App.ID == build.IndexID {
		return r.registrar.Push(ctx, p)
	}
	plan, err := gitserver.Classify(p.App.Branch, p.Updates)
	if err != nil {
		return err
	}
	o, err := pushOptions(p.Options)
	if err != nil {
		return err
	}
	for _, s := range plan.Says {
		fmt.Fprintln(p.Out, s)
	}
	if plan.Deploy == nil {
		return nil
	}
	if !r.ready.Load() && !o.detach {
		return stopping
	}
	u := *plan.Deploy
	heading(p.Out, "Received %s for %s", u.New.Short(), p.App.Name)
	if err := r.preflight(ctx, p.App); err != nil {
		return &gitserver.Refusal{Reason: "cannot build", Lines: []string{err.Error()}}
	}
	key, err := r.archive(ctx, p, u.New)
	if err != nil {
		return err
	}
	says, err := p.Subject(ctx, u.New)
	if err != nil {
		return err
	}
	killpoint.Here(killpoint.SourceKept)
	b := build.Build{
		App: p.App.ID, User: p.Actor.User.ID,
		Trigger: build.Trigger{Kind: build.TriggerPush, Ref: string(u.Ref), Old: string(u.Old), New: string(u.New), NoCache: o.noCache},
		Source:  build.Source{Stored: string(key), Commit: string(u.New), Description: build.Subject(says)},
	}
	if o.detach {
		return r.detach(ctx, p, u, b)
	}
	return r.wait(ctx, p, u, b)
}

// stopping is the answer to a push that would wait for a build that is not begun any more.
var stopping = &gitserver.Refusal{Reason: "the service is stopping", Lines: []string{"The build service is being stopped. Nothing was changed.", "Push again in a minute."}}

// archive keeps what is to be built.
func (r *receiver) archive(ctx context.Context, p *gitserver.Push, commit gitserver.Hash) (fetch.Key, error) {
	tar, err := p.Archive(ctx, commit)
	if err != nil {
		return "", err
	}
	limit := int64(r.config.Limits.Source)
	kept, err := r.sources.Put(ctx, tar, limit+limit/4) // a tar's own bytes come on top
	return kept.Key, errors.Join(err, tar.Close())
}

type options struct{ noCache, detach bool }

// pushOptions reads `git push -o`.
func pushOptions(list []string) (o options, err error) {
	for _, s := range list {
		switch s {
		case "no-cache":
			o.noCache = true
		case "detach":
			o.detach = true
		default:
			return o, &gitserver.Refusal{Reason: "unknown push option", Lines: []string{
				fmt.Sprintf("There is no push option %.80q.", s), "There are no-cache (build from scratch) and detach (do not wait for the build).",
			}}
		}
	}
	return o, nil
}

// wait submits a build and shows it until it has ended.
func (r *receiver) wait(ctx context.Context, p *gitserver.Push, u gitserver.Update, b build.Build) error {
	over := make(chan struct{})
	defer close(over)
	session := &service.Session{Decide: func(ctx context.Context, b build.Build) *build.Failure {
		select {
		case <-over: // nobody is there who would move the ref
			return &build.Failure{Blame: build.BlamePlatform, Code: "interrupted", Reason: "the push was lost while its build ran", Next: "push again"}
		default:
			return r.decide(ctx, p, u, b)
		}
	}}
	b, err := r.service.SubmitWaiting(ctx, b, session)
	if err != nil {
		return err
	}
	go r.gone(p, b, over)
	waited, err := r.queue(ctx, p.Out, b)
	if err != nil {
		return r.lost(ctx, b, err)
	}
	if waited {
		if err := p.Stands(ctx, u); err != nil { // what it would make could not be taken any more
			r.drop(ctx, b, "the ref has moved while the push waited")
			return err
		}
	}
	out := newPushLog(p.Out)
	if _, err := r.logs.Follow(ctx, b.ID, 0, out); err != nil {
		return r.lost(ctx, b, err)
	}
	out.close()
	b, err = r.ended(ctx, b.ID)
	if err != nil {
		return err
	}
	if b.State != build.Succeeded {
		return r.refusal(p.App, b)
	}
	r.success(ctx, p.Out, p.App, b)
	return nil
}

// decide is asked when the build has succeeded: does the ref still stand where the push found it?
func (r *receiver) decide(ctx context.Context, p *gitserver.Push, u gitserver.Update, b build.Build) *build.Failure {
	err := p.Stands(ctx, u)
	if err == nil {
		killpoint.Here(killpoint.RefStands)
		err = p.Keep(ctx, b.ID, u.New)
	}
	if err == nil {
		killpoint.Here(killpoint.CommitKept)
		p.Settle()
		killpoint.Here(killpoint.Settled)
		return nil
	}
	if no, ok := errors.AsType[*gitserver.Refusal](err); ok {
		return &build.Failure{Blame: build.BlameApp, Code: "fetch-first", Reason: strings.Join(no.Lines, " "), Next: "git pull --rebase, and push again"}
	}
	return &build.Failure{Blame: build.BlamePlatform, Code: "platform", Reason: err.Error(), Next: "push again; if it stays, tell the operator"}
}

// gone holds the app's policy when the client goes away.
func (r *receiver) gone(p *gitserver.Push, b build.Build, over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-p.Gone:
	}
	if p.App.Disconnect != build.Abandon {
		return
	}
	r.drop(context.Background(), b, "the pushing client went away")
}

// drop cancels a build, whatever becomes of ctx, and is content with one that has ended.
func (r *receiver) drop(ctx context.Context, b build.Build, why string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), lease)
	defer done()
	if _, err := r.service.Cancel(ctx, b.ID, why); err != nil && !errors.Is(err, build.ErrConflict) && !isGone(err) {
		r.host.Fault(fmt.Errorf("cancel %s because %s: %w", b.ID, why, err))
	}
}

// placeEvery is how often a waiting push looks at its place.
const placeEvery = time.Second

// queue tells a push its place until its build runs, or has ended. waited tells that it had to.
func (r *receiver) queue(ctx context.Context, out io.Writer, b build.Build) (waited bool, err error) {
	told := ""
	for {
		changed := r.service.Watch(b.ID)
		now, err := r.store.BuildByID(ctx, b.ID)
		if err != nil || now.State != build.Queued {
			return told != "", err
		}
		same, others, err := r.store.Place(ctx, now)
		if err != nil {
			return told != "", err
		}
		if say := place(same, others); say != told && same+others > 0 {
			heading(out, "%s", say)
			told = say
		}
		select {
		case <-ctx.Done():
			return told != "", context.Cause(ctx)
		case <-r.draining:
			return told != "", stopping
		case <-changed:
		case <-time.After(placeEvery):
		}
	}
}

func place(same, others int) string {
	var parts []string
	if same > 0 {
		parts = append(parts, count(same, "build")+" of this app")
	}
	if others > 0 {
		parts = append(parts, count(others, "other app"))
	}
	return "Waiting in the queue behind " + strings.Join(parts, " and ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// ended waits until a build, whose log has ended, has ended itself with all that follows.
func (r *receiver) ended(ctx context.Context, id build.ID) (build.Build, error) {
	for {
		changed := r.service.Watch(id)
		b, err := r.store.BuildByID(ctx, id)
		if err != nil || b.State.Terminal() {
			return b, err
		}
		select {
		case <-ctx.Done():
			return b, context.Cause(ctx)
		case <-changed:
		}
	}
}

// lost ends a build whose push cannot go on.
func (r *receiver) lost(ctx context.Context, b build.Build, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	r.drop(ctx, b, "its push was lost")
	if errors.Is(err, build.ErrNotFound) {
		return &gitserver.Refusal{Reason: "the app is gone", Lines: []string{"The app was deleted while its build ran."}}
	}
	return err
}

// Moved implements gitserver.Receiver: what was recorded with the release is done, or is done now.
func (r *receiver) Moved(ctx context.Context, app build.App, u gitserver.Update, err error) {
	if app.ID == build.IndexID {
		r.registrar.Moved(ctx, err)
		return
	}
	r.detachedMoved(ctx, app.ID, u, err)
	unfinished, serr := r.store.Unfinished(ctx)
	if serr != nil {
		r.host.Fault(fmt.Errorf("after %s of %s moved: %w", u.Ref, app.Name, serr)) // the next start does it
		return
	}
	for _, rel := range unfinished {
		if rel.App != app.ID || rel.RefMoved || rel.Ref != string(u.Ref) || rel.New != string(u.New) {
			continue
		}
		if err == nil {
			r.refMoved(ctx, rel)
		} else {
			r.moveRef(ctx, rel)
		}
	}
}

// moveRef does a recorded update of a ref whose push cannot do it any more.
func (d *Daemon) moveRef(ctx context.Context, rel build.Release) {
	u, err := update(rel.Ref, rel.Old, rel.New)
	if err == nil {
		err = d.repos.MoveRef(ctx, rel.App, u)
	}
	if err != nil {
		d.host.Fault(fmt.Errorf("move %s of the app of release %s to %s: %w", rel.Ref, rel.ID, rel.New, err))
		if !errors.Is(err, build.ErrConflict) && !isGone(err) {
			return // the next start tries again
		}
	}
	killpoint.Here(killpoint.RefRepaired)
	d.refMoved(ctx, rel)
}

// update reads a recorded update of a ref.
func update(ref, old, new string) (u gitserver.Update, err error) {
	var errs [3]error
	u.Ref, errs[0] = gitserver.ParseRef(ref)
	u.Old, errs[1] = gitserver.ParseHash(old)
	u.New, errs[2] = gitserver.ParseHash(new)
	return u, errors.Join(errs[:]...)
}

func (d *Daemon) refMoved(ctx context.Context, rel build.Release) {
	err := d.store.RefMoved(ctx, rel.ID)
	killpoint.Here(killpoint.RefRecorded)
	if err = errors.Join(err, d.repos.Release(ctx, rel.App, rel.Build)); err != nil {
		d.host.Fault(fmt.Errorf("release %s: %w", rel.ID, err))
	}
}

package gitserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/slipway-build/slipway/internal/build"
	"github.com/slipway-build/slipway/internal/child"
	"github.com/slipway-build/slipway/internal/killpoint"
)

// A session is one push, whatever it came over: what the client said first, the rest of what it says, and where to
// answer.
type session struct {
	app    build.App
	actor  build.Actor
	head   head
	in     io.Reader       // what follows the head
	out    io.Writer       // never fails and never blocks for good: see client
	gone   <-chan struct{} // closed when the client went away
	open   bool            // in does not end where the push does, but when the client has its answer
	limits Limits

	verdict  atomic.Pointer[Refusal] // why the push is not taken; the first reason counts
	updates  []Update
	asked    []Update      // those that git let the hook decide about
	cut      atomic.Bool   // git was given a part of the push only: what it says about that is of no use
	through  bool          // the receiver let the push through
	killed   bool          // git did not end by itself
	admitted bool          // the hook came in
	checked  chan struct{} // closed when it did, or git has ended

	mu         sync.Mutex
	settled    func() // not nil from settle on
	ended      bool
	quarantine string
}

// settle makes others wait for the end of the session; see Push.Settle.
func (s *session) settle(r *Repos) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled == nil && !s.ended {
		s.settled = r.gates.settle(s.app.ID)
	}
}

func (s *session) settling() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled != nil
}

// end is when git has ended and the refs have moved or not. A git that was killed leaves its quarantine.
func (s *session) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.settled != nil {
		s.settled()
	}
	if s.quarantine == "" {
		return nil
	}
	return os.RemoveAll(s.quarantine)
}

func (s *session) refuse(r *Refusal) { s.verdict.CompareAndSwap(nil, r) }

// reason is why the hook declined. A hook that never came in, because it could not be started, has told nobody why.
func (s *session) reason() string {
	if s.verdict.CompareAndSwap(nil, ours) {
		_ = s.head.say(s.out, ours.lines()...) // a client never fails
	}
	return s.verdict.Load().Reason
}

// unfit is what can be said against a push by its head alone; nil is nothing.
func (s *session) unfit() *Refusal {
	if n := len(s.head.commands); n > s.limits.Refs {
		return &Refusal{Reason: "too many refs", Lines: []string{
			fmt.Sprintf("The push has %d refs; at most %d can be pushed at once.", n, s.limits.Refs),
		}}
	}
	var err error
	if s.updates, err = s.head.updates(); err != nil {
		return &Refusal{Reason: "the name cannot be taken", Lines: []string{"Refused: " + err.Error() + "."}}
	}
	if n := len(s.head.options); n > s.limits.Options {
		return &Refusal{Reason: "too many push options", Lines: []string{fmt.Sprintf("At most %d push options (-o) can be given.", s.limits.Options)}}
	}
	if slices.ContainsFunc(s.head.options, func(o string) bool { return len(o) > maxOption || strings.ContainsFunc(o, unicode.IsControl) }) {
		return &Refusal{Reason: "bad push option", Lines: []string{fmt.Sprintf("A push option (-o) has at most %d bytes and no control characters.", maxOption)}}
	}
	for _, u := range s.updates {
		if strings.HasPrefix(string(u.Ref), hidden) {
			return &Refusal{Reason: "the name cannot be taken", Lines: []string{hidden + " is for the service's own use."}}
		}
	}
	return nil
}

// receive is one push from its head to its end. An error is ours; what the client did wrong it was told.
func (h *Handler) receive(ctx context.Context, s *session) error {
	if r := s.unfit(); r != nil {
		defer s.drain()
		return s.head.answer(s.out, r)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g, err := h.launch(ctx, s.app.ID, s.limits)
	if err != nil {
		defer s.drain()
		return errors.Join(err, s.head.answer(s.out, ours))
	}
	s.checked = make(chan struct{})
	fed, hooked := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(fed)
		if s.open {
			in := &pausing{r: s.in, limit: s.limits.Check, late: func() { s.hurry(0, cancel) }}
			defer in.stop()
			s.in = in
		}
		s.feed(g.stdin)
		if !s.open {
			s.hurry(s.limits.Check, cancel)
		}
	}()
	go func() { hooked <- h.admit(ctx, g.door, s) }()

	reported, relayErr := s.head.relay(s.out, g.stdout, &s.cut, s.reason)
	gitErr := child.Wait(g.cmd)
	s.killed = gitErr != nil
	cause := context.Cause(ctx)
	cancel(errEnded)
	err = errors.Join(relayErr, g.door.close(), <-hooked)
	if s.through {
		killpoint.Here(killpoint.RefMoved)
	}
	moves := h.moves(ctx, s) // while others wait, so that none of them can have moved a ref on
	err = errors.Join(err, s.end())
	if !reported {
		if errors.Is(cause, ErrStopped) {
			s.refuse(stopped)
		}
		if s.through {
			s.refuse(unsure)
			err = errors.Join(err, &gitError{"receive-pack", "it ended before it had moved the refs: " + g.stderr.String(), cmp.Or[error](gitErr, io.ErrUnexpectedEOF)})
		}
		s.refuse(ours)
		err = errors.Join(err, s.head.answer(s.out, s.verdict.Load()))
	}
	if s.verdict.Load() == ours && !s.admitted { // else the one who was admitted has the error
		err = errors.Join(err, &gitError{"receive-pack", "its hook did not come: " + g.stderr.String(), gitErr})
	}
	for i, moveErr := range moves {
		h.Receiver.Moved(context.WithoutCancel(ctx), s.app, s.asked[i], moveErr)
	}
	<-fed
	return err
}

// The refusals for what is nobody's fault who pushes.
var (
	ours    = &Refusal{Reason: "internal error", Lines: []string{"Something went wrong in the build service, not in your app.", "Nothing was changed. Push again; if it happens again, tell its operator."}}
	unsure  = &Refusal{Reason: "internal error", Lines: []string{"Something went wrong in the build service when the push was let through.", "Fetch, to see whether it was taken; tell the operator."}}
	stopped = &Refusal{Reason: "the service is stopping", Lines: []string{"The build service is being stopped. Nothing was changed.", "Push again in a minute."}}
)

// A receiver is a git that reads a client's bytes, and the door for its hook.
type receiver struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout io.Reader
	stderr child.Tail
	door   *door
}

// launch starts a receiver. Nothing was written to it yet, so that its limits hold for all that it does.
func (h *Handler) launch(ctx context.Context, app build.ID, l Limits) (*receiver, error) {
	if err := h.Repos.guarded(); err != nil {
		return nil, err
	}
	door, err := h.Repos.openDoor()
	if err != nil {
		return nil, err
	}
	g := &receiver{cmd: h.Repos.command(ctx, h.Repos.path(app), "receive-pack", "--stateless-rpc", "."), door: door}
	g.cmd.Env = append(g.cmd.Env, door.env()...)
	g.cmd.Stderr = &g.stderr
	if g.stdin, err = g.cmd.StdinPipe(); err == nil {
		g.stdout, err = g.cmd.StdoutPipe()
	}
	if err == nil {
		err = child.Start(g.cmd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start git: %w", err), door.close())
	}
	if err := confine(g.cmd.Process.Pid, l.Memory, 2*l.Pack+(64<<20)); err != nil {
		_ = g.cmd.Process.Kill()
		return nil, errors.Join(err, child.Wait(g.cmd), door.close())
	}
	return g, nil
}

// feed gives git what the client sends. What git does not want any more is read all the same, or the client would not
// come to read why.
func (s *session) feed(stdin io.WriteCloser) {
	if _, err := stdin.Write(s.head.raw); err == nil {
		in := &failing{r: io.LimitReader(s.in, s.limits.Pack+1)}
		n, _ := io.Copy(stdin, in) // git may end early, and has said why
		switch {
		case in.err != nil:
			s.cut.Store(true)
			s.refuse(&Refusal{Reason: "the upload was cut short", Lines: []string{"The upload was cut short. Push again."}})
		case n > s.limits.Pack:
			s.cut.Store(true)
			s.refuse(packTooLarge(s.limits.Pack))
		}
	}
	stdin.Close()
	s.drain()
}

// hurry ends a git that checks for longer than that what it was given: a few bytes can be made to unpack to very many.
func (s *session) hurry(patience time.Duration, cancel context.CancelCauseFunc) {
	select {
	case <-s.checked:
		return
	default:
	}
	select {
	case <-s.checked:
	case <-time.After(patience):
		s.refuse(&Refusal{Reason: "the push takes too long", Lines: []string{fmt.Sprintf("To check what was pushed took longer than %s.", s.limits.Check)}})
		cancel(errEnded)
	}
}

// pausing calls late when nothing has come for as long as the limit: all of a push is there then, or its client sleeps.
type pausing struct {
	r     io.Reader
	limit time.Duration
	late  func()
	timer *time.Timer
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, p.late)
	}
	p.timer.Reset(p.limit)
	return p.r.Read(b)
}

func (p *pausing) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// failing remembers that reading failed.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// drain reads on where the client still sends, within bounds: beyond them the connection is closed.
func (s *session) drain() { _, _ = io.Copy(io.Discard, io.LimitReader(s.in, 4*s.limits.Pack)) }

// admit waits for the hook of the push, has the receiver decide, and tells the hook.
func (h *Handler) admit(ctx context.Context, d *door, s *session) error {
	hook, g, err := d.accept()
	close(s.checked)
	if err != nil {
		return nil // the door was closed: git refused the push by itself
	}
	defer hook.conn.Close()
	s.admitted = true
	p, err := h.pushOf(s, g, hook)
	if err == nil {
		err = h.ask(ctx, p)
	}
	if err == nil {
		s.settle(h.Repos)
		s.through = true
		killpoint.Here(killpoint.LettingGo)
		err = hook.exit(0)
		killpoint.Here(killpoint.LetGo)
		return err
	}
	r, ok := errors.AsType[*Refusal](err)
	switch {
	case ok:
		err = nil
	case errors.Is(context.Cause(ctx), ErrStopped):
		r, err = stopped, nil
	default:
		r = ours
	}
	s.refuse(r)
	_, _ = io.WriteString(hook, strings.Join(r.lines(), "\n")+"\n") // git may be gone
	_ = hook.exit(1)
	return err
}

// ask is the receiver's decision, after what we know ourselves.
func (h *Handler) ask(ctx context.Context, p *Push) error {
	for _, u := range p.Updates {
		if err := p.Stands(ctx, u); err != nil {
			return err
		}
	}
	return h.Receiver.Push(ctx, p)
}

// pushOf is the push as the hook sees it, which is what git will do.
func (h *Handler) pushOf(s *session, g greeting, hook *visitor) (*Push, error) {
	p := &Push{
		App: s.app, Actor: s.actor, Options: s.head.options, Out: hook, Gone: s.gone,
		session: s, repos: h.Repos, repo: h.Repos.path(s.app.ID), shallow: s.head.shallow, limits: s.limits,
	}
	if g.Objects != "" { // a push of nothing but deletions has no objects
		own := filepath.Join(p.repo, "objects")
		p.quarantine = filepath.Clean(g.Objects)
		if filepath.Dir(p.quarantine) != own {
			return nil, fmt.Errorf("the hook names %s as the quarantine", quote(g.Objects))
		}
		s.quarantine = p.quarantine
		p.objects = []string{"GIT_OBJECT_DIRECTORY=" + p.quarantine, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + own, "GIT_QUARANTINE_PATH=" + p.quarantine}
	}
	for _, line := range g.Updates {
		f := strings.SplitN(line, " ", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("the hook was given %s", quote(line))
		}
		i := 0
		for i < len(s.updates) && (string(s.updates[i].Ref) != f[2] || string(s.updates[i].Old) != f[0] || string(s.updates[i].New) != f[1]) {
			i++
		}
		if i == len(s.updates) {
			return nil, fmt.Errorf("the hook was given %s, which the client did not ask for", quote(line))
		}
		p.Updates = append(p.Updates, s.updates[i])
	}
	s.asked = p.Updates
	return p, nil
}

// moves is what became of each update of a push that the receiver let through; nil is one that was made.
func (h *Handler) moves(ctx context.Context, s *session) (moves []error) {
	if !s.through {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for _, u := range s.asked {
		now, err := h.Repos.ref(ctx, s.app.ID, u.Ref)
		if err == nil && now != u.New {
			err = fmt.Errorf("%s of app %s did not move: it is at %s", u.Ref, s.app.Name, now.Short())
		}
		moves = append(moves, err)
	}
	return moves
}

// stream runs a git and sends on what it says.
func stream(cmd *exec.Cmd, in io.Reader, out io.Writer) error {
	var stderr child.Tail
	cmd.Stdin, cmd.Stderr = in, &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = child.Start(cmd)
	}
	if err != nil {
		return fmt.Errorf("start git: %w", err)
	}
	_, copyErr := io.Copy(out, stdout)
	if err := child.Wait(cmd); err != nil {
		return &gitError{verbOf(cmd.Args), stderr.String(), err}
	}
	return copyErr
}

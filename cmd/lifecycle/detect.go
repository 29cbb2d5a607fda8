package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// goarch is the architecture of this build image: the lifecycle in it is of the same.
const goarch = runtime.GOARCH

// Exit statuses of detect that no error of the engine tells.
const exitDetect = 22

func (c *command) detectPhase(ctx context.Context) error {
	if err := refuseRoot("detect"); err != nil {
		return err
	}
	a, err := c.readAnalyzed()
	if err != nil {
		return fail(err, exitFailed, "initialize detector")
	}
	extensions, err := c.extensionOrder()
	if err != nil {
		return fail(err, exitFailed, "initialize detector")
	}
	if err := c.extensionsAllowed(len(extensions) > 0); err != nil {
		return err
	}
	found, err := c.detect(ctx, a)
	if err != nil || !hasExtensions(found.Group) {
		return err
	}
	return c.generate(ctx, a, found)
}

// detect finds the group and the plan and writes them.
func (c *command) detect(ctx context.Context, a cnb.Analyzed) (*builder.Detected, error) {
	in, err := c.detectInput(a)
	if err != nil {
		return nil, fail(err, exitFailed, "initialize detector")
	}
	l := newDetectLog(c.log)
	in.Emit, in.Stdio = l.event, l.stdio
	found, err := builder.Detect(ctx, in)
	l.finish(err != nil)
	if err != nil {
		return nil, c.detectFailure(err)
	}
	l.participants(found)
	text, err := cnb.EncodeGroup(found.Group)
	if err := write("group", c.Group, text, err); err != nil {
		return nil, err
	}
	text, err = cnb.EncodePlan(found.Plan)
	return found, write("plan", c.Plan, text, err)
}

// detectInput reads what the platform gives detect.
func (c *command) detectInput(a cnb.Analyzed) (in builder.DetectInput, err error) {
	in = builder.DetectInput{
		PlatformAPI: c.API, Target: c.target(a), StackID: c.env["CNB_STACK_ID"], ExecEnv: c.ExecEnv, Env: c.env.environ(),
		Catalog: builder.DirCatalog(c.Buildpacks), ExtensionCatalog: builder.DirExtensions(c.Extensions), Runner: builder.ExecRunner(0, 0),
	}
	if in.Dirs, err = c.dirs(); err != nil {
		return in, err
	}
	in.Runner = builder.ExecRunner(in.Dirs.UID, in.Dirs.GID)
	if in.Order, err = read("order", c.Order, cnb.DecodeOrder); err != nil {
		return in, fmt.Errorf("reading order: %w", err)
	}
	if in.Extensions, err = c.extensionOrder(); err != nil {
		return in, err
	}
	if c.API.AtLeast(0, 15) {
		in.System, err = readIfThere("system", c.System, cnb.DecodeSystem, c.log.debugf, "No system buildpacks found at path %q")
		if err != nil {
			return in, fmt.Errorf("reading system: %w", err)
		}
		c.systemLog(in)
	}
	return in, nil
}

// systemLog says what is added to each group of the order.
func (c *command) systemLog(in builder.DetectInput) {
	for range in.Order {
		if n := len(in.System.Pre); n > 0 {
			c.log.debugf("Prepending %d system buildpack(s) to group", n)
		}
		if n := len(in.System.Post); n > 0 {
			c.log.debugf("Appending %d system buildpack(s) to group", n)
		}
	}
}

// detectFailure says in the words that platforms look for what ended detect.
func (c *command) detectFailure(err error) error {
	_, none := errors.AsType[*builder.NoGroupError](err)
	_, wrong := errors.AsType[*builder.DetectError](err)
	if none || wrong {
		c.log.errorf("No buildpack groups passed detection.")
	}
	if none {
		c.log.errorf("Please check that you are running against the correct path.")
	}
	if _, api := errors.AsType[*builder.APIError](err); api {
		return phrased(err)
	}
	return fail(err, exitDetect, "detect")
}

// A detectLog holds what detects print until it is known whether anyone wants to read it: all of it where no group
// passes or with -log-level debug, what went wrong in any case.
type detectLog struct {
	log *logger

	mu      sync.Mutex
	output  map[cnb.Ref]*bytes.Buffer
	lines   []detectLine
	results []detectLine // of the group that is tried
	failed  []string     // its members that said no or went wrong
}

type detectLine struct {
	at   level
	text string
}

func newDetectLog(log *logger) *detectLog {
	return &detectLog{log: log, output: map[cnb.Ref]*bytes.Buffer{}}
}

// maxDetectOutput is how much of one detect's output is held.
const maxDetectOutput = 1 << 20

func (l *detectLog) stdio(ref cnb.Ref) (stdout, stderr io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &bytes.Buffer{}
	l.output[ref] = b
	w := &heldOutput{l, b}
	return w, w
}

type heldOutput struct {
	log *detectLog
	b   *bytes.Buffer
}

func (w *heldOutput) Write(p []byte) (int, error) {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	if room := maxDetectOutput - w.b.Len(); room > 0 {
		w.b.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

func (l *detectLog) add(at level, format string, args ...any) {
	l.lines = append(l.lines, detectLine{at, fmt.Sprintf(format, args...)})
}

// event is called from one goroutine.
func (l *detectLog) event(e builder.Event) {
	at, ref := levelDebug, e.Buildpack.String()
	if e.Kind == builder.EventDetectError {
		at = levelInfo
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.output[e.Buildpack]; b != nil && b.Len() > 0 {
		l.add(at, "======== Output: %s ========", ref)
		l.add(at, "%s", strings.TrimSuffix(b.String(), "\n"))
		delete(l.output, e.Buildpack)
	}
	switch e.Kind {
	case builder.EventDetectPass:
		l.result(levelDebug, "pass: %s", ref)
	case builder.EventDetectFail:
		l.result(levelDebug, "fail: %s", ref)
		l.failed = append(l.failed, ref)
	case builder.EventDetectError:
		l.add(levelInfo, "======== Error: %s ========", ref)
		l.add(levelInfo, "%s", e.Text)
		l.result(levelInfo, "err:  %s (%d)", ref, e.Code)
		l.failed = append(l.failed, ref)
	case builder.EventDetectSkip:
		l.result(levelDebug, "skip: %s: %s", ref, e.Text)
	case builder.EventGroupFailed:
		said := func(ref string) bool { return strings.HasPrefix(e.Text, ref+":") }
		if !slices.ContainsFunc(l.failed, said) {
			l.result(levelDebug, "fail: %s", e.Text)
		}
		l.group()
	case builder.EventGroupChosen:
		l.group()
	case builder.EventWarning:
		l.add(levelWarn, "%s", e.Text)
	}
}

// result holds what is said of a group's member until all of the group have said what they have to.
func (l *detectLog) result(at level, format string, args ...any) {
	l.results = append(l.results, detectLine{at, fmt.Sprintf(format, args...)})
}

// group closes what is said of one group.
func (l *detectLog) group() {
	l.add(levelDebug, "======== Results ========")
	l.lines = append(l.lines, l.results...)
	l.results, l.failed = nil, nil
}

// finish prints what was held: everything where detection failed, because the reader has to find out why.
func (l *detectLog) finish(failed bool) {
	for _, line := range l.lines {
		at := line.at
		if failed && at < levelInfo {
			at = levelInfo
		}
		l.log.write(at, "", "%s", []any{line.text})
	}
}

// participants lists the group that was chosen.
func (l *detectLog) participants(found *builder.Detected) {
	width, group := 0, found.Group.Elements
	for _, e := range group {
		width = max(width, len(e.ID))
	}
	if len(group) != found.Tried {
		l.log.infof("%d of %d buildpacks participating", len(group), found.Tried)
	}
	for _, e := range group {
		l.log.infof("%-*s %s", width, e.ID, e.Version)
	}
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

// A phaseSpec is how one phase is run: args takes what is left of the command line and settles the inputs, exec does
// the work. Between the two the process becomes the user that it works as.
type phaseSpec struct {
	name phase
	link string // the name that the phase's executable has
	args func(*command, context.Context, []string) error
	exec func(*command, context.Context) error
}

// phases are the lifecycle's.
func phases() map[phase]phaseSpec {
	all := []phaseSpec{
		{phaseAnalyze, "analyzer", (*command).analyzeArgs, (*command).analyze},
		{phaseDetect, "detector", (*command).noArgs, (*command).detectPhase},
		{phaseRestore, "restorer", (*command).restoreArgs, (*command).restorePhase},
		{phaseExtend, "extender", (*command).noArgs, (*command).extend},
		{phaseBuild, "builder", (*command).noArgs, (*command).buildPhase},
		{phaseExport, "exporter", (*command).exportArgs, (*command).exportPhase},
		{phaseCreate, "creator", (*command).createArgs, (*command).create},
		{phaseRebase, "rebaser", (*command).rebaseArgs, (*command).rebase},
	}
	m := map[phase]phaseSpec{}
	for _, p := range all {
		m[p.name] = p
	}
	return m
}

// byName is the phases by the names of their executables.
func byName() map[string]phase {
	m := map[string]phase{}
	for name, p := range phases() {
		m[p.link] = name
	}
	return m
}

// A command is one phase under way.
type command struct {
	Inputs
	log            *logger
	stdout, stderr io.Writer // for what buildpacks print
	images         images
	bases          []string // images that are in a registry whatever -daemon and -layout say
	verifyCache    bool     // read what stays in the cache before it is relied on
	temp           string   // made when it is first asked for, and removed in the end
}

// runPhase runs a phase and returns its exit status.
func runPhase(ctx context.Context, p phase, args, env []string, stdout, stderr io.Writer) int {
	vars := parseEnvironment(env)
	c := &command{log: &logger{w: stdout, min: levelInfo, plain: vars.bool("CNB_NO_COLOR")}, stdout: stdout, stderr: stderr}
	c.images.scratch, c.images.launch = c.tempDir, c.launchLayer
	defer c.close()
	err := c.run(ctx, phases()[p], args, vars)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return exitArguments
	}
	if ctx.Err() != nil {
		c.log.errorf("%s was interrupted", p)
		return exitFailed
	}
	c.log.errorf("%s", oneLine(err))
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return exitFailed
}

// oneLine is an error without line breaks, which joined errors have.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func (c *command) run(ctx context.Context, p phaseSpec, args []string, vars environment) error {
	api, err := checkPlatformAPI(vars["CNB_PLATFORM_API"])
	if err != nil {
		return err
	}
	c.Inputs = *fromEnvironment(api, vars)
	rest, err := c.parseFlags(p.name, args, c.stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case c.Version:
		fmt.Fprintln(c.stdout, fullVersion())
		return nil
	}
	c.log.plain = c.NoColor
	if c.log.min, err = parseLevel(c.LogLevel); err != nil {
		return err
	}
	for _, a := range rest {
		if strings.HasPrefix(a, "-") {
			c.log.warnf("unconsumed flag-like positional arg: %s: it is not taken for a flag; flags stand before the first positional argument", a)
		}
	}
	c.log.debugf("Starting %s...", p.link)
	if err := c.settle(); err != nil {
		return fail(err, exitArguments, "resolve inputs")
	}
	if err := p.args(c, ctx, rest); err != nil {
		return err
	}
	return p.exec(c, ctx)
}

// noArgs is for the phases that name no image.
func (c *command) noArgs(_ context.Context, args []string) error {
	if len(args) > 0 {
		return badArguments("received unexpected arguments")
	}
	return nil
}

// privileges connects to where images are and then becomes the user that the phase works as; dirs are given to that
// user first. names are the images that credentials are needed for.
func (c *command) privileges(ctx context.Context, names, dirs []string) error {
	if err := c.open(ctx, names...); err != nil {
		return err
	}
	if err := own(c.UID, c.GID, dirs...); err != nil {
		return fail(err, exitFailed, "chown volumes")
	}
	if err := become(c.UID, c.GID, c.Daemon); err != nil {
		return fail(err, exitFailed, fmt.Sprintf("exec as user %d:%d", c.UID, c.GID))
	}
	return nil
}

// refuseRoot keeps buildpacks from running as root in the phases that platforms start as their user.
func refuseRoot(action string) error {
	if os.Getuid() == 0 {
		return &failure{action: action, err: errors.New("refusing to run as root"), code: exitFailed}
	}
	return nil
}

// dirs are the directories of the build as the engine knows them; the process works as their user by now.
func (c *command) dirs() (builder.Dirs, error) {
	scratch, err := c.tempDir()
	return builder.Dirs{
		App: c.App, Layers: c.Layers, Platform: c.Platform, BuildConfig: c.BuildConfig, Generated: c.Generated,
		Scratch: scratch, UID: os.Geteuid(), GID: os.Getegid(),
	}, err
}

// tempDir is a directory for this process alone.
func (c *command) tempDir() (string, error) {
	if c.temp != "" {
		return c.temp, nil
	}
	dir, err := os.MkdirTemp("", "lifecycle-")
	if err != nil {
		return "", fail(err, exitFailed, "create temp directory")
	}
	c.temp = dir
	return dir, nil
}

func (c *command) close() {
	if c.temp != "" {
		_ = os.RemoveAll(c.temp) // in a container that is about to go
	}
	if c.images.runtime != nil {
		_ = c.images.runtime.Close()
	}
}

// target is where the image will run: the run image's target, with the distribution of this build image where it has
// none (platform, "Targets").
func (c *command) target(a cnb.Analyzed) cnb.Target {
	var t cnb.Target
	if a.RunImage != nil && a.RunImage.Target != nil {
		t = *a.RunImage.Target
	}
	if t.OS == "" {
		t.OS = "linux"
	}
	if t.Arch == "" {
		t.Arch = goarch
	}
	if len(t.Distros) == 0 {
		if b, err := readFile("/etc/os-release"); err == nil {
			if d := builder.ParseOSRelease(b); d != (cnb.Distro{}) {
				t.Distros = []cnb.Distro{d}
			}
		}
	}
	return t
}

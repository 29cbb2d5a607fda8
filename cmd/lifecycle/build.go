package main

import (
	"context"
	"io"
	"os"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/cnb"
)

func (c *command) buildPhase(ctx context.Context) error {
	if err := refuseRoot("build"); err != nil {
		return err
	}
	group, err := c.readGroup()
	if err != nil {
		return err
	}
	plan, err := read("plan", c.Plan, cnb.DecodePlan)
	if err != nil {
		return err
	}
	a, err := c.readAnalyzed()
	if err != nil {
		return fail(err, exitFailed, "reading analyzed.toml")
	}
	_, err = c.build(ctx, group, plan, a)
	return err
}

// build runs the buildpacks of the group; what they print goes out as it comes. What they leave is written down for
// an exporter, and for platforms that read metadata.toml.
func (c *command) build(ctx context.Context, group cnb.Group, plan cnb.Plan, a cnb.Analyzed) (*builder.Built, error) {
	dirs, err := c.dirs()
	if err != nil {
		return nil, err
	}
	built, err := builder.Build(ctx, builder.BuildInput{
		PlatformAPI: c.API, Dirs: dirs, Group: group, Plan: plan, Target: c.target(a), StackID: c.env["CNB_STACK_ID"],
		ExecEnv: c.ExecEnv, Env: c.env.environ(), Catalog: builder.DirCatalog(c.Buildpacks),
		Runner: builder.ExecRunner(os.Geteuid(), os.Getegid()), Emit: c.log.built,
		Stdio: func(cnb.Ref) (stdout, stderr io.Writer) { return c.stdout, c.stderr },
	})
	if err == nil {
		err = builder.WriteBuilt(dirs, c.API, built)
	}
	return built, fail(phrased(err), exitBuild, "build")
}

// extend applies Dockerfiles that image extensions generate. That is another release's: it says so at once, and
// nothing is left half done.
func (c *command) extend(context.Context) error {
	return &failure{action: "extend", code: 102, err: errNoExtender}
}

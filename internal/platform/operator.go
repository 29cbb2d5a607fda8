package platform

import (
	"context"
	"fmt"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/agent"
)

// operator takes over what the builder's operator left in the builder's files: variables for the build
// (platform, "Operator-Provided Environment Variables"), and system buildpacks where no label tells of them. The
// agent read them before any buildpack ran.
func (j *job) operator(ctx context.Context) error {
	hello := j.box.Hello()
	if b := hello.Files["system.toml"]; b != nil && !j.o.NoSystemBuildpacks && j.builder.Label(cnb.LabelBuildpackSystem) == "" {
		s, err := cnb.DecodeSystem("/cnb/system.toml", b)
		if err != nil {
			return fmt.Errorf("builder %s: %w", j.o.Builder, err)
		}
		j.system = s
	}
	env := hello.BuildConfig()
	if len(env) == 0 {
		return nil
	}
	if err := j.collector.Prepare(ctx, agent.Preparation{Dirs: j.dirs, BuildConfig: env}); err != nil {
		return fmt.Errorf("builder %s: %w", j.o.Builder, err)
	}
	return nil
}

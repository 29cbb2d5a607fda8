package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/internal/client"
)

// appFlags are the settings of an app of the build service.
type appFlags struct {
	branch, builder, image, onDisconnect string
	buildpacks                           []string
	timeout                              time.Duration
	memory, disk, log, source, cache     string
	cpus                                 float64
	pids                                 int64

	set *pflag.FlagSet
}

func (f *appFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	f.set = s
	s.SortFlags = false
	s.StringVar(&f.branch, "branch", "", "branch whose pushes are built (default main)")
	s.StringVarP(&f.builder, "builder", "B", "", "builder `IMAGE` (default: the service's)")
	s.StringSliceVarP(&f.buildpacks, "buildpack", "b", nil, "buildpack instead of the builder's order: ID[@VERSION] in the builder, or image; repeatable")
	s.StringVar(&f.image, "image", "", "repository that images go to (default: the service's registry)")
	s.StringVar(&f.onDisconnect, "on-disconnect", "", "what becomes of a pushed build when the pushing client goes away: continue or cancel")
	s.DurationVar(&f.timeout, "timeout", 0, "time that a build may take, such as 10m; 0 is the service's own, as for the others")
	s.StringVar(&f.memory, "memory", "", "memory that a build may use, such as 2g")
	s.Float64Var(&f.cpus, "cpus", 0, "processors that a build may use")
	s.Int64Var(&f.pids, "pids", 0, "processes that a build may have")
	s.StringVar(&f.disk, "disk", "", "disk that a build may fill, such as 8g")
	s.StringVar(&f.log, "log", "", "log that a build may write, such as 64m")
	s.StringVar(&f.source, "source", "", "size that the unpacked source may have, such as 1g")
	s.StringVar(&f.cache, "cache", "", "size that the build cache may have, such as 2g; a larger one is dropped after the build")
	_ = cmd.RegisterFlagCompletionFunc("on-disconnect", cobra.FixedCompletions([]string{"continue", "cancel"}, cobra.ShellCompDirectiveNoFileComp))
}

// change is what the flags ask for. have are the limits that those not given leave alone.
func (f *appFlags) change(have client.Limits) (c client.AppChange, err error) {
	for name, to := range map[string]struct {
		value string
		in    **string
	}{
		"branch": {f.branch, &c.Branch}, "builder": {f.builder, &c.Builder}, "image": {f.image, &c.Image}, "on-disconnect": {f.onDisconnect, &c.OnDisconnect},
	} {
		if f.set.Changed(name) {
			*to.in = &to.value
		}
	}
	if f.set.Changed("buildpack") {
		list := append([]string{}, f.buildpacks...)
		c.Buildpacks = &list
	}
	limits, err := f.limits(have)
	if err == nil && limits != have {
		c.Limits = &limits
	}
	return c, err
}

func (f *appFlags) limits(l client.Limits) (client.Limits, error) {
	for name, to := range map[string]struct {
		value string
		in    *int64
	}{
		"memory": {f.memory, &l.Memory}, "disk": {f.disk, &l.Disk}, "log": {f.log, &l.Log}, "source": {f.source, &l.Source}, "cache": {f.cache, &l.Cache},
	} {
		if !f.set.Changed(name) {
			continue
		}
		if to.value == "0" {
			to.value = ""
		}
		n, err := parseSize(name, to.value)
		if err != nil {
			return l, err
		}
		*to.in = n
	}
	for name, negative := range map[string]bool{"timeout": f.timeout < 0, "cpus": f.cpus < 0, "pids": f.pids < 0} {
		if negative {
			return l, usagef("--%s %s: want 0 or more", name, f.set.Lookup(name).Value)
		}
	}
	if f.set.Changed("timeout") {
		l.Time = int64(f.timeout / time.Second)
	}
	if f.set.Changed("cpus") {
		l.CPUs = f.cpus
	}
	if f.set.Changed("pids") {
		l.PIDs = f.pids
	}
	return l, nil
}

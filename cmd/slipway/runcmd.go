package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/container"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// defaultWait is how long an app may take to answer before we say so.
const defaultWait = time.Minute

// stopGrace is how long an app may take to end after Ctrl-C.
const stopGrace = 3 * time.Second

// runOptions say how to start an image.
type runOptions struct {
	args    []string
	env     []string
	publish []string
	process string
	name    string
	network string
	detach  bool
	check   bool
	wait    time.Duration
	limits  container.Limits
	policy  image.Policy
	mounts  []container.Mount
}

// runFlags are the flags of run that have to be read.
type runFlags struct {
	runOptions
	vars, varFiles, volumes []string
	memory, pull            string
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run IMAGE [-- ARG...]",
		Short: "Start a built image and print its URL",
		Long: `Start a built image on a free port of 127.0.0.1, print its URL when it answers,
and its log until Ctrl-C. The app is told its port in PORT (default 8080).`,
		Example: `  slipway run my-app
  slipway run my-app --publish 3000 --env LOG_LEVEL=debug
  slipway run my-app --process worker
  slipway run my-app --detach`,
		Args: wants("IMAGE", "[ARG...]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := a.runOptions(&f)
			if err != nil {
				return err
			}
			o.args = args[1:]
			return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error {
				return a.start(ctx, m, args[0], o)
			})
		},
	}
	f.add(cmd)
	a.registryFlags(cmd)
	return cmd
}

func (f *runFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.SortFlags = false
	s.StringArrayVarP(&f.publish, "publish", "p", nil, "`[[IP:]HOST:]PORT` to publish (default: PORT of the app on a free port of 127.0.0.1); repeatable")
	s.StringArrayVarP(&f.vars, "env", "e", nil, "`NAME=value` for the app, or NAME for the value it has here; repeatable")
	s.StringArrayVar(&f.varFiles, "env-file", nil, "`FILE` of such lines; --env wins; repeatable")
	s.StringVar(&f.process, "process", "", "process to start instead of the default one")
	s.BoolVarP(&f.detach, "detach", "d", false, "leave the app running and return when it answers")
	s.BoolVar(&f.check, "check", false, "end the app when it has answered; an error where the answer is not good")
	s.DurationVar(&f.wait, "wait", defaultWait, "how long to wait for an answer by HTTP; 0 not at all")
	s.StringVar(&f.name, "name", "", "name of the container")
	s.StringVar(&f.network, "network", "", "network of the app: bridge, host, none or a network's name")
	s.StringArrayVar(&f.volumes, "volume", nil, "mount into the app, `HOST:TARGET[:ro|rw]` (default ro); repeatable")
	s.StringVar(&f.memory, "memory", "", "memory that the app may use, such as 512m")
	s.StringVar(&f.pull, "pull-policy", "", "always, if-not-present or never")
}

// runOptions reads the flags.
func (a *app) runOptions(f *runFlags) (runOptions, error) {
	o := f.runOptions
	if o.check && (o.detach || o.wait <= 0) {
		return o, usagef("--check ends the app again: leave out --detach, and --wait 0")
	}
	vars, err := a.environment(f.varFiles, f.vars)
	if err != nil {
		return o, err
	}
	for _, name := range sortedKeys(vars) {
		o.env = append(o.env, name+"="+vars[name])
	}
	if o.limits.Memory, err = parseSize("memory", f.memory); err != nil {
		return o, err
	}
	for _, v := range f.volumes {
		m, err := parseVolume(v)
		if err != nil {
			return o, err
		}
		o.mounts = append(o.mounts, container.Mount{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, Volume: m.Source[0] != '/'})
	}
	s, err := a.config()
	if err != nil {
		return o, err
	}
	o.policy, err = a.pullPolicy(f.pull, s)
	return o, err
}

// start finds an image, brings it to the engine and runs it.
func (a *app) start(ctx context.Context, m *platform.Machine, arg string, o runOptions) error {
	if m.Runtime == nil {
		return m.NoRuntime
	}
	if o.detach && m.Docker == nil {
		return errors.New("--detach needs Docker, which keeps containers running: leave it out, or install Docker (apt-get install docker.io) and start it")
	}
	img, err := resolver(m, o.policy).Resolve(ctx, arg)
	if err != nil {
		return err
	}
	var id string
	if o.detach {
		id, err = image.EnsureEngine(ctx, m.Engine, img, image.LoadOptions{Store: m.Store})
	} else {
		id, err = m.Bring(ctx, img)
	}
	if err != nil {
		return err
	}
	spec, err := o.spec(arg, id, img)
	if err != nil {
		return err
	}
	if o.detach {
		return a.leave(ctx, m, arg, spec, o)
	}
	return a.attach(ctx, m, arg, spec, o)
}

// spec is the container of an app.
func (o runOptions) spec(arg, id string, img *image.Image) (container.Spec, error) {
	s := container.Spec{
		Name: o.name, Image: id, Env: o.env, ImageUser: true, Args: o.args, Limits: o.limits, Mounts: o.mounts,
		Network: container.Network{Mode: o.network}, Grace: stopGrace,
		Labels: map[string]string{"build.slipway.run": arg},
	}
	if o.process != "" {
		have := imageProcesses(img)
		if !slices.Contains(have, o.process) {
			if len(have) == 0 {
				return s, usagef("image %s has no processes that buildpacks named: leave out --process", arg)
			}
			return s, usagef("image %s has no process %s: it has %s", arg, o.process, strings.Join(have, ", "))
		}
		s.Argv, s.Args = append([]string{"/cnb/process/" + o.process}, o.args...), nil
	}
	port, err := platform.AppPort(o.env, img.Config.Config)
	if bad, ok := errors.AsType[*platform.PortError](err); ok {
		return s, usagef("%s", bad)
	}
	if err != nil {
		return s, err
	}
	if o.network != "none" {
		if s.Ports, err = o.ports(port); err != nil {
			return s, err
		}
	}
	if len(s.Ports) > 0 {
		s.Env = platform.WithPort(s.Env, s.Ports[0].Container)
	}
	return s, nil
}

// ports reads --publish: "PORT", "HOST:PORT", "IP:HOST:PORT", HOST empty or 0 for any. PORT alone is the
// host's; the container's is then the app's own.
func (o runOptions) ports(app int) ([]container.Port, error) {
	if len(o.publish) == 0 {
		return []container.Port{{Container: app}}, nil
	}
	var out []container.Port
	for _, s := range o.publish {
		p, err := parsePort(s, app)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func parsePort(s string, app int) (container.Port, error) {
	p := container.Port{Container: app, HostIP: "127.0.0.1"}
	bad := usagef("--publish %s: want [[IP:]HOST:]PORT", s)
	rest, proto, _ := strings.Cut(s, "/")
	if proto != "" && proto != "tcp" && proto != "udp" {
		return p, bad
	}
	p.Protocol = proto
	number := func(s string) (int, bool) {
		if s == "" {
			return 0, true
		}
		n, err := strconv.Atoi(s)
		return n, err == nil && n >= 0 && n <= 65535
	}
	host, cont, both := rest, "", false
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		host, cont, both = rest[:i], rest[i+1:], true
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && both {
		p.HostIP, host = strings.Trim(host[:i], "[]"), host[i+1:]
		if net.ParseIP(p.HostIP) == nil {
			return p, bad
		}
	}
	var ok bool
	if p.Host, ok = number(host); !ok {
		return p, bad
	}
	if both {
		if p.Container, ok = number(cont); !ok || p.Container == 0 {
			return p, bad
		}
	}
	return p, nil
}

// appExit makes the app's own end our exit code.
func appExit(err error) error {
	e, ok := errors.AsType[*container.ExitError](err)
	if !ok {
		return err
	}
	if e.OutOfMemory {
		return &statusError{code: e.Code, text: fmt.Sprintf("the app was killed: out of memory (the limit is %s: raise it with --memory)", container.Bytes(e.Memory))}
	}
	return &statusError{code: e.Code, text: fmt.Sprintf("the app ended with status %d", e.Code)}
}

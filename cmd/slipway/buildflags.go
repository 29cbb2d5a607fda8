package main

import (
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
	"github.com/slipway-build/slipway/internal/platform"
)

// buildFlags are the flags of build, as they are written. Names and letters are pack's where pack has them.
type buildFlags struct {
	path, descriptor, builder, runImage string
	buildpacks, pre, post, extensions   []string
	env, envFiles, bindings             []string
	execEnv                             string

	publish                    bool
	output, compression        string
	tags                       []string
	previous, process, created string
	caches                     []string
	cacheImage                 string
	clearCache                 bool

	network, platform, pull, workspace string
	volumes                            []string
	uid, gid                           int
	memory, disk                       string
	cpus                               float64
	pids                               int64
	timeout                            time.Duration

	sbomDir, reportDir string
	noSystem           bool
	run, detach, check bool
	onError, trace     string

	set *pflag.FlagSet
}

// add declares the flags.
func (f *buildFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	f.set = s
	s.SortFlags = false
	s.StringVarP(&f.path, "path", "p", ".", "directory, zip or tar file of the app's source")
	f.addBuilder(s)
	s.StringSliceVarP(&f.buildpacks, "buildpack", "b", nil, "buildpack instead of the builder's order: directory, .cnb file, image, or ID[@VERSION] in the builder or an index; from=builder stands for that order; repeatable")
	s.StringArrayVar(&f.pre, "pre-buildpack", nil, "buildpack before every group of the order; repeatable")
	s.StringArrayVar(&f.post, "post-buildpack", nil, "buildpack after every group of the order; repeatable")
	f.addInputs(s)
	s.StringVarP(&f.process, "default-process", "D", "", "process that the image starts by default")

	s.BoolVar(&f.publish, "publish", false, "write the image to the registry in its name")
	s.StringVar(&f.output, "output", "", "where the image goes: docker, store, registry or oci:DIR (default docker)")
	s.StringVar(&f.compression, "compression", "gzip", "form of new layers: gzip, or zstd, which not every tool can read")
	s.StringSliceVarP(&f.tags, "tag", "t", nil, "further name of the image, in the same registry; repeatable")
	s.StringVar(&f.previous, "previous-image", "", "`IMAGE` whose layers are reused (default: what IMAGE means now)")
	s.StringVar(&f.created, "creation-time", "", "now, seconds since 1970 or RFC 3339 (default: SOURCE_DATE_EPOCH, else 1980)")
	s.StringVar(&f.sbomDir, "sbom-output-dir", "", "`DIR` that gets the SBOM files")
	s.StringVar(&f.reportDir, "report-output-dir", "", "`DIR` that gets report.toml")

	s.StringArrayVar(&f.caches, "cache", nil, "type=build;format=volume;name=NAME or type=build;format=image;name=IMAGE")
	s.StringVar(&f.cacheImage, "cache-image", "", "keep build layers in this registry `IMAGE`")
	s.BoolVar(&f.clearCache, "clear-cache", false, "forget the layers that earlier builds kept")

	f.addSurroundings(s)
	s.StringVar(&f.platform, "platform", "", "platform to build for, such as linux/amd64")
	s.StringVar(&f.workspace, "workspace", "", "the app's directory in build and image (default /workspace; /app where a classic buildpack is named)")
	s.IntVar(&f.uid, "uid", 0, "user id that builds and owns the app's files (default: the builder's)")
	s.IntVar(&f.gid, "gid", 0, "group id, likewise")
	s.BoolVar(&f.noSystem, "disable-system-buildpacks", false, "leave out the system buildpacks of the builder")

	f.addLimits(s)

	s.StringVar(&f.trace, "trace", "", "`FILE` that gets what took how long, as trace viewers (chrome://tracing, Perfetto) open it")
	s.StringVar(&f.onError, "on-error", "", "shell: enter the build container where a build fails, or a detect goes wrong")
	s.BoolVar(&f.run, "run", false, "start the image when it is built and print its URL; Ctrl-C ends it")
	s.BoolVar(&f.detach, "detach", false, "with --run: leave the app running")
	s.BoolVar(&f.check, "check", false, "with --run: end the app when it has answered; an error where the answer is not good")
	s.StringSliceVar(&f.extensions, "extension", nil, "image extension")
	_ = s.MarkHidden("extension")
	for _, g := range ignoredFlags() {
		g.declare(s)
		_ = s.MarkHidden(g.name)
	}
}

// addBuilder declares what a build stands on.
func (f *buildFlags) addBuilder(s *pflag.FlagSet) {
	s.StringVarP(&f.builder, "builder", "B", "", "builder `IMAGE` (default: project.toml's, then that of slipway config default-builder)")
	s.StringVar(&f.runImage, "run-image", "", "run `IMAGE` (default: the builder's)")
	s.StringVar(&f.pull, "pull-policy", "", "always, if-not-present or never (default if-not-present)")
}

// addInputs declares what buildpacks get besides the app's files.
func (f *buildFlags) addInputs(s *pflag.FlagSet) {
	s.StringArrayVarP(&f.env, "env", "e", nil, "`NAME=value` for the build, or NAME for the value it has here; repeatable")
	s.StringArrayVar(&f.envFiles, "env-file", nil, "`FILE` of such lines; --env wins; repeatable")
	s.StringArrayVar(&f.bindings, "binding", nil, "service binding for the build, `NAME=DIR` (DIR has a file type); repeatable")
	s.StringVarP(&f.descriptor, "descriptor", "d", "", "project descriptor to read instead of the source's project.toml")
	s.StringVar(&f.execEnv, "exec-env", "production", "execution environment: production, test, ...")
}

// addSurroundings declares what the build container reaches.
func (f *buildFlags) addSurroundings(s *pflag.FlagSet) {
	s.StringVar(&f.network, "network", "", "network of the build: bridge, host, none or a network's name")
	s.StringArrayVar(&f.volumes, "volume", nil, "mount into the build, `HOST:TARGET[:ro|rw]` (default ro); repeatable")
}

// addLimits declares what a build may use.
func (f *buildFlags) addLimits(s *pflag.FlagSet) {
	s.StringVar(&f.memory, "memory", "", "memory that the build may use, such as 2g (default: the machine's less a reserve)")
	s.Float64Var(&f.cpus, "cpus", 0, "processors that the build may use (default: all)")
	s.Int64Var(&f.pids, "pids", 0, "processes that the build may have (default 4096)")
	s.StringVar(&f.disk, "disk", "", "disk that the build may fill, such as 8g (default 50g)")
	s.DurationVar(&f.timeout, "timeout", 0, "time that the build may take, such as 10m (default: no limit)")
}

// ignoredFlag is a flag of pack that has no meaning here.
type ignoredFlag struct {
	name, letter, why string
	value             bool // it takes one
}

func ignoredFlags() []ignoredFlag {
	return []ignoredFlag{
		{"trust-builder", "", "no builder is given credentials, so none need be trusted", false},
		{"trust-extra-buildpacks", "", "no buildpack is given credentials, so none need be trusted", false},
		{"lifecycle-image", "", "slipway brings its own lifecycle", true},
		{"docker-host", "", "the engine's socket is never given to a build; DOCKER_HOST says which engine slipway uses", true},
		{"userns-host", "", "the build runs as the engine isolates it", false},
		{"buildpack-registry", "r", "slipway registry add names indexes, which are asked in their order", true},
		{"interactive", "", "the live view comes by itself on a terminal", false},
		{"sparse", "", "OCI layouts are written in full", false},
	}
}

func (g ignoredFlag) declare(s *pflag.FlagSet) {
	if g.value {
		s.StringP(g.name, g.letter, "", g.why)
	} else {
		s.BoolP(g.name, g.letter, false, g.why)
	}
}

// options makes the platform's options of flags, configuration and environment.
func (a *app) options(f *buildFlags, name string) (o platform.Options, err error) {
	if o.Image, o.Output, err = output(name, f.output, f.publish); err != nil {
		return o, err
	}
	if o.Compression, err = layerstore.ParseCompression(f.compression); err != nil {
		return o, usagef("--%w", err)
	}
	for _, n := range append([]string{o.Image}, f.tags...) {
		if _, err := newName(n); err != nil {
			return o, err
		}
	}
	switch {
	case f.builder == "" && f.set.Changed("builder"):
		return o, usagef("--builder names no image: leave it out for the default one (slipway config default-builder)")
	case !f.run && (f.detach || f.check):
		return o, usagef("--detach and --check are for --run")
	case f.detach && f.check:
		return o, usagef("--detach and --check exclude each other")
	}
	if len(f.extensions) > 0 {
		return o, usagef("--extension %s: this version runs no image extensions", f.extensions[0])
	}
	if f.platform != "" {
		if _, err := image.ParsePlatform(f.platform); err != nil {
			return o, usagef("--platform %s: %w", f.platform, err)
		}
	}
	if f.workspace != "" && (!filepath.IsAbs(f.workspace) || filepath.Clean(f.workspace) == "/") {
		return o, usagef("--workspace %s: want an absolute path below /", f.workspace)
	}
	s, err := a.config()
	if err != nil {
		return o, err
	}
	o.Tags, o.Source, o.Descriptor = f.tags, f.path, f.descriptor
	o.Builder, o.DefaultBuilder = f.builder, a.defaultBuilder(s)
	o.RunImage, o.RunImageMirrors = f.runImage, s.RunImageMirrors
	o.Buildpacks, o.Pre, o.Post = f.buildpacks, f.pre, f.post
	o.ExecEnv, o.PreviousImage, o.DefaultProcess = f.execEnv, f.previous, f.process
	o.Network, o.Target, o.Workspace = f.network, f.platform, f.workspace
	o.SBOMDir, o.ReportDir, o.ShowDetect = f.sbomDir, f.reportDir, a.verbose
	o.NoSystemBuildpacks = f.noSystem
	o.Proxy, o.Raise = a.proxy(), raise()
	return o, a.parsed(&o, f, s)
}

// parsed fills in what has to be read and can be wrong.
func (a *app) parsed(o *platform.Options, f *buildFlags, s *settings) (err error) {
	if o.Env, err = a.environment(f.envFiles, f.env); err != nil {
		return err
	}
	if o.Bindings, err = bindings(f.bindings); err != nil {
		return err
	}
	if o.Cache, err = a.cache(f.caches, f.cacheImage, f.clearCache); err != nil {
		return err
	}
	if o.Created, err = a.created(f.created); err != nil {
		return err
	}
	if o.Pull, err = a.pullPolicy(f.pull, s); err != nil {
		return err
	}
	for _, v := range f.volumes {
		volume, err := parseVolume(v)
		if err != nil {
			return err
		}
		o.Volumes = append(o.Volumes, volume)
	}
	if o.UID, err = f.id("uid", f.uid); err != nil {
		return err
	}
	if o.GID, err = f.id("gid", f.gid); err != nil {
		return err
	}
	if o.Limits, err = f.limits(); err != nil {
		return err
	}
	o.Trust, err = a.trust()
	return err
}

// raise are the flags that raise a build's limits.
func raise() map[string]string {
	return map[string]string{
		platform.LimitMemory: "with --memory", platform.LimitPIDs: "with --pids", platform.LimitDisk: "with --disk", platform.LimitTime: "with --timeout",
	}
}

// id is --uid or --gid where it was given. Nobody builds as root.
func (f *buildFlags) id(name string, n int) (*int, error) {
	switch {
	case !f.set.Changed(name):
		return nil, nil
	case n < 0 || name == "uid" && n == 0:
		return nil, usagef("--%s %d: want a number above zero", name, n)
	}
	return &n, nil
}

func (f *buildFlags) limits() (l platform.Limits, err error) {
	if l.Memory, err = parseSize("memory", f.memory); err != nil {
		return l, err
	}
	if l.Memory > 0 && l.Memory < 6<<20 {
		return l, usagef("--memory %s: no container starts with less than 6m", f.memory)
	}
	if l.Disk, err = parseSize("disk", f.disk); err != nil {
		return l, err
	}
	for name, positive := range map[string]bool{"cpus": f.cpus > 0, "pids": f.pids > 0, "timeout": f.timeout > 0} {
		if fl := f.set.Lookup(name); fl.Changed && !positive {
			return l, usagef("--%s %s: want more than zero", name, fl.Value)
		}
	}
	l.CPUs, l.PIDs, l.Time = f.cpus, f.pids, f.timeout
	return l, nil
}

// pullPolicy is the flag's, else the configuration's, else that of the place that asks.
func (a *app) pullPolicy(flag string, s *settings) (image.Policy, error) {
	if flag == "" {
		flag = s.PullPolicy
	}
	if flag == "" {
		return image.PullIfNotPresent, nil
	}
	p, err := image.ParsePolicy(flag)
	if err != nil {
		return p, usagef("--pull-policy %s: want always, if-not-present or never", flag)
	}
	return p, nil
}

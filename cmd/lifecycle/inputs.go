package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A phase is one of the lifecycle's commands.
type phase string

// The phases, as subcommands of lifecycle.
const (
	phaseAnalyze phase = "analyze"
	phaseDetect  phase = "detect"
	phaseRestore phase = "restore"
	phaseExtend  phase = "extend"
	phaseBuild   phase = "build"
	phaseExport  phase = "export"
	phaseCreate  phase = "create"
	phaseRebase  phase = "rebase"
)

// Places that the spec fixes (platform, "Inputs" of each phase).
const (
	cnbOrder     = "/cnb/order.toml"
	lifecycleDir = "/cnb/lifecycle"
	kanikoDir    = "/kaniko"

	inLayers = "<layers>" // the beginning of paths below the layers directory until flags are read, which may move it
)

// Inputs is everything that a platform can say to a phase: by flag, else by environment, else by default. A phase
// reads what its Platform API gives it; see flags.
type Inputs struct {
	API cnb.API

	App, Layers, Platform, BuildConfig      string
	Buildpacks, Extensions                  string
	Generated, Extended, Kaniko             string
	Order, System, Run, Stack               string
	Analyzed, Group, Plan, Report           string
	ProjectMetadata, Launcher, LauncherSBOM string
	CacheDir, LaunchCache, LayoutDir        string

	Image, PreviousImage, RunImage, DeprecatedRunImage string
	BuildImage, CacheImage                             string
	Tags, Insecure                                     list

	ProcessType, ExecEnv, ExtendKind, LogLevel string
	UID, GID                                   int
	Daemon, Layout, SkipLayers, Parallel       bool
	Force, NoColor, Version                    bool
	KanikoTTL                                  time.Duration

	env environment
}

// environment is the process's, by name; of a name twice the last counts.
type environment map[string]string

func parseEnvironment(env []string) environment {
	m := environment{}
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			m[k] = v
		}
	}
	return m
}

func (e environment) or(name, otherwise string) string {
	if v := e[name]; v != "" {
		return v
	}
	return otherwise
}

// bool takes what is no truth value for false, as platforms rely on.
func (e environment) bool(name string) bool {
	b, _ := strconv.ParseBool(e[name])
	return b
}

func (e environment) int(name string) int {
	n, _ := strconv.Atoi(e[name])
	return n
}

func (e environment) list(name string) list {
	if e[name] == "" {
		return nil
	}
	return strings.Split(e[name], ",")
}

// A list is a flag that may be given several times.
type list []string

// String is the values by comma.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set adds a value.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// fromEnvironment is the inputs before flags are read.
func fromEnvironment(api cnb.API, env environment) *Inputs {
	below := func(name string) string { return inLayers + "/" + name }
	i := &Inputs{
		API: api, env: env,
		App: env.or("CNB_APP_DIR", "/workspace"), Layers: env.or("CNB_LAYERS_DIR", "/layers"),
		Platform: env.or("CNB_PLATFORM_DIR", "/platform"), BuildConfig: env.or("CNB_BUILD_CONFIG_DIR", "/cnb/build-config"),
		Buildpacks: env.or("CNB_BUILDPACKS_DIR", "/cnb/buildpacks"), Extensions: env.or("CNB_EXTENSIONS_DIR", "/cnb/extensions"),
		Generated: env.or("CNB_GENERATED_DIR", below("generated")), Extended: env.or("CNB_EXTENDED_DIR", below("extended")),
		Kaniko: kanikoDir,
		Order:  env.or("CNB_ORDER_PATH", below("order.toml")), System: env.or("CNB_SYSTEM_PATH", "/cnb/system.toml"),
		Run: env.or("CNB_RUN_PATH", "/cnb/run.toml"), Stack: env.or("CNB_STACK_PATH", "/cnb/stack.toml"),
		Analyzed: env.or("CNB_ANALYZED_PATH", below("analyzed.toml")), Group: env.or("CNB_GROUP_PATH", below("group.toml")),
		Plan: env.or("CNB_PLAN_PATH", below("plan.toml")), Report: env.or("CNB_REPORT_PATH", below("report.toml")),
		ProjectMetadata: env.or("CNB_PROJECT_METADATA_PATH", below("project-metadata.toml")),
		Launcher:        lifecycleDir + "/launcher", LauncherSBOM: lifecycleDir,
		CacheDir: env["CNB_CACHE_DIR"], LaunchCache: env["CNB_LAUNCH_CACHE_DIR"], LayoutDir: env["CNB_LAYOUT_DIR"],

		PreviousImage: env["CNB_PREVIOUS_IMAGE"], RunImage: env["CNB_RUN_IMAGE"], BuildImage: env["CNB_BUILD_IMAGE"],
		CacheImage: env["CNB_CACHE_IMAGE"], Insecure: env.list("CNB_INSECURE_REGISTRIES"),

		ProcessType: env["CNB_PROCESS_TYPE"], ExecEnv: env.or("CNB_EXEC_ENV", "production"),
		ExtendKind: env.or("CNB_EXTEND_KIND", "build"), LogLevel: env.or("CNB_LOG_LEVEL", "info"),
		UID: env.int("CNB_USER_ID"), GID: env.int("CNB_GROUP_ID"),
		Daemon: env.bool("CNB_USE_DAEMON"), Layout: env.bool("CNB_USE_LAYOUT"),
		SkipLayers: env.bool("CNB_SKIP_LAYERS") || env.bool("CNB_SKIP_RESTORE"),
		Parallel:   env.bool("CNB_PARALLEL_EXPORT"), Force: env.bool("CNB_FORCE_REBASE"), NoColor: env.bool("CNB_NO_COLOR"),
		KanikoTTL: 14 * 24 * time.Hour,
	}
	if ttl, err := time.ParseDuration(env["CNB_KANIKO_CACHE_TTL"]); err == nil {
		i.KanikoTTL = ttl
	}
	return i
}

// settle puts the layers directory into the paths below it and makes directories absolute.
func (i *Inputs) settle() error {
	orderMoves := i.Order == inLayers+"/order.toml"
	for _, p := range []*string{&i.Analyzed, &i.Extended, &i.Generated, &i.Group, &i.Order, &i.Plan, &i.ProjectMetadata, &i.Report} {
		if rest, ok := strings.CutPrefix(*p, inLayers); ok {
			*p = i.Layers + rest
		}
	}
	if orderMoves {
		if _, err := os.Stat(i.Order); err != nil {
			i.Order = cnbOrder
		}
	}
	for _, p := range []*string{
		&i.App, &i.BuildConfig, &i.Buildpacks, &i.CacheDir, &i.Extensions, &i.Generated, &i.Kaniko, &i.LaunchCache, &i.Layers, &i.Platform,
	} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// sourceDate is SOURCE_DATE_EPOCH (platform, "exporter"), zero where it is not given or not a number.
func (i *Inputs) sourceDate(log *logger) time.Time {
	s := i.env["SOURCE_DATE_EPOCH"]
	if s == "" || !i.API.AtLeast(0, 9) {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		log.warnf("Ignoring invalid SOURCE_DATE_EPOCH")
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// experimental lets a feature pass, or not, as CNB_EXPERIMENTAL_MODE says (platform, "Experimental Features").
func (i *Inputs) experimental(log *logger, feature string) error {
	switch mode := i.env.or("CNB_EXPERIMENTAL_MODE", "error"); mode {
	case "quiet", "silent":
	case "error":
		log.errorf("Platform requested experimental feature '%s'", feature)
		return errors.New("experimental features are disabled by CNB_EXPERIMENTAL_MODE=error")
	default:
		log.warnf("Platform requested experimental feature '%s'", feature)
	}
	return nil
}

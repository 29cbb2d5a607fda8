package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-build/slipway/builder/cnb"
)

// A flagSpec is one flag and the phases that take it. phases is a list of words: a phase, with ":0.12" for the
// Platform API that brought the flag and ":-0.12" for the one that took it away.
type flagSpec struct {
	name   string
	usage  string
	phases string
	value  func(*Inputs) any // pointer to where the value goes
}

// flags is every flag of the reference, with the Platform API versions that its phases know it in.
func flags() []flagSpec {
	const all = "analyze detect restore extend build export create rebase"
	return []flagSpec{
		{"analyzed", "path to analyzed.toml", "analyze detect:0.10 restore extend build:0.12 export", func(i *Inputs) any { return &i.Analyzed }},
		{"app", "path to the app directory", "detect extend build export create", func(i *Inputs) any { return &i.App }},
		{"build-config", "path to the operator's build config directory", "detect:0.11 build:0.11 create:0.11", func(i *Inputs) any { return &i.BuildConfig }},
		{"build-image", "name of the build image", "restore:0.10", func(i *Inputs) any { return &i.BuildImage }},
		{"buildpacks", "path to the buildpacks directory", "detect extend build create", func(i *Inputs) any { return &i.Buildpacks }},
		{"cache-dir", "path to the cache directory", "restore export create", func(i *Inputs) any { return &i.CacheDir }},
		{"cache-image", "name of the cache image", "analyze restore export create", func(i *Inputs) any { return &i.CacheImage }},
		{"daemon", "read and write images in a Docker engine", "analyze restore:0.12 export create rebase", func(i *Inputs) any { return &i.Daemon }},
		{"extended", "path to the directory of extended images", "extend:0.12 export:0.12", func(i *Inputs) any { return &i.Extended }},
		{"extensions", "path to the image extensions directory", "detect:0.10", func(i *Inputs) any { return &i.Extensions }},
		{"force", "rebase even if it is unsafe", "rebase:0.12", func(i *Inputs) any { return &i.Force }},
		{"generated", "path to the directory for what image extensions generate", "detect:0.10 restore:0.12 extend", func(i *Inputs) any { return &i.Generated }},
		{"gid", "group of the build and run images' user", "analyze restore extend export create rebase", func(i *Inputs) any { return &i.GID }},
		{"group", "path to group.toml", "detect restore extend build export", func(i *Inputs) any { return &i.Group }},
		{"image", "[deprecated] name of the run image", "export create rebase", func(i *Inputs) any { return &i.DeprecatedRunImage }},
		{"insecure-registry", "registry to reach by http; may be given several times", "analyze:0.13 restore:0.13 export:0.13 create:0.13 rebase:0.13", func(i *Inputs) any { return &i.Insecure }},
		{"kaniko-cache-ttl", "how long cached layers of extended images stay", "extend", func(i *Inputs) any { return &i.KanikoTTL }},
		{"kind", "kind of image to extend: build or run", "extend:0.12", func(i *Inputs) any { return &i.ExtendKind }},
		{"launch-cache", "path to the launch cache directory", "analyze:0.9 export create", func(i *Inputs) any { return &i.LaunchCache }},
		{"launcher", "path to the launcher", "export create", func(i *Inputs) any { return &i.Launcher }},
		{"launcher-sbom", "path to the directory of the launcher's SBOMs", "export:0.11 create:0.11", func(i *Inputs) any { return &i.LauncherSBOM }},
		{"layers", "path to the layers directory", "analyze detect restore extend build export create", func(i *Inputs) any { return &i.Layers }},
		{"layout", "read and write images in OCI layouts on disk", "analyze:0.12 restore:0.12 export:0.12 create:0.12", func(i *Inputs) any { return &i.Layout }},
		{"layout-dir", "path to the directory of OCI layouts", "analyze:0.12 restore:0.12 export:0.12 create:0.12", func(i *Inputs) any { return &i.LayoutDir }},
		{"log-level", "debug, info, warn or error", all, func(i *Inputs) any { return &i.LogLevel }},
		{"no-color", "no colours", all, func(i *Inputs) any { return &i.NoColor }},
		{"order", "path to order.toml", "detect create", func(i *Inputs) any { return &i.Order }},
		{"parallel", "write the app image and the cache side by side", "export create", func(i *Inputs) any { return &i.Parallel }},
		{"plan", "path to plan.toml", "detect extend build", func(i *Inputs) any { return &i.Plan }},
		{"platform", "path to the platform directory", "detect extend build create", func(i *Inputs) any { return &i.Platform }},
		{"previous-image", "name of the previous image", "analyze create rebase:0.11", func(i *Inputs) any { return &i.PreviousImage }},
		{"process-type", "default process type of the image", "export create", func(i *Inputs) any { return &i.ProcessType }},
		{"project-metadata", "path to project-metadata.toml", "export create", func(i *Inputs) any { return &i.ProjectMetadata }},
		{"report", "path to report.toml", "export create rebase", func(i *Inputs) any { return &i.Report }},
		{"run", "path to run.toml", "analyze:0.12 detect:0.12 restore:0.14 export:0.12 create:0.12", func(i *Inputs) any { return &i.Run }},
		{"run-image", "name of the run image", "analyze export create rebase", func(i *Inputs) any { return &i.RunImage }},
		{"skip-layers", "restore store.toml and nothing else", "analyze:0.9 restore", func(i *Inputs) any { return &i.SkipLayers }},
		{"skip-restore", "restore neither layers nor their metadata", "create", func(i *Inputs) any { return &i.SkipLayers }},
		{"stack", "path to stack.toml", "analyze:-0.12 export:-0.12 create", func(i *Inputs) any { return &i.Stack }},
		{"system", "path to system.toml", "detect:0.15 create:0.15", func(i *Inputs) any { return &i.System }},
		{"tag", "a further name of the image; may be given several times", "analyze create", func(i *Inputs) any { return &i.Tags }},
		{"uid", "user of the build and run images", "analyze restore extend export create rebase", func(i *Inputs) any { return &i.UID }},
		{"version", "print the version", all, func(i *Inputs) any { return &i.Version }},
	}
}

// takes reports whether phase p knows the flag under api.
func (f flagSpec) takes(p phase, api cnb.API) bool {
	for word := range strings.FieldsSeq(f.phases) {
		name, since, gated := strings.Cut(word, ":")
		if name != string(p) {
			continue
		}
		before, ended := strings.CutPrefix(since, "-")
		limit, err := cnb.ParseAPI(before)
		switch {
		case !gated:
			return true
		case err != nil:
			return false
		}
		return api.AtLeast(limit.Major, limit.Minor) != ended
	}
	return false
}

// errUsage marks a command line that cannot be read; its text and the usage are printed already.
var errUsage = errors.New("usage")

// parseFlags reads args into i and returns what is left of them. flag.ErrHelp is returned for -h, errUsage for a
// flag that the phase does not know under this Platform API.
func (i *Inputs) parseFlags(p phase, args []string, stderr io.Writer) ([]string, error) {
	fs := flag.NewFlagSet(string(p), flag.ContinueOnError)
	fs.SetOutput(stderr)
	for _, f := range flags() {
		if !f.takes(p, i.API) {
			continue
		}
		switch v := f.value(i).(type) {
		case *string:
			fs.StringVar(v, f.name, *v, f.usage)
		case *bool:
			fs.BoolVar(v, f.name, *v, f.usage)
		case *int:
			fs.IntVar(v, f.name, *v, f.usage)
		case *list:
			fs.Var(v, f.name, f.usage)
		default:
			fs.DurationVar(&i.KanikoTTL, f.name, i.KanikoTTL, f.usage)
		}
	}
	fs.Usage = func() {
		fmt.Fprintf(stderr, "Usage of %s (Platform API %s):\n", p, i.API)
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errUsage
	}
	return fs.Args(), nil
}

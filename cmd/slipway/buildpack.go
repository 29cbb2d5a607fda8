package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/platform"
	"github.com/slipway-build/slipway/internal/transcript"
)

func (a *app) buildpackCommand() *cobra.Command {
	return group("buildpack", "Write, try, test, package, inspect, pull and publish buildpacks",
		a.newBuildpackCommand(), a.lintBuildpackCommand(), a.testBuildpackCommand(), a.detectBuildpackCommand(), a.tryBuildpackCommand(), a.shellBuildpackCommand(),
		a.packageBuildpackCommand(), a.inspectBuildpackCommand(), a.pullBuildpackCommand(),
		a.registerCommand(), a.yankCommand(), a.namespacesCommand())
}

func (a *app) packageBuildpackCommand() *cobra.Command {
	var o platform.PackageOptions
	var out, pull string
	var publish bool
	cmd := &cobra.Command{
		Use: "package NAME", Short: "Make a buildpackage of a buildpack's directory: an image, or a .cnb file",
		Long: `Make a buildpackage of a buildpack's directory: an image, or a file where NAME ends in
.cnb. A composite buildpack takes what it is composed of from package.toml
(--config): directories, .cnb files, images, and buildpacks of an index.

It is made for the targets that --target, package.toml or buildpack.toml name. What is
for one of them alone lies in OS/ARCH/VARIANT below the buildpack's directory, as pack
has it. Several targets are one image index in a registry (--publish) or a directory
(--output oci:DIR), and a file each as NAME-OS-ARCH.cnb; Docker and the local store get
this machine's.`,
		Example: `  slipway buildpack package registry.example.com/acme/java --path ./java --publish
  slipway buildpack package java.cnb --path ./java
  slipway buildpack package acme/all --config package.toml`,
		Args: wants("NAME"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if strings.HasSuffix(args[0], ".cnb") {
				if publish || out != "" {
					return usagef("%s is a file: leave out --publish and --output", args[0])
				}
				o.File = args[0]
			} else if o.Name, o.Output, err = output(args[0], out, publish); err != nil {
				return err
			}
			if o.Config == "" && o.Path == "" {
				o.Path = "."
			}
			s, err := a.config()
			if err != nil {
				return err
			}
			if o.Pull, err = a.pullPolicy(pull, s); err != nil {
				return err
			}
			return a.withMachine(cmd.Context(), func(ctx context.Context, m *platform.Machine) error { return a.packageBuildpack(ctx, m, o) })
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Config, "config", "c", "", "package.toml, the recipe of the package")
	f.StringVarP(&o.Path, "path", "p", "", "directory of the buildpack (default the current one, or what the recipe says)")
	f.StringSliceVarP(&o.Targets, "target", "t", nil, "`OS/ARCH[/VARIANT]` that it is made for, behind it :DISTRO@VERSION where directories are; repeatable (default what package.toml or buildpack.toml says)")
	f.BoolVar(&o.Flatten, "flatten", false, "put all buildpacks of it into one layer")
	f.StringSliceVarP(&o.Apart, "flatten-exclude", "e", nil, "buildpack `ID@VERSION` that keeps a layer of its own; repeatable")
	f.BoolVar(&publish, "publish", false, "write it to the registry in its name")
	f.StringVar(&out, "output", "", "where it goes: docker, store, registry or oci:DIR (default Docker, else the store)")
	f.StringVar(&pull, "pull-policy", "", "always, if-not-present or never")
	a.registryFlags(cmd)
	return cmd
}

// packagedResult is a package as it is printed.
type packagedResult struct {
	Name       string   `json:"name"`
	Buildpack  string   `json:"buildpack"`
	Buildpacks []string `json:"buildpacks"`
	Digest     string   `json:"digest"`
	// Targets are the images of an index, or the files.
	Targets []packagedTarget `json:"targets"`
}

// packagedTarget is the package for one target.
type packagedTarget struct {
	Target string `json:"target"`
	Digest string `json:"digest"`
	File   string `json:"file,omitempty"`
}

func (a *app) packageBuildpack(ctx context.Context, m *platform.Machine, o platform.PackageOptions) error {
	started := time.Now()
	done, err := platform.PackageBuildpack(ctx, m, o)
	if err != nil {
		return err
	}
	r := packagedResult{Name: o.Name + o.File, Buildpack: done.Buildpack.String(), Digest: done.Digest.String()}
	for _, b := range done.Buildpacks {
		r.Buildpacks = append(r.Buildpacks, b.String())
	}
	for _, t := range done.Targets {
		r.Targets = append(r.Targets, packagedTarget{t.Target, t.Digest.String(), t.File})
	}
	return a.print(r, func(w io.Writer) {
		if a.quiet {
			r.digests(w)
			return
		}
		paint := a.paint(w)
		fmt.Fprintf(w, "%s\n  buildpack %s\n  in it     %s\n%s  time      %s\n", paint.good.Render(fmt.Sprintf("Successfully packaged '%s'", r.Name)),
			transcript.Clean(r.Buildpack, false), transcript.Clean(strings.Join(r.Buildpacks, ", "), false), r.lines(), transcript.Duration(time.Since(started)))
	})
}

// digests are what scripts want to know: of the image or the index; of each file where there are several.
func (r packagedResult) digests(w io.Writer) {
	if len(r.Targets) == 1 || r.Targets[0].File == "" {
		fmt.Fprintln(w, r.Digest)
		return
	}
	for _, t := range r.Targets {
		fmt.Fprintln(w, t.Digest)
	}
}

// lines show what was written.
func (r packagedResult) lines() string {
	var b strings.Builder
	if len(r.Targets) == 1 || r.Targets[0].File == "" {
		fmt.Fprintf(&b, "  digest    %s\n", r.Digest)
	}
	for _, t := range r.Targets {
		if len(r.Targets) > 1 {
			fmt.Fprintf(&b, "  target    %s %s", t.Target, t.Digest)
			if t.File != "" {
				fmt.Fprintf(&b, " in %s", t.File)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

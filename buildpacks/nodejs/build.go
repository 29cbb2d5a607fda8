package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// defaultPort is what a web process listens on when the platform sets no PORT.
const defaultPort = "8080"

// builder is one run of bin/build.
type builder struct {
	c    libcnb.BuildContext
	w    parcel.Work
	m    *manifest
	arch string // as Node names it: x64, arm64

	lock     string // name of the npm lock file, "" without one
	lockText string
	locked   *lockfile // nil without one

	buildOnly bool // a later buildpack only wants what the build script makes
	t         toolchain
	layers    []libcnb.Layer
	slices    []libcnb.Slice
}

// build installs Node, npm and the app's modules, runs the build script and names the web process.
func build(ctx context.Context, c libcnb.BuildContext, w parcel.Work) (libcnb.BuildResult, error) {
	b := &builder{c: c, w: w}
	if err := b.read(); err != nil {
		return libcnb.BuildResult{}, err
	}
	t, err := b.toolchain(ctx)
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	b.t = t
	if err := b.modules(ctx); err != nil {
		return libcnb.BuildResult{}, err
	}
	processes, err := b.processes()
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	result := libcnb.NewBuildResult()
	result.Layers = append([]libcnb.Layer{b.t.node, b.t.npm, b.t.headers}, b.layers...)
	result.Processes, result.Slices = processes, b.slices
	return result, nil
}

// read takes in what the app and the platform say, before anything is downloaded.
func (b *builder) read() error {
	text, ok, err := parcel.ReadText(b.c.ApplicationPath, "package.json")
	if err != nil {
		return err
	}
	if !ok {
		return parcel.Yours("keep package.json in the app's root directory", "your package.json is gone since detect")
	}
	if b.m, err = parseManifest(text); err != nil {
		return err
	}
	arch := b.c.TargetInfo.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	if b.arch = map[string]string{"amd64": "x64", "arm64": "arm64"}[arch]; b.arch == "" {
		return parcel.Yours("build for linux/amd64 or linux/arm64", "there is no Node for %s here", arch)
	}
	for _, e := range b.c.Plan.Entries {
		if only, _ := e.Metadata["build-only"].(bool); only {
			b.buildOnly = true
		}
	}
	if b.lock = lockName(b.c.ApplicationPath); b.lock == "" {
		return nil
	}
	if b.lockText, _, err = parcel.ReadText(b.c.ApplicationPath, b.lock); err != nil {
		return err
	}
	b.locked, err = parseLock(b.lock, b.lockText)
	return err
}

// scripts are what to run after the install: BP_NODE_RUN_SCRIPTS, else "build" where the app has it.
func (b *builder) scripts() ([]string, error) {
	list := b.w.Env.Words("BP_NODE_RUN_SCRIPTS")
	for _, n := range list {
		if b.m.Scripts[n] == "" {
			return nil, parcel.Yours(`add it to "scripts", or correct BP_NODE_RUN_SCRIPTS`, "BP_NODE_RUN_SCRIPTS names %q, and your package.json has no such script", n)
		}
	}
	if len(list) == 0 && b.m.Scripts["build"] != "" {
		list = []string{"build"}
	}
	return list, nil
}

// processes is the web process, unless a Procfile or another buildpack starts the app.
func (b *builder) processes() ([]libcnb.Process, error) {
	if b.buildOnly {
		return nil, nil
	}
	procfile, _, err := parcel.ReadText(b.c.ApplicationPath, "Procfile")
	if err != nil {
		return nil, err
	}
	command, err := b.m.start(func(name string) bool { return exists(b.c.ApplicationPath, name) })
	if err != nil && procfile == "" {
		return nil, err
	}
	b.t.npm.Launch = usesNPM(procfile) || len(command) > 0 && command[0] == "npm"
	if err != nil {
		return nil, nil
	}
	b.w.Sayf("web process: %s", strings.Join(command, " "))
	return []libcnb.Process{{Type: "web", Command: command, Default: true}}, nil
}

// npmEnv is the environment of npm and of the scripts it runs.
func (b *builder) npmEnv(cache string) parcel.Env {
	path := strings.Join([]string{filepath.Join(b.t.node.Path, "bin"), filepath.Join(b.t.npm.Path, "bin"), b.w.Env["PATH"]}, ":")
	e := b.w.Env.With("PATH="+path, "npm_config_cache="+cache, "npm_config_update_notifier=false",
		"npm_config_fund=false", "npm_config_logs_max=0", "npm_config_audit=false", "npm_config_progress=false",
		"npm_package_config_node_gyp_nodedir="+b.t.headers.Path)
	if strings.HasPrefix(b.t.npmVersion, "10.") || len(b.t.npmVersion) > 1 && b.t.npmVersion[1] == '.' {
		e["npm_config_nodedir"] = b.t.headers.Path // newer ones warn of it and read the variable above
	}
	if e["NODE_EXTRA_CA_CERTS"] == "" && e["SSL_CERT_FILE"] != "" {
		e["NODE_EXTRA_CA_CERTS"] = e["SSL_CERT_FILE"]
	}
	if mirror, ok := strings.CutPrefix(b.w.Env["BP_NODE_MIRROR"], "npm:"); ok && mirror != "" && e["npm_config_registry"] == "" {
		e["npm_config_registry"] = mirror
	}
	return e
}

// run runs npm in the app directory.
func (b *builder) run(ctx context.Context, env parcel.Env, args ...string) error {
	b.w.Sayf("> npm %s", strings.Join(args, " "))
	_, err := parcel.Command{
		Path: filepath.Join(b.t.node.Path, "bin/node"),
		Args: append([]string{filepath.Join(b.t.npm.Path, npmHome, "bin/npm-cli.js")}, args...),
		Dir:  b.c.ApplicationPath, Env: env, Out: b.w.Out,
	}.Run(ctx)
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		e.Name = "npm " + strings.Join(args, " ")
		return npmFault(e, b.lock)
	}
	return err
}

// npmFault tells whose an npm failure is, by the error code that npm prints.
func npmFault(e *parcel.CommandError, lock string) error {
	code := ""
	for l := range strings.Lines(e.Tail) {
		f := strings.Fields(l)
		if i := slices.Index(f, "code"); i > 0 && i+1 < len(f) && strings.HasPrefix(l, "npm") && code == "" {
			code = f[i+1]
		}
	}
	if e.Code < 0 {
		return parcel.Ours("give the build more memory, or look for what killed it", "%s was killed", e.Name)
	}
	switch code {
	case "EUSAGE":
		return parcel.Yours("run npm install, check that the app still works, and commit "+lock, "your %s does not match your package.json: %w", lock, e)
	case "ETARGET", "E404", "EINVALIDPACKAGENAME", "EINVALIDTAGNAME":
		return parcel.Yours("correct the name or the version that npm shows above, or give the registry in .npmrc", "a dependency does not exist on the registry (%s): %w", code, e)
	case "ERESOLVE":
		return parcel.Yours("make the versions in package.json fit each other, and commit "+lock, "your dependencies conflict (ERESOLVE): %w", e)
	case "EBADENGINE", "EBADPLATFORM", "EBADDEVENGINES":
		return parcel.Yours("change engines in package.json or the dependency", "a dependency does not run on this version or platform (%s): %w", code, e)
	case "EINTEGRITY":
		return parcel.Yours("find out why before you do anything else: the package was republished, or something alters downloads; then run npm install and commit "+lock,
			"a downloaded package is not what your %s recorded (EINTEGRITY): %w", lock, e)
	case "E401", "E403", "ENEEDAUTH":
		return parcel.Yours("give npm a token for the registry (.npmrc with ${NPM_TOKEN}, and --env NPM_TOKEN)", "the registry refuses access (%s): %w", code, e)
	case "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ERR_SOCKET_TIMEOUT", "E500", "E502", "E503", "E504", "E429",
		"SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "DEPTH_ZERO_SELF_SIGNED_CERT":
		return parcel.Ours("try again; check the network, the registry and the certificates the build trusts", "download failed: the npm registry cannot be reached (%s): %w", code, e)
	case "ENOSPC":
		return parcel.Ours("make room", "the disk is full: %w", e)
	}
	return parcel.Yours("read npm's output above: a script of your app or of one of its modules failed", "%w", e)
}

// relink makes link a symbolic link to target, removing what stood there.
func relink(target, link string) error {
	if err := os.RemoveAll(link); err != nil {
		return err
	}
	return os.Symlink(target, link)
}

// isDir says that a real directory, no link to one, has the name.
func isDir(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode().Type() == fs.ModeDir
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/buildpacks/libcnb/v2"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// defaultPort is what a web process listens on when the platform sets no PORT.
const defaultPort = "8080"

// builder is one run of bin/build.
type builder struct {
	c      libcnb.BuildContext
	w      parcel.Work
	arch   string
	module module

	toolchain, modcache, cache, targets libcnb.Layer
	release                             string
}

// build compiles the main packages into a launch layer and empties the app directory.
func build(ctx context.Context, c libcnb.BuildContext, w parcel.Work) (libcnb.BuildResult, error) {
	b := &builder{c: c, w: w, arch: c.TargetInfo.Arch}
	if b.arch == "" {
		b.arch = runtime.GOARCH
	}
	for name, l := range map[string]*libcnb.Layer{"toolchain": &b.toolchain, "modules": &b.modcache, "build-cache": &b.cache, "targets": &b.targets} {
		var err error
		if *l, err = c.Layers.Layer(name); err != nil {
			return libcnb.BuildResult{}, err
		}
	}
	text, _, err := parcel.ReadText(c.ApplicationPath, "go.mod")
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	if b.module, err = parseModule(text); err != nil {
		return libcnb.BuildResult{}, err
	}
	if err := b.installToolchain(ctx); err != nil {
		return libcnb.BuildResult{}, err
	}
	list, err := b.compile(ctx)
	if err != nil {
		return libcnb.BuildResult{}, err
	}
	if err := b.clear(); err != nil {
		return libcnb.BuildResult{}, err
	}
	result := libcnb.NewBuildResult()
	for _, l := range []libcnb.Layer{b.toolchain, b.modcache, b.cache} {
		l.LayerTypes = libcnb.LayerTypes{Cache: true}
		// Where the binaries were reused and there was no cache, there is none now.
		if _, err := os.Stat(l.Path); err == nil {
			result.Layers = append(result.Layers, l)
		}
	}
	b.targets.LayerTypes = libcnb.LayerTypes{Launch: true}
	result.Layers = append(result.Layers, b.targets)
	result.Processes = processes(list, filepath.Join(b.targets.Path, "bin"))
	for _, p := range result.Processes {
		w.Sayf("process %s: %s", p.Type, strings.Join(p.Command, " "))
	}
	return result, nil
}

// installToolchain finds or installs the Go release that go.mod asks for.
func (b *builder) installToolchain(ctx context.Context) error {
	line, _ := b.c.Buildpack.Metadata["default-go"].(string)
	want, err := wishOf(b.module, b.w.Env, line)
	if err != nil {
		return err
	}
	restored := parcel.Fact(b.toolchain, "release")
	if !found(b.toolchain.Path, "bin/go") || parcel.Fact(b.toolchain, "arch") != b.arch {
		restored = ""
	}
	b.release = want.release
	if want.newest {
		all, err := b.list(ctx)
		switch {
		case err != nil && restored != "" && want.fits(restored):
			b.w.Sayf("WARNING: %s; staying with %s of the last build", err, restored)
			b.release = restored
		case err != nil:
			return err
		default:
			if b.release, err = want.choose(all); err != nil {
				return err
			}
		}
	}
	if restored == b.release || restored != "" && want.orNewer && parcel.Fact(b.toolchain, "asked") == want.release {
		b.release = restored
		b.w.Sayf("%s (%s), reused", b.release, want.where)
		return nil
	}
	b.w.Sayf("%s (%s), downloading", b.release, want.where)
	return b.download(ctx, want)
}

// source is the module proxy; a build that has its toolchain does without.
func (b *builder) source() (source, error) {
	bases, err := proxies(b.w.Env)
	if err != nil {
		return source{}, err
	}
	sums, _, err := parcel.ReadText(b.c.ApplicationPath, "go.sum")
	return source{proxies: bases, fetch: b.w.Fetch, arch: b.arch, env: b.w.Env, goSum: sums}, err
}

func (b *builder) list(ctx context.Context) ([]string, error) {
	s, err := b.source()
	if err != nil {
		return nil, err
	}
	return s.releases(ctx)
}

func (b *builder) download(ctx context.Context, want wish) error {
	s, err := b.source()
	if err != nil {
		return err
	}
	if b.toolchain, err = b.toolchain.Reset(); err != nil {
		return err
	}
	h1, err := s.install(ctx, b.release, b.toolchain.Path)
	if errors.Is(err, fs.ErrNotExist) {
		all, lerr := s.releases(ctx)
		if lerr != nil {
			return lerr
		}
		if !want.orNewer {
			all = nil
		}
		if b.release, err = want.choose(all); err != nil {
			return err
		}
		b.w.Sayf("%s is not on the module proxy; taking %s", want.release, b.release)
		h1, err = s.install(ctx, b.release, b.toolchain.Path)
	}
	if err != nil {
		return err
	}
	parcel.Note(&b.toolchain, parcel.KeyOf("go 1", b.release, b.arch),
		map[string]string{"release": b.release, "arch": b.arch, "sum": h1, "asked": want.release})
	return nil
}

// env is the environment of the go command: this toolchain, our caches, no C, and nothing from a user's own
// configuration file. The module index is off: it trusts file times, which are all the same in a build.
func (b *builder) env() parcel.Env {
	e := b.w.Env.With("GOROOT="+b.toolchain.Path, "GOTOOLCHAIN=local", "GOENV=off", "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.arch,
		"GOMODCACHE="+b.modcache.Path, "GOCACHE="+b.cache.Path, "GOPATH="+filepath.Join(b.modcache.Path, "none"),
		"PATH="+filepath.Join(b.toolchain.Path, "bin")+":"+b.w.Env["PATH"],
		"GODEBUG="+strings.TrimPrefix(b.w.Env["GODEBUG"]+",goindex=0", ","),
		"GOFLAGS="+strings.TrimSpace(b.w.Env["GOFLAGS"]+" -modcacherw -buildvcs=false"))
	delete(e, "GOBIN")
	return e
}

func (b *builder) run(ctx context.Context, out bool, args ...string) ([]byte, error) {
	cmd := parcel.Command{Path: filepath.Join(b.toolchain.Path, "bin/go"), Args: args, Dir: b.c.ApplicationPath, Env: b.env()}
	if out {
		b.w.Sayf("> go %s", strings.Join(args, " "))
		cmd.Out = b.w.Out
	}
	stdout, err := cmd.Run(ctx)
	if e, ok := errors.AsType[*parcel.CommandError](err); ok {
		if !out {
			b.w.Sayf("%s", strings.TrimSpace(e.Tail))
		}
		return nil, goFault(e)
	}
	return stdout, err
}

// key covers all that decides the bytes of the binaries: every file of the app, the toolchain and the
// settings. Modules are in it through go.sum or vendor.
func (b *builder) key() (string, error) {
	tree, err := parcel.TreeKey(b.c.ApplicationPath, func(rel string, _ fs.DirEntry) bool { return rel == ".git" })
	if err != nil {
		return "", parcel.Yours("remove it from the source", "your app: %w", err)
	}
	e := b.w.Env
	return parcel.KeyOf("targets 1", tree, b.release, b.arch, e["GOFLAGS"], e["GOAMD64"], e["GOARM64"], e["GOEXPERIMENT"], e["GODEBUG"], e["GOFIPS140"],
		e["BP_GO_TARGETS"], e["BP_GO_LDFLAGS"], e["BP_GO_TAGS"]), nil
}

// compile builds the targets, or leaves the layer of the last build as it is.
func (b *builder) compile(ctx context.Context) ([]target, error) {
	key, err := b.key()
	if err != nil {
		return nil, err
	}
	var list []target
	if parcel.Fresh(b.targets, key) {
		if list = unpackTargets(parcel.Fact(b.targets, "targets")); len(list) > 0 {
			b.w.Sayf("binaries: reused, neither the source nor the toolchain has changed")
			return list, nil
		}
	}
	if list, err = b.find(ctx); err != nil {
		return nil, err
	}
	if b.targets, err = b.targets.Reset(); err != nil {
		return nil, err
	}
	bin := filepath.Join(b.targets.Path, "bin")
	args := []string{"build", "-trimpath", "-o", bin + "/"}
	if found(b.c.ApplicationPath, "vendor/modules.txt") {
		args = append(args, "-mod=vendor")
	}
	if v := b.w.Env["BP_GO_LDFLAGS"]; v != "" {
		args = append(args, "-ldflags="+v)
	}
	if v := b.w.Env.Words("BP_GO_TAGS"); len(v) > 0 {
		args = append(args, "-tags="+strings.Join(v, ","))
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	for _, t := range list {
		args = append(args, t.pkg)
	}
	if _, err := b.run(ctx, true, args...); err != nil {
		return nil, err
	}
	parts, err := components(bin, list)
	if err != nil {
		return nil, err
	}
	if err := parcel.WriteSBOM(b.targets.SBOMPath(libcnb.CycloneDXJSON), b.c.Buildpack, parts); err != nil {
		return nil, err
	}
	parcel.Note(&b.targets, key, map[string]string{"targets": packTargets(list)})
	b.targets.LaunchEnvironment = libcnb.Environment{}
	b.targets.LaunchEnvironment.Default("PORT", defaultPort)
	return list, nil
}

// find lists the main packages that BP_GO_TARGETS names, or chooses.
func (b *builder) find(ctx context.Context) ([]target, error) {
	patterns := b.w.Env.Words("BP_GO_TARGETS")
	for i, p := range patterns {
		if strings.HasPrefix(p, "-") {
			return nil, parcel.Yours("name packages, for example ./cmd/web", "BP_GO_TARGETS has %q", p)
		}
		if !strings.HasPrefix(p, ".") && !strings.HasPrefix(p, b.module.path) {
			patterns[i] = "./" + p
		}
	}
	asked := len(patterns) > 0
	if !asked {
		patterns = []string{"./..."}
	}
	args := append([]string{"list", "-find", `-f={{if eq .Name "main"}}{{.ImportPath}}` + "\t" + `{{.Dir}}{{end}}`}, patterns...)
	out, err := b.run(ctx, false, args...)
	if err != nil {
		return nil, err
	}
	list := parseTargets(string(out), b.c.ApplicationPath)
	switch {
	case asked && len(list) == 0:
		return nil, parcel.Yours("name packages with package main", "BP_GO_TARGETS names no main package: %s", b.w.Env["BP_GO_TARGETS"])
	case !asked:
		if list, err = pickTargets(list); err != nil {
			return nil, err
		}
	}
	return list, unique(list)
}

// clear empties the app directory but for a Procfile, which a later buildpack reads, and what BP_KEEP_FILES
// (glob patterns, separated by colons) names.
func (b *builder) clear() error {
	keep := append(filepath.SplitList(b.w.Env["BP_KEEP_FILES"]), "Procfile")
	_, err := prune(b.c.ApplicationPath, ".", keep)
	return err
}

// prune removes what is below dir/rel and no pattern keeps; it says whether something stayed.
func prune(dir, rel string, keep []string) (kept bool, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, rel))
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		name := filepath.Join(rel, e.Name())
		match := false
		for _, k := range keep {
			ok, err := filepath.Match(strings.TrimSuffix(filepath.Clean(k), "/**"), name)
			if err != nil {
				return false, parcel.Yours("correct the pattern", "BP_KEEP_FILES has the pattern %q: %w", k, err)
			}
			match = match || ok
		}
		if match {
			kept = true
			continue
		}
		if e.IsDir() {
			below, err := prune(dir, name, keep)
			if err != nil {
				return false, err
			}
			if below {
				kept = true
				continue
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return false, err
		}
	}
	return kept, nil
}

// goFault tells whose a failure of the go command is, by what it said.
func goFault(e *parcel.CommandError) error {
	says := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(e.Tail, w) {
				return true
			}
		}
		return false
	}
	switch {
	case e.Code < 0:
		return parcel.Ours("give the build more memory, or look for what killed it", "%w", e)
	case says("no space left on device"):
		return parcel.Ours("make room", "the disk is full: %w", e)
	case says("dial tcp", "i/o timeout", "no such host", "connection refused", "x509:", "502 Bad Gateway", "503 Service Unavailable", "TLS handshake"):
		return parcel.Ours("try again; check the network, GOPROXY and the certificates the build trusts", "download failed: modules cannot be downloaded: %w", e)
	case says("missing go.sum entry", "updates to go.mod needed", "no required module provides", "inconsistent vendoring"):
		return parcel.Yours("run go mod tidy (and go mod vendor where you vendor), and commit go.mod, go.sum and vendor", "your go.mod and go.sum do not fit your source: %w", e)
	case says("SECURITY ERROR", "checksum mismatch"):
		return parcel.Yours("find out why before you do anything else: the module was changed after go.sum recorded it, or something alters downloads", "a module is not what your go.sum recorded: %w", e)
	case says("requires go >=", "requires go1"):
		return parcel.Yours("raise the go line of go.mod, or set BP_GO_VERSION", "a module needs a newer Go: %w", e)
	case says("404 Not Found", "410 Gone", "unknown revision", "terminal prompts disabled"):
		return parcel.Yours("correct the module's name or version; for a private module vendor it, or set GOPROXY", "a module cannot be found: %w", e)
	case says("build constraints exclude all Go files", "when not using cgo", `import "C"`):
		return parcel.Yours("use a package without C (binaries here are built with CGO_ENABLED=0)", "your app needs cgo: %w", e)
	}
	return parcel.Yours("read the compiler's output above", "your source does not compile: %w", e)
}

// packTargets and unpackTargets carry the targets in the layer's metadata.
func packTargets(list []target) string {
	var rows [][3]string
	for _, t := range list {
		rows = append(rows, [3]string{t.pkg, t.dir, t.bin})
	}
	b, _ := json.Marshal(rows) // strings always marshal
	return string(b)
}

func unpackTargets(s string) []target {
	var rows [][3]string
	if json.Unmarshal([]byte(s), &rows) != nil {
		return nil
	}
	var list []target
	for _, r := range rows {
		list = append(list, target{pkg: r[0], dir: r[1], bin: r[2]})
	}
	return list
}

package main

import (
	"errors"
	"fmt"
	"go/version"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// module is what we read of go.mod.
type module struct {
	path      string
	goLine    string // "1.26.5", "" without one
	toolchain string // "go1.26.8", "" without one or with "default"
}

// parseModule reads go.mod; lines that only newer Go releases know are left to the toolchain.
func parseModule(text string) (module, error) {
	f, err := modfile.ParseLax("go.mod", []byte(text), nil)
	if err != nil {
		where := "your go.mod"
		if list, ok := errors.AsType[modfile.ErrorList](err); ok && len(list) > 0 {
			where, err = fmt.Sprintf("your go.mod, line %d", list[0].Pos.Line), list[0].Err
		}
		return module{}, parcel.Yours("correct go.mod; go mod tidy shows the place", "%s: %w", where, err)
	}
	if f.Module == nil {
		return module{}, parcel.Yours("add it: go mod init example.com/app", "your go.mod has no module line")
	}
	m := module{path: f.Module.Mod.Path}
	if f.Go != nil {
		m.goLine = f.Go.Version
	}
	for _, s := range f.Syntax.Stmt { // the lax form has the line in its syntax only
		if l, ok := s.(*modfile.Line); ok && len(l.Token) == 2 && l.Token[0] == "toolchain" && l.Token[1] != "default" {
			m.toolchain = l.Token[1]
		}
	}
	return m, nil
}

// A wish is the Go release that the app asks for.
type wish struct {
	release string // "go1.26.5", or "go1.26" with newest set
	newest  bool   // the newest patch of the line will do
	orNewer bool   // a minimum: where the proxy lacks the very release, the next newer one will do
	where   string
}

// wishOf reads BP_GO_VERSION, else go.mod as the go command does: the toolchain line where it is newer than
// the go line, else the go line; a line older than toolchain downloads (1.21) gets the default release line.
func wishOf(m module, env parcel.Env, line string) (wish, error) {
	if v := strings.TrimSpace(env["BP_GO_VERSION"]); v != "" {
		v = "go" + strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(v, "go"), "v"), ".x")
		if !version.IsValid(v) {
			return wish{}, parcel.Yours(`write a release such as "1.26.5", or a line such as "1.26"`, "BP_GO_VERSION is %q", env["BP_GO_VERSION"])
		}
		if m.goLine != "" && version.Compare(v, "go"+m.goLine) < 0 && version.Lang(v) != version.Lang("go"+m.goLine) {
			return wish{}, parcel.Yours("raise BP_GO_VERSION, or lower the go line", "BP_GO_VERSION is %s, older than what your go.mod asks for (go %s)", env["BP_GO_VERSION"], m.goLine)
		}
		return wish{release: v, newest: v == version.Lang(v), where: "BP_GO_VERSION"}, nil
	}
	want := "go" + m.goLine
	if m.toolchain != "" && version.Compare(m.toolchain, want) > 0 {
		t, _, custom := strings.Cut(m.toolchain, "-")
		if custom {
			return wish{}, parcel.Yours("name a released toolchain", "your go.mod asks for the toolchain %q, which is no release", m.toolchain)
		}
		return wish{release: t, newest: t == version.Lang(t), where: "toolchain line of go.mod"}, nil
	}
	if m.goLine == "" || version.Compare(want, "go1.21") < 0 {
		return wish{release: "go" + line, newest: true, where: "the buildpack's default"}, nil
	}
	return wish{release: want, newest: want == version.Lang(want), orNewer: true, where: "go line of go.mod"}, nil
}

// fits says that release is what the wish means, without asking anyone.
func (w wish) fits(release string) bool {
	if w.newest {
		return version.Lang(release) == w.release
	}
	return release == w.release
}

// choose picks from the releases that the proxy has.
func (w wish) choose(all []string) (string, error) {
	best := ""
	for _, r := range all {
		switch {
		case !version.IsValid(r) || strings.Contains(r, "rc") || strings.Contains(r, "beta"):
		case w.newest && version.Lang(r) == w.release && (best == "" || version.Compare(r, best) > 0):
			best = r
		case !w.newest && version.Lang(r) == version.Lang(w.release) && version.Compare(r, w.release) > 0 &&
			(best == "" || version.Compare(r, best) < 0):
			best = r
		}
	}
	if best == "" {
		return "", parcel.Yours("name a Go release that exists", "%s asks for %s, and the Go module proxy has no such release for this platform", w.where, w.release)
	}
	return best, nil
}

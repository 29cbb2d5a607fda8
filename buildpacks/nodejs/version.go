package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/slipway-build/slipway/buildpacks/internal/parcel"
)

// A wish is the Node version that the app asks for, and where it says so.
type wish struct {
	text  string // as written
	where string // "engines.node in package.json"
	fits  func(release) bool
}

// release is one version of Node that a mirror has.
type release struct {
	version *semver.Version
	lts     string // code name, "" when unknown or none
}

// ltsLines are the code names of the long-term lines, for .nvmrc files that name one. A mirror may know more.
func ltsLines() map[string]uint64 {
	return map[string]uint64{"argon": 4, "boron": 6, "carbon": 8, "dubnium": 10, "erbium": 12, "fermium": 14,
		"gallium": 16, "hydrogen": 18, "iron": 20, "jod": 22, "krypton": 24}
}

// wishOf finds what the app wants: BP_NODE_VERSION, engines.node, .nvmrc, .node-version, in this order;
// else the buildpack's default line.
func wishOf(dir string, m *manifest, env parcel.Env, line string) (wish, error) {
	if v := strings.TrimSpace(env["BP_NODE_VERSION"]); v != "" {
		return parseWish(v, "BP_NODE_VERSION")
	}
	if v := strings.TrimSpace(m.Engines.Node); v != "" {
		return parseWish(v, "engines.node in package.json")
	}
	for _, name := range []string{".nvmrc", ".node-version"} {
		text, ok, err := parcel.ReadText(dir, name)
		if err != nil {
			return wish{}, err
		}
		if !ok {
			continue
		}
		for l := range strings.Lines(text) {
			l, _, _ = strings.Cut(l, "#")
			if l = strings.TrimSpace(l); l != "" {
				return parseWish(l, name)
			}
		}
		return wish{}, parcel.Yours("write a version into "+name+", or remove it", "your %s is empty", name)
	}
	return parseWish(line, "the buildpack's default")
}

func parseWish(text, where string) (wish, error) {
	w := wish{text: text, where: where}
	low := strings.ToLower(text)
	switch {
	case low == "node" || low == "latest" || low == "current" || low == "stable":
		w.fits = func(release) bool { return true }
		return w, nil
	case low == "lts" || low == "lts/*" || low == "--lts":
		w.fits = func(r release) bool {
			return r.lts != "" || r.version.Major()%2 == 0 && slices.Contains(ltsMajors(), r.version.Major())
		}
		return w, nil
	case strings.HasPrefix(low, "lts/"):
		name := strings.TrimPrefix(low, "lts/")
		major := ltsLines()[name]
		w.fits = func(r release) bool {
			return strings.EqualFold(r.lts, name) || major != 0 && r.version.Major() == major
		}
		return w, nil
	}
	c, err := semver.NewConstraint(npmRange(text))
	if err != nil {
		return w, parcel.Yours(`write a semver range such as "22.x", ">=20 <25" or "24.1.0"`, "%s is %q, which is not a version range", where, text)
	}
	w.fits = func(r release) bool { return c.Check(r.version) }
	return w, nil
}

func ltsMajors() []uint64 {
	var l []uint64
	for _, m := range ltsLines() {
		l = append(l, m)
	}
	return l
}

// npmRange is npm's spelling in the semver library's: "latest" and "" are any version.
func npmRange(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || s == "latest" || s == "x" || s == "X" {
		return "*"
	}
	// npm lets blanks stand between an operator and its version, the library does too; "=" before "v" as well.
	return s
}

// exact is the one version a wish can mean, or nil.
func (w wish) exact() *semver.Version {
	v, err := semver.StrictNewVersion(strings.TrimPrefix(strings.TrimPrefix(w.text, "="), "v"))
	if err != nil || v.Prerelease() != "" {
		return nil
	}
	return v
}

// choose picks the newest release that fits. Where a range leaves the choice open, the default line goes
// before newer ones: ">=18" must not carry an app to a new major version on some later day's rebuild.
func (w wish) choose(all []release, line string) (release, error) {
	var fit []release
	var newest *semver.Version
	for _, r := range all {
		if newest == nil || r.version.GreaterThan(newest) {
			newest = r.version
		}
		if w.fits(r) {
			fit = append(fit, r)
		}
	}
	if newest == nil {
		return release{}, parcel.Ours("check BP_NODE_MIRROR", "the mirror lists no release of Node for this platform")
	}
	if len(fit) == 0 {
		return release{}, parcel.Yours("change it to a range that a released version satisfies",
			"%s is %q, and no Node release that the mirror has satisfies it (the newest is %s)", w.where, w.text, newest)
	}
	slices.SortFunc(fit, func(a, b release) int { return a.version.Compare(b.version) })
	best := fit[len(fit)-1]
	if low := strings.ToLower(w.text); low == "latest" || low == "current" || low == "node" {
		return best, nil
	}
	if c, err := semver.NewConstraint(line); err == nil {
		for _, r := range slices.Backward(fit) {
			if c.Check(r.version) {
				return r, nil
			}
		}
	}
	return best, nil
}

// npmLine is the npm that comes with a Node release: the same major version is taken from the registry
// where a mirror's package has the node binary only.
func npmLine(node *semver.Version) string {
	switch major := node.Major(); {
	case major <= 14:
		return "6.x"
	case major <= 17:
		return "8.x"
	case major <= 22:
		return "10.x"
	default:
		return "11.x"
	}
}

// npmWish is the npm the app asks for: packageManager "npm@11.4.0", engines.npm, or what comes with Node.
func npmWish(m *manifest, node *semver.Version) (rng, where string, asked bool) {
	if v, ok := strings.CutPrefix(m.PackageManager, "npm@"); ok {
		v, _, _ = strings.Cut(v, "+") // a hash may follow
		return v, "packageManager in package.json", true
	}
	if m.Engines.NPM != "" {
		return m.Engines.NPM, "engines.npm in package.json", true
	}
	return npmLine(node), fmt.Sprintf("the npm of Node %s", strconv.FormatUint(node.Major(), 10)), false
}

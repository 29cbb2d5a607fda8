package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// The user that buildpacks run as: nobody of every Linux, because a user without an entry in /etc/passwd has no home.
const uid, gid = 65534, 65534

// A place is where builds happen: a registry, and directories whose paths are the same for every build, because
// they are in the layers.
type place struct {
	dir    string
	server *httptest.Server
	engine map[byte]string // directories of the two lifecycles, 'o' for ours and 'r' for the other
	shared string          // the launcher that goes into all images
	logs   string          // directory for the output of all builds; "" drops it

	mu     sync.Mutex
	images http.Handler // the registry's contents
}

func openPlace(o options) (*place, error) {
	dir, err := os.MkdirTemp("", "parity-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	p := &place{
		dir: dir, engine: map[byte]string{'o': o.ours, 'r': o.other}, shared: filepath.Join(o.other, "launcher"), logs: o.logs,
	}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		images := p.images
		p.mu.Unlock()
		images.ServeHTTP(w, r)
	}))
	return p, nil
}

// forget empties the registry and the cache. Names of images are the same in every order, because they are in labels.
func (p *place) forget() error {
	p.mu.Lock()
	p.images = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	p.mu.Unlock()
	return os.RemoveAll(p.path("cache"))
}

func (p *place) close() error {
	p.server.Close()
	return os.RemoveAll(p.dir)
}

func (p *place) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

func (p *place) host() string { return strings.TrimPrefix(p.server.URL, "http://") }

// A result is everything of one build that has to be the same.
type result struct {
	code  int
	lines []string // of the image, the cache and the report; sorted within each
	log   string
}

// compare builds c twice in each order of the lifecycles and returns what differs.
func (p *place) compare(ctx context.Context, c testCase) ([]string, error) {
	first := map[byte]result{}
	second := map[string]result{}
	for _, order := range []string{"oo", "or", "ro", "rr"} {
		if err := p.forget(); err != nil {
			return nil, err
		}
		repo := p.host()
		if err := p.pushRun(c, repo); err != nil {
			return nil, err
		}
		a, err := p.build(ctx, c, order, 1, repo)
		if err != nil {
			return nil, err
		}
		if _, ok := first[order[0]]; !ok {
			first[order[0]] = a
		}
		if c.once {
			continue
		}
		if second[order], err = p.build(ctx, c, order, 2, repo); err != nil {
			return nil, err
		}
	}
	diffs := differences("ours", first['o'], "other", first['r'])
	if code := first['r'].code; code != c.code {
		diffs = append(diffs, fmt.Sprintf("the other exits with %d, expected was %d:", code, c.code))
		diffs = append(diffs, lastLines(first['r'].log)...)
	}
	for _, order := range []string{"or", "ro", "oo"} {
		if !c.once {
			diffs = append(diffs, differences(order, second[order], "rr", second["rr"])...)
		}
	}
	return diffs, nil
}

// differences is what of one result is not in the other.
func differences(nameA string, a result, nameB string, b result) []string {
	var out []string
	if a.code != b.code {
		out = append(out, fmt.Sprintf("%s exits with %d, %s with %d", nameA, a.code, nameB, b.code))
		for _, r := range []result{a, b} {
			if r.code != 0 {
				out = append(out, lastLines(r.log)...)
			}
		}
	}
	for _, d := range missing(a.lines, b.lines) {
		out = append(out, nameA+" only: "+d)
	}
	for _, d := range missing(b.lines, a.lines) {
		out = append(out, nameB+" only: "+d)
	}
	return out
}

func lastLines(log string) []string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return lines[max(0, len(lines)-3):]
}

// missing is the lines of a that b does not have as often.
func missing(a, b []string) []string {
	rest := slices.Clone(b)
	var out []string
	for _, l := range a {
		if i := slices.Index(rest, l); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			out = append(out, l)
		}
	}
	return out
}

// build runs a creator in fresh directories; the cache stays.
func (p *place) build(ctx context.Context, c testCase, order string, round int, repo string) (result, error) {
	if err := p.layOut(c, round); err != nil {
		return result{}, err
	}
	args := []string{
		"-app", p.path("app"), "-layers", p.path("layers"), "-platform", p.path("platform"), "-buildpacks", p.path("buildpacks"),
		"-order", p.path("order.toml"), "-cache-dir", p.path("cache"), "-launcher", p.shared, "-report", p.path("layers", "report.toml"),
		"-uid", fmt.Sprint(uid), "-gid", fmt.Sprint(gid), "-run-image", repo + "/run", "-stack", p.path("stack.toml"),
	}
	if c.minor() >= 12 {
		args = append(args, "-run", p.path("run.toml"))
	}
	if c.minor() >= 11 {
		args = append(args, "-launcher-sbom", p.path("launcher-sbom"), "-build-config", p.path("build-config"))
	}
	for _, a := range c.args {
		args = append(args, strings.NewReplacer("$repo", repo, "$dir", p.dir, "$round", fmt.Sprint(round)).Replace(a))
	}
	image := repo + "/app"
	if c.newName && round == 2 {
		args, image = append(args, "-previous-image", image), repo+"/next"
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.engine[order[round-1]], "lifecycle"), append(args, image)...)
	cmd.Args[0] = "creator"
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, p.dir
	cmd.Env = append([]string{fmt.Sprintf("CNB_PLATFORM_API=0.%d", c.minor()), "PATH=/usr/bin:/bin", "HOME=/root", "CNB_REGISTRY_AUTH={}", "CNB_STACK_ID=parity"}, c.env...)
	err := cmd.Run()
	r := result{log: log.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.code = exit.ExitCode()
	} else if err != nil {
		return r, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	if p.logs != "" {
		if err := os.WriteFile(filepath.Join(p.logs, fmt.Sprintf("%s %s %d", c.name, order, round)), log.Bytes(), 0o644); err != nil {
			return r, err
		}
	}
	if r.code != 0 {
		return r, nil
	}
	r.lines = phrases(r.log)
	lines, err := p.imageLines(image)
	if err != nil {
		return r, err
	}
	cache, err := cacheLines(p.path("cache"))
	if err != nil {
		return r, err
	}
	r.lines = append(append(r.lines, lines...), cache...)
	for _, layer := range c.varies {
		r.lines = byName(r.lines, layer)
	}
	for _, key := range c.clocks {
		r.lines = stopClock(r.lines, key)
	}
	return r, nil
}

// byName puts a layer's name in the place of its diffID, wherever it is said.
func byName(lines []string, layer string) []string {
	at := regexp.MustCompile(`\.layers\.` + regexp.QuoteMeta(layer) + `\.sha = "(sha256:[0-9a-f]{64})"`)
	for _, l := range slices.Clone(lines) {
		if m := at.FindStringSubmatch(l); m != nil {
			for i := range lines {
				lines[i] = strings.ReplaceAll(lines[i], m[1], layer)
			}
		}
	}
	return lines
}

// stopClock puts one word in the place of a time in the metadata of a layer.
func stopClock(lines []string, key string) []string {
	at := regexp.MustCompile(`(\.layers\.` + regexp.QuoteMeta(key) + ` = )"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`)
	for i := range lines {
		lines[i] = at.ReplaceAllString(lines[i], `$1"a time"`)
	}
	return lines
}

// wholeFloat is 1.0, which is what an integer may come back as: metadata goes through JSON, which has one kind of number.
var wholeFloat = regexp.MustCompile(`(\d)\.0([^\d]|$)`)

// phrases are the lines of a log that are about reuse, and what buildpacks say. Not among them: what says how the first
// build's layers were compressed, and that SBOMs were restored, which need not be where no layer is.
func phrases(log string) []string {
	var out []string
	for l := range strings.SplitSeq(log, "\n") {
		l = strings.TrimSpace(l)
		if _, text, ok := strings.Cut(l, "PARITY "); ok {
			out = append(out, "buildpack: "+wholeFloat.ReplaceAllString(text, "$1$2"))
		}
		if strings.HasPrefix(l, "Reusing layers from image") || strings.HasPrefix(l, "Restoring data for SBOM") {
			continue
		}
		for _, prefix := range []string{"Reusing ", "Adding layer", "Adding label", "Adding cache", "Restoring ", "Setting default", "no default process"} {
			if strings.HasPrefix(l, prefix) {
				out = append(out, "log: "+l)
			}
		}
	}
	return slices.DeleteFunc(out, func(l string) bool { // the reference says both where it reuses
		name, ok := strings.CutPrefix(l, "log: Adding cache layer ")
		return ok && slices.Contains(out, "log: Reusing cache layer "+name)
	})
}

// imageLines describes an image, one fact a line.
func (p *place) imageLines(image string) ([]string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(ref)
	if err != nil {
		return nil, err
	}
	return describe(img)
}

// cacheLines describes a volume cache.
func cacheLines(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(at string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		out = append(out, "cache: "+rel)
		if strings.HasSuffix(rel, ".tar") {
			return nil
		}
		b, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		return flattenText("cache "+rel, string(b), &out)
	})
	slices.Sort(out)
	return out, err
}

func flattenText(at, text string, out *[]string) error {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		*out = append(*out, fmt.Sprintf("%s = %q", at, text))
		return nil
	}
	flatten(at, v, out)
	return nil
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every bad input that a user can give ends with one clear line, the right exit code and nothing left behind,
// and the next good build works. TestBadInput holds this through the command line, with real containers; `go
// test -v -run TestBadInput` prints every line.
func TestBadInput(t *testing.T) {
	y := newYard(t)
	withDocker := y.on("docker")
	for name, group := range map[string]func(*testing.T, *yard){
		"buildpack":  badBuildpacks,
		"detect":     badDetects,
		"build":      badBuilds,
		"limit":      badLimits,
		"image":      badImages,
		"registry":   badRegistries,
		"source":     badSources,
		"descriptor": badDescriptors,
		"flag":       badFlags,
		"engine":     badEngines,
		"harmless":   harmless,
		"interrupt":  interruptedBuilds,
		"kill":       killedBuilds,
		"no runtime": noRuntime,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if slices.Contains(aboutDocker, name) {
				group(t, withDocker)
			} else {
				group(t, y)
			}
		})
	}
}

// aboutDocker are the groups whose cases have to do with Docker. Limits are held by the suite that every runtime passes.
var aboutDocker = []string{"engine", "harmless", "interrupt", "no runtime"}

// bad is one bad input.
type bad struct {
	name  string
	args  []string // of slipway build, after the image's name
	env   []string // of slipway
	code  int
	says  []string // all of them in the one line
	never []string // none of them in the line
	shows []string // all of them elsewhere in the output
	hides []string // none of them anywhere in the output
}

// try runs every case with a state directory of its own.
func (y *yard) try(t *testing.T, cases ...bad) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := y.work(t)
			code, stdout, stderr := w.build(c.env, c.args...)
			line := errorLine(t, stderr, w.home)
			t.Logf("exit %d\n%s", code, line)
			if code != c.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, stdout, stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(line, s) {
					t.Errorf("the line does not say %q:\n%s", s, line)
				}
			}
			for _, s := range c.never {
				if strings.Contains(line, s) {
					t.Errorf("the line says %q:\n%s", s, line)
				}
			}
			for _, s := range c.shows {
				if !strings.Contains(stdout+stderr, s) {
					t.Errorf("the output does not show %q:\n%s%s", s, stdout, stderr)
				}
			}
			for _, s := range c.hides {
				if strings.Contains(stdout+stderr, s) {
					t.Errorf("the output shows %q:\n%s%s", s, stdout, stderr)
				}
			}
			w.nothingLeft()
			if c.code != 3 { // a wrong command line touches nothing
				w.good()
			}
		})
	}
}

// goisms are what a line for users must not have: the language it was written in, its libraries and the
// stutter of wrapped errors.
var goisms = regexp.MustCompile(`%!|goroutine|panic|0xc0|&\{|map\[|<nil>|strconv\.|\sjson: |\s(toml|zip|tar|gzip|archive/\w+): |context (canceled|deadline)|openat|: :|runtime error|unexpected EOF|errno`)

// errorLine is the one line of stderr that tells the error.
func errorLine(t *testing.T, stderr, home string) string {
	t.Helper()
	var found []string
	for l := range strings.Lines(stderr) {
		l = strings.TrimRight(l, "\n")
		switch {
		case strings.HasPrefix(l, "ERROR: "):
			found = append(found, l)
		case strings.HasPrefix(l, "Warning: "), strings.HasPrefix(l, "Note: "):
		case strings.HasPrefix(l, "  | ") && len(found) == 1: // the end of what a buildpack printed, with --quiet
		default:
			t.Errorf("stderr has a line beside the error: %q", l)
		}
	}
	if len(found) != 1 {
		t.Fatalf("stderr has %d error lines, want one:\n%s", len(found), stderr)
	}
	line := found[0]
	if m := goisms.FindString(line); m != "" {
		t.Errorf("the line is not for people (%q):\n%s", m, line)
	}
	if strings.Contains(line, filepath.Join(home, "builds")) {
		t.Errorf("the line names a file of ours that is gone when it is read:\n%s", line)
	}
	parts := strings.Split(line, ": ")
	for i := 1; i < len(parts); i++ {
		if parts[i] == parts[i-1] {
			t.Errorf("the line says %q twice:\n%s", parts[i], line)
		}
	}
	if len(line) > 1200 {
		t.Errorf("the line has %d bytes:\n%s", len(line), line)
	}
	return line
}

// A work is one test's use of the yard: its own state directory and the name of its image.
type work struct {
	t    *testing.T
	y    *yard
	home string // SLIPWAY_HOME
	name string
}

// work copies the yard's state directory.
func (y *yard) work(t *testing.T) *work {
	t.Helper()
	y.mu.Lock()
	y.works++
	name := fmt.Sprintf("%s/app-%d", y.prefix, y.works)
	y.mu.Unlock()
	w := &work{t: t, y: y, home: filepath.Join(t.TempDir(), "home"), name: name}
	if err := copyState(w.home, y.template); err != nil {
		t.Fatal(err)
	}
	return w
}

// environ is what slipway sees: nothing of the machine but where Docker is.
func (w *work) environ(more ...string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(w.home), "SLIPWAY_HOME=" + w.home, "SLIPWAY_RUNTIME=" + w.y.runtime,
		"DOCKER_CONFIG=" + filepath.Join(filepath.Dir(w.home), "docker"),
	}
	if h, ok := os.LookupEnv("DOCKER_HOST"); ok {
		env = append(env, "DOCKER_HOST="+h)
	}
	return append(env, more...)
}

// slipway runs the command line.
func (w *work) slipway(env []string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(w.t.Context(), args, w.environ(env...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// args is a whole command line of build: what args leave open is a build that works.
func (w *work) args(args ...string) []string {
	all := []string{"build"}
	if !slices.Contains(args, "--name") {
		all = append(all, w.name)
	} else { // the case has a name of its own
		i := slices.Index(args, "--name")
		all = append(all, strings.ReplaceAll(args[i+1], "NAME", w.name))
		args = slices.Delete(slices.Clone(args), i, i+2)
	}
	for _, d := range [][2]string{{"--path", w.y.app}, {"--builder", w.y.builder}} {
		if !slices.Contains(args, d[0]) {
			all = append(all, d[0], d[1])
		}
	}
	if !slices.Contains(args, "--publish") && !slices.Contains(args, "--output") {
		all = append(all, "--output", "store")
	}
	return append(all, args...)
}

func (w *work) build(env []string, args ...string) (code int, stdout, stderr string) {
	return w.slipway(env, w.args(args...)...)
}

// nothingLeft proves that no container and no file of the build is there any more.
func (w *work) nothingLeft() {
	w.t.Helper()
	for _, c := range w.y.containers(w.t, "build.slipway.image="+w.name+":latest") {
		w.t.Errorf("a container is left behind: %s", c)
	}
	left, err := os.ReadDir(filepath.Join(w.home, "builds"))
	if err != nil && !os.IsNotExist(err) {
		w.t.Error(err)
	}
	for _, e := range left {
		w.t.Errorf("builds/%s is left behind", e.Name())
	}
}

// good proves that a build of good input works in the same state directory.
func (w *work) good() {
	w.t.Helper()
	code, stdout, stderr := w.build(nil)
	if code != 0 {
		w.t.Errorf("the next good build: exit code %d\n%s%s", code, stdout, stderr)
	}
	w.nothingLeft()
}

// containers lists the engine's containers with a label.
func (y *yard) containers(t *testing.T, label string) []string {
	t.Helper()
	filter, err := json.Marshal(map[string][]string{"label": {label}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := engineAPI(http.MethodGet, "/containers/json?all=1&filters="+url.QueryEscape(string(filter)))
	if err != nil {
		t.Fatal(err)
	}
	var list []struct{ ID, State string }
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	var out []string
	for _, c := range list {
		out = append(out, c.ID+" "+c.State)
	}
	return out
}

// engineAPI asks the engine by itself, so that a fault of our own client cannot hide what it left.
func engineAPI(method, path string) ([]byte, error) {
	network, address := "unix", "/var/run/docker.sock"
	if u, err := url.Parse(os.Getenv("DOCKER_HOST")); err == nil && u.Scheme == "unix" {
		address = u.Path
	} else if err == nil && u.Host != "" {
		network, address = "tcp", u.Host
	}
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
	req, err := http.NewRequest(method, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, b)
	}
	return b, err
}

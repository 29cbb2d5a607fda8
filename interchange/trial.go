package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A trial is a home, two registries and a service, and what was wrong first: after that nothing is run any more.
type trial struct {
	slipway, pack, debian string // programs
	packs, app, builder   string
	verbose               bool
	out                   io.Writer

	dir      string
	env      []string
	registry string // host:port of Debian's
	service  string // host:port of the service, which is its registry's name
	token    string
	made     []string // images in Docker
	err      error
}

// settle makes the home: nobody's index is in it, nor credentials of anybody else.
func (t *trial) settle(env []string) error {
	for _, line := range env {
		name, _, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, "SLIPWAY_") || strings.HasPrefix(name, "XDG_") || strings.HasPrefix(name, "GIT_") || name == "HOME" || name == "PACK_HOME" || name == "DOCKER_CONFIG" {
			continue
		}
		t.env = append(t.env, line)
	}
	home := filepath.Join(t.dir, "home")
	t.env = append(t.env, "HOME="+home, "SLIPWAY_HOME="+filepath.Join(home, "slipway"), "PACK_HOME="+filepath.Join(home, "pack"), "DOCKER_CONFIG="+home, "NO_COLOR=1", "PACK_VOLUME_KEY=interchange",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_CONFIG_NOSYSTEM=1")
	return t.write("home/slipway/registries/registries.toml", "registries = []\n")
}

// start starts Debian's registry and the service. end, which is never nil, stops what was started.
func (t *trial) start(ctx context.Context) (end func() error, err error) {
	var ends []func() error
	end = func() (err error) {
		for _, e := range ends {
			err = errors.Join(err, e())
		}
		return err
	}
	if t.registry, err = free(); err != nil {
		return end, err
	}
	err = t.write("registry.yml", fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n", filepath.Join(t.dir, "registry"), t.registry))
	if err != nil {
		return end, err
	}
	stop, _, err := t.background(ctx, nil, t.debian, "serve", filepath.Join(t.dir, "registry.yml"))
	if err != nil {
		return end, err
	}
	ends = append(ends, stop)
	if t.service, err = free(); err != nil {
		return end, err
	}
	stop, t.token, err = t.background(ctx, regexp.MustCompile(`slw_[a-z0-9-]+`), t.slipway, "serve", "--data", filepath.Join(t.dir, "data"), "--listen", t.service, "--ops", "", "--builder", t.builder)
	if err != nil {
		return end, err
	}
	ends = append(ends, stop)
	t.env = append(t.env, "SLIPWAY_URL=http://"+t.service, "SLIPWAY_TOKEN="+t.token)
	auth := base64.StdEncoding.EncodeToString([]byte("x:" + t.token))
	if err := t.write("home/config.json", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, t.service, auth)); err != nil {
		return end, err
	}
	return end, errors.Join(answers(ctx, "http://"+t.registry+"/v2/"), answers(ctx, "http://"+t.service+"/readyz"))
}

// free is an address of this machine where nobody listens.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// background starts a process and waits until it has printed a text, where one is wanted.
func (t *trial) background(ctx context.Context, wanted *regexp.Regexp, argv ...string) (end func() error, text string, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = t.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var said bytes.Buffer
	cmd.Stderr = &said
	var in io.ReadCloser
	if wanted != nil { // who would not be read would be held up
		in, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, "", fmt.Errorf("start %s: %w", argv[0], err)
	}
	end = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err := cmd.Wait()
		if e, ok := errors.AsType[*exec.ExitError](err); ok && e.Sys().(syscall.WaitStatus).Signaled() {
			return nil // as it was told
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w: %s", filepath.Base(argv[0]), err, &said)
		}
		return nil
	}
	if wanted == nil {
		return end, "", nil
	}
	for lines := bufio.NewScanner(in); text == "" && lines.Scan(); {
		text = wanted.FindString(lines.Text())
	}
	if text == "" {
		return nil, "", errors.Join(fmt.Errorf("%s has not printed what it should", filepath.Base(argv[0])), end())
	}
	return end, text, nil
}

// answers waits until somebody answers.
func answers(ctx context.Context, url string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, rerr := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if rerr != nil {
			return rerr
		}
		var res *http.Response
		if res, err = http.DefaultClient.Do(req); err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", url, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// patience is how long a command may take, and a push with its build.
const patience = 5 * time.Minute

// command runs one program below dir, and returns what it said. It has to end well, or badly where fails is true, and to
// say each of the texts. Nothing is run after something went wrong.
func (t *trial) command(ctx context.Context, fails bool, dir string, want []string, argv ...string) string {
	if t.err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, t.env, 5*time.Second
	began := time.Now()
	text, err := cmd.CombinedOutput()
	took := time.Since(began)
	argv[0] = filepath.Base(argv[0])
	line := strings.Join(argv, " ")
	fmt.Fprintf(t.out, "$ %s  [%.1f s]\n", t.hide(line), took.Seconds())
	said := strings.Join(strings.Fields(string(text)), " ")
	switch {
	case (err != nil) != fails && fails:
		t.err = fmt.Errorf("%s ends well, which it should not", t.hide(line))
	case (err != nil) != fails:
		t.err = fmt.Errorf("%s: %w", t.hide(line), err)
	}
	for _, w := range want {
		if !strings.Contains(said, w) && t.err == nil {
			t.err = fmt.Errorf("%s does not say %q", t.hide(line), w)
		}
	}
	if t.err != nil || t.verbose {
		fmt.Fprintln(t.out, t.hide(strings.TrimSpace(string(text))))
	}
	return string(text)
}

// hide is a text without the token.
func (t *trial) hide(text string) string { return strings.ReplaceAll(text, t.token, "<token>") }

// ours runs slipway, theirs pack, each of which has to end well.
func (t *trial) ours(ctx context.Context, want []string, args ...string) string {
	return t.command(ctx, false, "", want, append([]string{t.slipway}, args...)...)
}

func (t *trial) theirs(ctx context.Context, want []string, args ...string) string {
	return t.command(ctx, false, "", want, append([]string{t.pack}, args...)...)
}

// says is what has to be in an output.
func says(texts ...string) []string { return texts }

// image is a name in Docker that is removed in the end.
func (t *trial) image(what string) string {
	name := "slipway-interchange/" + t.name() + "-" + what
	t.made = append(t.made, name)
	return name
}

// clean takes out of Docker what was put there.
func (t *trial) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, name := range t.made {
		_ = exec.CommandContext(ctx, "docker", "rmi", "-f", name).Run() // some were never made
	}
	caches, _ := exec.CommandContext(ctx, "docker", "volume", "ls", "-q", "--filter", "name=pack-cache-slipway-interchange_"+t.name()).Output()
	if names := strings.Fields(string(caches)); len(names) > 0 {
		_ = exec.CommandContext(ctx, "docker", append([]string{"volume", "rm", "-f"}, names...)...).Run() // what is in use stays
	}
}

// name is a word that is in every name that this run makes in Docker.
func (t *trial) name() string { return strings.ToLower(filepath.Base(t.dir)) }

// write writes a file below the trial's directory.
func (t *trial) write(name, text string) error {
	at := filepath.Join(t.dir, name)
	return errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644))
}

// step is write as one of the steps.
func (t *trial) step(name, text string) {
	if t.err == nil {
		t.err = t.write(name, text)
	}
}

// at is a path below the trial's directory.
func (t *trial) at(name string) string { return filepath.Join(t.dir, name) }

// digestOf is the digest in what slipway prints of an image or a package.
func (t *trial) digestOf(text string) string {
	d := digest.FindString(text)
	if d == "" && t.err == nil {
		t.err = errors.New("no digest was printed")
	}
	return d
}

var digest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// Command clients runs the published heroku command line, unmodified, against a service of its own: every command that
// this project says works (README, "Clients of the Platform API") is run for real, with a push and a build between them,
// and must print what it prints to people and end as it says. The transcript goes to stdout.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(args, env []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("clients", flag.ContinueOnError)
	flags.SetOutput(stderr)
	heroku := flags.String("heroku", "bin/heroku/node_modules/.bin/heroku", "the command line that is tried")
	slipway := flags.String("slipway", "bin/slipway", "whose service it is tried on")
	if flags.Parse(args) != nil {
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	wrong, err := try(ctx, *heroku, *slipway, env, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "ERROR:", err)
		return 1
	}
	if wrong > 0 {
		fmt.Fprintf(stderr, "ERROR: %d commands did not do what they should\n", wrong)
		return 1
	}
	return 0
}

// try makes a place for a service and a client, and runs the script there.
func try(ctx context.Context, heroku, slipway string, env []string, out io.Writer) (wrong int, err error) {
	dir, err := os.MkdirTemp("", "slipway-clients-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t := &trial{dir: dir, out: out}
	for to, from := range map[*string]string{&t.heroku: heroku, &t.slipway: slipway} {
		if *to, err = filepath.Abs(from); err != nil {
			return 0, err
		}
		if _, err := os.Stat(*to); err != nil {
			return 0, fmt.Errorf("%w: make clients brings it", err)
		}
	}
	end, err := t.serve(ctx, env)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := t.settle(env); err != nil {
		return 0, err
	}
	for _, s := range script() {
		if !t.step(ctx, s) {
			wrong++
		}
		if ctx.Err() != nil {
			return wrong, ctx.Err()
		}
	}
	return wrong, nil
}

// A trial is a service, and a client's home and work tree.
type trial struct {
	dir             string
	heroku, slipway string
	at, token       string // of the service: localhost and its port
	env             []string
	out             io.Writer
}

var tokenOf = regexp.MustCompile(`slw_[a-z0-9-]+`)

// serve starts the service; end stops it.
func (t *trial) serve(ctx context.Context, env []string) (end func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	t.at = "localhost:" + port
	if err := l.Close(); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, t.slipway, "serve", "--data", filepath.Join(t.dir, "data"), "--listen", t.at, "--ops", "")
	cmd.Env = env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start the service: %w", err)
	}
	end = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("the service: %w: %s", err, &said)
		}
		return nil
	}
	for lines := bufio.NewScanner(in); t.token == "" && lines.Scan(); {
		t.token = tokenOf.FindString(lines.Text())
	}
	if t.token == "" {
		return nil, errors.Join(errors.New("the service has not printed its token"), end())
	}
	return end, nil
}

// settle makes the client's home and work tree, and what people set for it: README, "Clients of the Platform API".
func (t *trial) settle(env []string) error {
	home, tree := filepath.Join(t.dir, "home"), filepath.Join(t.dir, "tree")
	if err := errors.Join(os.MkdirAll(home, 0o755), os.MkdirAll(filepath.Join(tree, "public"), 0o755)); err != nil {
		return err
	}
	service := "http://" + t.at
	git := fmt.Sprintf("[user]\n\tname = A\n\temail = a@example.com\n[url \"http://x:%s@%s/\"]\n\tinsteadOf = https://%[2]s/\n", t.token, t.at)
	err := errors.Join(
		os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(git), 0o600),
		os.WriteFile(filepath.Join(tree, "public", "index.html"), []byte("one\n"), 0o644),
	)
	for _, line := range env { // where its terminal, its home and its credentials are is ours to say
		if name, _, _ := strings.Cut(line, "="); !strings.HasPrefix(name, "HEROKU_") && name != "HOME" && !strings.HasPrefix(name, "XDG_") && !strings.HasPrefix(name, "SSL_CERT_") {
			t.env = append(t.env, line)
		}
	}
	t.env = append(t.env, "HOME="+home, "GIT_CONFIG_GLOBAL="+filepath.Join(home, ".gitconfig"), "NO_COLOR=1", "COLUMNS=160", "DISABLE_TELEMETRY=true", "HEROKU_SKIP_NEW_VERSION_CHECK=1",
		"HEROKU_HOST="+service, "HEROKU_API_KEY="+t.token, "HEROKU_PARTICLEBOARD_URL="+service, "HEROKU_BUILDPACK_REGISTRY_URL="+service)
	return err
}

// patience is how long a command may take, and a push with its build.
const patience = 3 * time.Minute

// step runs one command and says whether it did what it should.
func (t *trial) step(ctx context.Context, s step) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	argv := strings.Fields(s.run)
	program := argv[0]
	if program == "heroku" {
		program = t.heroku
	}
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = filepath.Join(t.dir, "tree"), t.env, 5*time.Second
	text, err := cmd.CombinedOutput()
	code := 0
	if err != nil {
		code = -1
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			code = e.ExitCode()
		}
	}
	shown := strings.TrimRight(strings.ReplaceAll(strings.ReplaceAll(string(text), t.token, "<token>"), t.at, "localhost:5780"), "\n \t")
	fmt.Fprintf(t.out, "$ %s\n%s\n", s.run, shown)
	ok := code == s.exit
	if code != 0 {
		fmt.Fprintf(t.out, "[exit %d]\n", code)
	}
	words := strings.Join(strings.Fields(strings.ReplaceAll(shown, "›", "")), " ") // it wraps lines as it likes
	for _, want := range s.want {
		if !strings.Contains(words, want) {
			fmt.Fprintf(t.out, "!!! it does not say %q\n", want)
			ok = false
		}
	}
	if code != s.exit {
		fmt.Fprintf(t.out, "!!! it ends with %d, not %d\n", code, s.exit)
	}
	return ok
}

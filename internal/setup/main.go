// Command setup makes a Debian machine ready to build and test Slipway: `make setup` runs it. It installs missing
// packages with apt when it may (as root, or with sudo that asks nothing), and starts a Docker Engine where no
// init system does. What is there already is left alone, and a second run does nothing.
//
// Besides what apt installs it writes below the state directory only, and makes no change without saying so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("setup", flag.ContinueOnError)
	flags.SetOutput(stderr)
	state := flags.String("state", ".state", "directory for the engine's log and pid file, where we start one")
	race := flags.Bool("race", false, "also install what the race detector needs")
	demo := flags.Bool("demo", false, "only what building and running apps needs: for root an OCI runtime, and no Docker")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	dir, err := filepath.Abs(*state)
	if err == nil {
		err = newMachine(dir, env, stdout).prepare(ctx, *race, *demo && os.Geteuid() == 0)
	}
	if err != nil {
		fmt.Fprintln(stderr, "setup:", err)
		return 1
	}
	return 0
}

// machine is the machine we prepare, and how we may change it.
type machine struct {
	state string
	env   []string
	out   io.Writer
	sudo  []string // what goes before a command that needs root; nil for root itself
	may   bool     // we may become root
	user  string
}

func newMachine(state string, env []string, out io.Writer) *machine {
	m := &machine{state: state, env: env, out: out, user: "root", may: true}
	if os.Geteuid() == 0 {
		return m
	}
	if u, err := user.Current(); err == nil {
		m.user = u.Username
	}
	m.sudo = []string{"sudo", "-n", "--"}
	m.may = exec.Command("sudo", "-n", "true").Run() == nil
	return m
}

func (m *machine) prepare(ctx context.Context, race, withoutDocker bool) error {
	if err := m.install(ctx, needs(race, withoutDocker), !withoutDocker); err != nil {
		return err
	}
	if withoutDocker {
		m.say("ready, containers run with %s and no daemon", found("runc"))
		return nil
	}
	if err := m.subordinateIDs(ctx); err != nil {
		return err
	}
	return m.docker(ctx)
}

func (m *machine) say(format string, args ...any) { fmt.Fprintf(m.out, "setup: "+format+"\n", args...) }

// variable returns a variable of our environment.
func (m *machine) variable(name string) string {
	for _, kv := range slices.Backward(m.env) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// root runs a command as root; its output is shown only when it fails.
func (m *machine) root(ctx context.Context, argv ...string) error {
	if !m.may {
		return fmt.Errorf("this needs root: sudo %s", strings.Join(argv, " "))
	}
	argv = append(slices.Clip(m.sudo), argv...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(slices.Clip(m.env), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run %s: %w\n%s", strings.Join(argv, " "), err, lastLines(string(out), 15))
	}
	return nil
}

// found tells whether a command is installed. The system's sbin is searched too, which an ordinary user's PATH
// often lacks.
func found(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return filepath.Join(dir, name)
		}
	}
	return ""
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return "    " + strings.Join(lines[max(0, len(lines)-n):], "\n    ")
}

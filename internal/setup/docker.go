package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const defaultSocket = "/var/run/docker.sock"

// State of an engine at an address.
const (
	up = iota
	down
	denied // it is there, and we may not talk to it
)

type answer struct {
	state   int
	version string
}

// dockerAddress is the socket of the engine the user means; ok is false where it is not a socket of this machine,
// and so none of our business.
func (m *machine) dockerAddress() (path string, ok bool) {
	host := m.variable("DOCKER_HOST")
	if host == "" {
		return defaultSocket, true
	}
	return strings.CutPrefix(host, "unix://")
}

// ping asks the engine for its version.
func ping(ctx context.Context, socket string) answer {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/version", nil)
	if err != nil {
		return answer{state: down}
	}
	res, err := client.Do(req)
	switch {
	case errors.Is(err, os.ErrPermission):
		return answer{state: denied}
	case err != nil:
		return answer{state: down}
	}
	defer res.Body.Close()
	var v struct{ Version string }
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&v); err != nil || res.StatusCode != http.StatusOK {
		return answer{state: down}
	}
	return answer{up, v.Version}
}

// docker sees to it that an engine answers us.
func (m *machine) docker(ctx context.Context) error {
	socket, local := m.dockerAddress()
	if !local {
		m.say("DOCKER_HOST is %s: taken as it is", m.variable("DOCKER_HOST"))
		return nil
	}
	a := ping(ctx, socket)
	if a.state == down {
		if socket != defaultSocket {
			return fmt.Errorf("no Docker Engine answers at DOCKER_HOST %s: start it, or unset DOCKER_HOST", socket)
		}
		if err := m.startDocker(ctx); err != nil {
			return err
		}
		a = ping(ctx, socket)
	}
	switch a.state {
	case denied:
		return m.join(ctx, socket)
	case down:
		return fmt.Errorf("the Docker Engine was started and does not answer at %s", socket)
	}
	m.say("ready, Docker Engine %s", a.version)
	return nil
}

// join lets the user into the group that may talk to the engine. Groups are those of the login, so it takes a
// new one to come into effect.
func (m *machine) join(ctx context.Context, socket string) error {
	members := exec.CommandContext(ctx, "id", "-nG", m.user)
	out, err := members.Output()
	if err != nil {
		return fmt.Errorf("list the groups of %s: %w", m.user, err)
	}
	if !slices.Contains(strings.Fields(string(out)), "docker") {
		if !m.may {
			return fmt.Errorf("%s may not talk to the Docker Engine at %s: sudo usermod -aG docker %s, then log in again", m.user, socket, m.user)
		}
		m.say("adding %s to the group docker, which may talk to the engine (and so has root's power here)", m.user)
		if err := m.root(ctx, "usermod", "-aG", "docker", m.user); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s is in the group docker, but not in this session: log in again, or run: sg docker -c 'make …'", m.user)
}

// startDocker has the init system start the engine, or starts it itself where there is none.
func (m *machine) startDocker(ctx context.Context) error {
	if st, err := os.Stat("/run/systemd/system"); err == nil && st.IsDir() {
		m.say("starting docker.service")
		if err := m.root(ctx, "systemctl", "start", "docker"); err != nil {
			return err
		}
		return m.await(ctx, nil)
	}
	if found("dockerd") == "" {
		return errors.New("no Docker Engine is installed: sudo apt-get install docker.io")
	}
	if !m.may {
		return errors.New("no Docker Engine answers, and starting one needs root: sudo make setup")
	}
	if err := m.cgroups(ctx); err != nil {
		return err
	}
	for _, network := range [][]string{nil, {"--iptables=false", "--ip6tables=false", "--bridge=none"}} {
		err := m.spawn(ctx, network)
		log := readAll(m.log())
		switch {
		case err == nil:
			return nil
		case network == nil && (strings.Contains(log, "iptables") || strings.Contains(log, "network controller")):
			m.say("dockerd cannot set up a network here; starting it without one (containers then use the host's)")
			continue
		}
		return fmt.Errorf("start dockerd: %w; the end of %s:\n%s", err, m.log(), lastLines(log, 12))
	}
	return errors.New("start dockerd: it ends at once, with and without a network of its own")
}

func (m *machine) log() string { return filepath.Join(m.state, "dockerd.log") }

// spawn starts dockerd in a session of its own, so that it outlives us and the terminal's Ctrl-C.
func (m *machine) spawn(ctx context.Context, more []string) error {
	if err := os.MkdirAll(m.state, 0o755); err != nil {
		return err
	}
	log, err := os.Create(m.log())
	if err != nil {
		return err
	}
	defer log.Close()
	argv := append(slices.Clip(m.sudo), found("dockerd"))
	argv = append(argv, more...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = m.env, log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with dockerd, or with this process
	if err := m.await(ctx, ended); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	m.say("no init system runs the Docker Engine here, so we started it: pid %d, log %s (to stop it: %s)",
		pid, m.log(), strings.Join(append(slices.Clip(m.sudo), "kill", fmt.Sprint(pid)), " "))
	return os.WriteFile(filepath.Join(m.state, "dockerd.pid"), fmt.Appendln(nil, pid), 0o644)
}

// await returns when the engine answers, and with an error when it has ended or a minute has passed.
func (m *machine) await(ctx context.Context, ended <-chan error) error {
	limit := time.After(time.Minute)
	for {
		if ping(ctx, defaultSocket).state != down {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			return fmt.Errorf("it ended: %w", errors.Join(err, errors.New("no engine")))
		case <-limit:
			return errors.New("the engine does not answer within a minute")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A need is a file or command that must be there, and the Debian package that brings it.
type need struct{ command, file, pkg, why string }

func needs(race, withoutDocker bool) []need {
	list := []need{
		{command: "git", pkg: "git", why: "versions and sources"},
		{command: "curl", pkg: "curl", why: "the demo's requests"},
		{command: "runc", pkg: "runc", why: "containers without a daemon, for root"},
		{command: "zip", pkg: "zip", why: "sources as zip files in tests"},
		{command: "xz", pkg: "xz-utils", why: "archives"},
		{file: "/etc/ssl/certs/ca-certificates.crt", pkg: "ca-certificates", why: "TLS"},
		{command: "mmdebstrap", pkg: "mmdebstrap", why: "base images"},
		{file: "/usr/share/keyrings/debian-archive-keyring.gpg", pkg: "debian-archive-keyring", why: "base images"},
	}
	if !withoutDocker { // for tests
		list = append(list, need{command: "docker-registry", pkg: "docker-registry", why: "a real registry in tests"},
			need{command: "zstd", pkg: "zstd", why: "what the benchmark is set beside"},
			need{command: "chromium", pkg: "chromium", why: "the pages in a real browser, in tests"},
			need{file: "/bin/bash-static", pkg: "bash-static", why: "the small builder of tests"},
			need{file: "/bin/busybox", pkg: "busybox-static", why: "the small builder of tests"})
	}
	if os.Geteuid() != 0 {
		list = append(list, need{command: "newuidmap", pkg: "uidmap", why: "base images as an ordinary user"})
	}
	if race {
		list = append(list, need{command: "gcc", pkg: "gcc", why: "the race detector"},
			need{file: "/usr/include/stdlib.h", pkg: "libc6-dev", why: "the race detector"})
	}
	return list
}

func (n need) met() bool {
	if n.file != "" {
		_, err := os.Stat(n.file)
		return err == nil
	}
	return found(n.command) != ""
}

// install asks apt for the packages that are missing.
func (m *machine) install(ctx context.Context, needs []need, docker bool) error {
	var pkgs []string
	for _, n := range needs {
		if !n.met() {
			pkgs = append(pkgs, n.pkg)
		}
	}
	if address, _ := m.dockerAddress(); docker && address == defaultSocket && ping(ctx, address).state == down && found("dockerd") == "" {
		pkgs = append(pkgs, "docker.io", "iptables")
		if strings.HasPrefix(readAll("/sys/module/apparmor/parameters/enabled"), "Y") && found("apparmor_parser") == "" {
			pkgs = append(pkgs, "apparmor") // only recommended by docker.io, but with such a kernel no container starts without
		}
	}
	if docker && found("docker") == "" && !strings.Contains(readAll("/etc/os-release"), `VERSION_ID="12"`) {
		pkgs = append(pkgs, "docker-cli") // part of docker.io in Debian 12 only
	}
	if len(pkgs) == 0 {
		return nil
	}
	return m.apt(ctx, pkgs)
}

// apt installs packages; the package lists are fetched only if it does not work without.
func (m *machine) apt(ctx context.Context, pkgs []string) error {
	slices.Sort(pkgs)
	install := append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "install"}, pkgs...)
	switch {
	case found("apt-get") == "":
		return fmt.Errorf("there is no apt-get here: install what Debian calls %s", strings.Join(pkgs, " "))
	case !m.may:
		return fmt.Errorf("missing: %s\n    neither root nor sudo without a password; run: sudo apt-get update && sudo %s", strings.Join(pkgs, ", "), strings.Join(install, " "))
	}
	m.say("installing %s with apt", strings.Join(pkgs, ", "))
	if m.root(ctx, install...) == nil {
		return nil
	}
	if err := m.root(ctx, "apt-get", "-q", "update"); err != nil {
		return err
	}
	return m.root(ctx, install...)
}

// subordinateIDs gives the user a range of ids for user namespaces, as adduser does where uidmap was there first.
// Without them only base images cannot be made, so a user who may not is told and no more.
func (m *machine) subordinateIDs(ctx context.Context) error {
	if os.Geteuid() == 0 {
		return nil
	}
	uids, gids := readAll("/etc/subuid"), readAll("/etc/subgid")
	uid := strconv.Itoa(os.Getuid())
	if hasRange(uids, m.user, uid) && hasRange(gids, m.user, uid) {
		return nil
	}
	first := max(freeRange(uids), freeRange(gids))
	ids := fmt.Sprintf("%d-%d", first, first+65535)
	argv := []string{"usermod"}
	if !hasRange(uids, m.user, uid) {
		argv = append(argv, "--add-subuids", ids)
	}
	if !hasRange(gids, m.user, uid) {
		argv = append(argv, "--add-subgids", ids)
	}
	argv = append(argv, m.user)
	if !m.may {
		m.say("%s has no subordinate ids, which making base images needs: sudo touch /etc/subuid /etc/subgid && sudo %s", m.user, strings.Join(argv, " "))
		return nil
	}
	m.say("giving %s the subordinate ids %s (for base images)", m.user, ids)
	if err := m.root(ctx, "touch", "/etc/subuid", "/etc/subgid"); err != nil { // usermod wants them to exist
		return err
	}
	return m.root(ctx, argv...)
}

// hasRange reads subuid(5): user:first:count, the user by name or number.
func hasRange(text, name, uid string) bool {
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 3 && (f[0] == name || f[0] == uid) {
			return true
		}
	}
	return false
}

// freeRange is the first id above all that are given away.
func freeRange(text string) int {
	first := 100000
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 {
			continue
		}
		start, err1 := strconv.Atoi(f[1])
		count, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil {
			first = max(first, start+count)
		}
	}
	return first
}

func readAll(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "" // absent: nobody has any
	}
	return string(b)
}

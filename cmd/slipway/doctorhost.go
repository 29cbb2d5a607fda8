package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/transcript"
)

// Below these a build is likely to fail.
const (
	lowDisk   = 5 << 30
	lowMemory = 1 << 30
)

// machine looks at processors and memory.
func (x *examination) machine() {
	total, free := memory()
	f := x.add("machine", healthy, "%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if total > 0 {
		f.Text += fmt.Sprintf(", %s memory, %s of it available", transcript.Bytes(total), transcript.Bytes(free))
	}
	if total > 0 && free < lowMemory {
		f.State, f.Advice = warning, "builds of real apps want 1 GB or more"
	}
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		f.State, f.Advice = warning, "builds are tested on amd64 and arm64"
	}
}

// memory is the machine's memory, and what of it is available.
func memory() (total, available int64) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			available = n << 10
		}
	}
	return total, available
}

// tools looks at the binaries that go into containers.
func (x *examination) tools() {
	state, err := x.a.state()
	if err != nil {
		return // stateDir says it
	}
	t, err := x.a.tools(state)
	if err == nil {
		err = t.Check()
	}
	if err != nil {
		x.add("tools", broken, "%w", err)
		return
	}
	x.add("tools", healthy, "lifecycle and launcher are there: %s", filepath.Dir(t.Lifecycle))
}

// stateDir looks at where images and caches are kept.
func (x *examination) stateDir() {
	dir, err := x.a.state()
	if err != nil {
		x.add("state", broken, "%w", err)
		return
	}
	f := x.add("state", healthy, "%s", dir)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		f.Text += " (is made by the first command)"
	} else if err := writable(dir); err != nil {
		f.State, f.Text, f.Advice = broken, oneLine(err), "set SLIPWAY_HOME to a directory that you own"
		return
	}
	if free, ok := freeSpace(dir); ok {
		f.Text += fmt.Sprintf(", %s free", transcript.Bytes(free))
		if free < lowDisk {
			f.State, f.Advice = warning, "builds of real apps want 5 GB or more: slipway images prune, or set SLIPWAY_HOME"
		}
	}
}

func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return fmt.Errorf("nothing can be written to %s: %w", dir, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// settings looks at the configuration and at the default builder.
func (x *examination) settings(ctx context.Context) {
	path, err := x.a.settingsPath()
	if err != nil {
		return // stateDir says it
	}
	s, err := x.a.config()
	if err != nil {
		x.add("configuration", broken, "%w", err)
		return
	}
	if _, err := os.Stat(path); err == nil {
		x.add("configuration", healthy, "%s", path)
	} else {
		x.add("configuration", noted, "none (%s)", path)
	}
	name := x.a.defaultBuilder(s)
	m, err := x.a.machine(ctx)
	if err != nil {
		return // said above
	}
	defer m.Close()
	img, err := resolver(m, image.PullNever).Resolve(ctx, name)
	if err != nil {
		advice := "it is pulled by the first build; slipway config default-builder IMAGE names another"
		if name == builtinBuilder {
			advice = "make builder makes it; slipway config default-builder IMAGE names another"
		}
		x.add("default builder", warning, "%s is not on this machine", name).Advice = advice
		return
	}
	if _, err := inspectBuilder(name, img); err != nil {
		x.add("default builder", warning, "%w", err)
		return
	}
	x.add("default builder", healthy, "%s (in %s)", name, map[image.Kind]string{image.KindStore: "the local store", image.KindEngine: "Docker"}[img.Kind])
}

// trust looks at the certificates that the host trusts, which builds are given.
func (x *examination) trust() {
	path, name := x.a.bundle()
	if path == "" {
		x.add("certificates", warning, "no CA bundle found").Advice = "apt-get install ca-certificates, or name one in SSL_CERT_FILE"
		return
	}
	if name != "" {
		path += " (" + name + ")"
	}
	t, err := x.a.trust()
	if err != nil {
		x.add("certificates", broken, "%w", err)
		return
	}
	n, expired := 0, 0
	for rest := t.Bundle; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if c, err := x509.ParseCertificate(b.Bytes); err == nil {
			n++
			if time.Now().After(c.NotAfter) {
				expired++
			}
		}
	}
	f := x.add("certificates", healthy, "%d in %s", n, path)
	if expired > 0 {
		f.Text += fmt.Sprintf(", %d expired", expired)
	}
	if n == 0 {
		f.State, f.Advice = warning, "the bundle has no certificate: nothing can be fetched by https"
	}
}

// proxies looks at the proxy settings, which builds are given. Passwords in them are not shown.
func (x *examination) proxies() {
	var names []string
	for _, p := range x.a.proxy() {
		name, _, _ := strings.Cut(p, "=")
		names = append(names, name)
	}
	if len(names) == 0 {
		x.add("proxy", noted, "none")
		return
	}
	x.add("proxy", noted, "%s are passed into builds", strings.Join(names, ", "))
}

// git looks for git, from which an image learns which commit it was built from.
func (x *examination) git(ctx context.Context) {
	at := x.a.gitPath()
	if at == "" {
		x.add("git", warning, "not installed").Advice = "images do not tell which commit they were built from: apt-get install git"
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, at, "--version")
	cmd.Env = x.a.environ
	out, err := cmd.Output()
	if err != nil {
		x.add("git", warning, "%s does not run: %w", at, err)
		return
	}
	x.add("git", healthy, "%s", strings.TrimPrefix(strings.TrimSpace(string(out)), "git version "))
}

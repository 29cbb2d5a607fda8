package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/internal/child"
)

// A registry on this machine. Its cmd is nil where it is not ours.
type registry struct {
	host string
	cmd  *exec.Cmd
}

// startRegistry starts docker-registry on a free loopback port with its data in dir, unless host names one that
// runs already.
func startRegistry(ctx context.Context, host, dir string) (*registry, error) {
	if host != "" {
		return &registry{host: host}, nil
	}
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		return nil, fmt.Errorf("%w: install Debian's package docker-registry, or name a registry with -registry", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:%d\"}\n", dir, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	r := &registry{host: fmt.Sprintf("localhost:%d", port), cmd: exec.Command(bin, "serve", config)}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(r.cmd); err != nil {
		return nil, err
	}
	return r, r.wait(ctx)
}

// wait returns when the registry answers.
func (r *registry) wait(ctx context.Context) error {
	for range 200 {
		res, err := http.Get("http://" + r.host + "/v2/")
		if err == nil {
			_ = res.Body.Close()
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.Join(fmt.Errorf("docker-registry at %s does not answer", r.host), r.stop())
}

func (r *registry) stop() error {
	if r == nil || r.cmd == nil || r.cmd.ProcessState != nil {
		return nil
	}
	if err := r.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("end docker-registry: %w", err)
	}
	_ = r.cmd.Wait() // "signal: killed"
	return nil
}

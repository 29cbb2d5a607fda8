package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/container/docker"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// app is one run of the command: its streams, its environment, and what all commands share.
type app struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer

	insecure []string // --insecure-registry
	caCerts  []string // --ca-cert
}

// run is slipway. It returns the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(stderr, "ERROR: %s\n", err)
		return exitCode(ctx, err)
	}
	return 0
}

// usageError is a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// exitCode is the spec's code for errors of the engine, 3 for a wrong command line, 130 after Ctrl-C, else 1.
func exitCode(ctx context.Context, err error) int {
	if ctx.Err() != nil {
		return 130
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return 3
	}
	return builder.ExitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "slipway",
		Short:         "Turn source code into container images with Cloud Native Buildpacks",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(a.buildCommand(), a.imagesCommand(), a.builderCommand())
	return root
}

// getenv is one variable of the environment that run was given.
func (a *app) getenv(name string) string {
	for _, e := range a.environ {
		if k, v, _ := strings.Cut(e, "="); k == name {
			return v
		}
	}
	return ""
}

// state is the directory of Slipway's own files: SLIPWAY_HOME, else below XDG_DATA_HOME or the home directory.
func (a *app) state() (string, error) {
	if d := a.getenv("SLIPWAY_HOME"); d != "" {
		return filepath.Abs(d)
	}
	if d := a.getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "slipway"), nil
	}
	if d := a.getenv("HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, ".local", "share", "slipway"), nil
	}
	return "", errors.New("neither SLIPWAY_HOME nor HOME is set: where shall images and caches be kept?")
}

// machine opens what commands work on.
func (a *app) machine(ctx context.Context) (*platform.Machine, error) {
	state, err := a.state()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t, err := tools(state, self)
	if err != nil {
		return nil, err
	}
	trust, err := a.trust()
	if err != nil {
		return nil, err
	}
	config := a.getenv("DOCKER_CONFIG")
	if config == "" {
		config = filepath.Join(a.getenv("HOME"), ".docker")
	}
	return platform.Open(ctx, platform.Settings{
		State: state, Tools: t, Version: version,
		Registry: image.RegistryOptions{
			CA: trust.Bundle, Env: a.environ, DockerConfig: filepath.Join(config, "config.json"),
			Insecure: a.insecure, UserAgent: "slipway/" + version,
		},
		Docker: docker.FromEnv(a.environ, a.getenv("HOME")),
	})
}

// bundles are where systems keep their CA certificates.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// trust is what this host trusts: SSL_CERT_FILE or the system's bundle, plus --ca-cert.
func (a *app) trust() (platform.Trust, error) {
	var t platform.Trust
	if f := a.getenv("SSL_CERT_FILE"); f != "" {
		b, err := os.ReadFile(f)
		if err != nil {
			return t, fmt.Errorf("SSL_CERT_FILE: %w", err)
		}
		t.Bundle = b
	} else {
		for _, f := range bundles {
			if b, err := os.ReadFile(f); err == nil {
				t.Bundle = b
				break
			}
		}
	}
	for _, f := range a.caCerts {
		b, err := os.ReadFile(f)
		if err != nil {
			return t, fmt.Errorf("--ca-cert: %w", err)
		}
		if !strings.Contains(string(b), "-----BEGIN CERTIFICATE-----") {
			return t, fmt.Errorf("--ca-cert %s: it holds no PEM certificate", f)
		}
		t.Extra = append(append(t.Extra, b...), '\n')
	}
	if len(t.Extra) > 0 {
		t.Bundle = append(append(t.Bundle, '\n'), t.Extra...)
	}
	return t, nil
}

// proxy is the proxy settings of this host.
func (a *app) proxy() []string {
	var out []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if v := a.getenv(name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}

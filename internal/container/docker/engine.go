package docker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/moby/client"
)

// Reason is why there is no engine.
type Reason string

// Reasons of an UnavailableError.
const (
	NotInstalled Reason = "not installed"
	NotRunning   Reason = "not running"
	NoPermission Reason = "permission denied"
	Unreachable  Reason = "unreachable"
)

// UnavailableError is one line about an engine that cannot be used: what is
// wrong and what to do.
type UnavailableError struct {
	Reason Reason
	Host   string
	line   string
	cause  error
}

func (e *UnavailableError) Error() string { return e.line }
func (e *UnavailableError) Unwrap() error { return e.cause }

// diagnose turns the error of a first contact into what the user can act on.
// For a socket it dials once more by itself, because the client's error has
// lost the errno.
func diagnose(host, origin string, cause error) error {
	e := &UnavailableError{Host: host, Reason: Unreachable, cause: cause}
	at := host
	if origin != "" {
		at += " (from " + origin + ")"
	}
	path, unix := strings.CutPrefix(host, "unix://")
	if address, tcp := strings.CutPrefix(host, "tcp://"); tcp && !errors.Is(cause, syscall.EACCES) {
		if conn, err := net.Dial("tcp", address); err != nil {
			cause = err
		} else {
			conn.Close()
		}
	}
	if unix {
		if conn, err := net.Dial("unix", path); err != nil {
			cause = err
		} else {
			conn.Close()
		}
	}
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(cause, syscall.EACCES) || errors.Is(cause, syscall.EPERM):
		e.Reason = NoPermission
		e.line = fmt.Sprintf("no permission to use Docker at %s: join its group with `sudo usermod -aG docker \"$USER\"`, then log in again (or run `newgrp docker`)", at)
	case unix && host == DefaultHost && !installed():
		e.Reason = NotInstalled
		e.line = fmt.Sprintf("Docker is not installed (nothing at %s): on Debian and Ubuntu `sudo apt-get install docker.io`, elsewhere see https://docs.docker.com/engine/install/", at)
	case unix && (errors.Is(cause, syscall.ENOENT) || errors.Is(cause, syscall.ECONNREFUSED) || errors.Is(cause, syscall.ENOTSOCK)):
		e.Reason = NotRunning
		e.line = fmt.Sprintf("Docker is not running (nothing listens at %s): start it with `sudo systemctl start docker`, or `sudo dockerd` where there is no systemd", at)
		if host != DefaultHost {
			e.line = fmt.Sprintf("Docker is not running there (nothing listens at %s): start it (`sudo systemctl start docker`), or correct the address (the usual one is %s)", at, DefaultHost)
		}
	case errors.As(cause, &cert):
		e.line = fmt.Sprintf("Docker at %s: its certificate is not trusted: %v; check DOCKER_CERT_PATH", at, cert.Err)
	default:
		e.line = fmt.Sprintf("Docker at %s cannot be reached: %v: check that it runs, and the address", at, rootCause(cause))
	}
	return e
}

// rootCause drops the request's URL and the client's questions to the user.
func rootCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op
	}
	return err
}

// installed looks where packages put the engine.
func installed() bool {
	return slices.ContainsFunc([]string{"/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/usr/local/sbin/dockerd", "/snap/bin/dockerd", "/run/docker.pid"},
		func(p string) bool { _, err := os.Stat(p); return err == nil })
}

// Info is what an engine says of itself.
type Info struct {
	Host, Version, APIVersion string
	OS, Architecture, Kernel  string
	System                    string // "Debian GNU/Linux 13 (trixie)"
	CgroupVersion             int
	CgroupDriver              string
	StorageDriver, RootDir    string
	// ContainerdStore: images live in containerd, whose ids are manifest
	// digests instead of config digests.
	ContainerdStore bool
	Rootless        bool
	UserNamespaces  bool
	SecurityOptions []string // "seccomp", "apparmor", as the engine lists them
	CPUs            int
	Memory          int64
	// Which limits the engine's kernel can hold.
	MemoryLimit, SwapLimit, PIDsLimit, CPULimit bool
	Warnings                                    []string
}

// Seccomp reports whether containers get the engine's system call filter.
func (i Info) Seccomp() bool { return i.has("seccomp") }

func (i Info) has(option string) bool { return slices.Contains(i.SecurityOptions, option) }

// Info asks the engine about itself.
func (r *Runtime) Info(ctx context.Context) (Info, error) {
	res, err := r.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return Info{}, fmt.Errorf("ask Docker about itself: %w", err)
	}
	in := res.Info
	out := Info{
		Host: r.host, Version: in.ServerVersion, APIVersion: r.api.ClientVersion(),
		OS: in.OSType, Architecture: goArch(in.Architecture), Kernel: in.KernelVersion, System: in.OperatingSystem,
		CgroupVersion: 1, CgroupDriver: in.CgroupDriver,
		StorageDriver: in.Driver, RootDir: in.DockerRootDir,
		CPUs: in.NCPU, Memory: in.MemTotal,
		MemoryLimit: in.MemoryLimit, SwapLimit: in.SwapLimit, PIDsLimit: in.PidsLimit, CPULimit: in.CPUCfsQuota,
		Warnings: in.Warnings,
	}
	if in.CgroupVersion == "2" {
		out.CgroupVersion = 2
	}
	for _, kv := range in.DriverStatus {
		if kv[0] == "driver-type" && strings.HasPrefix(kv[1], "io.containerd.snapshotter") {
			out.ContainerdStore = true
		}
	}
	for _, o := range in.SecurityOptions { // "name=seccomp,profile=default"
		name, _, _ := strings.Cut(strings.TrimPrefix(o, "name="), ",")
		out.SecurityOptions = append(out.SecurityOptions, name)
	}
	out.Rootless, out.UserNamespaces = out.has("rootless"), out.has("userns")
	return out, nil
}

// Version is the engine's own version, "20.10.24+dfsg1".
func (r *Runtime) Version(ctx context.Context) (string, error) {
	v, err := r.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", fmt.Errorf("ask Docker for its version: %w", err)
	}
	return v.Version, nil
}

// goArch turns uname's machine into GOARCH, as images name it.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv7l", "armv6l":
		return "arm"
	case "i386", "i686":
		return "386"
	}
	return machine
}

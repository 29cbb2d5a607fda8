package container_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/container"
)

func TestCheck(t *testing.T) {
	good := container.Spec{
		Image: "x", Argv: []string{"/a"}, Env: []string{"A=b", "C", "D="}, Dir: "/w",
		Mounts:  []container.Mount{{Source: "/s", Target: "/t"}, {Source: "cache-1", Target: "/c", Volume: true}},
		Network: container.Network{Mode: "my-net"}, Ports: []container.Port{{Container: 80, HostIP: "::1", Protocol: "udp"}},
		Tmpfs: map[string]int64{"/tmp": 0}, Limits: container.Limits{Memory: 1 << 30, Time: time.Hour},
	}
	if err := good.Check(); err != nil {
		t.Errorf("good: %v", err)
	}
	for say, spoil := range map[string]func(*container.Spec){
		"no image":                 func(s *container.Spec) { s.Image = "" },
		"both a command line":      func(s *container.Spec) { s.Args = []string{"x"} },
		"empty command":            func(s *container.Spec) { s.Argv = []string{""} },
		"is negative":              func(s *container.Spec) { s.UID = -1 },
		"not NAME=value":           func(s *container.Spec) { s.Env = []string{"=x"} },
		`"A=\x00" is not NAME`:     func(s *container.Spec) { s.Env = []string{"A=\x00"} },
		"working directory":        func(s *container.Spec) { s.Dir = "w" },
		`mount target "t"`:         func(s *container.Spec) { s.Mounts[0].Target = "t" },
		"below /":                  func(s *container.Spec) { s.Mounts[0].Target = "/.." },
		`mount source "s"`:         func(s *container.Spec) { s.Mounts[0].Source = "s" },
		"not a volume name":        func(s *container.Spec) { s.Mounts[1].Source = "../x" },
		"a limit is negative":      func(s *container.Spec) { s.Limits.PIDs = -1 },
		"below 6 MiB":              func(s *container.Spec) { s.Limits.Memory = 1 },
		`network "container:x"`:    func(s *container.Spec) { s.Network.Mode = "container:x" },
		"without a network":        func(s *container.Spec) { s.Network.Mode = "none" },
		"out of range":             func(s *container.Spec) { s.Ports[0].Host = 70000 },
		"neither tcp nor udp":      func(s *container.Spec) { s.Ports[0].Protocol = "sctp" },
		`host address "localhost"`: func(s *container.Spec) { s.Ports[0].HostIP = "localhost" },
		"tmpfs \"tmp\" is not":     func(s *container.Spec) { s.Tmpfs = map[string]int64{"tmp": 0} },
	} {
		s := good
		s.Mounts, s.Ports = append([]container.Mount(nil), good.Mounts...), append([]container.Port(nil), good.Ports...)
		spoil(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("got %v, want %q", err, say)
		}
	}
}

func TestErrors(t *testing.T) {
	for want, err := range map[string]error{
		"container exited with code 3":                                                     &container.ExitError{Code: 3},
		"container was killed by SIGTERM (code 143)":                                       &container.ExitError{Code: 143, Signal: "SIGTERM"},
		"container was killed by SIGKILL (code 137): out of memory (its limit is 1.5 GiB)": &container.ExitError{Code: 137, Signal: "SIGKILL", OutOfMemory: true, Memory: 3 << 29},
		"container was killed: it ran longer than its time limit of 1m30s":                 &container.LimitError{Resource: container.Time, Limit: int64(90 * time.Second)},
		"container was killed: it wrote 2 GiB, more than its disk limit of 1 GiB":          &container.LimitError{Resource: container.Disk, Limit: 1 << 30, Used: 2 << 30},
		"start /x in a container of sha256:1: it is a directory":                           &container.StartError{Image: "sha256:1", Path: "/x", Reason: "it is a directory"},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

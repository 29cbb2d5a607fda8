package main

import (
	"bytes"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestCgroupMounts(t *testing.T) {
	for _, tt := range []struct{ name, mounts, want string }{
		{"none", "proc /proc proc rw 0 0\n", ""},
		{"version 2", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "cgroup2"},
		{"version 1", "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", "cgroup"},
		{"both", "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "cgroup"},
		{"elsewhere", "cgroup2 /mnt cgroup2 rw 0 0\n", ""},
		{"garbled", "x\n\n", ""},
	} {
		if got := cgroupMounts(tt.mounts); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSubordinateRanges(t *testing.T) {
	text := "alice:100000:65536\n1007:165536:65536\nbroken\nalso:b:c\n"
	if !hasRange(text, "alice", "1") || !hasRange(text, "x", "1007") || hasRange(text, "bob", "1") {
		t.Error("hasRange is wrong")
	}
	if got := freeRange(text); got != 231072 {
		t.Errorf("free from %d", got)
	}
	if got := freeRange(""); got != 100000 {
		t.Errorf("free from %d in an empty file", got)
	}
}

// What setup does about an engine depends on what answers at the socket.
func TestDocker(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"Version":"29.1.2"}`))
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })

	for _, tt := range []struct{ name, host, say, err string }{
		{"answers", "unix://" + socket, "setup: ready, Docker Engine 29.1.2\n", ""},
		{"remote", "tcp://build.example.org:2376", "setup: DOCKER_HOST is tcp://build.example.org:2376: taken as it is\n", ""},
		{"absent", "unix:///nowhere/docker.sock", "", "no Docker Engine answers at DOCKER_HOST /nowhere/docker.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			m := newMachine(t.TempDir(), []string{"DOCKER_HOST=" + tt.host}, &out)
			err := m.docker(t.Context())
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || out.String() != tt.say {
				t.Errorf("said %q, error %v", out.String(), err)
			}
		})
	}
}

// Without the right to install, the user is told the command that does.
func TestInstallWithoutRights(t *testing.T) {
	var out bytes.Buffer
	m := &machine{out: &out}
	err := m.apt(t.Context(), []string{"zip", "curl"})
	if err == nil || !strings.Contains(err.Error(), "sudo apt-get -q -y --no-install-recommends install curl zip") {
		t.Errorf("error: %v", err)
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stepTimeout ends an executable that hangs.
const stepTimeout = 60 * time.Second

// A result is how an executable ended.
type result struct {
	code           int
	stdout, stderr string
	both           string
	requests       []string
}

// prepare makes the changes that a step wants before it runs.
func (r *root) prepare(n int, s Step) error {
	remove := s.Remove
	if s.Fresh {
		remove = append(slices.Clip(remove), "layers")
	}
	for _, name := range remove {
		if err := os.RemoveAll(r.path(name)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.path("layers"), 0o755); err != nil {
		return err
	}
	if s.Fresh && r.c.Group != "" {
		if err := r.write(r.c.groupFiles()); err != nil {
			return err
		}
	}
	if err := r.write(r.inputs(fmt.Sprintf("step%d", n))); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Retag)) {
		image, err := r.reg.pull(r.ref(s.Retag[name]))
		if err != nil {
			return err
		}
		if image == nil {
			return fmt.Errorf("no image %s", s.Retag[name])
		}
		if err := r.reg.push(r.ref(name), image); err != nil {
			return err
		}
	}
	return r.own()
}

// run runs a step's executable.
func (r *root) run(s Step) (result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	path := filepath.Join(r.words["lifecycle"], s.Run)
	if s.Run == "sh" {
		path = "/bin/sh"
	}
	var args []string
	for _, a := range s.Args {
		a, err := r.expand(a)
		if err != nil {
			return result{}, err
		}
		args = append(args, a)
	}
	if s.Run == "exporter" || s.Run == "creator" {
		args = append([]string{"-launcher", r.path("launcher")}, args...)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	if s.Name != "" {
		cmd.Args[0] = s.Name
	}
	cmd.Dir = r.path(s.Dir)
	env, err := r.environ(s)
	if err != nil {
		return result{}, err
	}
	cmd.Env = env
	var stdout, stderr, both bytes.Buffer
	var lock sync.Mutex
	cmd.Stdout, cmd.Stderr = tee{&stdout, &both, &lock}, tee{&stderr, &both, &lock}
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = r.user(s)
	r.reg.requests()
	err = cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return result{}, err
	}
	if ctx.Err() != nil {
		return result{}, fmt.Errorf("%s did not end in %v\n%s", s.Run, stepTimeout, both.String())
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), both.String(), r.reg.requests()}, nil
}

// user makes the executable run as the CNB user, or as root. A suite that is not root itself is root in a user
// namespace of its own.
func (r *root) user(s Step) *syscall.SysProcAttr {
	switch root := os.Getuid() == 0; {
	case s.User != "root" && root:
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(r.uid), Gid: uint32(r.gid)}}
	case s.User == "root" && !root:
		one := func(id int) []syscall.SysProcIDMap {
			return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		}
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one(os.Getuid()), GidMappings: one(os.Getgid())}
	}
	return nil
}

// environ is all the environment that a step has: nothing comes from the suite's own.
func (r *root) environ(s Step) ([]string, error) {
	env := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": r.path("home"), "TMPDIR": r.path("tmp"),
		"CNB_PLATFORM_API": r.api, "CNB_APP_DIR": r.path("app"), "CNB_LAYERS_DIR": r.path("layers"),
	}
	if s.Run != "launcher" && s.Run != "sh" {
		maps.Copy(env, map[string]string{
			"CNB_NO_COLOR": "true", "CNB_PLATFORM_DIR": r.path("platform"), "CNB_BUILDPACKS_DIR": r.path("buildpacks"),
			"CNB_EXTENSIONS_DIR": r.path("extensions"), "CNB_BUILD_CONFIG_DIR": r.path("build-config"),
			"CNB_ORDER_PATH": r.path("order.toml"), "CNB_RUN_PATH": r.path("run.toml"), "CNB_STACK_PATH": r.path("stack.toml"),
			"CNB_SYSTEM_PATH": r.path("system.toml"), "CNB_USER_ID": r.words["uid"], "CNB_GROUP_ID": r.words["gid"],
		})
	}
	for _, more := range []map[string]string{r.c.Env, s.Env} {
		for key, value := range more {
			value, err := r.expand(value)
			if err != nil {
				return nil, err
			}
			env[key] = value
			if value == "!unset" {
				delete(env, key)
			}
		}
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(env)) {
		all = append(all, key+"="+env[key])
	}
	return all, nil
}

// A tee keeps what is written, in a buffer of its own and in one for both streams.
type tee struct {
	own, both *bytes.Buffer
	lock      *sync.Mutex
}

func (t tee) Write(p []byte) (int, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.both.Write(p)
	return t.own.Write(p)
}

// section splits a file's name in the archive: what it is for, the step it belongs to (0: the last), and the path.
func section(name string) (kind string, step int, path string) {
	first, rest, found := strings.Cut(name, "/")
	if !found {
		return "", 0, name
	}
	kind = strings.TrimRight(first, "0123456789")
	if !slices.Contains([]string{"want", "exact", "lines", "without", "image", "step"}, kind) {
		return "", 0, name
	}
	if digits := first[len(kind):]; digits != "" {
		if _, err := fmt.Sscan(digits, &step); err != nil {
			return "", 0, name
		}
	}
	return kind, step, rest
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
)

const (
	no       = "exit 100"
	provides = `echo '[[provides]]
name = "x"' > "$CNB_BUILD_PLAN_PATH"`
	requires = `printf '[[requires]]\nname = "x"\n[requires.metadata]\nversion = "1"\n' > "$2"`
)

func composite(groups ...string) string {
	var b strings.Builder
	for _, g := range groups {
		b.WriteString("[[order]]\n")
		for r := range strings.FieldsSeq(g) {
			name, optional := strings.CutSuffix(r, "?")
			id, version, _ := strings.Cut(name, "@")
			b.WriteString("[[order.group]]\nid = \"" + id + "\"\nversion = \"" + version + "\"\n")
			if optional {
				b.WriteString("optional = true\n")
			}
		}
	}
	return b.String()
}

func TestDetectChooses(t *testing.T) {
	for _, c := range []struct {
		name   string
		bps    []bp
		groups []string
		change func(*DetectInput)
		want   string
		plan   string
	}{
		{name: "one", bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "a@1"},
		{name: "without bin/detect", bps: []bp{{ref: "a@1", detect: "none"}}, groups: []string{"a@1"}, want: "a@1"},
		{name: "second group", bps: []bp{{ref: "a@1", detect: no}, {ref: "b@1"}}, groups: []string{"a@1 b@1", "b@1"}, want: "b@1"},
		{name: "optional says no", bps: []bp{{ref: "a@1", detect: no}, {ref: "b@1"}}, groups: []string{"a@1? b@1"}, want: "b@1"},
		{name: "optional goes wrong", bps: []bp{{ref: "a@1", detect: "exit 3"}, {ref: "b@1"}}, groups: []string{"a@1? b@1"}, want: "b@1"},
		{name: "plan", bps: []bp{{ref: "a@1", detect: provides}, {ref: "b@1", detect: requires}}, groups: []string{"a@1 b@1"}, want: "a@1 b@1", plan: "x<-a:1"},
		{name: "plan drops the optional one", bps: []bp{{ref: "a@1", detect: provides}, {ref: "b@1"}}, groups: []string{"a@1? b@1"}, want: "b@1"},
		{name: "nested", bps: []bp{{ref: "a@1"}, {ref: "b@1", detect: no}, {ref: "c@1"}, {ref: "all@1", toml: composite("b@1", "c@1")}},
			groups: []string{"a@1 all@1"}, want: "a@1 c@1"},
		{name: "nested, then more", bps: []bp{{ref: "a@1"}, {ref: "b@1"}, {ref: "c@1", detect: no}, {ref: "d@1"}, {ref: "all@1", toml: composite("b@1 c@1", "b@1")}},
			groups: []string{"all@1 d@1"}, want: "b@1 d@1"},
		{name: "optional composite fails", bps: []bp{{ref: "a@1", detect: no}, {ref: "b@1"}, {ref: "all@1", toml: composite("a@1")}},
			groups: []string{"all@1? b@1"}, want: "b@1"},
		{name: "same id twice", bps: []bp{{ref: "a@1"}, {ref: "a@2"}, {ref: "all@1", toml: composite("a@2")}}, groups: []string{"a@1 all@1"}, want: "a@1"},
		{name: "system buildpacks", bps: []bp{{ref: "a@1"}, {ref: "pre@1"}, {ref: "post@1", detect: no}, {ref: "a@9"}}, groups: []string{"a@1"}, want: "pre@1 a@1",
			change: func(in *DetectInput) {
				in.System.Pre = []cnb.GroupElement{{Ref: cnb.Ref{ID: "pre", Version: "1"}}, {Ref: cnb.Ref{ID: "a", Version: "9"}}}
				in.System.Post = []cnb.GroupElement{{Ref: cnb.Ref{ID: "post", Version: "1"}, Optional: true}}
			}},
		{name: "no system buildpacks before 0.15", bps: []bp{{ref: "a@1"}}, groups: []string{"a@1"}, want: "a@1",
			change: func(in *DetectInput) {
				in.PlatformAPI = cnb.API{Major: 0, Minor: 14}
				in.System.Pre = []cnb.GroupElement{{Ref: cnb.Ref{ID: "pre", Version: "1"}}}
			}},
		{name: "exec-env of the buildpack", bps: []bp{{ref: "a@1", api: "0.12", keys: `exec-env = ["test"]`}, {ref: "b@1"}}, groups: []string{"a@1 b@1"}, want: "b@1"},
		{name: "exec-env matches", bps: []bp{{ref: "a@1", api: "0.12", keys: "[[buildpack.exec-env]]\nname = \"test\""}, {ref: "b@1"}}, groups: []string{"a@1 b@1"}, want: "a@1 b@1",
			change: func(in *DetectInput) { in.ExecEnv = "test" }},
		{name: "exec-env of an old buildpack does not count", bps: []bp{{ref: "a@1", api: "0.11", keys: `exec-env = ["test"]`}}, groups: []string{"a@1"}, want: "a@1"},
		{name: "exec-env of the element", bps: []bp{{ref: "a@1"}, {ref: "b@1"}}, groups: []string{"a@1 b@1"}, want: "b@1",
			change: func(in *DetectInput) { in.Order[0].Elements[0].ExecEnv = []string{"development"} }},
		{name: "target of an optional one", bps: []bp{{ref: "a@1", toml: "[[targets]]\nos = \"linux\"\narch = \"s390x\""}, {ref: "b@1"}}, groups: []string{"a@1? b@1"}, want: "a@1 b@1"},
		{name: "target of one that is required elsewhere", bps: []bp{{ref: "a@1", toml: "[[targets]]\nos = \"windows\""}, {ref: "b@1", detect: no}}, groups: []string{"a@1 b@1?", "b@1? a@1?"}, want: "a@1"},
		{name: "any stack", bps: []bp{{ref: "a@1", toml: "[[stacks]]\nid = \"*\""}}, groups: []string{"a@1"}, want: "a@1"},
		{name: "targets do not count before 0.12", bps: []bp{{ref: "a@1", toml: "[[targets]]\narch = \"s390x\""}}, groups: []string{"a@1"}, want: "a@1",
			change: func(in *DetectInput) { in.PlatformAPI = cnb.API{Major: 0, Minor: 11} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			for _, b := range c.bps {
				s.add(b)
			}
			for _, g := range c.groups {
				s.group(strings.Fields(g)...)
			}
			if c.change == nil {
				c.change = func(*DetectInput) {}
			}
			found, err := s.detect(c.change)
			if err != nil {
				t.Fatal(err)
			}
			if got := groupText(found.Group); got != c.want || planText(found.Plan) != c.plan {
				t.Errorf("group %q, plan %q; want %q, %q", got, planText(found.Plan), c.want, c.plan)
			}
			for _, e := range found.Group.Elements {
				if e.Optional || e.API == (cnb.API{}) || e.ExecEnv != nil {
					t.Errorf("element %+v: want an API, and nothing of the order", e)
				}
			}
			if left, _ := os.ReadDir(s.dirs.Scratch); len(left) > 0 {
				t.Errorf("left in scratch: %v", left)
			}
		})
	}
}

func TestDetectRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		bps    []bp
		groups []string
		code   int
		want   string // part of the error
	}{
		{name: "all say no", bps: []bp{{ref: "a@1", detect: no}, {ref: "b@1", detect: no}}, groups: []string{"a@1", "b@1"}, code: 20,
			want: "no group of buildpacks detected: a@1: bin/detect said no (exit status 100); b@1: bin/detect said no (exit status 100)"},
		{name: "empty order", code: 20, want: "no group of buildpacks detected: the order is empty"},
		{name: "only optional ones", bps: []bp{{ref: "a@1", detect: no}}, groups: []string{"a@1?"}, code: 20, want: "a@1: bin/detect said no"},
		{name: "plan", bps: []bp{{ref: "a@1", detect: provides}}, groups: []string{"a@1"}, code: 20,
			want: `no group of buildpacks detected: a@1 provides "x", which neither it nor a buildpack after it requires`},
		{name: "exits 1", bps: []bp{{ref: "a@1", detect: "exit 1"}, {ref: "b@1", detect: no}}, groups: []string{"a@1", "b@1"}, code: 21,
			want: "detect went wrong: a@1: bin/detect exited with status 1 (0 is yes, 100 is no)"},
		{name: "killed", bps: []bp{{ref: "a@1", detect: "kill -9 $$"}}, groups: []string{"a@1"}, code: 21, want: "a@1: bin/detect was ended by signal SIGKILL"},
		{name: "an optional one goes wrong and no other passes", bps: []bp{{ref: "a@1", detect: "exit 1"}, {ref: "b@1", detect: no}}, groups: []string{"a@1? b@1"}, code: 21, want: "a@1: bin/detect exited"},
		{name: "target", bps: []bp{{ref: "a@1", toml: "[[targets]]\nos = \"linux\"\narch = \"s390x\""}}, groups: []string{"a@1"}, code: 20,
			want: "a@1: it is made for linux/s390x, the run image is linux/amd64 (debian 13)"},
		{name: "not for the target, and optional elsewhere it goes wrong", bps: []bp{{ref: "a@1", detect: "exit 1", toml: "[[targets]]\nos = \"windows\""}}, groups: []string{"a@1", "a@1?"}, code: 21,
			want: "a@1: bin/detect exited with status 1"},
		{name: "bionic", bps: []bp{{ref: "a@1", toml: "[[stacks]]\nid = \"io.buildpacks.stacks.bionic\""}}, groups: []string{"a@1"}, code: 20, want: "ubuntu 18.04"},
		{name: "execution environment", bps: []bp{{ref: "a@1", api: "0.12", keys: `exec-env = ["test"]`}}, groups: []string{"a@1"}, code: 20,
			want: "a@1: it is for test, this build is for production"},
		{name: "API", bps: []bp{{ref: "a@1", api: "0.6"}}, groups: []string{"a@1"}, code: 12, want: "buildpack a@1: buildpack API 0.6 is not supported (supported: 0.7 to 0.12)"},
		{name: "API of a nested one", bps: []bp{{ref: "a@1", api: "0.99"}, {ref: "b@1", toml: composite("a@1")}}, groups: []string{"b@1"}, code: 12, want: "buildpack a@1: buildpack API 0.99"},
		{name: "absent", bps: []bp{{ref: "a@1"}}, groups: []string{"a@2"}, code: 22, want: "order of buildpacks: buildpack a@2 is not in the builder (it has 1)"},
		{name: "absent below", bps: []bp{{ref: "a@1", toml: composite("b@1")}}, groups: []string{"a@1"}, code: 22, want: "order of buildpack a@1: buildpack b@1 is not in the builder"},
		{name: "contains itself", bps: []bp{{ref: "a@1", toml: composite("a@1")}}, groups: []string{"a@1"}, code: 22, want: "order of buildpack a@1: it contains itself: a@1 -> a@1"},
		{name: "cycle", bps: []bp{{ref: "a@1", toml: composite("b@1")}, {ref: "b@1", toml: composite("c@1")}, {ref: "c@1", toml: composite("b@1")}}, groups: []string{"a@1"}, code: 22,
			want: "it contains itself: b@1 -> c@1 -> b@1"},
		{name: "version in requires", bps: []bp{{ref: "a@1", api: "0.11", detect: `printf '[[requires]]\nname="x"\nversion="1"\n' > "$CNB_BUILD_PLAN_PATH"`}}, groups: []string{"a@1"}, code: 21,
			want: `a@1: build plan: requires "x": top-level version`},
		{name: "plan is not TOML", bps: []bp{{ref: "a@1", detect: `echo '[[' > "$CNB_BUILD_PLAN_PATH"`}}, groups: []string{"a@1"}, code: 21, want: "a@1: build plan:1"},
		{name: "plan is a pipe", bps: []bp{{ref: "a@1", detect: `rm "$2"; mkfifo "$2"`}}, groups: []string{"a@1"}, code: 21, want: "a@1: read the build plan: plan.toml: not a regular file"},
		{name: "plan is a directory", bps: []bp{{ref: "a@1", detect: `rm "$2"; mkdir "$2"`}}, groups: []string{"a@1"}, code: 21, want: "not a regular file"},
		{name: "plan is a device", bps: []bp{{ref: "a@1", detect: `ln -sf /dev/zero "$2"`}}, groups: []string{"a@1"}, code: 21, want: "a@1: read the build plan: "},
		{name: "plan is huge", bps: []bp{{ref: "a@1", detect: `truncate -s 1T "$2"`}}, groups: []string{"a@1"}, code: 21, want: "the limit is 65536"},
		{name: "plan has a long dotted key", bps: []bp{{ref: "a@1", detect: `{ printf a; i=0; while [ $i -lt 5000 ]; do printf '.abc'; i=$((i+1)); done; echo ' = 1'; } > "$2"`}}, groups: []string{"a@1"}, code: 21, want: "a@1: build plan:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			for _, b := range c.bps {
				s.add(b)
			}
			for _, g := range c.groups {
				s.group(strings.Fields(g)...)
			}
			start := time.Now()
			_, err := s.detect()
			if err == nil {
				t.Fatal("no error")
			}
			if ExitCode(err) != c.code || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("exit %d: %s; want %d: %s", ExitCode(err), err, c.code, c.want)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestDetectStartFailures(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"interpreter":    {"#!/no/such/bash\n", 0o755, "its interpreter /no/such/bash does not exist"},
		"line endings":   {"#!/bin/sh\r\nexit 0\r\n", 0o755, "Windows line ending (CRLF)"},
		"via env":        {"#!/usr/bin/env bash\r\nexit 0\r\n", 0o755, "Windows line ending (CRLF)"},
		"env of nothing": {"#!/usr/bin/env\nexit 0\n", 0o755, "names no interpreter after /usr/bin/env"},
		"permission":     {"#!/bin/sh\n", 0o644, "it is not executable (chmod +x)"},
		"no shebang":     {"exit 0\n", 0o755, "neither a program for this system nor a script"},
		"wrong machine":  {"\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\x16\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 28) + "\x40\x00" + strings.Repeat("\x00", 10), 0o755, "another architecture (s390)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.add(bp{ref: "a@1"})
			s.write("buildpacks/a/1/bin/detect", c.text, c.mode)
			if err := os.Chmod(filepath.Join(s.dir, "buildpacks/a/1/bin/detect"), c.mode); err != nil {
				t.Fatal(err)
			}
			s.group("a@1")
			_, err := s.detect()
			if ExitCode(err) != 21 || !strings.Contains(err.Error(), "a@1: bin/detect could not be started: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("exit %d: %v; want %s", ExitCode(err), err, c.want)
			}
		})
	}
}

// Each detect waits for the other, which only ends where both run at a time. And none runs twice.
func TestDetectsRunSideBySideAndOnce(t *testing.T) {
	s := newSite(t)
	meet := func(me, other string) string {
		return "echo " + me + " >> $site/runs\ntouch $site/" + me + "\ni=0\nuntil [ -e $site/" + other + " ]; do i=$((i+1)); [ $i -lt 200 ] || exit 7; sleep 0.05; done"
	}
	s.add(bp{ref: "a@1", detect: meet("a", "b")})
	s.add(bp{ref: "b@1", detect: meet("b", "a")})
	s.add(bp{ref: "c@1", detect: "echo c >> $site/runs\n" + no})
	s.group("a@1", "b@1", "c@1")
	s.group("b@1", "c@1")
	s.group("b@1", "a@1")
	found, err := s.detect()
	if err != nil {
		t.Fatal(err)
	}
	if got := groupText(found.Group); got != "b@1 a@1" {
		t.Errorf("group %s", got)
	}
	if runs := strings.Fields(s.read("runs")); len(runs) != 3 {
		t.Errorf("runs %v", runs)
	}
	for _, e := range []struct {
		kind EventKind
		bp   string
	}{{EventDetectPass, "a@1"}, {EventDetectPass, "b@1"}, {EventDetectFail, "c@1"}, {EventGroupFailed, ""}, {EventGroupChosen, ""}} {
		if !hasEvent(s.events, e.kind, e.bp, "") {
			t.Errorf("no event %s of %s in %v", e.kind, e.bp, s.events)
		}
	}
}

func TestDetectIsCancelled(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a@1", detect: "touch $site/started\nsleep 60 & sleep 60"})
	s.group("a@1")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped by the user")
	go func() {
		for range 200 {
			if _, err := os.Stat(s.dir + "/started"); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		cancel(stop)
	}()
	start := time.Now()
	_, err := Detect(ctx, s.detectInput())
	if !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

// A runner that fails is not a buildpack that fails: it ends detection at once.
func TestDetectRunnerFails(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a@1"})
	s.add(bp{ref: "b@1"})
	s.group("a@1?")
	s.group("b@1")
	lost := errors.New("connection lost")
	_, err := s.detect(func(in *DetectInput) {
		in.Runner = runnerFunc(func(context.Context, Cmd) error { return lost })
	})
	if !errors.Is(err, lost) || ExitCode(err) != 22 || !strings.Contains(err.Error(), "run detect of buildpack a@1") {
		t.Errorf("exit %d: %v", ExitCode(err), err)
	}
}

// As root, buildpacks run as another user, who owns the plan that he writes.
func TestDetectAsAnotherUser(t *testing.T) {
	s := newSite(t)
	uid := os.Geteuid()
	if uid == 0 {
		uid = 65534
		openToAll(t, s.dir)
	}
	s.add(bp{ref: "a@1", detect: fmt.Sprintf(`[ "$(id -u)" = %d ] || exit 9`, uid) + "\n" + provides + "\n" + `printf '[[requires]]\nname = "x"\n' >> "$2"`})
	s.group("a@1")
	found, err := s.detect(func(in *DetectInput) {
		in.Dirs.UID, in.Dirs.GID = uid, os.Getegid()
		in.Runner = ExecRunner(uid, os.Getegid())
	})
	if err != nil {
		t.Fatal(err)
	}
	if planText(found.Plan) != "x<-a:1" {
		t.Errorf("plan %s", planText(found.Plan))
	}
}

// openToAll lets other users pass through the test's own directories.
func openToAll(t *testing.T, dir string) {
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if fi, err := os.Stat(d); err != nil || fi.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
			return
		}
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

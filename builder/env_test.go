package builder

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/cnb"
)

// want compares an environment that a script printed, without what the shell adds.
func wantEnv(t *testing.T, got string, want ...string) {
	t.Helper()
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(got), "\n"), func(l string) bool {
		return strings.HasPrefix(l, "PWD=") || strings.HasPrefix(l, "_=") || strings.HasPrefix(l, "SHLVL=") || strings.HasPrefix(l, "OLDPWD=")
	})
	slices.Sort(lines)
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		t.Errorf("environment:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestDetectEnvironment(t *testing.T) {
	for _, c := range []struct {
		name string
		bp   bp
		want []string // besides those that every buildpack has
	}{
		{"oldest API", bp{api: "0.7"}, []string{"USER_VAR=user", "PATH=/user:/usr/bin:/bin", "OPERATOR=yes"}},
		{"clear-env", bp{api: "0.7", keys: "clear-env = true"}, []string{"PATH=/usr/bin:/bin", "OPERATOR=yes", "USER_VAR=operator"}},
		{"targets", bp{api: "0.10"}, []string{"USER_VAR=user", "PATH=/user:/usr/bin:/bin", "OPERATOR=yes",
			"CNB_TARGET_OS=linux", "CNB_TARGET_ARCH=amd64", "CNB_TARGET_DISTRO_NAME=debian", "CNB_TARGET_DISTRO_VERSION=13"}},
		{"execution environment", bp{api: "0.12", keys: "clear-env = true"}, []string{"PATH=/usr/bin:/bin", "OPERATOR=yes", "USER_VAR=operator",
			"CNB_TARGET_OS=linux", "CNB_TARGET_ARCH=amd64", "CNB_TARGET_DISTRO_NAME=debian", "CNB_TARGET_DISTRO_VERSION=13", "CNB_EXEC_ENV=test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.write("platform/env/USER_VAR", "user", 0o644)
			s.write("platform/env/PATH", "/user", 0o644)
			s.write("platform/env/CNB_PLATFORM_DIR", "/elsewhere", 0o644)
			s.write("platform/env/.hidden", "x", 0o644)
			s.write("platform/env/..data/USER_VAR", "x", 0o644)
			s.write("build-config/env/OPERATOR", "yes", 0o644)
			s.write("build-config/env/USER_VAR", "operator", 0o644)
			c.bp.ref = "a/b@1"
			c.bp.detect = `env > $site/env; echo "$#|$1|$2|$(pwd)" > $site/args; echo "$CNB_BUILD_PLAN_PATH" > $site/plan`
			s.add(c.bp)
			s.group("a/b@1")
			if _, err := s.detect(func(in *DetectInput) { in.ExecEnv = "test"; in.StackID = "stack" }); err != nil {
				t.Fatal(err)
			}
			plan := strings.TrimSpace(s.read("plan"))
			wantEnv(t, s.read("env"), append(c.want, "HOME=/home/cnb", "CNB_STACK_ID=stack", "CNB_BUILDPACK_DIR="+s.dir+"/buildpacks/a_b/1",
				"CNB_PLATFORM_DIR="+s.dirs.Platform, "CNB_BUILD_PLAN_PATH="+plan)...)
			if got, want := strings.TrimSpace(s.read("args")), "2|"+s.dirs.Platform+"|"+plan+"|"+s.dirs.App; got != want {
				t.Errorf("arguments %q, want %q", got, want)
			}
			if !strings.HasPrefix(plan, s.dirs.Scratch+"/") {
				t.Errorf("plan %s is not below %s", plan, s.dirs.Scratch)
			}
		})
	}
}

func TestEnvironmentRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file, text, want string
	}{
		"user name":     {"platform/env/A=B", "x", `env file "A=B"`},
		"user NUL":      {"platform/env/A", "x\x00y", "NUL"},
		"user too long": {"platform/env/A", strings.Repeat("x", 128<<10+1), "more than 131072 bytes"},
		"operator name": {"build-config/env/A=B.append", "x", `env file "A=B.append"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.add(bp{ref: "a@1"})
			s.group("a@1")
			s.write(c.file, c.text, 0o644)
			if _, err := s.detect(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

func TestDirsHost(t *testing.T) {
	for _, c := range []struct{ root, path, want string }{
		{"", "/layers", "/layers"},
		{"/", "/layers/x", "/layers/x"},
		{"/b/1/root", "/layers/x", "/b/1/root/layers/x"},
		{"/b/1/root", "/../../etc", "/b/1/root/etc"},
		{"/b/1/root", "layers", "/b/1/root/layers"},
	} {
		if got := (Dirs{Root: c.root}).Host(c.path); got != c.want {
			t.Errorf("%q below %q: %q, want %q", c.path, c.root, got, c.want)
		}
	}
}

func TestCatalogs(t *testing.T) {
	s := newSite(t)
	s.add(bp{ref: "a/b@1", keys: `homepage = "https://a.example"`})
	s.add(bp{ref: "two@1", detect: "none"})
	s.add(bp{ref: "two@2"})
	s.write("buildpacks/broken/1/buildpack.toml", "api = ", 0o644)
	dir := DirCatalog(s.buildpacks)
	var all []*cnb.Descriptor
	for _, ref := range []cnb.Ref{{ID: "a/b", Version: "1"}, {ID: "two", Version: "1"}, {ID: "two", Version: "2"}} {
		d, err := dir.Buildpack(ref)
		if err != nil {
			t.Fatal(err)
		}
		if d.HasDetect != (ref != cnb.Ref{ID: "two", Version: "1"}) || d.Windows {
			t.Errorf("%s: HasDetect %v, Windows %v", ref, d.HasDetect, d.Windows)
		}
		if _, err := os.Stat(d.Path + "/bin/build"); err != nil {
			t.Error(err)
		}
		all = append(all, d)
	}
	for name, c := range map[string]Catalog{"dir": dir, "map": MapCatalog(all)} {
		if d, err := c.Buildpack(cnb.Ref{ID: "a/b"}); err != nil || d.Version != "1" {
			t.Errorf("%s: without a version: %v", name, err)
		}
		for ref, want := range map[cnb.Ref]string{
			{ID: "two"}:               "buildpack two is not in the builder (it has 1, 2)",
			{ID: "two", Version: "3"}: "buildpack two@3 is not in the builder (it has 1, 2)",
			{ID: "no", Version: "1"}:  "buildpack no@1 is not in the builder",
		} {
			if _, err := c.Buildpack(ref); err == nil || err.Error() != want {
				t.Errorf("%s: %s: error %v, want %s", name, ref, err, want)
			}
		}
	}
	if _, err := dir.Buildpack(cnb.Ref{ID: "two", Version: "../a_b/1"}); err == nil {
		t.Error("a version that leaves the directory is found")
	}
	if _, err := dir.Buildpack(cnb.Ref{ID: "broken", Version: "1"}); err == nil || !strings.Contains(err.Error(), "buildpack broken@1") {
		t.Errorf("error %v", err)
	}
}

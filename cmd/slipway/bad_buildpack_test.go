package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// with is the flags of a build by buildpacks instead of the builder's order.
func with(dirs ...string) []string {
	var args []string
	for _, d := range dirs {
		args = append(args, "--buildpack", d)
	}
	return args
}

func badBuildpacks(t *testing.T, y *yard) {
	hostile := func(name string) string { return fixture(t, "hostile/"+name) }
	y.try(t,
		bad{name: "no such directory", args: with("./nowhere"), code: 1, says: []string{"./nowhere", "no such directory"}},
		bad{name: "no such id", args: with("no/such@1.0.0"), code: 1, says: []string{"no/such@1.0.0", y.builder}},
		bad{name: "another version", args: with("sample/one-layer@9.9.9"), code: 1, says: []string{"sample/one-layer@9.9.9", "0.0.1"}},
		bad{name: "no buildpack.toml", args: with(hostile("toml-missing")), code: 1, says: []string{"hostile/toml-missing", "no buildpack.toml"}},
		bad{name: "buildpack.toml is no TOML", args: with(hostile("toml-broken")), code: 1, says: []string{"hostile/toml-broken: buildpack.toml:3"}},
		bad{name: "no id", args: with(hostile("toml-no-id")), code: 1, says: []string{"toml-no-id: buildpack.toml:3", "buildpack.id"}},
		bad{name: "id leaves its directory", args: with(hostile("toml-id-escape")), code: 1, says: []string{"toml-id-escape: buildpack.toml:4", "buildpack.id", ".."}},
		bad{name: "API not supported", args: with(hostile("api-unsupported")), code: 12, says: []string{"sample/api-unsupported@0.0.1", "9.9", "0.12"}},
		bad{name: "API missing", args: with(hostile("api-missing")), code: 1, says: []string{"api-missing: buildpack.toml", "api"}},
		bad{name: "order names an absent buildpack", args: with(hostile("order-absent")), code: 22, says: []string{"sample/nowhere@0.0.1", "sample/order-absent@0.0.1"}},
		bad{name: "order names itself", args: with(hostile("order-self")), code: 22, says: []string{"sample/order-self@0.0.1", "itself"}},
		bad{name: "order cycle", args: with(hostile("order-cycle-a"), hostile("order-cycle-b")), code: 22,
			says: []string{"sample/order-cycle-a@0.0.1", "sample/order-cycle-b@0.0.1"}},
		bad{name: "no package", args: with(filepath.Join(y.app, "hello.txt")), code: 1, says: []string{"hello.txt", ".cnb"}},
		bad{name: "image is no package", args: with("oci:" + y.base), code: 1, says: []string{y.base, "not a buildpack"}},
		bad{name: "directory as an image's name", args: with("docker://oci:" + y.base), code: 1, says: []string{y.base, "the name of an image, no directory"}},
	)
	t.Run("builder.toml", func(t *testing.T) {
		t.Parallel()
		badRecipes(t, y)
	})
}

// badRecipes are builders that cannot be made.
func badRecipes(t *testing.T, y *yard) {
	good := "[build]\nimage = \"oci:" + y.base + "\"\n[run]\n[[run.images]]\nimage = \"" + y.runImage + "\"\n" +
		"[[buildpacks]]\nuri = \"" + fixture(t, "noop") + "\"\n[[order]]\n[[order.group]]\nid = \"sample/noop\"\n"
	for _, c := range []struct {
		name, text string
		code       int
		says       []string
	}{
		{"no TOML", "[build\n", 1, []string{"builder.toml:1"}},
		{"unknown buildpack in the order", strings.Replace(good, `"sample/noop"`, `"sample/other"`, 1), 1, []string{"builder.toml", "sample/other"}},
		{"no build image", strings.Replace(good, y.base, "/nowhere/at/all", 1), 1, []string{"build image", "/nowhere/at/all"}},
		{"no such buildpack", strings.Replace(good, "buildpacks/noop", "buildpacks/nowhere", 1), 1, []string{"buildpacks/nowhere"}},
		{"API not supported", strings.Replace(good, "buildpacks/noop", "buildpacks/hostile/api-unsupported", 1), 12, []string{"sample/api-unsupported@0.0.1", "9.9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := y.work(t)
			config := filepath.Join(t.TempDir(), "builder.toml")
			write(t, config, c.text)
			code, stdout, stderr := w.slipway(nil, "builder", "create", w.name, "--config", config)
			line := errorLine(t, stderr, w.home)
			t.Logf("exit %d\n%s", code, line)
			if code != c.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, stdout, stderr)
			}
			for _, s := range c.says {
				if !strings.Contains(line, s) {
					t.Errorf("the line does not say %q:\n%s", s, line)
				}
			}
			if code, _, _ := w.slipway(nil, "inspect", w.name, "--pull-policy", "never"); code == 0 {
				t.Error("a broken builder was written")
			}
			w.good()
		})
	}
}

func badDetects(t *testing.T, y *yard) {
	hostile := func(name string) string { return fixture(t, "hostile/"+name) }
	no := buildpack(t, "no-reason", "exit 100", "")
	var exponential []string // 40 alternatives each, so 40^8 plans
	for i := range 8 {
		exponential = append(exponential, buildpack(t, fmt.Sprintf("exp-%d", i+1),
			`{ printf '[[requires]]\nname = "never"\n'; for i in $(seq 40); do printf '[[or]]\n[[or.requires]]\nname = "never-%d"\n' "$i"; done; } >"$CNB_BUILD_PLAN_PATH"`, ""))
	}
	y.try(t,
		bad{name: "nothing detects", args: with(fixture(t, "detect-no"), no), code: 20,
			says: []string{"no group of buildpacks detected", "sample/detect-no@0.0.1: not for this app", "test/no-reason@1.2.3: "}},
		bad{name: "plan is not met", args: with(fixture(t, "plan-requirer")), code: 20, says: []string{"sample/plan-requirer@0.0.1", "thing"}},
		bad{name: "exits 1", args: with(hostile("detect-error")), code: 21, says: []string{"sample/detect-error@0.0.1", "status 1"}},
		bad{name: "is killed", args: with(hostile("detect-killed")), code: 21, says: []string{"sample/detect-killed@0.0.1", "SIGKILL"}},
		bad{name: "interpreter missing", args: with(hostile("detect-missing-interpreter")), code: 21,
			says: []string{"sample/detect-missing-interpreter@0.0.1", "interpreter"}},
		bad{name: "CRLF", args: with(hostile("detect-crlf")), code: 21, says: []string{"sample/detect-crlf@0.0.1", "CRLF"}},
		bad{name: "not executable", args: with(hostile("detect-not-executable")), code: 21, says: []string{"sample/detect-not-executable@0.0.1", "executable"}},
		bad{name: "plan bomb", args: with(hostile("detect-plan-bomb")), code: 21, says: []string{"sample/detect-plan-bomb@0.0.1"}},
		bad{name: "plan exponential", args: with(exponential...), code: 20, says: []string{"test/exp-1@1.2.3"}},
		bad{name: "plan is no TOML", args: with(buildpack(t, "plan-toml", `echo '[[requires' > "$CNB_BUILD_PLAN_PATH"`, "")), code: 21,
			says: []string{"test/plan-toml@1.2.3", ":1"}},
		bad{name: "plan is a FIFO", args: with(buildpack(t, "plan-fifo", `rm -f "$CNB_BUILD_PLAN_PATH"; mkfifo "$CNB_BUILD_PLAN_PATH"`, "")), code: 21,
			says: []string{"test/plan-fifo@1.2.3"}},
	)
}

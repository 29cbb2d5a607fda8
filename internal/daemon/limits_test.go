package daemon_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// processes counts those of this machine, in containers too, that have a text in their arguments.
func processes(text string) (n int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, at := range all {
		if b, err := os.ReadFile(at); err == nil && bytes.Contains(b, []byte(text)) {
			n++
		}
	}
	return n
}

// TestLimits runs into each limit once: each has a message of its own, nothing of the build is left, and the app's next
// build is fine.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what   string
		limit  any
		script string // SLEEP is a sleep that is known by its arguments
		state  string
		code   string
		says   []string // of the last lines of the push
	}{
		{"time", 15, "echo slow\nSLEEP", "timed-out", "timeout", []string{"Phase: build, buildpack test/script@1.0", "time limit of 15s", "What to do: make the build faster, or raise the app's time limit", "(build timed out)"}},
		{"memory", 96 << 20, "SLEEP &\nx=0123456789; while :; do x=$x$x; done", "failed", "memory",
			[]string{"Phase: build, buildpack test/script@1.0", "out of memory", "96 MiB", "What to do: use less memory, or raise the app's memory limit"}},
		{"pids", 40, "sh -c 'i=0; while [ $i -lt 100 ]; do SLEEP & i=$((i+1)); done'", "failed", "pids",
			[]string{"Phase: build, buildpack test/script@1.0", "its limit of 40 processes", "What to do: start fewer processes at once, or raise the app's pids limit"}},
		{"disk", 20 << 20, "SLEEP &\nhead -c 60000000 /dev/zero >big\nSLEEP", "failed", "disk", []string{"Phase: build, buildpack test/script@1.0", "disk limit of 20 MiB", "What to do: write less, or raise the app's disk limit"}},
		{"source", 1 << 20, "echo fine", "", "", []string{"The files of the source have more than 1 MiB", `2 MiB  "index.txt"`, "(the source is too large)"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			a := common(t).newApp(t, map[string]any{"limits": map[string]any{c.what: c.limit}})
			sleep := fmt.Sprintf("1000.%d", rand.Uint64())
			a.commit("build.sh", strings.ReplaceAll(c.script, "SLEEP", "sleep "+sleep)+"\n", "index.txt", strings.Repeat("x", 2<<20))
			if c.what != "source" {
				a.commit("index.txt", "small")
			}
			out, err := a.try("push", "slipway", "main")
			if err == nil {
				t.Fatalf("the push succeeded:\n%s", out)
			}
			inOrder(t, out, append([]string{" !     "}, c.says...)...)
			if strings.Contains(out, "raise it with") {
				t.Errorf("a flag of the command line is named, which nobody used:\n%s", out)
			}
			if c.state != "" {
				if b := a.last(); b.State != c.state || b.Failure == nil || b.Failure.Code != c.code || b.Failure.Blame != "app" {
					t.Errorf("the record: %+v %+v", b, b.Failure)
				}
			} else if n := len(a.builds()); n != 0 {
				t.Errorf("%d builds", n)
			}
			if n := processes(sleep); n != 0 {
				t.Errorf("%d processes of the build are left", n)
			}
			if c.what == "time" { // a busy machine may need more for a good build too
				a.api("PATCH", "", map[string]any{"limits": map[string]any{"time": 600}}).want(200)
			}
			a.commit("build.sh", "echo fine\n", "index.txt", "small")
			a.push(true, []string{"slipway", "main"}, "Released v1")
		})
	}
}

// TestLogLimit: a build that says too much is not held up or ended, and the log says what it lacks.
func TestLogLimit(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, map[string]any{"limits": map[string]any{"log": 64 << 10}})
	a.commit("build.sh", "i=0\nwhile [ $i -lt 20000 ]; do echo a line of many that nobody needs $i; i=$((i+1)); done\n")
	a.push(true, []string{"slipway", "main"}, "the log has reached its limit of 65536 bytes", "Released v1")
	log := a.log(1)
	if len(log) > 200<<10 || !strings.Contains(log, "nobody needs 19999\n") || !strings.Contains(log, "nobody needs 7\n") || strings.Contains(log, "nobody needs 10000\n") {
		t.Errorf("the log has %d bytes: %s ... %s", len(log), log[:min(len(log), 500)], log[max(0, len(log)-500):])
	}
}

// TestCacheLimit: a build cache over its limit does not see the next build, and the log says so; one below it does.
func TestCacheLimit(t *testing.T) {
	t.Parallel()
	a := common(t).newApp(t, map[string]any{"limits": map[string]any{"cache": 1 << 20}})
	layer := `l=$CNB_LAYERS_DIR/kept
if [ -e $l/it ]; then echo "it is there"; else echo "it is not there"; mkdir -p $l; head -c SIZE /dev/urandom >$l/it; fi
printf '[types]\ncache = true\nbuild = true\n' >$l.toml
`
	const dropped = "over its limit of 1.0 MB: it is dropped"
	a.commit("build.sh", strings.Replace(layer, "SIZE", "3000000", 1))
	a.push(true, []string{"slipway", "main"}, "it is not there", "The build cache has 3.0 MB", dropped, "Released v1")
	a.commit("build.sh", strings.Replace(layer, "SIZE", "3000", 1))
	a.push(true, []string{"slipway", "main"}, "it is not there", "Released v2")
	a.commit("index.txt", "3")
	a.push(true, []string{"slipway", "main"}, "it is there", "Released v3")
	for _, n := range []int{2, 3} {
		if log := a.log(n); strings.Contains(log, dropped) {
			t.Errorf("build %d:\n%s", n, log)
		}
	}
}

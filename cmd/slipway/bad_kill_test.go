package main

import (
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kills is 200 where somebody wants to know for sure; killSeed repeats a run as far as the machine's clock allows.
var (
	kills    = flag.Int("kill.times", 5, "how often builds and prunes are killed")
	killSeed = flag.Uint64("kill.seed", rand.Uint64(), "seed of the times at which they are killed")
)

// layered makes a layer for the cache with some files and some weight, or takes it as restored, and one that is made
// each time.
const layered = `
cd "$CNB_LAYERS_DIR"
if [ -d kept ]; then echo "kept is restored"; else
	mkdir kept new
	for d in a b c d e f g h; do mkdir kept/$d; for f in $(seq 60); do echo "$d $f" >kept/$d/$f; done; done
	seq 300000 >kept/weight
fi
mkdir -p new
seq 200000 | sort -r >new/file
cp hello.txt new/ 2>/dev/null || cp /workspace/hello.txt new/
printf '[types]\nlaunch = true\ncache = true\nbuild = true\n' >kept.toml
printf '[types]\nlaunch = true\n' >new.toml
`

// killedBuilds kills slipway as the kernel does when memory runs out, in every phase of builds and in prunes: what is
// stored is whole afterwards, and the next build gives what it gives where nothing was killed, and clears up.
func killedBuilds(t *testing.T, y *yard) {
	binary := y.binary(t)
	pack := buildpack(t, "layered", "", layered)
	apps := []string{filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")}
	w, undisturbed := y.work(t), y.work(t)
	var want []string
	for _, app := range apps {
		write(t, filepath.Join(app, "hello.txt"), filepath.Base(app)+"\n")
		want = append(want, undisturbed.digest(app, pack))
	}
	runtimes := []string{"docker"}
	if os.Geteuid() == 0 {
		runtimes = append(runtimes, "oci")
	}
	rnd := rand.New(rand.NewPCG(*killSeed, 1))
	marks := []string{"===> RESTORING", "===> BUILDING", "===> EXPORTING", "prune", "===> PREPARING"}
	hit := map[string]int{}
	for i := range *kills {
		mark, env := marks[i%len(marks)], "SLIPWAY_RUNTIME="+runtimes[rnd.IntN(len(runtimes))]
		args := w.args("--path", apps[i%2], "--buildpack", pack)
		after := time.Duration(rnd.IntN(400)) * time.Millisecond
		if mark == "prune" {
			args, mark, after = []string{"cache", "prune", "--unused", "1ns"}, "", time.Duration(rnd.IntN(60))*time.Millisecond
			w.age()
		}
		what := fmt.Sprintf("seed %d, %d: %s %s, killed %v after %q", *killSeed, i, env, args[0], after, mark)
		if w.killed(binary, env, mark, after, args) {
			hit[marks[i%len(marks)]]++
		}
		w.whole(what)
		if got := w.digest(apps[(i+1)%2], pack, env); got != want[(i+1)%2] {
			t.Errorf("%s: the next build gives %s, want %s", what, got, want[(i+1)%2])
		}
		w.whole(what + ", and built")
		if t.Failed() {
			break
		}
	}
	t.Logf("seed %d: of %d killed in time, after: %v", *killSeed, *kills, hit)
	if len(hit) < 2 {
		t.Errorf("what was to be killed had mostly ended: %v", hit)
	}
}

// killed runs slipway and kills it, some time after it has printed mark; false says that it ended before.
func (w *work) killed(binary, env, mark string, after time.Duration, args []string) bool {
	w.t.Helper()
	cmd := exec.Command(binary, args...)
	var out syncBuffer
	cmd.Env, cmd.Stdout, cmd.Stderr = w.environ(env), &out, &out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1) // the waiter ends even where nobody listens
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), mark) && len(ended) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Errorf("%q was not reached:\n%s", mark, out.String())
			break
		}
	}
	time.Sleep(after)
	_ = cmd.Process.Kill() // it may have ended
	<-ended
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if signaled := ok && status.Signaled(); !signaled && cmd.ProcessState.ExitCode() != 0 {
		w.t.Errorf("slipway %q: exit code %d\n%s", args, cmd.ProcessState.ExitCode(), out.String())
	}
	return ok && status.Signaled()
}

// digest builds and gives the image's digest; nothing is left of this build and of those before.
func (w *work) digest(app, pack string, env ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.y.binary(w.t), w.args("--path", app, "--buildpack", pack)...)
	cmd.Env = w.environ(env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%q: %v\n%s", env, err, out)
	}
	w.nothingLeft()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), w.home) {
		w.t.Errorf("mounts are left: %s, %v", mounts, err)
	}
	d, err := w.image().Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return d.String()
}

// whole says that slipway cache check finds nothing wrong.
func (w *work) whole(what string) {
	w.t.Helper()
	if code, stdout, stderr := w.slipway(nil, "cache", "check"); code != 0 || strings.Contains(stdout, "damaged") {
		w.t.Errorf("%s: cache check: exit code %d\n%s%s", what, code, stdout, stderr)
	}
}

// age makes everything in the store look unused for long, so that a prune has something to do.
func (w *work) age() {
	w.t.Helper()
	long := time.Now().Add(-2 * time.Hour).Truncate(time.Second)
	for _, dir := range []string{"blobs/sha256", "caches", "trees"} {
		at := filepath.Join(w.home, "images", dir)
		err := filepath.WalkDir(at, func(p string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Dir(p) != at {
				return err
			}
			err = os.Chtimes(p, long, long)
			if d.IsDir() && err == nil {
				err = fs.SkipDir
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			w.t.Fatal(err)
		}
	}
}

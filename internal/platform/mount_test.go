package platform_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/platform"
)

// keeps makes three layers where there are none, and then does what the app's file "do" says.
const keeps = `
for l in one two three; do
	if [ ! -d "$CNB_LAYERS_DIR/$l" ]; then
		for d in a b c; do
			mkdir -p "$CNB_LAYERS_DIR/$l/$d/deep"
			for f in 1 2 3 4; do echo "$l $d $f" >"$CNB_LAYERS_DIR/$l/$d/$f"; done
			ln -s ../1 "$CNB_LAYERS_DIR/$l/$d/deep/link"
		done
	else echo "restored $l"; fi
	printf '[types]\nlaunch = true\nbuild = true\ncache = true\n' >"$CNB_LAYERS_DIR/$l.toml"
done
! grep -q ' /layers overlay ' /proc/self/mounts || echo mounted
cd "$CNB_LAYERS_DIR"
. /workspace/do
`

// mounts says whether this user's builds mount what they restore.
func mounts() bool { return os.Geteuid() == 0 }

// scripts are what the buildpack of keeps does, one build after the other: what is known to be hard, then at random.
func scripts() []string {
	all := []string{
		"", "", // made, restored
		"rm -rf one; mkdir one; echo new >one/file",
		"mv two three/inside; mkdir two; mv three/inside/a two/a; chmod 700 two",
		"mv one away; mv two one; mv away two; ln one/a/1 three/hard; echo more >>three/hard",
		"chmod 4755 three/b/2; echo x >three/b/3; mv three/b three/z; rm -rf three/c/*",
		"rm -rf one two three two.toml three.toml; mkdir one; cp -r /workspace one/app; printf '[types]\\ncache = true\\n' >one.toml",
		"", "", // whatever that came to
		"chmod 711 .; mkdir -p two/a; touch two/a/new",
		"",
	}
	random := scribbler{rand.New(rand.NewPCG(*scribbleSeed, 1))}
	for i := range *scribbles {
		if i%4 == 0 { // all made anew, and restored
			all = append(all, "chmod -R u+rwx one two three; rm -rf one two three one.toml two.toml three.toml", "", "")
		}
		all = append(all, random.script())
	}
	return all
}

// TestMountedEqualsCopied builds one app by mounting and by copying, with changes to its layers as buildpacks make
// them: in the build container, as its user.
func TestMountedEqualsCopied(t *testing.T) {
	t.Parallel()
	y := open(t)
	var machines []*platform.Machine
	for _, copies := range []bool{false, true} {
		m, err := machine(t.TempDir(), y.tools(), image.RegistryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		m.Copy = copies
		machines = append(machines, m)
	}
	o := platform.Options{
		Image: name(t), Builder: y.oci("builder"), RunImage: y.oci("run"), Output: platform.Output{Store: true},
		Buildpacks: append(y.fixtures("sbom"), script(t, "test/keeps", keeps)),
	}
	for i, do := range scripts() {
		o.Source = app(t, "do", do+"\n")
		var first *platform.Result
		for _, m := range machines {
			res, r := y.buildOn(t, m, o)
			if i > 0 && strings.Contains(r.String(), "restored three") && (len(r.lacks("mounted")) == 0) != (mounts() && !m.Copy) {
				t.Errorf("seed %d: %d (%s): copying %v: mounted or not\n%s", *scribbleSeed, i, do, m.Copy, r)
			}
			if first == nil {
				first = res
			}
			if res.Digest != first.Digest || res.Layers != first.Layers || res.Reused != first.Reused {
				t.Fatalf("seed %d: %d (%s): copied %s, %d of %d reused; mounted %s, %d of %d", *scribbleSeed, i, do, res.Digest, res.Reused, res.Layers, first.Digest, first.Reused, first.Layers)
			}
		}
	}
	for _, m := range machines {
		checkNoTraces(t, m.State)
	}
}

// TestDamagedTrees damages unpacked layers between builds: the next build gives what the first gave.
func TestDamagedTrees(t *testing.T) {
	t.Parallel()
	y := open(t)
	m, err := machine(t.TempDir(), y.tools(), image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := platform.Options{
		Image: name(t), Builder: y.oci("builder"), RunImage: y.oci("run"), Output: platform.Output{Store: true},
		Buildpacks: []string{script(t, "test/keeps", keeps)}, Source: app(t, "do", ""),
	}
	first, _ := y.buildOn(t, m, o)
	for i := range 10 {
		res, r := y.buildOn(t, m, o)
		if missing := r.lacks("restored one", "restored two", "restored three"); len(missing) > 0 || res.Digest != first.Digest {
			t.Fatalf("%d: %s, want %s; missing %q\n%s", i, res.Digest, first.Digest, missing, r)
		}
		files, err := filepath.Glob(filepath.Join(m.Store.Dir(), "trees", "*", "root", "layers", "*", "*", "*", "*"))
		if err != nil || (len(files) > 0) != mounts() {
			t.Fatalf("trees have %v, %v", files, err)
		}
		if !mounts() {
			continue
		}
		at := files[rand.IntN(len(files))]
		if i%2 == 0 {
			err = os.RemoveAll(at)
		} else {
			err = os.WriteFile(filepath.Join(filepath.Dir(at), "wrong"), []byte("wrong"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	checkNoTraces(t, m.State)
}

// stops are the moments at which a build is stopped whose layers are mounted.
func stops() map[string]func(platform.Event) bool {
	engine := func(kind builder.EventKind) func(platform.Event) bool {
		return func(e platform.Event) bool { return e.Engine != nil && e.Engine.Kind == kind }
	}
	return map[string]func(platform.Event) bool{
		"detect": in(platform.PhaseDetect), "restore": in(platform.PhaseRestore), "restoring": engine(builder.EventLayerRestoredData),
		"build": in(platform.PhaseBuild), "export": in(platform.PhaseExport), "exporting": engine(builder.EventLayerReused),
	}
}

// TestStoppedWhileMounted cancels and kills builds while their layers are mounted. A build that was cancelled leaves no
// mount, the one after a killed build takes off what is left, and both give what there was before.
func TestStoppedWhileMounted(t *testing.T) {
	t.Parallel()
	y := open(t)
	home := t.TempDir()
	m, err := machine(filepath.Join(home, "state"), y.tools(), image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := platform.Options{
		Image: name(t), Builder: y.oci("builder"), RunImage: y.oci("run"), Output: platform.Output{Store: true},
		Buildpacks: []string{script(t, "test/keeps", keeps)}, Source: app(t, "do", "echo changed >>one/a/1\n"),
	}
	y.buildOn(t, m, o)
	clean := o
	clean.Source = app(t, "do", "")
	for when, at := range stops() {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := platform.Build(ctx, m, o, &record{on: func(e platform.Event) {
			if at(e) {
				cancel(errStop)
			}
		}})
		cancel(nil)
		if !isStop(err) {
			t.Errorf("%s: cancelled: %v", when, err)
		}
		checkNoTraces(t, m.State)

		want, _ := y.buildOn(t, m, clean)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestKilled$")
		cmd.Env = append(os.Environ(), "HOME="+home, yardVariable+"="+y.dir, killVariable+"="+strings.Join([]string{when, o.Image, o.Buildpacks[0], o.Source}, "|"))
		out, err := cmd.CombinedOutput()
		if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: killed: %v\n%s", when, err, out)
		}
		if left, _ := os.ReadDir(filepath.Join(m.State, "builds")); len(left) == 0 {
			t.Errorf("%s: a killed build left nothing: it was killed too late", when)
		}
		got, r := y.buildOn(t, m, clean)
		if got.Digest != want.Digest || len(r.lacks("restored one")) > 0 {
			t.Errorf("%s: %s, want %s\n%s", when, got.Digest, want.Digest, r)
		}
		checkNoTraces(t, m.State)
	}
}

// killVariable says, to the test binary that is to be killed, when, and the build's image, buildpack and source.
const killVariable = "SLIPWAY_TEST_KILL"

// TestKilled is a build that kills its own process, where TestStoppedWhileMounted asks for it.
func TestKilled(t *testing.T) {
	args := strings.Split(os.Getenv(killVariable), "|")
	if len(args) != 4 {
		return
	}
	y := &yard{dir: os.Getenv(yardVariable)}
	m, err := machine(filepath.Join(os.Getenv("HOME"), "state"), y.tools(), image.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at := stops()[args[0]]
	_, err = platform.Build(t.Context(), m, platform.Options{
		Image: args[1], Builder: y.oci("builder"), RunImage: y.oci("run"), Output: platform.Output{Store: true},
		Buildpacks: []string{args[2]}, Source: args[3],
	}, &record{on: func(e platform.Event) {
		if at(e) {
			fmt.Println(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		}
	}})
	t.Fatal("not killed: ", err)
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A testCase is an app with its buildpacks, built twice; ROUND is 1 and then 2 in the buildpacks' environment.
type testCase struct {
	name       string
	api        int // minor number of the Platform API; 0 is the newest
	buildpacks []pack
	files      map[string]string      // below the place; '!' behind the name makes one executable
	prepare    func(app string) error // what files cannot say
	demo       string                 // an app of fixtures/apps, with the buildpack of bin/buildpacks that builds it
	with       []string               // further buildpacks of bin/buildpacks
	varies     []string               // layers that no two builds make alike, whoever builds: compared by name
	clocks     []string               // metadata of layers, as "layer.data.key", that holds times of day: that it is there is compared
	args, env  []string
	oci        bool   // the run image is an OCI image
	newName    bool   // the second build has another name and -previous-image
	once       bool   // one build is enough
	known      string // why the lifecycles may differ here
	code       int    // how the other lifecycle exits
}

func (c testCase) minor() int {
	if c.api == 0 {
		return 15
	}
	return c.api
}

// A pack is a buildpack of shell scripts. In build, $L is its layers directory.
type pack struct {
	id            string
	api           string // "" is 0.10
	keys          string // more of its buildpack.toml
	optional      bool
	detect, build string
}

// API is the Buildpack API.
func (b pack) API() string {
	if b.api == "" {
		return "0.10"
	}
	return b.api
}

// Layers of all types. In $MODE "same" they are made anew with what they had, "changed" with something else in the
// second round, "reuse" means that the second round keeps what it got back.
const layersOfAllTypes = `
for l in false true; do for b in false true; do for c in false true; do
	n=l$l-b$b-c$c
	echo "PARITY round $ROUND $n: $(test -d $L/$n && echo restored || echo no) $(test -f $L/$n.toml && tr '\n' ' ' < $L/$n.toml | tr -d ' ' || echo none)"
	printf '[types]\nlaunch = %s\nbuild = %s\ncache = %s\n[metadata]\nkey = "value"\nlist = ["a", 1]\n[metadata.table]\nn = 1.5\nt = true\n' $l $b $c > $L/$n.toml
	case $MODE-$ROUND in
	reuse-2) if [[ $b$c != falsefalse && ! -d $L/$n ]]; then mkdir -p $L/$n/bin; echo again > $L/$n/bin/x; fi ;;
	changed-2) mkdir -p $L/$n/bin; echo changed > $L/$n/bin/x ;;
	*) mkdir -p $L/$n/bin; echo same > $L/$n/bin/x ;;
	esac
done; done; done
`

func layersCase(mode string) testCase {
	return testCase{
		name:       "layers of all types, " + mode,
		buildpacks: []pack{{id: "example/layers", build: "MODE=" + mode + layersOfAllTypes}, {id: "next", build: `echo "PARITY $(env | grep -v -e ^CNB_BP_PLAN_PATH -e ^_= -e ^SHLVL | sort | tr '\n' ' ')"`}},
	}
}

// A bit of everything, for the cases that are about the platform.
var everything = pack{id: "a/b", build: `
mkdir -p $L/launch/env.launch $L/cached $L/launch/exec.d
echo 1 > $L/launch/file
echo $ROUND > $L/cached/round
printf x > $L/launch/env.launch/A.append
printf '[types]\nlaunch = true\n' > $L/launch.toml.tmp && mv $L/launch.toml.tmp $L/launch.toml.layer
mv $L/launch $L/thelayer; mv $L/launch.toml.layer $L/thelayer.toml
printf '[types]\ncache = true\n' > $L/cached.toml
cat > $L/launch.toml <<END
[[processes]]
type = "web"
command = ["true"]
args = ["a"]
default = true
[[processes]]
type = "worker"
command = ["false", "always"]
working-dir = "/tmp"
[[labels]]
key = "k"
value = "v"
[[slices]]
paths = ["sub/*"]
END
printf '[metadata]\nx = 1\n' > $L/store.toml
mkdir -p sub; echo $ROUND > sub/x
`}

func cases() []testCase {
	all := []testCase{
		layersCase("same"), layersCase("changed"), layersCase("reuse"),
		{name: "everything", buildpacks: []pack{everything}},
		{name: "OCI run image", oci: true, buildpacks: []pack{everything}},
		{name: "SOURCE_DATE_EPOCH", env: []string{"SOURCE_DATE_EPOCH=1234567890"}, buildpacks: []pack{everything}},
		{name: "previous image of another name", newName: true, buildpacks: []pack{everything}},
		{name: "more tags", args: []string{"-tag", "$repo/app:one", "-tag", "$repo/app:two"}, buildpacks: []pack{everything}},
		{name: "process type", args: []string{"-process-type", "worker"}, buildpacks: []pack{everything}},
		{name: "no such process type", code: 62, args: []string{"-process-type", "none"}, buildpacks: []pack{everything}},
		{name: "skip restore", args: []string{"-skip-restore"}, buildpacks: []pack{everything}},
		{name: "project metadata", args: []string{"-project-metadata", "$dir/project-metadata.toml"}, buildpacks: []pack{everything}},
		{name: "parallel", args: []string{"-parallel"}, buildpacks: []pack{everything}},
		{name: "execution environment", env: []string{"CNB_EXEC_ENV=test"}, buildpacks: []pack{everything, execEnvs}},
		{name: "fails to detect", code: 20, once: true, buildpacks: []pack{{id: "no", detect: "exit 100"}}},
		{name: "detect goes wrong", code: 21, once: true, buildpacks: []pack{{id: "no", detect: "exit 3"}}},
		{name: "build goes wrong", code: 51, once: true, buildpacks: []pack{{id: "no", build: "exit 3"}}},
		{name: "unknown Buildpack API", code: 12, once: true, buildpacks: []pack{{id: "no", api: "0.99"}}},
		{name: "unknown Platform API", code: 11, once: true, api: 99, buildpacks: []pack{everything}},
	}
	for minor := 7; minor <= 15; minor++ {
		all = append(all, testCase{name: fmt.Sprintf("Platform API 0.%d", minor), api: minor, buildpacks: []pack{old, everything}})
	}
	return append(all, outputCases()...)
}

// demoCases are the apps of the demo, built by the buildpacks that we ship. They need the network, and some minutes.
func demoCases() []testCase {
	return []testCase{
		{name: "demo app static", demo: "static", with: []string{"procfile"}},
		// npm's and Go's own caches hold the times of requests and of compilations.
		{name: "demo app node", demo: "node", with: []string{"procfile"}, varies: []string{"npm-cache"}, clocks: []string{"headers.data.asked"}},
		{name: "demo app go", demo: "go", with: []string{"procfile"}, varies: []string{"build-cache"}},
	}
}

// demoPack is the buildpack of a demo app.
var demoPack = map[string]string{"static": "static", "node": "nodejs", "go": "go"}

// Of the oldest API, with what was taken away later.
var old = pack{id: "old", api: "0.7", build: `
mkdir -p $L/x/profile.d
echo 'export P=1' > $L/x/profile.d/p.sh
printf '[types]\nlaunch = true\n' > $L/x.toml
cat > $L/launch.toml <<END
[[processes]]
type = "shell"
command = "echo \$HOME"
direct = false
[[processes]]
type = "direct"
command = "true"
args = ["1", "2"]
direct = true
[[bom]]
name = "something"
[bom.metadata]
version = "1"
END
`}

var execEnvs = pack{id: "envs", api: "0.12", build: `
cat > $L/launch.toml <<END
[[processes]]
type = "tested"
command = ["true"]
exec-env = ["test"]
[[processes]]
type = "all"
command = ["true"]
exec-env = ["*"]
[[processes]]
type = "produced"
command = ["true"]
exec-env = ["production"]
END
echo "PARITY $CNB_EXEC_ENV"
`}

// oddFiles fills an app with what archives get wrong.
func oddFiles(app string) error {
	deep := strings.Repeat("directory-of-a-long-name/", 11)
	long := strings.Repeat("n", 120)
	for _, f := range []string{
		"empty", "sticky/x", "exec", "ünïcödé/文件", "invalid-\xff", "space and\nnewline", deep + "file", long, "sub/" + long + ".txt",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(app, f)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(app, f), []byte(f), 0o644); err != nil {
			return err
		}
	}
	modes := map[string]os.FileMode{
		"sticky": 0o777 | os.ModeSticky, "exec": 0o711,
	}
	for f, m := range modes {
		if err := os.Chmod(filepath.Join(app, f), m); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{"link": "file", "abs": "/etc/passwd", "dangling": "nowhere/at/all", "long-link": deep + "file", "dir-link": "sub"} {
		if err := os.Symlink(target, filepath.Join(app, link)); err != nil {
			return err
		}
	}
	for _, h := range []string{"hard", "a-hard", "sub/hard"} {
		if err := os.Link(filepath.Join(app, "file"), filepath.Join(app, h)); err != nil {
			return err
		}
	}
	for _, d := range []string{"empty-dir", "deep/empty/dir"} {
		if err := os.MkdirAll(filepath.Join(app, d), 0o750); err != nil {
			return err
		}
	}
	sparse, err := os.Create(filepath.Join(app, "sparse"))
	if err != nil {
		return err
	}
	if err := sparse.Truncate(1 << 20); err != nil {
		return err
	}
	if err := sparse.Close(); err != nil {
		return err
	}
	if err := syscall.Setxattr(filepath.Join(app, "file"), "user.parity", []byte("x"), 0); err != nil && err != syscall.ENOTSUP {
		return err
	}
	past := time.Date(1970, 1, 1, 0, 0, 1, 5, time.UTC)
	return os.Chtimes(filepath.Join(app, "file"), past, past)
}

// setuidFiles makes files that change the user or the group.
func setuidFiles(app string) error {
	for f, m := range map[string]os.FileMode{"setuid": 0o755 | os.ModeSetuid, "setgid": 0o755 | os.ModeSetgid} {
		if err := os.WriteFile(filepath.Join(app, f), nil, 0o644); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(app, f), m); err != nil {
			return err
		}
	}
	return nil
}

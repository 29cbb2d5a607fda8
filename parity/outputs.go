package main

// outputCases are about single things that buildpacks leave.
func outputCases() []testCase {
	return []testCase{
		{name: "odd files", prepare: oddFiles, buildpacks: []pack{{id: "odd", build: `
mkdir -p $L/odd; cp -a file sub link abs dangling long-link hard a-hard empty-dir $L/odd/; chmod 711 $L/odd/hard
printf '[types]\nlaunch = true\ncache = true\n' > $L/odd.toml
printf '[[slices]]\npaths = ["*ard", "s*"]\n' > $L/launch.toml
`}}},
		{name: "setuid files", prepare: setuidFiles, buildpacks: []pack{everything}, known: "a build puts no setuid or setgid bits into an image"},
		{name: "app with .git", files: map[string]string{"app/.git/HEAD": "ref: refs/heads/main\n", "app/.gitignore": "x"}, buildpacks: []pack{everything}},
		{name: "slices", files: map[string]string{"app/static/a/b": "b", "app/static/c": "c", "app/node_modules/x/y": "y", "app/z": "z"}, buildpacks: []pack{
			{id: "one", build: `printf '[[slices]]\npaths = ["static/*", "nothing"]\n[[slices]]\npaths = ["none/*"]\n' > $L/launch.toml`},
			{id: "two", build: `printf '[[slices]]\npaths = ["static", "node_modules"]\n[[slices]]\npaths = ["*"]\n' > $L/launch.toml`},
		}},
		{name: "SBOMs", buildpacks: []pack{{id: "s/bom", keys: `sbom-formats = ["application/vnd.cyclonedx+json", "application/spdx+json", "application/vnd.syft+json"]`, build: `
for f in cdx spdx syft; do
	for n in launch build one two three; do echo "{\"$f\": \"$n\"}" > $L/$n.sbom.$f.json; done
done
echo "PARITY $(ls $L | tr '\n' ' ')"
mkdir -p $L/one $L/two $L/three
printf '[types]\nlaunch = true\ncache = true\n' > $L/one.toml
printf '[types]\nbuild = true\n' > $L/two.toml
printf '[types]\nlaunch = true\n' > $L/three.toml
`}}},
		{name: "launcher SBOMs of other names", known: "ours have the names that the spec gives, the reference keeps those of the files", files: map[string]string{"launcher-sbom/launcher.sbom.spdx.json": "{}", "launcher-sbom/x.syft.json": "{}"}, buildpacks: []pack{everything}},
		{name: "SBOM of an undeclared format", code: 52, known: "ours exits with 51, because the buildpack is at fault", once: true, buildpacks: []pack{{id: "s/bom", build: "echo '{}' > $L/launch.sbom.cdx.json"}}},
		{name: "exec.d and profile.d", buildpacks: []pack{{id: "exec", build: `
mkdir -p $L/e/exec.d/web $L/e/profile.d/web
printf '#!/bin/sh\n' | tee $L/e/exec.d/a $L/e/exec.d/web/b > $L/e/profile.d/c.sh
chmod +x $L/e/exec.d/a $L/e/exec.d/web/b
printf '[types]\nlaunch = true\n' > $L/e.toml
`}}},
		{name: "environment of later buildpacks", buildpacks: []pack{
			{id: "env", build: `
for l in a b; do
	mkdir -p $L/$l/{env,env.build,env.launch/web,bin,lib,include,pkgconfig}
	for s in .append .prepend .override .default .delim '' .unknown; do
		for d in env env.build env.launch env.launch/web; do n=${s#.}; printf "$l-$d" > "$L/$l/$d/V${n:-none}$s"; done
		printf "$l" > "$L/$l/env/SAME$s"
	done
	printf '[types]\nlaunch = true\nbuild = true\n' > $L/$l.toml
done
`},
			{id: "print", build: `echo "PARITY $(env | grep -v -e ^CNB_BP_PLAN_PATH -e ^_= -e ^SHLVL | sort | tr '\n' ' ')"`},
			{id: "clear", keys: "clear-env = true", build: `echo "PARITY $(env | grep -v -e ^CNB_BP_PLAN_PATH -e ^_= -e ^SHLVL | sort | tr '\n' ' ')"`},
		}},
		{name: "processes without default", buildpacks: []pack{{id: "p", build: `
printf '[[processes]]\ntype = "web"\ncommand = ["a"]\n[[processes]]\ntype = "z"\ncommand = ["b", "c"]\nargs = ["d", "e"]\nworking-dir = "sub"\n' > $L/launch.toml
`}}},
		{name: "processes of two buildpacks", buildpacks: []pack{
			{id: "p1", build: `printf '[[processes]]\ntype = "web"\ncommand = ["a"]\ndefault = true\n[[processes]]\ntype = "b"\ncommand = ["b"]\n' > $L/launch.toml`},
			{id: "p2", build: `printf '[[processes]]\ntype = "web"\ncommand = ["override"]\n[[processes]]\ntype = "a"\ncommand = ["a"]\n' > $L/launch.toml`},
			{id: "p3", api: "0.8", build: `printf '[[processes]]\ntype = "old"\ncommand = "x"\nargs = ["1"]\n' > $L/launch.toml`},
		}},
		{name: "labels of two buildpacks", buildpacks: []pack{
			{id: "l1", build: `printf '[[labels]]\nkey = "k"\nvalue = "1"\n[[labels]]\nkey = "other"\nvalue = ""\n' > $L/launch.toml`},
			{id: "l2", build: `printf '[[labels]]\nkey = "k"\nvalue = "2"\n[[labels]]\nkey = "own"\nvalue = "mine"\n' > $L/launch.toml`},
		}},
		{name: "store", buildpacks: []pack{{id: "store", build: `
echo "PARITY $(cat $L/store.toml 2>/dev/null | tr -d ' \n')"
printf '[metadata]\nround = "%s"\nn = 3\nf = 1.0\nd = 1979-05-27T07:32:00Z\n[metadata.t]\na = [1, 2]\n' $ROUND > $L/store.toml
`}}},
		{name: "two buildpacks that touch the app", buildpacks: []pack{
			{id: "t1", build: "echo 1 > made; rm -f file; mkdir -p d; chmod 700 d"},
			{id: "t2", build: "echo $ROUND >> made; ln -s made d/link"},
		}},
		{name: "plan", buildpacks: []pack{
			{id: "gives", detect: `printf '[[provides]]\nname = "x"\n[[or]]\n[[or.provides]]\nname = "y"\n' > $2`, build: `echo "PARITY $(tr -d ' \n' < $3)"; printf '[[unmet]]\nname = "y"\n' > $L/build.toml`},
			{id: "gives-too", optional: true, detect: `printf '[[provides]]\nname = "y"\n[[requires]]\nname = "y"\n[requires.metadata]\nv = "2"\n' > $2`, build: `echo "PARITY $(tr -d ' \n' < $3)"`},
			{id: "wants", detect: `printf '[[requires]]\nname = "y"\n[requires.metadata]\nversion = "1"\nlaunch = true\n' > $2`, build: `echo "PARITY $(tr -d ' \n' < $3)"`},
		}},
		{name: "a layer goes", buildpacks: []pack{{id: "goes", build: `
echo "PARITY $(ls $L | tr '\n' ' ')"
if [[ $ROUND == 1 ]]; then mkdir $L/x; printf '[types]\nlaunch = true\ncache = true\n' > $L/x.toml; echo 1 > $L/x/1; else rm -rf $L/x $L/x.toml; fi
`}}},
		{name: "no layers at all", buildpacks: []pack{{id: "nothing", build: "true"}}},
		{name: "a file where a layer should be", once: true, known: "a layer is a directory (buildpack, \"Layers\"); the reference takes a file", buildpacks: []pack{{id: "file", build: `echo x > $L/x; printf '[types]\nlaunch = true\n' > $L/x.toml`}}},
		{name: "a layer without contents", code: 62, once: true, buildpacks: []pack{{id: "none", build: `printf '[types]\nlaunch = true\n' > $L/x.toml`}}},
		{name: "broken launch.toml", code: 52, known: "ours exits with 51, because the buildpack is at fault", once: true, buildpacks: []pack{{id: "broken", build: `echo '[[' > $L/launch.toml`}}},
		{name: "bad process type", once: true, known: "letters, digits, '.', '_' and '-' only (buildpack, \"launch.toml\"); the reference takes any", buildpacks: []pack{{id: "bad", build: `printf '[[processes]]\ntype = "a b"\ncommand = ["x"]\n' > $L/launch.toml`}}},
	}
}

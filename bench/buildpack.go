package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// shown is where a build finds the directory that it shares with this program: what it is told there, and what it
// stamps there.
const shown = "/bench"

// replayed is where a first build finds what an earlier run of the buildpack made.
const replayed = "/bench-made"

// writeNode makes the nodejs buildpack that we ship into one that stamps the time its process takes. Where it is told
// a round it does not download what it would, but copies what it made before, and marks every layer with the round, so
// that nobody has seen the layers before; where it finds a file "record" it leaves what it made for that.
func writeNode(dir, shipped string) error {
	if err := os.CopyFS(dir, os.DirFS(shipped)); err != nil {
		return fmt.Errorf("copy the nodejs buildpack: %w (make buildpacks makes it)", err)
	}
	real := filepath.Join(dir, "bin", "real", "build")
	build := filepath.Join(dir, "bin", "build")
	return errors.Join(
		os.Mkdir(filepath.Dir(real), 0o755),
		os.Symlink("../main", real),
		os.Remove(build),
		os.WriteFile(build, []byte(head+`
began=${EPOCHREALTIME/./}
if [[ -f `+shown+`/round ]]; then
	cp -a `+replayed+`/layers/. "$CNB_LAYERS_DIR/"
	for layer in "$CNB_LAYERS_DIR"/*/; do
		cp `+shown+`/round "$layer/bench-round"
	done
else
	"$CNB_BUILDPACK_DIR/bin/real/build" "$@"
fi
if [[ -f `+shown+`/record ]]; then
	cp -a "$CNB_LAYERS_DIR" `+replayed+`/layers
fi
if [[ -d `+shown+` ]]; then
	echo $((${EPOCHREALTIME/./} - began)) >`+shown+`/took
fi
`), 0o755))
}

// libraryBytes is the size of each layer of bench/libraries.
const libraryBytes = 174_000_000

// writeLibraries makes a buildpack of three large layers: the builder's libraries, and of its programs what fills the
// layer up. They are made anew where the app's file "libraries" says something new, else they stay as they were
// restored.
func writeLibraries(dir string) error {
	return writeBuildpack(dir, "bench/libraries", "[[ -f libraries ]] || exit 100", fmt.Sprintf(`
for l in one two three; do
	layer="$CNB_LAYERS_DIR/$l"
	if [[ "$(cat "$layer/stamp" 2>/dev/null)" != "$l $(<libraries)" ]]; then
		rm -rf "$layer"
		mkdir -p "$layer"
		cp -r --no-preserve=all /usr/lib "$layer/" 2>/dev/null || true
		read -r have _ < <(du -sb "$layer")
		if ((have < %[1]d)); then
			cat /usr/bin/* 2>/dev/null | head -c $((%[1]d - have)) >"$layer/programs" || true
		fi
		echo "$l $(<libraries)" >"$layer/stamp"
	fi
	printf '[types]\nlaunch = true\ncache = true\n[metadata]\nstamp = "%%s"\n' "$(<libraries)" >"$layer.toml"
done
`, libraryBytes))
}

// writeBurn makes a buildpack that uses a fixed time of one processor, writes a layer of 20 MB that nobody has seen, and
// stamps all the processor time that its processes took.
func writeBurn(dir string) error {
	return writeBuildpack(dir, "bench/burn", "[[ -f burn ]] || exit 100", fmt.Sprintf(`
mkdir -p "$CNB_LAYERS_DIR/new"
{
	cat burn
	cat /usr/bin/* 2>/dev/null | head -c 20000000 || true
} >"$CNB_LAYERS_DIR/new/programs"
printf '[types]\nlaunch = true\n' >"$CNB_LAYERS_DIR/new.toml"
ticks=0
while ((ticks < %d)); do
	for ((i = 0; i < 20000; i++)); do :; done
	read -ra stat </proc/$$/stat
	ticks=$((stat[13] + stat[14]))
done
times >%s/cpu
`, burnTicks, shown))
}

// writeScript makes a buildpack that does what the app's build.sh says.
func writeScript(dir string) error {
	return writeBuildpack(dir, "bench/script", "[[ -f build.sh ]] || exit 100", "source ./build.sh\n")
}

const head = "#!/usr/bin/env bash\nset -euo pipefail\n"

func writeBuildpack(dir, id, detect, build string) error {
	var errs []error
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"buildpack.toml", fmt.Sprintf("api = \"0.10\"\n\n[buildpack]\nid = %q\nversion = \"0.0.1\"\n\n[[targets]]\nos = \"linux\"\n", id), 0o644},
		{"bin/detect", head + detect + "\n", 0o755},
		{"bin/build", head + build, 0o755},
	} {
		at := filepath.Join(dir, filepath.FromSlash(f.name))
		errs = append(errs, os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(f.text), f.mode))
	}
	return errors.Join(errs...)
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// writeVendored makes a buildpack for apps that bring their modules along: it moves them into a launch layer,
// which is what an install does without its network.
func writeVendored(dir string) error {
	return writeBuildpack(dir, "bench/vendored", "[[ -d node_modules ]] || exit 100", `
mkdir -p "$CNB_LAYERS_DIR/modules"
cp -a node_modules "$CNB_LAYERS_DIR/modules/"
rm -rf node_modules
printf '[types]\nlaunch = true\n' >"$CNB_LAYERS_DIR/modules.toml"
printf '[[processes]]\ntype = "web"\ncommand = ["ls"]\ndefault = true\n' >"$CNB_LAYERS_DIR/launch.toml"
`)
}

// writeLibraries makes a buildpack of three large layers, copied from the builder's libraries. They are made anew where
// the app's file "libraries" says something new, else they stay as they were restored.
func writeLibraries(dir string) error {
	return writeBuildpack(dir, "bench/libraries", "[[ -f libraries ]] || exit 100", `
for l in one two three; do
	if [[ "$(cat "$CNB_LAYERS_DIR/$l/stamp" 2>/dev/null)" != "$l $(<libraries)" ]]; then
		rm -rf "$CNB_LAYERS_DIR/$l"
		mkdir -p "$CNB_LAYERS_DIR/$l"
		cp -r --no-preserve=all /usr/lib /usr/share /usr/bin "$CNB_LAYERS_DIR/$l/" 2>/dev/null || true
		echo "$l $(<libraries)" >"$CNB_LAYERS_DIR/$l/stamp"
	fi
	printf '[types]\nlaunch = true\ncache = true\n[metadata]\nstamp = "%s"\n' "$(<libraries)" >"$CNB_LAYERS_DIR/$l.toml"
done
`)
}

func writeBuildpack(dir, id, detect, build string) error {
	const head = "#!/usr/bin/env bash\nset -euo pipefail\n"
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

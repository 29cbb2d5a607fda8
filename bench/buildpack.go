package main

import (
	"os"
	"path/filepath"
)

// writeVendored makes a buildpack for apps that bring their modules along: it moves them into a launch layer,
// which is what an install does without its network.
func writeVendored(dir string) error {
	for _, f := range []struct {
		name, text string
		mode       os.FileMode
	}{
		{"buildpack.toml", "api = \"0.10\"\n\n[buildpack]\nid = \"bench/vendored\"\nversion = \"0.0.1\"\nname = \"vendored modules\"\n\n[[targets]]\nos = \"linux\"\n", 0o644},
		{"bin/detect", "#!/usr/bin/env bash\nset -euo pipefail\n[[ -d node_modules ]] || exit 100\n", 0o755},
		{"bin/build", `#!/usr/bin/env bash
set -euo pipefail
mkdir -p "$CNB_LAYERS_DIR/modules"
cp -a node_modules "$CNB_LAYERS_DIR/modules/"
rm -rf node_modules
printf '[types]\nlaunch = true\n' >"$CNB_LAYERS_DIR/modules.toml"
printf '[[processes]]\ntype = "web"\ncommand = ["ls"]\ndefault = true\n' >"$CNB_LAYERS_DIR/launch.toml"
`, 0o755},
	} {
		at := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
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

// lifecycleDir is the directory that holds lifecycle.toml: from itself, or unpacked from a .tgz into dir.
func lifecycleDir(from, dir string) (string, error) {
	if fi, err := os.Stat(from); err != nil || fi.IsDir() {
		return from, err
	}
	f, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", from, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dir, nil
		}
		if err == nil {
			err = unpackEntry(root, h, tr)
		}
		if err != nil {
			return "", fmt.Errorf("unpack %s: %w", from, err)
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, r io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if name == "" || h.Typeflag == tar.TypeDir {
		return nil
	}
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeSymlink {
		return root.Symlink(h.Linkname, name)
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, os.FileMode(h.Mode).Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

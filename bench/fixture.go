package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// smallApp makes the app of case A: one file.
func (y *yard) smallApp() (string, error) {
	app := filepath.Join(y.dir, "small")
	if err := os.MkdirAll(app, 0o755); err != nil {
		return "", err
	}
	return app, os.WriteFile(filepath.Join(app, "hello.txt"), []byte("hello\n"), 0o644)
}

// nodeApp makes a copy, called name, of the Node app with about 75 MB of modules.
func (y *yard) nodeApp(name string) (string, error) {
	app := filepath.Join(y.dir, name)
	if _, err := os.Stat(app); err == nil {
		return app, nil
	}
	return app, os.CopyFS(app, os.DirFS(filepath.Join(y.fixtures, "apps", "node-big")))
}

func (y *yard) nodeEnv() []string { return []string{"BP_NODE_MIRROR=" + y.mirror} }

// librariesApp makes the app of bench/libraries: stamp tells its layers from others'.
func (y *yard) librariesApp(name, stamp string) (string, error) {
	return y.oneFile(name, "libraries", stamp)
}

// oneFile makes an app of one file with one line of text.
func (y *yard) oneFile(app, file, line string) (string, error) {
	dir := filepath.Join(y.dir, app)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, file), []byte(line+"\n"), 0o644)
}

// share makes an empty directory that builds, whatever user they run as, may write to, and the mount that shows it.
func (y *yard) share(name, target string) (mount, error) {
	m := mount{source: filepath.Join(y.dir, "shared", name), target: target, writable: true}
	return m, errors.Join(os.RemoveAll(m.source), os.MkdirAll(m.source, 0o755), os.Chmod(m.source, 0o777))
}

// took reads how long a buildpack's process took, as it stamped it itself.
func took(m mount) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(m.source, "took"))
	if err != nil {
		return 0, fmt.Errorf("the buildpack left no stamp: %w", err)
	}
	us, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the buildpack's stamp: %w", err)
	}
	return time.Duration(us) * time.Microsecond, nil
}

// burned reads the processor time of a buildpack and its children, as it stamped it itself: the output of bash's times.
func burned(m mount) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(m.source, "cpu"))
	if err != nil {
		return 0, fmt.Errorf("the buildpack left no stamp: %w", err)
	}
	var sum time.Duration
	for f := range strings.FieldsSeq(string(b)) {
		d, err := time.ParseDuration(f)
		if err != nil {
			return 0, fmt.Errorf("the buildpack's stamp: %w", err)
		}
		sum += d
	}
	return sum, nil
}

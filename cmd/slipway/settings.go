package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pelletier/go-toml/v2"

	"github.com/slipway-build/slipway/builder/cnb"
)

// builtinBuilder is what `make builder` makes: the builder where nobody names another.
const builtinBuilder = "slipway/builder"

// settings is the configuration file.
type settings struct {
	DefaultBuilder     string              `toml:"default-builder,omitempty" json:"default-builder,omitempty"`
	PullPolicy         string              `toml:"pull-policy,omitempty" json:"pull-policy,omitempty"`
	InsecureRegistries []string            `toml:"insecure-registries,omitempty" json:"insecure-registries,omitempty"`
	Runtime            string              `toml:"runtime,omitempty" json:"runtime,omitempty"`
	AllowNetworks      []string            `toml:"allow-networks,omitempty" json:"allow-networks,omitempty"`
	RunImageMirrors    map[string][]string `toml:"run-image-mirrors,omitempty" json:"run-image-mirrors,omitempty"`
}

// settingsPath is where the configuration lies: in SLIPWAY_HOME, else below XDG_CONFIG_HOME or the home directory.
func (a *app) settingsPath() (string, error) {
	if d := a.getenv("SLIPWAY_HOME"); d != "" {
		return filepath.Abs(filepath.Join(d, "config.toml"))
	}
	if d := a.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "slipway", "config.toml"), nil
	}
	if d := a.getenv("HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, ".config", "slipway", "config.toml"), nil
	}
	return "", errors.New("neither SLIPWAY_HOME nor HOME is set: say in SLIPWAY_HOME where the configuration is kept")
}

// config reads the configuration once. No file is no configuration.
func (a *app) config() (*settings, error) {
	if a.settings != nil {
		return a.settings, nil
	}
	path, err := a.settingsPath()
	if err != nil {
		return nil, err
	}
	a.settings, err = readSettings(path)
	return a.settings, err
}

func readSettings(path string) (*settings, error) {
	b, err := cnb.ReadFile(filepath.Dir(path), filepath.Base(path), cnb.MaxDescriptor)
	if errors.Is(err, fs.ErrNotExist) {
		return &settings{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return decodeSettings(path, b)
}

// decodeSettings reads the file's text. A key that nobody knows is an error: it was meant to do something.
func decodeSettings(path string, b []byte) (*settings, error) {
	var s settings
	d := toml.NewDecoder(strings.NewReader(string(b))).DisallowUnknownFields()
	err := d.Decode(&s)
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(missing.Errors) > 0 {
		row, _ := missing.Errors[0].Position()
		return nil, fmt.Errorf("configuration %s: line %d: unknown key %s (known: %s)", path, row, strings.Join(missing.Errors[0].Key(), "."), strings.Join(settingKeys(), ", "))
	}
	if bad, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, _ := bad.Position()
		return nil, fmt.Errorf("configuration %s: line %d: %w", path, row, err)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return &s, nil
}

// changeSettings reads the file anew, changes it and writes it, alone among all that do so.
func (a *app) changeSettings(change func(*settings) error) error {
	return a.locked(func(path string) error {
		s, err := readSettings(path)
		if err != nil {
			return err
		}
		if err := change(s); err != nil {
			return err
		}
		b, err := toml.Marshal(s)
		if err == nil {
			err = replaceFile(path, b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write the configuration: %w", err)
		}
		a.settings = s
		return nil
	})
}

// locked does something with the configuration's directory, alone among all that do so. path is the configuration.
func (a *app) locked(do func(path string) error) error {
	path, err := a.settingsPath()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	defer lock.Close() // which gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the configuration: %w", err)
	}
	return do(path)
}

// replaceFile writes a file that is there in whole or as it was before.
func replaceFile(path string, b []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// defaultBuilder is the configured builder, else the built-in name.
func (a *app) defaultBuilder(s *settings) string {
	if s.DefaultBuilder != "" {
		return s.DefaultBuilder
	}
	return builtinBuilder
}

// mirrorLines is the mirrors of every run image, a line each.
func (s *settings) mirrorLines() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.RunImageMirrors)) {
		out = append(out, name+" "+strings.Join(s.RunImageMirrors[name], " "))
	}
	return out
}

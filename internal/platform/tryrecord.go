package platform

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/builder/cnb"
	"github.com/slipway-build/slipway/internal/image"
	"github.com/slipway-build/slipway/internal/layerstore"
)

// tryKey names an app together with what is to build it, the same from wherever it is asked for.
func tryKey(o Options) (string, error) {
	h := sha256.New()
	text := [][]string{{o.Source}, {o.Builder, o.DefaultBuilder, o.RunImage, o.ExecEnv}, o.Pre, o.Buildpacks, o.Post}
	for _, list := range text {
		for _, s := range list {
			if exists(s) {
				abs, err := filepath.Abs(s)
				if err != nil {
					return "", err
				}
				s = abs
			}
			fmt.Fprintf(h, "%q ", s)
		}
		fmt.Fprintln(h)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16]), nil
}

// tries is the directory of what earlier runs of Try came to, one file each.
func (m *Machine) tries() string { return filepath.Join(m.State, "tries") }

func tryRecord(m *Machine, o Options) string {
	return filepath.Join(m.tries(), filepath.Base(o.Image)+".json")
}

// A tryFile is a run of Try as the next one wants it.
type tryFile struct {
	Tried    *Tried             `json:"tried"`
	Metadata cnb.LayersMetadata `json:"metadata"`
}

// recall reads the run before. One that cannot be read is none: the buildpacks then run as for the first time.
func (t *try) recall() error {
	if t.o.Cache.Clear {
		return nil
	}
	b, err := os.ReadFile(t.record)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // free-form metadata keeps its digits
	if err := d.Decode(&t.last); err != nil {
		t.last = tryFile{}
	}
	return nil
}

// keep writes this run for the next one. The file is there in whole or as it was.
func (t *try) keep() error {
	b, err := json.Marshal(tryFile{t.now, t.exported.Metadata})
	if err != nil {
		return fmt.Errorf("keep the run for the next one: %w", err)
	}
	if err := os.MkdirAll(t.m.tries(), 0o700); err != nil {
		return fmt.Errorf("keep the run for the next one: %w", err)
	}
	tmp, err := os.CreateTemp(t.m.tries(), ".new-")
	if err != nil {
		return fmt.Errorf("keep the run for the next one: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), t.record)
	}
	return err
}

// pruneTries removes the records of runs that nobody repeated for so long.
func (m *Machine) pruneTries(unused time.Duration) error {
	entries, err := os.ReadDir(m.tries())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		fi, ierr := e.Info()
		if ierr == nil && time.Since(fi.ModTime()) > unused {
			err = errors.Join(err, os.Remove(filepath.Join(m.tries(), e.Name())))
		}
	}
	return err
}

// Forget removes what Try keeps of an app for the next run: its record and its cache. Layers stay, as others may have
// the same, until they are pruned.
func Forget(m *Machine, o Options) error {
	o, err := withoutImage(o)
	if err != nil {
		return err
	}
	if err := os.Remove(tryRecord(m, o)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget a run: %w", err)
	}
	ref, err := image.ParseRef(o.Image)
	if err != nil {
		return err
	}
	return m.Store.RemoveCache(layerstore.CacheKey(ref.Name()))
}

package health

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-build/slipway/internal/index"
)

// A Report is the last results of one index: of some versions they may be older than of others.
type Report struct {
	Index    string        `json:"index"`
	Revision string        `json:"revision,omitempty"` // of the index when it was last looked at
	Checked  time.Time     `json:"checked"`
	Live     int           `json:"live"` // versions that are not yanked
	Counts   map[State]int `json:"counts"`
	Results  []Result      `json:"results"`
}

// FileName is the file of the last Report, in the directory of its index.
const FileName = "health.json"

// maxReport bounds what is read of a file.
const maxReport = 512 << 20

// Read is the last report in the directory of an index. Without one it is empty; the error is of one that cannot be read.
func Read(dir string) (*Report, error) {
	f, err := os.Open(filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return &Report{Counts: map[State]int{}, Results: []Result{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the last health of an index: %w", err)
	}
	defer f.Close()
	var r Report
	if err := json.NewDecoder(io.LimitReader(f, maxReport)).Decode(&r); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return &r, nil
}

// Merge is the report of an index after a check: fresh results, and of versions that it has still the old ones.
func (r *Report) Merge(x *index.Index, fresh []Result) (*Report, error) {
	live, err := Targets(x, nil)
	if err != nil {
		return nil, err
	}
	known := map[Target]Result{}
	for _, list := range [][]Result{r.Results, fresh} {
		for _, one := range list {
			known[one.Target] = one
		}
	}
	return (&Report{Index: x.Name, Revision: x.Revision}).pick(live, known), nil
}

// Due are the live versions of an index that were not looked at since a time.
func (r *Report) Due(x *index.Index, since time.Time) ([]Target, error) {
	live, err := Targets(x, nil)
	if err != nil {
		return nil, err
	}
	looked := map[Target]bool{}
	for _, one := range r.Results {
		looked[one.Target] = one.Checked.After(since)
	}
	return slices.DeleteFunc(live, func(t Target) bool { return looked[t] }), nil
}

// Of is the part of the report that is of some versions.
func (r *Report) Of(targets []Target) *Report {
	known := map[Target]Result{}
	for _, one := range r.Results {
		known[one.Target] = one
	}
	return (&Report{Index: r.Index, Revision: r.Revision}).pick(targets, known)
}

// pick fills the report with what is known of versions, in their order.
func (r *Report) pick(live []Target, known map[Target]Result) *Report {
	r.Live, r.Counts, r.Results = len(live), map[State]int{}, []Result{}
	for _, t := range live {
		one, ok := known[t]
		if !ok {
			continue
		}
		r.Results = append(r.Results, one)
		r.Counts[one.State]++
		if one.Checked.After(r.Checked) {
			r.Checked = one.Checked
		}
	}
	return r
}

// Write keeps the report in the directory of its index, as a whole.
func (r *Report) Write(dir string) (err error) {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".health-*")
	if err != nil {
		return fmt.Errorf("keep the health of index %s: %w", r.Index, err)
	}
	defer os.Remove(f.Name()) // gone already where all went well
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, FileName))
	}
	if err != nil {
		return fmt.Errorf("keep the health of index %s: %w", r.Index, err)
	}
	return nil
}

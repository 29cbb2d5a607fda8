package index

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A Fact is what is known of a buildpack besides its name and versions, which is all that an index says: what its image
// said of itself when a version was last seen here, in a build, inspected or pulled.
type Fact struct {
	Version     string    `json:"version,omitempty"` // that was seen
	Name        string    `json:"name,omitempty"`
	Description string    `json:"description,omitempty"`
	Keywords    []string  `json:"keywords,omitempty"`
	Targets     []string  `json:"targets,omitempty"` // "linux", "linux/amd64"; none: not known
	Uses        int       `json:"uses,omitempty"`    // by builds here
	Seen        time.Time `json:"seen"`
}

// Facts are what is known of buildpacks, by name.
type Facts map[string]Fact

// factsName is the file of the Facts in the directory of a Set; the most that is kept of it and of one of them.
const (
	factsName = "facts.json"
	maxFacts  = 16 << 20
	maxKnown  = 20_000
	maxSaid   = 1000
)

// Facts are what was noted here. A file that cannot be read is as none: it is noted anew.
func (s *Set) Facts() Facts {
	known := Facts{}
	f, err := os.Open(filepath.Join(s.dir, factsName))
	if err != nil {
		return known
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxFacts)).Decode(&known); err != nil || known == nil {
		return Facts{}
	}
	return known
}

// Note keeps what the image of a buildpack says of itself, and counts its use by a build. Other processes may note at the
// same time. Without a directory that can be written it is an error that wraps fs.ErrPermission or the system's.
func (s *Set) Note(n Name, f Fact, used bool) (err error) {
	lock, err := os.OpenFile(filepath.Join(s.dir, ".facts.lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.dir, 0o755); err == nil {
			lock, err = os.OpenFile(filepath.Join(s.dir, ".facts.lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
		}
	}
	if err != nil {
		return fmt.Errorf("note what %s is: %w", n, err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("note what %s is: %w", n, err)
	}
	known := s.Facts()
	old, ok := known[n.String()]
	if !ok && len(known) >= maxKnown {
		return nil
	}
	f.Name, f.Description, f.Uses = clipped(f.Name), clipped(f.Description), old.Uses
	f.Keywords, f.Targets = few(f.Keywords), few(f.Targets)
	if used {
		f.Uses++
	}
	known[n.String()] = f
	b, err := json.Marshal(known)
	if err == nil {
		err = replace(filepath.Join(s.dir, factsName), b)
	}
	if err != nil {
		return fmt.Errorf("note what %s is: %w", n, err)
	}
	return nil
}

func clipped(s string) string {
	if len(s) > maxSaid {
		return s[:maxSaid]
	}
	return s
}

func few(all []string) (out []string) {
	for _, s := range all[:min(len(all), 50)] {
		out = append(out, clipped(s))
	}
	return out
}

// replace writes a file as a whole.
func replace(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already where all went well
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

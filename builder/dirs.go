package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/slipway-build/slipway/builder/cnb"
)

// Dirs names the directories of one build. All but Root are absolute slash paths as buildpack executables see
// them; Host gives the place where this process finds them. A Dirs is a value: phases do not change it.
type Dirs struct {
	Root        string `json:"root,omitempty"`         // where "/" of the executables is on this machine; "" is "/"
	App         string `json:"app"`                    // the application, working directory of every executable
	Layers      string `json:"layers"`                 // <layers>
	Platform    string `json:"platform"`               // <platform>: env/, bindings/
	BuildConfig string `json:"build-config,omitempty"` // <build-config>: env/ of the operator; "" for none
	Generated   string `json:"generated,omitempty"`    // <generated>, for image extensions
	Scratch     string `json:"scratch,omitempty"`      // plan files of single executions; "" is /tmp
	// UID and GID own what is made for buildpacks. Where they are not this process's own, it must be root.
	UID int `json:"uid"`
	GID int `json:"gid"`
	// Shift is what this machine has for id 0 of the executables' user namespace: below Root, files belong to UID and
	// GID plus Shift. In layers they have the ids that executables see. 0 where there is no such namespace.
	Shift int `json:"shift,omitempty"`
}

// Owner is who owns, on this machine, what is made for buildpacks.
func (d Dirs) Owner() (uid, gid int) { return d.UID + d.Shift, d.GID + d.Shift }

// shifts is how many ids a user namespace has.
const shifts = 1 << 16

// seen is an id of this machine as executables see it.
func (d Dirs) seen(id int) int {
	if d.Shift > 0 && id >= d.Shift && id < d.Shift+shifts {
		return id - d.Shift
	}
	return id
}

// Host is the path of p, an absolute path as executables see it, on this machine. It is text only: nothing is
// resolved, and ".." cannot leave Root.
func (d Dirs) Host(p string) string {
	return filepath.Join("/", d.Root, filepath.FromSlash(path.Join("/", p)))
}

// LayersDir is a buildpack's own directory below <layers>, as executables see it.
func (d Dirs) LayersDir(id cnb.ID) string { return path.Join(d.Layers, id.Dir()) }

func (d Dirs) scratch() string {
	if d.Scratch == "" {
		return "/tmp"
	}
	return d.Scratch
}

// chown gives name, below root, to the user that runs buildpacks. Links are not followed.
func (d Dirs) chown(root *os.Root, name string) error {
	if !d.foreign() {
		return nil
	}
	uid, gid := d.Owner()
	if err := root.Lchown(name, uid, gid); err != nil {
		return fmt.Errorf("give %s to %d:%d: %w", filepath.Join(root.Name(), name), uid, gid, err)
	}
	return nil
}

// ownDir makes sure that name below root is a directory of the buildpacks' user. A link or a file in its place
// is an error, because a buildpack that ran earlier may have put it there.
func (d Dirs) ownDir(root *os.Root, name string) error {
	err := root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		fi, err := root.Lstat(name)
		if err != nil {
			return fmt.Errorf("look at %s: %w", path.Join(root.Name(), name), err)
		}
		if !fi.IsDir() {
			return fmt.Errorf("%s is in the way: a directory has to be here, not a %s", path.Join(root.Name(), name), typeName(fi.Mode()))
		}
	} else if err != nil {
		return fmt.Errorf("make directory %s: %w", path.Join(root.Name(), name), err)
	}
	return d.chown(root, name)
}

// typeName says in a word what kind of file m is.
func typeName(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "regular file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symbolic link"
	case fs.ModeNamedPipe:
		return "named pipe"
	case fs.ModeSocket:
		return "socket"
	}
	return "device"
}

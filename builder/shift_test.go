package builder

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestShift: what is made for executables in a user namespace is theirs on disk, and a layer has the ids that they see.
func TestShift(t *testing.T) {
	d := Dirs{Root: t.TempDir(), Layers: "/layers", UID: 7, GID: 8, Shift: 0x7000_0000}
	if os.Geteuid() != 0 { // who can give files to nobody but himself
		d.UID, d.GID, d.Shift = os.Geteuid()-1, os.Getegid()-1, 1
	}
	root, err := os.OpenRoot(d.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, dir := range []string{"layers", "layers/bp", "layers/bp/l"} {
		if err := d.ownDir(root, dir); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(d.Root, "layers/bp"), &st); err != nil || int(st.Uid) != d.UID+d.Shift || int(st.Gid) != d.GID+d.Shift {
		t.Errorf("on disk it is %d:%d's (%v)", st.Uid, st.Gid, err)
	}
	tree := treePart{anchor: d.Host("/layers"), below: []string{"bp", "l"}, name: "/layers/bp/l", uid: d.UID, gid: d.GID}
	l := Layer{ID: "bp:l", parts: append(parentsOf(d, "/layers/bp/l"), tree)}
	hs := headers(t, tarOf(t, l))
	if len(hs) != 3 {
		t.Errorf("%d entries", len(hs))
	}
	for _, h := range hs {
		if h.Uid != d.UID || h.Gid != d.GID {
			t.Errorf("%s is %d:%d's in the layer, want %d:%d", h.Name, h.Uid, h.Gid, d.UID, d.GID)
		}
	}
}

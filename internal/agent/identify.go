package agent

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// An Identity is what the kernel knows a file by. It is the same in all mount namespaces of a machine; every mount of
// an overlay has a device of its own.
type Identity struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// Identify looks at path, whose last element may not be a link.
func Identify(path string) (Identity, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Identity{}, fmt.Errorf("look at %s: %w", path, err)
	}
	return Identity{Device: st.Dev, Inode: st.Ino}, nil
}

// Identify is Identify in the container: whether it sees what is seen here.
func (a *Agent) Identify(ctx context.Context, path string) (Identity, error) {
	var id Identity
	body, err := encode(path)
	if err != nil {
		return id, err
	}
	reply, err := a.conn.Call(ctx, "identify", body)
	if err != nil {
		return id, fmt.Errorf("look at %s in the build container: %w", path, err)
	}
	return id, decode(reply, &id)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// become makes this process uid:gid for good. Registry credentials have been read by then, and what comes from
// images, caches and buildpacks is touched only after it. engine keeps a way to open connections as root, which a
// Docker engine's socket may need: the saved user id stays root, which no program that we start inherits.
//
// Where the user changes, or is one that buildpacks run as, the kernel keeps other processes of that user from
// reading our memory and environment, which may hold registry credentials.
func become(uid, gid int, engine bool) error {
	if uid != os.Getuid() || gid != os.Getgid() {
		if err := syscall.Setgroups([]int{gid}); err != nil && !errors.Is(err, syscall.EPERM) {
			return fmt.Errorf("set groups: %w", err)
		}
		if err := syscall.Setresgid(gid, gid, gid); err != nil {
			return fmt.Errorf("set group %d: %w", gid, err)
		}
		saved := uid
		if engine {
			saved = os.Getuid()
		}
		if err := syscall.Setresuid(uid, uid, saved); err != nil {
			return fmt.Errorf("set user %d: %w", uid, err)
		}
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// dialAsRoot connects to a unix socket with the saved user id of this process, in one thread and for as long as
// connecting takes. Other addresses are connected to as they are.
func dialAsRoot(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	real, effective, saved := unix.Getresuid()
	if network != "unix" || effective == saved {
		return d.DialContext(ctx, network, address)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1) // one result, which the caller waits for
	go func() {
		// The thread is never given back: it ends with this goroutine, whatever its user is by then.
		runtime.LockOSThread()
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(real), uintptr(saved), uintptr(saved)); e != 0 {
			done <- result{err: fmt.Errorf("connect as user %d: %w", saved, e)}
			return
		}
		conn, err := d.DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// own gives directories to uid:gid, with all that is in them, unless that user can write to them already. One that is
// not there is left alone; links are not followed.
func own(uid, gid int, dirs ...string) error {
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		fi, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && writable(st, uid, gid) {
			continue
		}
		if err := ownTree(dir, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func writable(st *syscall.Stat_t, uid, gid int) bool {
	return st.Uid == uint32(uid) || st.Gid == uint32(gid) && st.Mode&0o020 != 0 || st.Mode&0o002 != 0
}

func ownTree(dir string, uid, gid int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		return root.Lchown(name, uid, gid)
	})
}

// homeOf is env with the home and the name of a user that has them: what buildpacks see as theirs.
func homeOf(uid int, env environment) environment {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return env
	}
	env["HOME"], env["USER"] = u.HomeDir, u.Username
	return env
}

// environ is the environment as the engine takes it.
func (e environment) environ() []string {
	var out []string
	for k, v := range e {
		out = append(out, k+"="+v)
	}
	return out
}

// dockerConfig is where docker's credentials file is.
func (e environment) dockerConfig() string {
	if dir := e["DOCKER_CONFIG"]; dir != "" {
		return filepath.Join(dir, "config.json")
	}
	if home := strings.TrimSpace(e["HOME"]); home != "" {
		return filepath.Join(home, ".docker", "config.json")
	}
	return ""
}

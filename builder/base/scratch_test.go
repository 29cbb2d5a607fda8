package base

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// ours is the Options and the scratch of a bootstrap below a directory of the test.
func ours(t *testing.T) (Options, scratch) {
	t.Helper()
	o := Options{Env: []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + openTemp(t)}}
	var helper []string
	if os.Geteuid() != 0 {
		helper = []string{lookPath("mmdebstrap", o.searchPath()), "--unshare-helper"}
	}
	s, err := o.newScratch(helper...)
	must(t, err)
	return o, s
}

// Files of others, in directories that not even those may enter.
func TestScratchOfOthers(t *testing.T) {
	o, s := ours(t)
	must(t, os.Chmod(s.dir, 0o777))
	argv := append(s.helper, "sh", "-c", `umask 077; mkdir -p "$0/tree/a/b" && touch "$0/tree/a/b/c" && chown -R 5:7 "$0/tree" && chmod 0 "$0/tree/a/b" "$0/tree/a"`, s.dir)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, os.Chmod(s.dir, 0o755))
	if fi, err := os.Lstat(s.dir + "/tree"); err != nil || int(fi.Sys().(*syscall.Stat_t).Uid) == os.Geteuid() {
		t.Fatalf("the tree is nobody else's: %v", err)
	}
	must(t, s.remove(t.Context(), o))
	if left := entries(t, o.env("TMPDIR")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Mounts are unmounted, and what is mounted there stays as it is. It takes root and a mount namespace; an ordinary user
// has both in a namespace of his own.
func TestScratchWithMounts(t *testing.T) {
	const inside = "SLIPWAY_TEST_MOUNTS"
	if os.Getenv(inside) != "" {
		scratchWithMounts(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func scratchWithMounts(t *testing.T) {
	// As /sys, with a mount of its own and the rest of the machine listening.
	precious := t.TempDir()
	inner := filepath.Join(precious, "inner")
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(precious, precious, "", unix.MS_BIND, ""), unix.Mount("", precious, "", unix.MS_SHARED, ""),
		os.Mkdir(inner, 0o755), unix.Mount("tmpfs", inner, "tmpfs", 0, ""),
		os.WriteFile(inner+"/file", nil, 0o600), os.WriteFile(precious+"/file", nil, 0o600))

	o, s := ours(t)
	for _, name := range []string{"/root/sys", "/root/a b", "/root/a b/c"} {
		must(t, os.MkdirAll(s.dir+name, 0o755))
	}
	must(t, os.WriteFile(s.dir+"/root/null", nil, 0o644), unix.Mount(precious, s.dir+"/root/sys", "", unix.MS_BIND|unix.MS_REC, ""),
		unix.Mount("tmpfs", s.dir+"/root/a b", "tmpfs", 0, ""), unix.Mount("tmpfs", s.dir+"/root/a b", "tmpfs", 0, ""),
		unix.Mount("/dev/null", s.dir+"/root/null", "", unix.MS_BIND, ""))

	must(t, s.remove(t.Context(), o))
	if left := entries(t, o.env("TMPDIR")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, file := range []string{precious + "/file", inner + "/file", "/dev/null"} {
		if _, err := os.Lstat(file); err != nil {
			t.Error(err)
		}
	}
	must(t, unix.Unmount(inner, 0), unix.Unmount(precious, 0))
}

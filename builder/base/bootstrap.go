package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A tool writes the tar of a bootstrapped root filesystem to w, entries sorted by name.
type tool interface {
	bootstrap(ctx context.Context, o Options, w io.Writer) error
}

// findTool picks mmdebstrap, and debootstrap where there is only that. Both come as Debian packages.
func findTool(o Options) (tool, error) {
	path := o.searchPath()
	if exe := lookPath("mmdebstrap", path); exe != "" {
		mode := "root"
		if os.Geteuid() != 0 {
			mode = "unshare"
			if err := subordinateIDs(path); err != nil {
				return nil, err
			}
		}
		return mmdebstrap{exe: exe, mode: mode}, nil
	}
	exe := lookPath("debootstrap", path)
	switch {
	case exe == "":
		return nil, errors.New("neither mmdebstrap nor debootstrap is installed: apt-get install mmdebstrap (make setup does)")
	case os.Geteuid() != 0:
		return nil, errors.New("debootstrap needs root, and mmdebstrap, which does not, is not installed: apt-get install mmdebstrap")
	}
	return debootstrap{exe: exe}, nil
}

// subordinateIDs tells an ordinary user what mmdebstrap's user namespace is missing.
func subordinateIDs(path []string) error {
	if lookPath("newuidmap", path) == "" {
		return errors.New("making a base image as an ordinary user needs newuidmap: apt-get install uidmap (make setup does)")
	}
	u, err := user.Current()
	if err != nil {
		return fmt.Errorf("find out who we are: %w", err)
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if !hasSubordinate(text, u.Username, u.Uid) {
			return fmt.Errorf("making a base image as an ordinary user needs subordinate ids, and %s has none for %s: "+
				"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", file, u.Username, u.Username)
		}
	}
	return nil
}

// hasSubordinate reads the form of subuid(5): user:first:count, the user by name or number.
func hasSubordinate(text []byte, name, uid string) bool {
	for line := range bytes.Lines(text) {
		f := strings.Split(strings.TrimSpace(string(line)), ":")
		if len(f) == 3 && (f[0] == name || f[0] == uid) {
			return true
		}
	}
	return false
}

// mmdebstrap writes the tar to its standard output. All packages are fetched from outside the tree, so the tree
// needs neither resolver nor proxy nor certificates.
type mmdebstrap struct{ exe, mode string }

func (m mmdebstrap) bootstrap(ctx context.Context, o Options, w io.Writer) (err error) {
	conf, err := o.aptConf(ctx)
	if err != nil {
		return err
	}
	defer conf.remove()
	var helper []string
	if m.mode == "unshare" {
		helper = []string{m.exe, "--unshare-helper"}
	}
	temp, err := o.newScratch(helper...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temp.remove(ctx, o)) }()
	args := []string{
		"--mode=" + m.mode, "--variant=essential", "--format=tar",
		"--architectures=" + o.Arch, "--include=" + strings.Join(o.Packages, ","),
	}
	if conf.path != "" {
		args = append(args, "--aptopt="+conf.path)
	}
	args = append(args, o.Suite, "-")
	args = append(args, o.sources()...)
	return o.in(temp.dir).run(ctx, w, m.exe, args...)
}

// debootstrap makes a directory, which an upgrade from within brings up to the security archive.
type debootstrap struct{ exe string }

func (d debootstrap) bootstrap(ctx context.Context, o Options, w io.Writer) (err error) {
	temp, err := o.newScratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temp.remove(ctx, o)) }()
	root := temp.dir + "/root"
	err = o.run(ctx, nil, d.exe, "--variant=minbase", "--arch="+o.Arch, "--merged-usr",
		"--include="+strings.Join(o.Packages, ","), o.Suite, root, o.Mirror)
	if err != nil {
		return err
	}
	if err := o.upgrade(ctx, root); err != nil {
		return err
	}
	return o.run(ctx, w, "tar", "--create", "--sort=name", "--numeric-owner", "--one-file-system", "--directory="+root, ".")
}

// upgrade lends the tree the machine's resolver and apt settings; the normaliser leaves both out.
func (o Options) upgrade(ctx context.Context, root string) error {
	conf, err := o.aptConf(ctx)
	if err != nil {
		return err
	}
	defer conf.remove()
	lend := map[string][]byte{"/etc/apt/sources.list": []byte(strings.Join(o.sources(), "\n") + "\n")}
	if conf.path != "" {
		if lend["/etc/apt/apt.conf.d/99slipway"], err = os.ReadFile(conf.path); err != nil {
			return err
		}
	}
	if lend["/etc/resolv.conf"], err = os.ReadFile("/etc/resolv.conf"); err != nil {
		delete(lend, "/etc/resolv.conf")
	}
	for name, body := range lend {
		if err := os.WriteFile(root+name, body, 0o644); err != nil {
			return err
		}
	}
	if err := o.run(ctx, nil, "chroot", root, "apt-get", "-q", "update"); err != nil {
		return err
	}
	return o.run(ctx, nil, "chroot", root, "apt-get", "-q", "-y", "--no-install-recommends", "dist-upgrade")
}

// run starts a tool, its messages to Progress, and says the last of them when it fails. On cancel it is
// interrupted, as from a terminal, so that it takes its mounts and temporary files away. What is left of its process
// group when it has ended is killed, and with it the pid namespaces that mmdebstrap makes.
func (o Options) run(ctx context.Context, stdout io.Writer, exe string, args ...string) error {
	path := o.searchPath()
	if found := lookPath(exe, path); found != "" {
		exe = found
	}
	messages := &tail{to: o.Progress}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = o.toolEnv()
	cmd.Stdout, cmd.Stderr = stdout, messages
	if stdout == nil {
		cmd.Stdout = messages
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	err := cmd.Start()
	if err == nil {
		awaitEnd(cmd.Process.Pid)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("run %s: %w%s%s", exe, err, hint(messages.String()), messages)
	}
	return nil
}

// awaitEnd returns when the process has ended. It leaves the zombie, which keeps the number of its group from being
// another's.
func awaitEnd(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// hint says what to do about the failures that are common.
func hint(messages string) string {
	switch {
	case strings.Contains(messages, "NO_PUBKEY"), strings.Contains(messages, "Missing key"):
		return " (the archive's key is not known here: apt-get install debian-archive-keyring, or a newer one)"
	case strings.Contains(messages, "Could not resolve"), strings.Contains(messages, "Temporary failure resolving"),
		strings.Contains(messages, "Could not connect"), strings.Contains(messages, "Connection timed out"):
		return " (the mirror cannot be reached: is there a network, does apt need a proxy, is the mirror's name right?)"
	case strings.Contains(messages, "No space left on device"):
		return " (disk full: about 1.5 GB are needed below TMPDIR)"
	case strings.Contains(messages, "Unable to locate package"), strings.Contains(messages, "has no installation candidate"):
		return " (a listed package is not in this suite)"
	}
	return ""
}

// searchPath is PATH with the system's directories, where an ordinary user's PATH often lacks sbin.
func (o Options) searchPath() []string {
	dirs := strings.Split(o.env("PATH"), ":")
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return slices.DeleteFunc(dirs, func(d string) bool { return !strings.HasPrefix(d, "/") })
}

// in is o for a tool whose temporary files belong into dir.
func (o Options) in(dir string) Options {
	o.Env = append(slices.Clip(o.Env), "TMPDIR="+dir)
	return o
}

// toolEnv is an allow-list: package scripts see it, and what they see can end up in what they write.
func (o Options) toolEnv() []string {
	env := []string{
		"PATH=" + strings.Join(o.searchPath(), ":"), "LC_ALL=C.UTF-8", "TZ=UTC", "DEBIAN_FRONTEND=noninteractive",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", layerTime().Unix()),
	}
	for _, name := range []string{
		"HOME", "TMPDIR", "USER", "LOGNAME", "APT_CONFIG", "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
	} {
		if v := o.env(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// lookPath is exec.LookPath over directories that are given.
func lookPath(exe string, dirs []string) string {
	if strings.Contains(exe, "/") {
		return exe
	}
	for _, dir := range dirs {
		if st, err := os.Stat(dir + "/" + exe); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return dir + "/" + exe
		}
	}
	return ""
}

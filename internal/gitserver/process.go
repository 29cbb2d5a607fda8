package gitserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/child"
)

// settings are given to every git by argument, so that they hold whatever a repository's own file says and change with
// the program. No other configuration is read: see environment.
func settings(hooks string) []string {
	return []string{
		"core.hooksPath=" + hooks,
		"core.fsync=committed,loose-object,reference", // what we acknowledge is durable
		"core.logAllRefUpdates=false",
		"core.bigFileThreshold=16m", // larger files are streamed, and not kept in memory or compared
		"tar.umask=0022",            // an archive has the modes of a checkout, so that a commit builds to the same bytes wherever it comes from
		"core.packedGitLimit=512m",
		"pack.threads=2",
		"pack.windowMemory=64m",
		"pack.deltaCacheSize=64m",
		"gc.auto=0", // Maintain says when
		"gc.autoDetach=false",
		"maintenance.auto=false",
		"receive.autogc=false",
		"receive.unpackLimit=1", // every push stays one pack: one file to check, to link and to sync
		"receive.advertisePushOptions=true",
		"receive.shallowUpdate=true", // clones of continuous integration are shallow
		"receive.denyCurrentBranch=ignore",
		"receive.keepAlive=5",
		"receive.procReceiveRefs=",
		"transfer.fsckObjects=true",
		// Old and harmless mistakes of other programs, which are in the history of many projects.
		"receive.fsck.missingSpaceBeforeDate=ignore",
		"receive.fsck.missingSpaceBeforeEmail=ignore",
		"receive.fsck.missingEmail=ignore",
		"receive.fsck.badTimezone=ignore",
		"receive.fsck.zeroPaddedFilemode=ignore",
		"transfer.hideRefs=refs/slipway",
		"uploadpack.keepAlive=5",
		"uploadpack.allowFilter=false",
		"protocol.allow=never", // none of these commands fetches
	}
}

// command is git in a repository: with our settings, an environment that holds nothing of ours, and a process group of
// its own that ends with ctx; see child.Start. A group is first asked to end, so that
// receive-pack removes its quarantine.
func (r *Repos) command(ctx context.Context, repo string, args ...string) *exec.Cmd {
	var argv []string
	for _, s := range settings(filepath.Dir(r.hook())) {
		argv = append(argv, "-c", s)
	}
	cmd := exec.CommandContext(ctx, r.git, append(argv, args...)...)
	cmd.Dir = repo
	cmd.Env = r.environment(repo)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	return cmd
}

// killAfter is what a git has to clean up behind itself when it is asked to end.
const killAfter = 3 * time.Second

func (r *Repos) environment(repo string) []string {
	home := filepath.Join(r.dir, runDir, "home")
	return []string{
		"PATH=" + filepath.Dir(r.git) + ":/usr/bin:/bin",
		"HOME=" + home, "XDG_CONFIG_HOME=" + home, "TMPDIR=" + filepath.Join(r.dir, runDir, "tmp"),
		"LC_ALL=C", "TZ=UTC",
		"GIT_DIR=" + repo,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=" + os.DevNull, "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_ATTR_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_DEFAULT_REF_FORMAT=files",
		"GIT_COMMITTER_NAME=slipway", "GIT_COMMITTER_EMAIL=slipway@localhost",
	}
}

// confine bounds what a git that reads a client's bytes may use. It is called before the first of those bytes is
// written to it, and holds for its children too.
func confine(pid int, memory, file int64) error {
	for what, l := range map[int]int64{unix.RLIMIT_CORE: 0, unix.RLIMIT_DATA: memory, unix.RLIMIT_FSIZE: file} {
		limit := unix.Rlimit{Cur: uint64(l), Max: uint64(l)}
		if err := unix.Prlimit(pid, what, &limit, nil); err != nil {
			return fmt.Errorf("limit git: %w", err)
		}
	}
	return nil
}

// run runs a git that prints little, and returns what it printed.
func (r *Repos) run(ctx context.Context, repo string, args ...string) (string, error) {
	return runCommand(r.command(ctx, repo, args...))
}

func runCommand(cmd *exec.Cmd) (string, error) {
	var out, stderr child.Tail
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := child.Start(cmd); err != nil {
		return "", fmt.Errorf("start git: %w", err)
	}
	if err := child.Wait(cmd); err != nil {
		return "", &gitError{verb: verbOf(cmd.Args), stderr: stderr.String(), err: err}
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// verbOf is what git was asked for, without the settings.
func verbOf(args []string) string {
	for i := 1; i < len(args); i++ {
		if args[i] == "-c" {
			i++
			continue
		}
		return args[i]
	}
	return ""
}

// A gitError is a git that failed.
type gitError struct {
	verb, stderr string
	err          error
}

func (e *gitError) Error() string {
	text := "git " + e.verb + ": " + e.err.Error()
	if said := strings.TrimSpace(e.stderr); said != "" {
		text += ": " + quote(said)
	}
	return text
}

func (e *gitError) Unwrap() error { return e.err }

// exited tells whether a git ended by itself with a status.
func exited(err error, status int) bool {
	e, ok := errors.AsType[*exec.ExitError](err)
	return ok && e.ExitCode() == status
}

package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/child"
)

// settings are given to every git by argument. No other configuration is read: see environment.
func settings() []string {
	return []string{
		"core.hooksPath=" + os.DevNull,
		"core.fsync=none", // the repository goes when the fetch ends
		"core.logAllRefUpdates=false",
		"core.bigFileThreshold=16m", // larger files are streamed, and not kept in memory
		"tar.umask=0022",            // an archive has the modes of a checkout, so that a commit builds to the same bytes wherever it comes from
		"core.packedGitLimit=512m",
		"core.askPass=",
		"credential.helper=",
		"gc.auto=0",
		"maintenance.auto=false",
		"pack.threads=1",
		"fetch.unpackLimit=1", // one file to watch
		"fetch.recurseSubmodules=false",
		"fetch.negotiationAlgorithm=noop", // a server is not told what we have: of a filtered commit that is not all (see Files)
		"fetch.fsckObjects=true",
		// Old and harmless mistakes of other programs, which are in the history of many projects.
		"fetch.fsck.missingSpaceBeforeDate=ignore",
		"fetch.fsck.missingSpaceBeforeEmail=ignore",
		"fetch.fsck.missingEmail=ignore",
		"fetch.fsck.badTimezone=ignore",
		"fetch.fsck.zeroPaddedFilemode=ignore",
		"http.proxyAuthMethod=basic",
		"http.sslVerify=true",
		"http.followRedirects=initial",
		"submodule.recurse=false",
		"transfer.bundleURI=false",
	}
}

// git is a git in the repository of a fetch: with our settings, an environment that holds nothing of ours, and a
// process group of its own that ends with ctx and, as far as the kernel can do that, with us.
func (s *session) git(ctx context.Context, args ...string) *exec.Cmd {
	var argv []string
	for _, c := range settings() {
		argv = append(argv, "-c", c)
	}
	cmd := exec.CommandContext(ctx, s.binary, append(argv, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(s.environment(), s.network...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 3 * time.Second
	return cmd
}

func (s *session) environment() []string {
	home := filepath.Join(s.dir, "home")
	return []string{
		"PATH=" + filepath.Dir(s.binary) + ":/usr/bin:/bin",
		"HOME=" + home, "XDG_CONFIG_HOME=" + home, "TMPDIR=" + s.dir,
		"LC_ALL=C", "TZ=UTC",
		"GIT_DIR=" + s.repo(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=" + os.DevNull, "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_ATTR_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_DEFAULT_REF_FORMAT=files", "GIT_PROTOCOL_FROM_USER=0",
	}
}

// start starts a git within its memory and file size. It is limited before it has read anything of a server.
func (s *session) start(cmd *exec.Cmd) error {
	if err := child.Start(cmd); err != nil {
		return fmt.Errorf("start git: %w", err)
	}
	for what, l := range map[int]int64{unix.RLIMIT_CORE: 0, unix.RLIMIT_DATA: s.limits.Memory, unix.RLIMIT_FSIZE: s.limits.disk()} {
		limit := unix.Rlimit{Cur: uint64(l), Max: uint64(l)}
		// ESRCH: it ended already.
		if err := unix.Prlimit(cmd.Process.Pid, what, &limit, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			_ = cmd.Cancel()
			return errors.Join(fmt.Errorf("limit git: %w", err), child.Wait(cmd))
		}
	}
	return nil
}

// run runs a git that prints little, and returns what it printed.
func (s *session) run(ctx context.Context, args ...string) (string, error) {
	var out child.Tail
	err := s.pipe(ctx, &out, args...)
	return strings.TrimSuffix(out.String(), "\n"), err
}

// pipe runs a git that prints to w.
func (s *session) pipe(ctx context.Context, w io.Writer, args ...string) error {
	cmd := s.git(ctx, args...)
	var stderr child.Tail
	cmd.Stdout, cmd.Stderr = w, &stderr
	if err := s.start(cmd); err != nil {
		return err
	}
	if err := child.Wait(cmd); err != nil {
		return &gitError{verb: args[0], said: stderr.String(), err: err}
	}
	return nil
}

// A gitError is a git that failed. What it said is a server's text in part.
type gitError struct {
	verb, said string
	err        error
}

// Error has the line of what git said that tells most: what is wrong with an object, else its last "fatal:", else its
// last.
func (e *gitError) Error() string {
	line := ""
	for l := range strings.Lines(e.said) {
		if object, ok := strings.CutPrefix(l, "error: object "); ok {
			line = "the repository has a broken object, " + object
			break
		}
		if l = strings.TrimSpace(l); l != "" && (strings.HasPrefix(l, "fatal:") || !strings.HasPrefix(line, "fatal:")) {
			line = l
		}
	}
	if line == "" {
		return "git " + e.verb + ": " + e.err.Error()
	}
	return "git " + e.verb + ": " + strings.TrimPrefix(line, "fatal: ")
}

func (e *gitError) Unwrap() error { return e.err }
